package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// printer prints entries: paths only, long lines, or JSON. Flush ends it.
type printer struct {
	app  *cli.App
	out  *bufio.Writer
	long bool
	zero bool // end each path with a zero byte and print it as it is
}

func newPrinter(app *cli.App) *printer {
	return &printer{app: app, out: bufio.NewWriterSize(app.Stdout, 64<<10)}
}

// print prints the entry under a name, which is its path or part of it.
func (p *printer) print(point *repo.Point, e *table.Entry, name, mark string) error {
	var err error
	switch {
	case p.app.Globals.JSON:
		err = p.json(newEntryJSON(point, e))
	case p.zero:
		_, err = p.out.WriteString(name + "\x00")
	case p.long:
		_, err = fmt.Fprintf(p.out, "%s%s  %s%s\n", mark, p.describe(point, e), cli.Quote(name), arrow(e))
	default:
		_, err = fmt.Fprintf(p.out, "%s%s\n", mark, cli.Quote(name))
	}
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func (p *printer) json(v any) error {
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func (p *printer) flush() error {
	if err := p.out.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// describe is what ls -l prints in front of a name.
func (p *printer) describe(point *repo.Point, e *table.Entry) string {
	size := cli.Count(e.Size)
	if e.Kind == table.CharDevice || e.Kind == table.BlockDevice {
		size = fmt.Sprintf("%d, %d", e.Major, e.Minor)
	}
	at := cli.Time(timeOf(e.MTime), p.app.Zone)
	return fmt.Sprintf("%s %-8s %-8s %15s  %s", modeText(e), cli.Quote(owner(point.Users, e.UID)), cli.Quote(owner(point.Groups, e.GID)), size, at)
}

func arrow(e *table.Entry) string {
	if e.Kind != table.Symlink {
		return ""
	}
	return " -> " + cli.Quote(e.Target)
}

func owner(names map[uint32]string, id uint32) string {
	if name := names[id]; name != "" {
		return name
	}
	return fmt.Sprint(id)
}

func timeOf(t table.Time) time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }

// modeText is the mode as ls -l shows it.
func modeText(e *table.Entry) string {
	b := []byte("?rwxrwxrwx")
	if int(e.Kind) < len(kindLetters) {
		b[0] = kindLetters[e.Kind]
	}
	for i := range 9 {
		if e.Mode&(0o400>>i) == 0 {
			b[1+i] = '-'
		}
	}
	for _, special := range []struct {
		bit  uint32
		at   int
		both byte // together with x
	}{{0o4000, 3, 's'}, {0o2000, 6, 's'}, {0o1000, 9, 't'}} {
		if e.Mode&special.bit == 0 {
			continue
		}
		if b[special.at] == 'x' {
			b[special.at] = special.both
		} else {
			b[special.at] = special.both - 'a' + 'A'
		}
	}
	return string(b)
}

// kindLetters are those of ls -l, by table.Kind.
const kindLetters = "-dlpcb"

// entryJSON is an entry in JSON.
type entryJSON struct {
	cli.Path
	Kind       string `json:"kind"`
	Mode       string `json:"mode"` // octal
	UID        uint32 `json:"uid"`
	GID        uint32 `json:"gid"`
	User       string `json:"user,omitempty"`
	Group      string `json:"group,omitempty"`
	Size       uint64 `json:"size"`
	ModTime    string `json:"mtime"`
	Target     string `json:"target,omitempty"`
	TargetB64  string `json:"target_b64,omitempty"`
	Major      uint32 `json:"major,omitempty"`
	Minor      uint32 `json:"minor,omitempty"`
	Links      uint64 `json:"links,omitempty"`
	Incomplete bool   `json:"incomplete,omitempty"`
}

func newEntryJSON(point *repo.Point, e *table.Entry) entryJSON {
	target := cli.JSONPath(e.Target)
	j := entryJSON{
		Path: cli.JSONPath(table.Path(e.Key)), Kind: kindName(e.Kind), Mode: fmt.Sprintf("%04o", e.Mode),
		UID: e.UID, GID: e.GID, User: point.Users[e.UID], Group: point.Groups[e.GID],
		Size: e.Size, ModTime: cli.JSONTime(timeOf(e.MTime)), Target: target.Path, TargetB64: target.B64,
		Major: e.Major, Minor: e.Minor, Incomplete: e.Incomplete,
	}
	if e.Link != nil {
		j.Links = e.Link.Count
	}
	return j
}

func kindName(k table.Kind) string {
	switch k {
	case table.File:
		return "file"
	case table.Folder:
		return "folder"
	case table.Symlink:
		return "symlink"
	case table.FIFO:
		return "fifo"
	case table.CharDevice:
		return "char_device"
	case table.BlockDevice:
		return "block_device"
	}
	return "unknown"
}
