package compat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

// compacted is the golden repository after its packs were moved, and has its
// points.
const compacted = "testdata/v1-compacted"

// TestCompactedByReader reads it with the Python reader.
func TestCompactedByReader(t *testing.T) {
	out := runPython(t, "reader.py", compacted, "--passphrase-file", passphraseFile, "check")
	if n := strings.Count(out, ": good\n"); n != 2 {
		t.Errorf("%d good points, want 2:\n%s", n, out)
	}
	for i, id := range pointIDs(t, compacted) {
		got := splitLines(runPython(t, "reader.py", compacted, "--passphrase-file", passphraseFile, "ls", "--content", id))
		if d := differences(within(got, goldenRoot), goldenManifest(t, i+1)); d != "" {
			t.Errorf("point %d differs (- source, + read):\n%s", i+1, d)
		}
	}
}

// TestCompactedByCode reads it with the code under test.
func TestCompactedByCode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vault")
	if err := os.CopyFS(dir, os.DirFS(compacted)); err != nil {
		t.Fatal(err)
	}
	r := openRepository(t, dir)
	points, err := r.Points(t.Context())
	if err != nil || len(points) != 2 {
		t.Fatalf("%d points, want 2, %v", len(points), err)
	}
	for i, p := range points {
		lines, err := readTree(t.Context(), r, p)
		if err != nil {
			t.Fatal(err)
		}
		if d := differences(manifest(lines, goldenRoot, goldenRoot), goldenManifest(t, i+1)); d != "" {
			t.Errorf("point %d differs (- source, + read):\n%s", i+1, d)
		}
	}
	report, err := repo.Check(t.Context(), r, repo.CheckOptions{ReadData: 1})
	if err != nil || len(report.Faults) > 0 || report.PacksRead != report.Packs {
		t.Errorf("%+v %v", report, err)
	}
	absent, err := keep.ReadRounds(t.Context(), r.Store(), r.ID)
	if err != nil || !absent.Has(pack.ID{1}, 0) || !absent.Has(pack.ID{2}, 5) || absent.Has(pack.ID{2}, 0) {
		t.Errorf("its rounds: %+v %v", absent, err)
	}
}

// TestCompactedDamage flips bits of what only a compacted repository has.
func TestCompactedDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vault")
	if err := os.CopyFS(dir, os.DirFS(compacted)); err != nil {
		t.Fatal(err)
	}
	runPython(t, "reader.py", dir, "--passphrase-file", passphraseFile, "points") // or it is skipped
	for _, pattern := range []string{"containers/*/*", "moved/*/*-0002", "keys/feature-0001", "gc/*"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		good, err := os.ReadFile(names[0])
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(good)
		bad[len(bad)/2] ^= 8
		if err := os.WriteFile(names[0], bad, 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(python, "-B", "reader.py", dir, "--passphrase-file", passphraseFile, "check").CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 6 {
			t.Errorf("%s: %v\n%s", names[0], err, out)
		}
		if err := os.WriteFile(names[0], good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWriteCompacted stores it.
func TestWriteCompacted(t *testing.T) {
	if !*writeGolden {
		t.Skip("stores a new golden repository: only with -write-golden")
	}
	if err := os.RemoveAll(compacted); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(compacted, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	s, err := local.Open(compacted)
	if err != nil {
		t.Fatal(err)
	}
	r := openRepository(t, compacted)
	c := &compactor{t: t, store: s, repository: r.ID}
	c.put(place.Feature, place.FeatureBytes(r.ID))
	var ids []pack.ID
	for o, err := range s.List(t.Context(), pack.Prefix) {
		if err != nil {
			t.Fatal(err)
		}
		id, err := pack.ParseName(o.Name)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b pack.ID) int { return slices.Compare(a[:], b[:]) })
	c.move(1, ids[0], ids[1], ids[2]) // three packs in one container
	c.move(2, ids[1])                 // one of them moved once more
	lost := c.move(2, ids[2])         // and one to a container that never came
	c.delete(pack.ContainerName(lost))
	c.move(1, ids[3]) // its own object is still there
	for _, id := range ids[:3] {
		c.delete(id.Name())
	}
	c.rounds()
}

// compactor moves packs, by hand.
type compactor struct {
	t          *testing.T
	store      *local.Dir
	repository [16]byte
}

func (c *compactor) put(name string, b []byte) {
	c.t.Helper()
	if err := c.store.Put(context.Background(), name, b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *compactor) delete(name string) {
	c.t.Helper()
	if err := c.store.Delete(context.Background(), name); err != nil {
		c.t.Fatal(err)
	}
}

// move puts all frames of packs into one container.
func (c *compactor) move(generation uint32, ids ...pack.ID) pack.ID {
	c.t.Helper()
	container := &pack.Container{Repository: c.repository, ID: pack.NewID(1_800_000_000_000_000)}
	var frames []byte
	var records []*pack.Moved
	for _, id := range ids {
		at, err := place.Find(c.t.Context(), c.store, c.repository, id)
		if err != nil {
			c.t.Fatal(err)
		}
		m := &pack.Moved{Repository: c.repository, Pack: id, Generation: generation, Arrival: 1_795_423_582, Head: at.Head, Containers: []pack.ID{container.ID}}
		for i := range at.Head.Frames() {
			object, offset, length, _ := at.Frame(i)
			b := make([]byte, length)
			if n, err := c.store.Get(c.t.Context(), object, int64(offset), b); err != nil || n != len(b) {
				c.t.Fatal(n, err)
			}
			m.Places = append(m.Places, pack.Place{Frame: uint32(i), Offset: uint32(len(frames))})
			container.Frames = append(container.Frames, pack.Stored{Pack: id, Frame: uint32(i), Length: length, Hash: sha256.Sum256(b)})
			frames = append(frames, b...)
		}
		records = append(records, m)
	}
	c.put(pack.ContainerName(container.ID), append(container.Marshal(), frames...))
	for _, m := range records {
		for i := range m.Places {
			m.Places[i].Offset += uint32(container.Size())
		}
		c.put(pack.MovedName(m.Pack, generation), m.Marshal())
	}
	return container.ID
}

// rounds puts a fold and rounds after it.
func (c *compactor) rounds() {
	need := func(id pack.ID, runs ...live.Run) live.Need {
		n := live.Need{Pack: id, Runs: runs}
		for _, r := range runs {
			n.Frames += r.Length
		}
		return n
	}
	f := &keep.Fold{Repository: c.repository, Number: 3, Rounds: []keep.Folded{
		{Number: 2, Time: 1_795_500_000, Frames: []live.Need{need(pack.ID{1}, live.Run{Need: 255, Length: 1})}, Pages: []live.Hash{{7}}},
	}}
	c.put(f.Name(), f.Marshal())
	some := []live.Need{need(pack.ID{2}, live.Run{Need: 0, Length: 2}, live.Run{Need: 255, Length: 4})}
	for _, r := range []*keep.Round{
		{Number: 4, Frames: append(slices.Clone(some), need(pack.ID{3}, live.Run{Need: 255, Length: 2}))}, {Number: 4, Dropped: true, Frames: some}, {Number: 5, Pages: []live.Hash{{8}}},
	} {
		r.Repository = c.repository
		c.put(r.Name(), r.Marshal())
	}
}
