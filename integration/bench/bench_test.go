//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// copier is a tool whose repository is a copy, for tests of the bench itself.
func copier(name, backup string) *tool {
	return &tool{
		name: name, path: "/bin/sh", peer: name != "tidemark", version: "1",
		env:    func(*place) []string { return nil },
		create: func(p *place) [][]string { return [][]string{{"mkdir", p.repo}} },
		backup: func(p *place) []string { return []string{"sh", "-c", backup, "sh", p.source, p.repo} },
		points: func(p *place) []string { return []string{"ls", p.repo} },
		restore: func(p *place, to string) command {
			return command{args: []string{"cp", "-a", p.repo + "/data/.", to}}
		},
	}
}

const copies = `rm -rf "$2/data" && cp -a "$1" "$2/data"`

func testBench(t *testing.T, pattern string, tools ...*tool) *bench {
	t.Helper()
	o := options{rows: regexp.MustCompile(pattern), scale: 0.001, runs: 2, work: t.TempDir(), seed: 1, verify: true, timeout: time.Minute}
	b := &bench{options: o, tools: tools, logs: filepath.Join(o.work, "logs"), gen: generator{seed: 1, scale: o.scale},
		cells: map[string]map[string]*cell{}}
	if err := os.MkdirAll(b.logs, 0o755); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStepsWithACopier(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may drop the page cache")
	}
	b := testBench(t, "^one-point$", copier("tidemark", copies), copier("cp", copies),
		copier("liar", copies+` && echo x >> "$2/data/file3"`), copier("broken", "echo out of luck; exit 7"))
	if err := b.dataSet(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tidemark", "cp"} {
		if s, ok := b.cells["one-point"][name].median(); !ok || s.value <= 0 || s.usage.Wall <= 0 {
			t.Errorf("%s: %+v", name, b.cells["one-point"][name])
		}
	}
	if got := b.cells["one-point"]["liar"].text(seconds); !strings.HasPrefix(got, "n/a: verify: restored something else") {
		t.Errorf("liar: %q", got)
	}
	if got := b.cells["one-point"]["broken"].text(seconds); !strings.Contains(got, "exit status 7: out of luck") {
		t.Errorf("broken: %q", got)
	}
	if left, err := filepath.Glob(b.work + "/one*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	table := b.markdown()
	if !strings.Contains(table, "| one small point | ") || !strings.Contains(table, "| no: ") {
		t.Error(table)
	}
}

func TestVerdict(t *testing.T) {
	b := testBench(t, "", copier("tidemark", ""), copier("restic", ""), copier("borg", ""))
	b.tools[1].golang = true
	set := func(id, name string, value float64, peak int64) {
		if b.cells[id] == nil {
			b.cells[id] = map[string]*cell{}
		}
		b.cells[id][name] = &cell{samples: []sample{{value, usage{Peak: peak << 20}}}}
	}
	for _, c := range []struct {
		id     string
		values [4]float64 // tidemark, restic, borg, limit
		peak   int64
		missed int
	}{
		{"first-small", [4]float64{10, 30, 40, 0}, 150, 0},
		{"first-small", [4]float64{10, 29, 40, 0}, 150, 1},
		{"first-small", [4]float64{10, 30, 40, 0}, 151, 1}, // restic has 100
		{"first-small", [4]float64{10, 30, 40, 0}, 301, 2},
		{"size-small", [4]float64{90, 100, 200, 0}, 0, 0},
		{"size-small", [4]float64{91, 100, 200, 0}, 0, 1},
		{"find-small-cold", [4]float64{500, 100, 90, 0}, 1, 0},
		{"find-small-cold", [4]float64{499, 100, 90, 0}, 1, 1},
		{"stream-random-cold", [4]float64{60, 0, 0, 100}, 1, 0},
		{"stream-random-cold", [4]float64{59, 0, 0, 100}, 1, 1},
		{"same-small-warm", [4]float64{1.5, 9, 9, 1}, 1, 0},
		{"same-small-warm", [4]float64{1.6, 9, 9, 1}, 1, 1},
		{"p99-large", [4]float64{1, 5, 9, 0}, 0, 0},
		{"p99-large", [4]float64{1, 4.9, 9, 0}, 0, 1},
	} {
		set(c.id, "tidemark", c.values[0], c.peak)
		set(c.id, "restic", c.values[1], 100)
		set(c.id, "borg", c.values[2], 1)
		set(c.id, limitName, c.values[3], 0)
		all := rows()
		r := all[slices.IndexFunc(all, func(r row) bool { return r.id == c.id })]
		if _, demands, missed := b.verdict(r); len(missed) != c.missed {
			t.Errorf("%+v: demands %q, missed %q", c, demands, missed)
		}
	}
}

// A row without Tidemark's value, or without a peer's, is never met.
func TestVerdictOfNothing(t *testing.T) {
	b := testBench(t, "", copier("tidemark", ""), copier("restic", ""))
	for _, r := range rows() {
		if _, demands, missed := b.verdict(r); len(missed) != len(demands) {
			t.Errorf("%s: demands %q, missed %q", r.id, demands, missed)
		}
	}
}

// What does not compress is no yardstick where compressing is the work, and is
// told all the same.
func TestPlainPeer(t *testing.T) {
	b := testBench(t, "", copier("tidemark", ""), copier("restic", ""), copier("kopia", ""))
	b.tools[2].plain = true
	for id, want := range map[string]string{
		"first-large":  "2.00x as fast as restic; 0.50x as fast as kopia, which does not compress",
		"first-random": "0.50x as fast as kopia",
		"size-large":   "2.00x of kopia",
	} {
		b.cells[id] = map[string]*cell{}
		for name, value := range map[string]float64{"tidemark": 10, "restic": 20, "kopia": 5} {
			b.cells[id][name] = &cell{samples: []sample{{value: value}}}
		}
		all := rows()
		r := all[slices.IndexFunc(all, func(r row) bool { return r.id == id })]
		if got, _, _ := b.verdict(r); got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	b.cells["first-large"]["kopia"].samples[0].value = 30
	if got, _, _ := b.verdict(rows()[1]); got != "2.00x as fast as restic" {
		t.Errorf("a slower one is named: %q", got)
	}
}

func TestMedian(t *testing.T) {
	c := &cell{samples: []sample{{3, usage{Peak: 1}}, {1, usage{Peak: 9}}, {2, usage{Peak: 2}}}}
	if s, ok := c.median(); !ok || s.value != 2 || s.usage.Peak != 9 {
		t.Errorf("%+v", s)
	}
	c.failed = "once"
	if _, ok := c.median(); ok {
		t.Error("a failed run counts")
	}
}

func TestInsert(t *testing.T) {
	path := filepath.Join(t.TempDir(), "README.md")
	for _, c := range []struct{ in, out string }{
		{"a\n" + beginMark + "\nold\n" + endMark + "\nz", "a\n" + beginMark + "\nnew\n" + endMark + "\nz"},
		{"a" + beginMark + endMark, "a" + beginMark + "\nnew\n" + endMark},
		{"a\n" + beginMark, ""},
		{endMark + beginMark, ""},
		{"", ""},
	} {
		if err := os.WriteFile(path, []byte(c.in), 0o644); err != nil {
			t.Fatal(err)
		}
		err := insert(path, "new")
		got, readErr := os.ReadFile(path)
		if readErr != nil {
			t.Fatal(readErr)
		}
		want := c.out
		if want == "" {
			want = c.in
		}
		if (err == nil) != (c.out != "") || string(got) != want {
			t.Errorf("%q: %q, %v", c.in, got, err)
		}
	}
}

// Data and changes depend on seed and run alone.
func TestDataIsSeeded(t *testing.T) {
	g := generator{seed: 7, scale: 0.0002, roots: []string{t.TempDir()}}
	for _, name := range []string{"a", "b.gz", "c"} {
		if err := os.WriteFile(filepath.Join(g.roots[0], name), []byte(strings.Repeat(name+" text ", 2000)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"one", "large", "random", "tiny"} {
		a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
		for _, dir := range []string{a, b} {
			if err := g.make(t.Context(), name, dir); err != nil {
				t.Fatal(err)
			}
			if name == "one" {
				if _, err := g.change(name, dir, 3); err != nil {
					t.Fatal(err)
				}
			}
		}
		alike(t, a, b)
	}
}

// alike sets all times to one, as they are no part of what is generated.
func alike(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if d.Type()&os.ModeSymlink != 0 {
				return err
			}
			return errors.Join(err, os.Chtimes(path, time.Time{}, time.Unix(1e9, 0)))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := compare(context.Background(), dirs[0], dirs[1]); err != nil {
		t.Error(err)
	}
}

func TestCompareFinds(t *testing.T) {
	for name, harm := range map[string]func(dir string) error{
		"byte":    func(d string) error { return os.WriteFile(d+"/sub/f", []byte("helLo"), 0o644) },
		"mode":    func(d string) error { return os.Chmod(d+"/sub/f", 0o600) },
		"time":    func(d string) error { return os.Chtimes(d+"/sub/f", time.Time{}, time.Unix(5, 0)) },
		"missing": func(d string) error { return os.Remove(d + "/sub/f") },
		"extra":   func(d string) error { return os.WriteFile(d+"/more", nil, 0o644) },
		"target":  func(d string) error { return errors.Join(os.Remove(d+"/l"), os.Symlink("g", d+"/l")) },
		"size":    func(d string) error { return os.Truncate(d+"/sub/f", 3) },
	} {
		a, b := t.TempDir(), t.TempDir()
		for _, d := range []string{a, b} {
			if err := errors.Join(os.Mkdir(d+"/sub", 0o755), os.WriteFile(d+"/sub/f", []byte("hello"), 0o644), os.Symlink("sub/f", d+"/l")); err != nil {
				t.Fatal(err)
			}
		}
		alike(t, a, b)
		if err := harm(b); err != nil {
			t.Fatal(err)
		}
		if err := compare(t.Context(), a, b); err == nil {
			t.Errorf("%s: not found", name)
		}
	}
}

func TestDataBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 64 << 10, 1<<20 - block} {
		if _, err := f.WriteAt(make([]byte, block), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	got, err := dataBlocks(path)
	if err != nil || !slices.Equal(got, []int64{0, 64 << 10, 1<<20 - block}) {
		t.Errorf("%v, %v", got, err)
	}
}

// Every row is filled by some step, and by one alone.
func TestRowsHaveSteps(t *testing.T) {
	b := testBench(t, "")
	filled := map[string]int{}
	for _, data := range dataSets() {
		for _, s := range b.steps(data) {
			for _, id := range s.rows {
				filled[id]++
			}
		}
	}
	for _, r := range rows() {
		if filled[r.id] != 1 {
			t.Errorf("%s is filled by %d steps", r.id, filled[r.id])
		}
		if !slices.Contains(dataSets(), r.data) {
			t.Errorf("%s: unknown data set %s", r.id, r.data)
		}
	}
}

func TestParse(t *testing.T) {
	for _, bad := range [][]string{{}, {"-work", "x", "-scale", "0"}, {"-work", "x", "-rows", "("}, {"-work", "x", "y"}, {"-work", "x", "-runs", "0"}} {
		if _, _, err := parse(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
	if _, list, err := parse([]string{"-list"}); err != nil || !list {
		t.Error(list, err)
	}
}
