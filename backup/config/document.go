package config

import (
	"bytes"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Document is the text of a configuration file that is edited in place: what no
// edit names stays as it is, byte by byte, comments and order and all.
type Document struct {
	path, home string
	before     []byte
	info       iofs.FileInfo // nil: there is no file yet
	text       string
	config     Config // of text
}

// OpenDocument reads a file that may be edited. One that is not there is empty.
func OpenDocument(path string) (*Document, error) {
	home, _ := os.UserHomeDir() // as Load
	d := &Document{path: path, home: home}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		d.path = real // a link stays one
	}
	f, err := os.Open(d.path)
	if os.IsNotExist(err) {
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	if d.info, err = f.Stat(); err == nil {
		d.before, err = io.ReadAll(io.LimitReader(f, maxSize+1))
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", path, err)
	}
	d.text = string(d.before)
	d.config, err = Parse(d.before, path, d.home)
	return d, err
}

// Config is what the text says now.
func (d *Document) Config() *Config { return &d.config }

// Text is the text as it is now.
func (d *Document) Text() string { return d.text }

// Save writes the file in one step, with its mode and owner. If somebody else
// has changed it meanwhile the error is fault.Exist.
func (d *Document) Save() error {
	now, err := os.ReadFile(d.path)
	if err != nil && !os.IsNotExist(err) || !bytes.Equal(now, d.before) {
		return fmt.Errorf("write configuration %s: somebody else changed it meanwhile: %w", d.path, fault.Exist)
	}
	if d.info != nil {
		err = durable.Rewrite(d.path, []byte(d.text), d.info)
	} else if err = durable.MkdirAll(filepath.Dir(d.path), 0o700); err == nil {
		err = durable.WriteFile(d.path, []byte(d.text), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	d.before = []byte(d.text)
	return nil
}

// become takes another text, if it is a configuration that says what is wanted.
func (d *Document) become(text string, want func(*Config) error) error {
	c, err := Parse([]byte(text), d.path, d.home)
	if err == nil {
		err = want(&c)
	}
	if err != nil {
		return err
	}
	d.text, d.config = text, c
	return nil
}

// EditPolicy makes a policy what edit makes of it. Only the keys that edit
// changes are touched.
func (d *Document) EditPolicy(name string, edit func(*Policy) error) error {
	i := d.index(name)
	if i < 0 {
		return d.unknown(name)
	}
	old := d.config.Policies[i]
	next := old.clone()
	if err := edit(&next); err != nil {
		return err
	}
	text, err := change(d.text, place{"policy", i}, leavesOf(old), leavesOf(next))
	if err != nil {
		return err
	}
	return d.become(text, func(c *Config) error { return sameLeaves(&c.Policies[i], &next) })
}

// AddPolicy adds a policy at the end of the file.
func (d *Document) AddPolicy(p Policy) error {
	if d.index(p.Name) >= 0 {
		return fmt.Errorf("add policy %q: there is one of that name: %w", p.Name, fault.Exist)
	}
	text := d.text
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if text != "" {
		text += "\n"
	}
	n := len(d.config.Policies)
	text, err := change(text+"[[policy]]\n", place{"policy", n}, nil, leavesOf(p))
	if err != nil {
		return err
	}
	return d.become(text, func(c *Config) error {
		if p.Repository == "" {
			p.Repository = c.Repository
		}
		return sameLeaves(&c.Policies[n], &p)
	})
}

// RemovePolicy removes a policy with the comments inside of it, and those right
// above its header.
func (d *Document) RemovePolicy(name string) error {
	i := d.index(name)
	if i < 0 {
		return d.unknown(name)
	}
	list := scan(d.text)
	at := place{"policy", i}
	first := slices.IndexFunc(list, func(s statement) bool { return s.kind == header && slices.Equal(s.where, at) })
	if first < 0 {
		return byHand(at)
	}
	text := d.text
	last := first
	for j := first; j < len(list) && (list[j].kind == other || within(list[j].where, at)); j++ {
		if list[j].kind != other {
			last = j
		}
	}
	for last+1 < len(list) && list[last+1].kind == other && !blank(text, list[last+1]) {
		last++
	}
	for first > 0 && list[first-1].kind == other && !blank(text, list[first-1]) {
		first--
	}
	if last+1 < len(list) && blank(text, list[last+1]) && (first == 0 || blank(text, list[first-1])) {
		last++
	}
	if last+1 == len(list) && first > 0 && blank(text, list[first-1]) {
		first--
	}
	text = text[:list[first].start] + text[list[last].end:]
	n := len(d.config.Policies)
	return d.become(text, func(c *Config) error {
		if len(c.Policies) != n-1 || c.Policy(name) != nil {
			return byHand(at)
		}
		return nil
	})
}

// PolicyText is the part of the text that a policy's tables are.
func (d *Document) PolicyText(name string) string {
	var b strings.Builder
	at := place{"policy", d.index(name)}
	for _, s := range scan(d.text) {
		if s.kind != other && within(s.where, at) {
			b.WriteString(strings.TrimRight(d.text[s.start:s.end], "\n") + "\n")
		}
	}
	return b.String()
}

func (d *Document) index(name string) int {
	return slices.IndexFunc(d.config.Policies, func(p Policy) bool { return p.Name == name })
}

func (d *Document) unknown(name string) error {
	return fmt.Errorf("find policy %q in %s: %w", name, d.path, fault.NotExist)
}

// within says whether a place is at, or below it.
func within(p, at place) bool { return len(p) >= len(at) && slices.Equal(p[:len(at)], at) }

func blank(text string, s statement) bool { return strings.TrimSpace(text[s.start:s.end]) == "" }

// byHand is the end of what is edited here.
func byHand(at place) error {
	return fmt.Errorf("edit %s: it is written in a way that is edited by hand only: %w", at, fault.Unsupported)
}

// change rewrites the keys of the table at that differ.
func change(text string, at place, old, next []leaf) (string, error) {
	for _, l := range old {
		if !slices.ContainsFunc(next, func(n leaf) bool { return slices.Equal(n.key, l.key) }) {
			text = unset(text, append(slices.Clone(at), l.place()...))
		}
	}
	for _, l := range next {
		i := slices.IndexFunc(old, func(o leaf) bool { return slices.Equal(o.key, l.key) })
		if i >= 0 && old[i].value == l.value {
			continue
		}
		where := append(slices.Clone(at), l.place()...)
		if l.tables {
			text = unset(text, where) // they may be [[tables]]
		}
		var ok bool
		if text, ok = set(text, at, where, l.value); !ok {
			return "", byHand(where)
		}
	}
	return text, nil
}
