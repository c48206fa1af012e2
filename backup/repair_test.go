package backup_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// repaired repairs a store as a new process does.
func repaired(t *testing.T, s *mem.Store, l func(*repo.Repository) repo.Local, sources ...scrub.Source) *repo.RepairReport {
	t.Helper()
	r, err := reopen(t, s)
	if err != nil {
		t.Fatal(err)
	}
	o := repo.RepairOptions{Sources: sources, Local: l(r)}
	o.Scrub.Now = time.Now
	if o.Scrub.State, err = scrub.OpenState(filepath.Join(o.Local.Dir, "scrub"), r.ID); err != nil {
		t.Fatal(err)
	}
	d, err := repo.Repair(t.Context(), r, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// unchanged checks that two stores have the same objects, byte by byte.
func unchanged(t *testing.T, what string, got, want *mem.Store) {
	t.Helper()
	for o, err := range want.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		a, errA := store.ReadAll(t.Context(), got, o.Name, 64<<20)
		b, errB := store.ReadAll(t.Context(), want, o.Name, 64<<20)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Fatalf("%s: %s is not as it was: %v %v", what, o.Name, errA, errB)
		}
	}
}

// A bit that flips heals with the keys alone, wherever it is: by the SHA-256 of
// a small object, by the tag of a frame.
func TestRepairFlippedBitsAlone(t *testing.T) {
	m := newMachine(t)
	for i := range 50 {
		m.write(fmt.Sprintf("text/%02d", i), []byte(strings.Repeat(fmt.Sprintln("line", i), 200)))
	}
	m.write("big", noise(7, 2<<20))
	m.backup()
	m.write("more", noise(8, 2<<20))
	m.backup()
	random := rand.New(rand.NewPCG(9, 9))
	for o, err := range m.store.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(o.Name, "keys/") || o.Name == "repository" {
			continue // nothing in them tells which bit it was
		}
		for range 1 + o.Size>>20 {
			s := m.store.Clone()
			if err := s.Tamper(o.Name, func(b []byte) []byte { b[random.IntN(len(b))] ^= 1 << random.IntN(8); return b }); err != nil {
				t.Fatal(err)
			}
			d := repaired(t, s, func(*repo.Repository) repo.Local { return repo.Local{Dir: t.TempDir()} })
			if len(d.Healed) == 0 || len(d.Left) > 0 || len(d.Check.Faults) > 0 {
				t.Fatalf("%s of %d bytes: healed %v, left %v, why %v, check %v", o.Name, o.Size, d.Healed, d.Left, d.Why, d.Check.Faults)
			}
			unchanged(t, o.Name, s, m.store)
		}
	}
}

// Frames that are lost are named with all the files that they hurt; the next
// backup stores what the files still have, and the next repair makes the old
// points whole from that, byte by byte. What the files have no more stays
// named.
func TestRepairFromTheNextBackup(t *testing.T) {
	m := newMachine(t)
	for i := range 300 {
		m.write(fmt.Sprintf("many/%03d", i), []byte(strings.Repeat(fmt.Sprintln("text", i, i*i), 50+i)))
	}
	m.write("noise", noise(1, 4<<20))
	m.write("disk.img", noise(2, 20<<20))
	m.backup()
	whole := m.store.Clone()
	packs := 0
	for o, err := range m.store.List(t.Context(), pack.Prefix) {
		if err != nil {
			t.Fatal(err)
		}
		if o.Size < 100_000 {
			continue // the table: no backup makes the pages of another point
		}
		packs++
		err = m.store.Tamper(o.Name, func(b []byte) []byte { // every frame of it
			h, err := pack.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			for i := range h.Frames() {
				at, n := h.Frame(i)
				copy(b[at+n/3:at+n/2], noise(uint64(at), int(n)))
			}
			return b
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	local := func(*repo.Repository) repo.Local { return m.local() }
	d := repaired(t, m.store, local)
	if len(d.Healed) > 0 || len(d.Left) == 0 || len(d.Check.Faults) == 0 {
		t.Fatalf("%+v", d)
	}
	m.backup()
	if d = repaired(t, m.store, local); len(d.Left) > 0 || len(d.Check.Faults) > 0 || len(d.Healed) != packs {
		t.Fatalf("healed %v, left %v, why %v, check %v", d.Healed, d.Left, d.Why, d.Check.Faults)
	}
	unchanged(t, "after the second backup", m.store, whole)
	m.whole()
}

// A file that changed since takes its chunks with it: just the frames that hold
// them stay damaged, and just it is named.
func TestRepairNamesWhatIsGone(t *testing.T) {
	m := newMachine(t)
	m.write("gone", noise(1, 6<<20))
	m.write("kept", noise(2, 6<<20))
	m.backup()
	for o, err := range m.store.List(t.Context(), pack.Prefix) {
		if err != nil {
			t.Fatal(err)
		}
		if o.Size < 1<<20 {
			continue
		}
		if err := m.store.Tamper(o.Name, func(b []byte) []byte {
			h, err := pack.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			for i := range h.Frames() {
				at, n := h.Frame(i)
				clear(b[at+n/3 : at+n/2])
			}
			return b
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(m.src, "gone")); err != nil {
		t.Fatal(err)
	}
	local := func(*repo.Repository) repo.Local { return m.local() }
	repaired(t, m.store, local)
	m.backup()
	d := repaired(t, m.store, local)
	if len(d.Left) == 0 || len(d.Check.Faults) == 0 {
		t.Fatalf("%+v", d)
	}
	for _, f := range d.Check.Faults {
		if f.Count != len(f.Files) || f.Count == 0 {
			t.Errorf("%s: %d of %d files are named", f.Object, len(f.Files), f.Count)
		}
		for _, file := range f.Files {
			if !strings.HasSuffix(file, "/gone") {
				t.Logf("named too: %s", file)
			}
		}
	}
}

// Pages of live sets come back from the tables of the points.
func TestRepairLivePages(t *testing.T) {
	m := newMachine(t)
	for i := range 30 {
		m.write(fmt.Sprint("f", i), noise(uint64(i), 100_000))
		m.backup()
	}
	whole := m.store.Clone()
	n := 0
	for o, err := range whole.List(t.Context(), "live/") {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if n%2 == 0 {
			err = m.store.Delete(t.Context(), o.Name)
		} else {
			err = m.store.Tamper(o.Name, func(b []byte) []byte { return b[:len(b)/2] })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	d := repaired(t, m.store, func(*repo.Repository) repo.Local { return m.local() })
	if len(d.Left) > 0 || len(d.Healed) != n || len(d.Check.Faults) > 0 {
		t.Fatalf("healed %d of %d, left %v, why %v, check %v", len(d.Healed), n, d.Left, d.Why, d.Check.Faults)
	}
	unchanged(t, "live sets", m.store, whole)
}
