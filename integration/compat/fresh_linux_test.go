package compat

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

var writeGolden = flag.Bool("write-golden", false, "store a new golden repository in testdata")

// newRepository makes a repository in dir and keeps its keys below state.
func newRepository(t *testing.T, dir, state string) (*repo.Repository, repo.Local) {
	t.Helper()
	s, err := local.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Create(t.Context(), s, repo.CreateOptions{Passphrase: []byte(passphrase), Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return r, r.Local(state)
}

// backUp writes a point of root.
func backUp(t *testing.T, r *repo.Repository, l repo.Local, root string) {
	t.Helper()
	summary, err := backup.Run(t.Context(), r, l, backup.Job{Paths: []string{root}, Tags: []string{"first", "second"},
		Host: "golden", User: "root", OS: "linux", Program: "tidemark", Version: "1", Now: time.Now,
		Consistency: repo.Consistency{Type: repo.Crash, Why: "a power cut"}})
	if err != nil {
		t.Fatal(err)
	}
	if summary.Warnings > 0 {
		t.Fatalf("warnings: %+v", summary)
	}
}

// TestFresh writes two points with the code under test and reads them with the
// Python reader, which checks every byte and extracts them.
func TestFresh(t *testing.T) {
	dir := t.TempDir()
	root, vault := filepath.Join(dir, "source"), filepath.Join(dir, "vault")
	src := buildSource(t, root)
	r, l := newRepository(t, vault, filepath.Join(dir, "state"))
	var want [][]string
	for i := range 2 {
		if i == 1 {
			src.change()
		}
		want = append(want, manifest(readFolder(t, root), root, root))
		backUp(t, r, l, root)
	}
	out := runPython(t, "reader.py", vault, "--passphrase-file", passphraseFile, "check")
	if n := strings.Count(out, ": good\n"); n != 2 {
		t.Errorf("%d good points, want 2:\n%s", n, out)
	}
	for i, id := range pointIDs(t, vault) {
		got := splitLines(runPython(t, "reader.py", vault, "--passphrase-file", passphraseFile, "ls", "--content", id))
		if d := differences(within(got, root), want[i]); d != "" {
			t.Errorf("point %d, listed, differs (- source, + read):\n%s", i+1, d)
		}
		to := filepath.Join(dir, "extracted", id)
		runPython(t, "reader.py", vault, "--passphrase-file", passphraseFile, "extract", id, root, "--to", to)
		if d := differences(manifest(readFolder(t, to), to, root), want[i]); d != "" {
			t.Errorf("point %d, extracted, differs (- source, + extracted):\n%s", i+1, d)
		}
	}
}

// TestWriteGolden stores what TestGolden… read. A repository that a release
// has written is never replaced.
func TestWriteGolden(t *testing.T) {
	if !*writeGolden {
		t.Skip("stores a new golden repository: only with -write-golden")
	}
	if _, err := os.Stat(goldenRoot); err == nil || os.Geteuid() != 0 {
		t.Fatalf("needs root, and no %s: %v", goldenRoot, err)
	}
	defer os.RemoveAll(goldenRoot)
	if err := os.RemoveAll(golden); err != nil {
		t.Fatal(err)
	}
	src := buildSource(t, goldenRoot)
	r, l := newRepository(t, golden, t.TempDir())
	for i, change := range []func(){func() {}, src.change} {
		change()
		lines := strings.Join(manifest(readFolder(t, goldenRoot), goldenRoot, goldenRoot), "\n") + "\n"
		name := golden + "-" + string(rune('1'+i)) + ".manifest"
		if err := os.WriteFile(name, []byte(lines), 0o644); err != nil {
			t.Fatal(err)
		}
		backUp(t, r, l, goldenRoot)
	}
}
