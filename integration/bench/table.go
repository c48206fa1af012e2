//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The table stands between these marks.
const (
	beginMark = "<!-- bench:begin -->"
	endMark   = "<!-- bench:end -->"
)

// marks reads a file and finds where the table stands: after the first mark,
// and before the second.
func marks(path string) (before, after string, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	before, rest, ok := strings.Cut(string(b), beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 || strings.Contains(after, beginMark) {
		return "", "", fmt.Errorf("%s: need the marks %s and %s, once and in this order", path, beginMark, endMark)
	}
	return before + beginMark, endMark + after, nil
}

// insert replaces the table in a file.
func insert(path, table string) error {
	before, after, err := marks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	temporary := path + ".new"
	err = os.WriteFile(temporary, []byte(before+"\n"+table+"\n"+after), info.Mode().Perm())
	return errors.Join(err, os.Rename(temporary, path))
}

// number prints a value with three digits.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// show prints a sample: value, and where known CPU time and peak memory.
func show(u unit, s sample) string {
	v := s.value
	if u == bytes {
		v /= 1 << 20
	}
	text := number(v) + " " + string(u)
	if s.usage.CPU > 0 {
		text += fmt.Sprintf(" · %s CPU", number(s.usage.CPU.Seconds()))
	}
	if s.usage.Peak > 0 {
		text += fmt.Sprintf(" · %.0f MiB", float64(s.usage.Peak)/(1<<20))
	}
	return text
}

// text is what stands in the table for one tool.
func (c *cell) text(u unit) string {
	if s, ok := c.median(); ok {
		return show(u, s)
	}
	if c == nil || c.failed == "" {
		return ""
	}
	reason := strings.NewReplacer("|", "/", "\n", " ").Replace(c.failed)
	if len(reason) > 90 {
		reason = strings.ToValidUTF8(reason[:90], "") + "…"
	}
	return "n/a: " + reason
}

// best is the best value of a row among the peers that count as its yardstick,
// or among the others.
func (b *bench) best(r row, count bool) (name string, value float64) {
	for _, t := range b.tools {
		s, ok := b.cells[r.id][t.name].median()
		if !t.peer || !ok || (r.packed && t.plain) == count {
			continue
		}
		if name == "" || r.unit.better(s.value, value) {
			name, value = t.name, s.value
		}
	}
	return name, value
}

// compared tells how a value stands to a peer's. A peer that is no yardstick of
// the row, but better than the best that is, is named too.
func (b *bench) compared(r row, own, best float64, name string) string {
	text := r.unit.compared(own, best) + " " + name
	if other, value := b.best(r, false); other != "" && r.unit.better(value, best) {
		text += fmt.Sprintf("; %s %s, which does not compress", r.unit.compared(own, value), other)
	}
	return text
}

// verdict compares Tidemark's value with what the row demands. It returns the
// comparison with the best peer, the demands, and those that are missed.
func (b *bench) verdict(r row) (against string, demands, missed []string) {
	own, ok := b.cells[r.id]["tidemark"].median()
	check := func(met bool, format string, args ...any) {
		demand := fmt.Sprintf(format, args...)
		demands = append(demands, demand)
		if !ok || !met {
			missed = append(missed, demand)
		}
	}
	name, best := b.best(r, true)
	if name != "" && ok && own.value > 0 {
		against = b.compared(r, own.value, best, name)
	}
	times := best / max(own.value, 1e-9)
	if r.unit.larger() {
		times = own.value / max(best, 1e-9)
	}
	if r.ahead > 0 {
		check(name != "" && times >= r.ahead, "≥ %gx", r.ahead)
	}
	if r.size > 0 {
		check(name != "" && own.value <= r.size*best, "≤ %gx", r.size)
	}
	b.limits(r, own, check)
	b.memory(r, own, check)
	return against, demands, missed
}

// limits checks what a row demands besides the peers.
func (b *bench) limits(r row, own sample, check func(bool, string, ...any)) {
	bare, ok := b.cells[r.id][limitName].median()
	if r.limit > 0 && r.unit.larger() {
		check(ok && own.value >= r.limit*bare.value, "≥ %.2gx of the limit", r.limit)
	} else if r.limit > 0 {
		check(ok && own.value <= r.limit*bare.value, "≤ %.2gx of the limit", r.limit)
	}
	if r.most > 0 {
		check(own.value <= r.most, "≤ %g s", r.most)
		keyed, ok := b.cells[r.id][unattended].median()
		check(ok && keyed.value <= r.mostKeyed, "≤ %g s unattended", r.mostKeyed)
	}
}

// memory checks Tidemark's peak against the row's bound and against the
// smallest Go peer's plus half.
func (b *bench) memory(r row, own sample, check func(bool, string, ...any)) {
	if own.usage.Peak == 0 {
		return // a row without memory, or without Tidemark
	}
	peak := float64(own.usage.Peak) / (1 << 20)
	if r.memory > 0 {
		check(peak <= r.memory, "≤ %g MiB", r.memory)
	}
	smallest := 0.0
	for _, t := range b.tools {
		if s, ok := b.cells[r.id][t.name].median(); ok && t.golang && s.usage.Peak > 0 {
			if v := float64(s.usage.Peak) / (1 << 20); smallest == 0 || v < smallest {
				smallest = v
			}
		}
	}
	if smallest > 0 {
		check(peak <= 1.5*smallest, "≤ %.0f MiB (Go peer + 50 %%)", 1.5*smallest)
	}
}

// markdown is the whole table with its legend.
func (b *bench) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "Measured %s on %s, seed %d, scale %g, median of %d, in %s.\n\n",
		b.started.Format("2006-01-02"), machine(), b.seed, b.scale, b.runs, time.Since(b.started).Round(time.Minute))
	var names []string
	for _, t := range b.tools {
		names = append(names, t.name)
		fmt.Fprintf(&s, "- %s: %s; %s\n", t.name, t.version, t.note)
	}
	for _, m := range b.missing {
		fmt.Fprintf(&s, "- not measured, %.200s\n", strings.ReplaceAll(m, "\n", " "))
	}
	for _, f := range b.facts {
		fmt.Fprintf(&s, "- data %s\n", f)
	}
	if n := len(b.others); n > 0 {
		slices.Sort(b.others)
		fmt.Fprintf(&s, "- while a command ran, everything else took %.0f %% of the processors (median), at worst %.0f %%\n",
			100*b.others[n/2], 100*b.others[n-1])
	}
	s.WriteString("\nEach cell: value, CPU seconds, peak memory. The limit is the machine without a backup: a bare parallel lstat walk, " +
		"reading alone, hashing and sealing and writing alone, a go-fuse file system from memory. " +
		"Where compressing or decompressing is part of the work, the best peer is the best of those that compress; " +
		"where one that does not is faster still, it is named behind it. For incompressible data, sizes, and where no content moves, all count.\n\n")
	names = append(names, limitName)
	fmt.Fprintf(&s, "| row | %s | best peer | target | met |\n|---|%s---|---|---|\n", strings.Join(names, " | "), strings.Repeat("---|", len(names)))
	met, all := 0, 0
	for _, r := range rows() {
		if b.cells[r.id] == nil || !b.wanted(r.id) {
			continue
		}
		fmt.Fprintf(&s, "| %s |", r.title)
		for _, n := range names {
			fmt.Fprintf(&s, " %s |", b.cells[r.id][n].text(r.unit))
		}
		against, demands, missed := b.verdict(r)
		verdict := "yes"
		switch {
		case len(demands) == 0:
			verdict = ""
		case len(missed) > 0:
			verdict = "no: " + strings.Join(missed, ", ")
		default:
			met++
		}
		if len(demands) > 0 {
			all++
		}
		fmt.Fprintf(&s, " %s | %s | %s |\n", against, strings.Join(demands, ", "), verdict)
	}
	fmt.Fprintf(&s, "\n%d of %d rows with targets met.\n", met, all)
	return s.String()
}

// machine says what the run ran on.
func machine() string {
	var u unix.Utsname
	kernel := "?"
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	model := "?"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(b), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			model = strings.TrimLeft(line, "\t: ")
		}
	}
	var info unix.Sysinfo_t
	memory := 0.0
	if unix.Sysinfo(&info) == nil {
		memory = float64(info.Totalram) * float64(info.Unit) / (1 << 30)
	}
	return fmt.Sprintf("%d cores (%s), %.0f GiB, Linux %s, %s", runtime.NumCPU(), model, memory, kernel,
		strings.TrimPrefix(describe(context.Background(), "go", "version"), "go version "))
}
