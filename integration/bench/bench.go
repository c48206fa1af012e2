//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// sample is one measured value of a row.
type sample struct {
	value float64 // in the row's unit; bytes for sizes
	usage usage
}

// cell is what is known of one row for one tool.
type cell struct {
	samples []sample
	failed  string // why there is no value
}

// median is the sample in the middle by value, with the peak of all.
func (c *cell) median() (sample, bool) {
	if c == nil || c.failed != "" || len(c.samples) == 0 {
		return sample{}, false
	}
	s := slices.Clone(c.samples)
	slices.SortFunc(s, func(a, b sample) int { return int(math.Copysign(1, a.value-b.value)) })
	m := s[len(s)/2]
	for _, x := range s {
		m.usage.Peak = max(m.usage.Peak, x.usage.Peak)
	}
	return m, true
}

// limitName is the name under which limits stand beside the tools.
const limitName = "limit"

// bench is one run of the program. It is used by one goroutine.
type bench struct {
	options
	started time.Time
	tools   []*tool
	missing []string
	logs    string
	gen     generator
	cells   map[string]map[string]*cell // row, tool
	facts   []string                    // about the data, for the table's head
	others  []float64                   // usage.Others of all acts

	// of the data set at work:
	data    string
	source  string
	entries int
	places  map[string]*place // by tool
}

func newBench(ctx context.Context, o options) (*bench, error) {
	var err error
	if o.work, err = filepath.Abs(o.work); err != nil {
		return nil, err
	}
	b := &bench{options: o, started: time.Now(), logs: filepath.Join(o.work, "logs"),
		gen: generator{seed: o.seed, scale: o.scale, roots: machineRoots(ctx)}, cells: map[string]map[string]*cell{}}
	if err := os.MkdirAll(b.logs, 0o755); err != nil {
		return nil, err
	}
	if err := dropCaches(); err != nil {
		return nil, err
	}
	b.tools, b.missing = findTools(ctx, o)
	for _, m := range b.missing {
		b.progress("left out: %s", m)
	}
	if len(b.tools) == 0 {
		return nil, errors.New("no tool to measure")
	}
	return b, nil
}

func (b *bench) close() { os.RemoveAll(b.logs) }

func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// wanted tells whether a row is asked for.
func (b *bench) wanted(id string) bool { return b.rows.MatchString(id) }

func (b *bench) wantsAny(ids []string) bool { return slices.ContainsFunc(ids, b.wanted) }

// step is one act, measured for each tool in turn.
type step struct {
	rows []string
	// needed: later steps build on it, so it is always done (measured or not).
	needed bool
	// keyed: Tidemark without a passphrase takes part.
	keyed bool
	// before is done once in each run, unmeasured: it alters the source.
	before func(run int) error
	act    func(ctx context.Context, t *tool, p *place, run int) (map[string]sample, error)
	limit  func(ctx context.Context) (map[string]sample, error)
}

// dataSet makes a data set, does all steps on it and removes everything.
func (b *bench) dataSet(ctx context.Context, name string) error {
	steps := b.steps(name)
	if !slices.ContainsFunc(steps, func(s step) bool { return b.wantsAny(s.rows) }) {
		return nil
	}
	home := filepath.Join(b.work, name)
	if err := os.RemoveAll(home); err != nil {
		return err
	}
	defer os.RemoveAll(home)
	b.data, b.source, b.places = name, filepath.Join(home, "data"), map[string]*place{}
	b.progress("make %s", name)
	if err := b.gen.make(ctx, name, b.source); err != nil {
		return err
	}
	// A file that is read within 2 s of its change is read again next time, as
	// another change could hide in the same tick. Nobody's files are all so new.
	time.Sleep(3 * time.Second)
	if err := b.describe(); err != nil {
		return err
	}
	for _, t := range b.tools {
		b.places[t.name] = b.newPlace(home, t)
	}
	for _, s := range steps {
		if !s.needed && !b.wantsAny(s.rows) {
			continue
		}
		if err := b.do(ctx, s); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// describe counts the data set.
func (b *bench) describe() error {
	var size, used int64
	b.entries = 0
	err := filepath.WalkDir(b.source, func(_ string, d iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		b.entries++
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
			used += allocated(info)
		}
		return nil
	})
	fact := fmt.Sprintf("%s: %d entries, %.2f GB (%.2f GB on disk)", b.data, b.entries, float64(size)/1e9, float64(used)/1e9)
	b.facts = append(b.facts, fact)
	b.progress("%s", fact)
	return err
}

func (b *bench) newPlace(home string, t *tool) *place {
	name := strings.ReplaceAll(t.name, " ", "-")
	return &place{source: b.source, repo: filepath.Join(home, name+"-repo"), state: filepath.Join(home, name+"-state"),
		secret: filepath.Join(home, "passphrase")}
}

// do runs one step for all tools, so often as asked, rotating the order.
func (b *bench) do(ctx context.Context, s step) error {
	runs := b.runs
	if !b.wantsAny(s.rows) {
		runs = 1
	}
	for run := range runs {
		if s.before != nil {
			if err := s.before(run); err != nil {
				return fmt.Errorf("prepare %s: %w", s.rows[0], err)
			}
		}
		for i := range b.tools {
			t := b.tools[(i+run)%len(b.tools)]
			if t.name == unattended && !s.keyed {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			b.attempt(ctx, s, t, run)
		}
		if s.limit != nil {
			got, err := s.limit(ctx)
			b.record(s, limitName, got, err)
		}
	}
	return nil
}

// attempt runs one step for one tool and notes what came of it.
func (b *bench) attempt(ctx context.Context, s step, t *tool, run int) {
	p := b.places[t.name]
	if p.broken != nil {
		b.record(s, t.name, nil, p.broken)
		return
	}
	got, err := s.act(ctx, t, p, run)
	if err != nil && s.needed {
		p.broken = fmt.Errorf("no first backup: %w", err)
	}
	b.record(s, t.name, got, err)
}

func (b *bench) record(s step, name string, got map[string]sample, err error) {
	for _, id := range s.rows {
		if b.cells[id] == nil {
			b.cells[id] = map[string]*cell{}
		}
		c := b.cells[id][name]
		if c == nil {
			c = &cell{}
			b.cells[id][name] = c
		}
		v, ok := got[id]
		switch {
		case err != nil:
			c.failed = err.Error()
			b.progress("%-20s %-20s n/a: %v", id, name, err)
		case ok:
			c.samples = append(c.samples, v)
			b.progress("%-20s %-20s %s%s", id, name, show(unitOf(id), v), b.disturbed(v.usage))
		}
	}
}

// disturbed notes how much of the machine others had, and says it when it is
// so much that the figure means little.
func (b *bench) disturbed(u usage) string {
	if u.CPU > 0 && u.Others > 0 {
		b.others = append(b.others, u.Others)
	}
	if u.Others < 0.1 {
		return ""
	}
	return fmt.Sprintf(" (others took %.0f %% of the processors)", 100*u.Others)
}

func unitOf(id string) unit {
	for _, r := range rows() {
		if r.id == id {
			return r.unit
		}
	}
	return ""
}
