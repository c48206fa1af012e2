package backup_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// machine backs up one folder into a repository in memory. Its clock is an
// hour ahead of the files, so that no file counts as just changed.
type machine struct {
	t     testing.TB
	store *mem.Store
	state string // folder of local state
	src   string
	above string // parents, as they were before and after the last run; empty if they changed
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{t: t, store: mem.New(), state: t.TempDir(), src: quiet(t)}
	_, err := repo.Create(t.Context(), m.store, repo.CreateOptions{Passphrase: passphrase, Cost: cheap, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// quiet returns a new folder whose parents others seldom touch while a test
// runs: they are entries of the table, too.
func quiet(t testing.TB) string {
	t.Helper()
	const base = "/var/tmp"
	if info, err := os.Stat(base); err != nil || !info.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(base, "tidemark")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// parents tells what the table says of the folders above the source.
func (m *machine) parents() string {
	m.t.Helper()
	var all strings.Builder
	for dir := filepath.Dir(m.src); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			m.t.Fatal(err)
		}
		fmt.Fprintln(&all, dir, info.ModTime())
		if dir == filepath.Dir(dir) {
			return all.String()
		}
	}
}

func later() time.Time { return time.Now().Add(time.Hour) }

// noise is n bytes that follow from seed and do not shrink.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}

func (m *machine) write(name string, content []byte) {
	m.t.Helper()
	path := filepath.Join(m.src, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// sources writes a tree of every kind of content: inline, in small packs, in
// large ones, an image with an extent tree, and enough names for two levels.
func (m *machine) sources() {
	m.t.Helper()
	for i := range 60 {
		m.write(fmt.Sprintf("many/%03d", i), fmt.Appendf(nil, "file %d", i))
		m.write(fmt.Sprintf("text/%03d", i), noise(uint64(i), 600+i*97))
	}
	m.write("large", noise(1000, 3<<20))
	image := bytes.Repeat(noise(1001, 16<<10), 300) // every second block is the same one
	for i := range 150 {
		copy(image[i*32<<10:], noise(uint64(2000+i), 16<<10))
	}
	m.write("disk.img", image)
}

// open opens the repository as a new process would.
func (m *machine) open() *repo.Repository {
	m.t.Helper()
	r, err := reopen(m.t, m.store)
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}

// try runs a backup in a process of its own, as far as state in memory goes.
func (m *machine) try() (*backup.Summary, error) {
	m.t.Helper()
	return m.tryOn(m.open())
}

func (m *machine) tryOn(r *repo.Repository) (*backup.Summary, error) {
	return backup.Run(context.Background(), r, r.Local(m.state), backup.Job{Paths: []string{m.src}, Now: later})
}

func (m *machine) backup() *backup.Summary {
	m.t.Helper()
	before := m.parents()
	s, err := m.try()
	if err != nil {
		m.t.Fatal(err)
	}
	if m.above = before; m.parents() != before {
		m.above = ""
	}
	if s.Statistics.Warnings != 0 {
		m.t.Fatalf("warnings: %v", s.Warned)
	}
	return s
}

// local returns the folder of local state.
func (m *machine) local() repo.Local { return m.open().Local(m.state) }

// forget removes parts of the local state.
func (m *machine) forget(parts ...string) {
	m.t.Helper()
	for _, part := range parts {
		if err := os.RemoveAll(filepath.Join(m.local().Dir, part)); err != nil {
			m.t.Fatal(err)
		}
	}
}

// points returns the points, all of which must open.
func (m *machine) points() []*repo.Point {
	m.t.Helper()
	points, err := m.open().Points(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return points
}

// whole checks everything in the vault, and compares the newest point's files
// with those of the source.
func (m *machine) whole() {
	m.t.Helper()
	r := m.open()
	report, err := repo.Check(m.t.Context(), r, repo.CheckOptions{ReadData: 1})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, f := range report.Faults {
		m.t.Errorf("check: %s: %v %v", f.Object, f.Err, f.Files)
	}
	points, err := r.Points(m.t.Context())
	if err != nil || len(points) == 0 {
		m.t.Fatal(len(points), err)
	}
	m.compare(r, points[len(points)-1])
}

// compare compares a point's files with those of the source.
func (m *machine) compare(r *repo.Repository, p *repo.Point) {
	m.t.Helper()
	ctx := m.t.Context()
	tree, err := r.Tree(ctx, p, table.Options{})
	if err != nil {
		m.t.Fatal(err)
	}
	saved := map[string]bool{}
	for it, err := range tree.From(ctx, 0) {
		if err != nil {
			m.t.Fatal(err)
		}
		path := table.Path(it.Entry.Key)
		saved[path] = true
		if it.Entry.Kind != table.File {
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			m.t.Errorf("saved, and not there: %v", err)
		} else if got := contentOf(m.t, r, it.Entry); !bytes.Equal(got, want) {
			m.t.Errorf("%s: %d bytes that differ from the source's %d", path, len(got), len(want))
		}
	}
	err = filepath.WalkDir(m.src, func(path string, _ iofs.DirEntry, err error) error {
		if err == nil && !saved[path] {
			m.t.Errorf("not saved: %s", path)
		}
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func contentOf(t testing.TB, r *repo.Repository, e *table.Entry) []byte {
	t.Helper()
	if e.Inline != nil {
		return e.Inline
	}
	var out []byte
	for x, err := range table.OpenExtents(r, e, table.Options{}).From(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, x.Length)
		if !x.Hole {
			if err := r.ReadRaw(t.Context(), x.Pack, x.Offset, b); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, b...)
	}
	return out
}

// names returns the names of the objects that begin with prefix.
func (m *machine) names(prefix string) []string {
	m.t.Helper()
	var names []string
	for o, err := range m.store.List(m.t.Context(), prefix) {
		if err != nil {
			m.t.Fatal(err)
		}
		names = append(names, o.Name)
	}
	return names
}
