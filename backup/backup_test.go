package backup

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

// cheap is the least that the format allows.
var cheap = seal.Cost{Passes: 1, MemoryKiB: 8 << 10, Lanes: 1}

// place is a repository in a folder, with a machine's own folder beside it.
type testPlace struct {
	t     *testing.T
	repo  *repo.Repository
	local repo.Local
	store *local.Dir
	dir   string
}

func newPlace(t *testing.T) *testPlace {
	t.Helper()
	dir := t.TempDir()
	s, err := local.Create(filepath.Join(dir, "vault"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r, err := repo.Create(t.Context(), s, repo.CreateOptions{Passphrase: []byte("correct horse battery staple"), Cost: cheap, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return &testPlace{t: t, repo: r, local: r.Local(filepath.Join(dir, "state")), store: s, dir: dir}
}

func (p *testPlace) backup(paths ...string) *Summary {
	p.t.Helper()
	s, err := Run(p.t.Context(), p.repo, p.local, Job{Paths: paths, Now: time.Now, Host: "h"})
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// content reads a file of the newest point.
func (p *testPlace) content(path string) []byte {
	p.t.Helper()
	ctx := p.t.Context()
	points, err := p.repo.Points(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	tree, err := p.repo.Tree(ctx, points[len(points)-1], table.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	it, err := tree.Lookup(ctx, table.Key(path))
	if err != nil {
		p.t.Fatal(err)
	}
	return readAll(p.t, ctx, p.repo, it.Entry)
}

func readAll(t *testing.T, ctx context.Context, r *repo.Repository, e *table.Entry) []byte {
	t.Helper()
	if e.Inline != nil {
		return e.Inline
	}
	var out bytes.Buffer
	for x, err := range table.OpenExtents(r, e, table.Options{}).From(ctx, 0) {
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, x.Length)
		if !x.Hole {
			if err := r.ReadRaw(ctx, x.Pack, x.Offset, b); err != nil {
				t.Fatal(err)
			}
		}
		out.Write(b)
	}
	return out.Bytes()
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFirstAndSecondBackup(t *testing.T) {
	p := newPlace(t)
	src := filepath.Join(p.dir, "src")
	big := make([]byte, 9<<20)
	for i := range big {
		big[i] = byte(i * i >> 7)
	}
	files := map[string][]byte{"a/tiny": []byte("hello"), "a/small": bytes.Repeat([]byte("small "), 1000), "b/big": big, "disk.img": big, "empty": {}}
	for name, content := range files {
		write(t, filepath.Join(src, name), content)
	}
	first := p.backup(src)
	if first.Files != 5 || first.Statistics.Warnings != 0 || first.Unchanged != 0 {
		t.Fatalf("%+v", first)
	}
	for name, content := range files {
		if got := p.content(filepath.Join(src, name)); !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes instead of %d", name, len(got), len(content))
		}
	}
	time.Sleep(2100 * time.Millisecond) // older than what must be read again
	p.backup(src)
	write(t, filepath.Join(src, "a/small"), []byte("changed"))
	second := p.backup(src)
	if second.Changed == 0 || second.Unchanged < 4 || second.BytesRead != 7 {
		t.Fatalf("%+v", second)
	}
	if got := p.content(filepath.Join(src, "a/small")); string(got) != "changed" {
		t.Fatalf("%q", got)
	}
	if got := p.content(filepath.Join(src, "b/big")); !bytes.Equal(got, big) {
		t.Fatal("big changed")
	}
}
