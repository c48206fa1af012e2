package backup_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// dropped returns a replica of which a collector has dropped the packs of the
// first point, and then deleted them, or not yet; and what remove deletes then.
func dropped(t *testing.T, source *mem.Store, deleted bool) (replica *mem.Store, remove func()) {
	t.Helper()
	replica = mem.New()
	o := replicateOptions()
	o.Points = []uint64{1}
	report := mustReplicate(t, source, replica, o)
	round := &keep.Round{Repository: report.Repository, Number: 1, Dropped: true}
	for _, name := range objects(t, replica, pack.Prefix) {
		b, err := store.ReadAll(t.Context(), replica, name, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		h, err := pack.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		n := uint32(h.Frames())
		round.Frames = append(round.Frames, live.Need{Pack: h.ID, Frames: n, Runs: []live.Run{{Need: 255, Length: n}}})
	}
	slices.SortFunc(round.Frames, func(a, b live.Need) int { return slices.Compare(a.Pack[:], b.Pack[:]) })
	if err := replica.Put(t.Context(), round.Name(), round.Marshal()); err != nil {
		t.Fatal(err)
	}
	removeAll := func(names []string) {
		for _, name := range names {
			if err := replica.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	old := objects(t, replica, pack.Prefix)
	removeAll(slices.Concat(objects(t, replica, "points/"), objects(t, replica, "ledger/")))
	if deleted {
		removeAll(old)
	}
	return replica, func() { removeAll(old) }
}

// Frames that the replica's collector has dropped come back in containers, and
// a source of such containers can be copied in turn.
func TestReplicateWhatTheReplicaDropped(t *testing.T) {
	source := grown(t, 3)
	want := all(t, source)
	for _, deleted := range []bool{false, true} {
		replica, remove := dropped(t, source, deleted)
		mustReplicate(t, source, replica, replicateOptions())
		remove()
		if len(objects(t, replica, pack.MovedPrefix)) == 0 {
			t.Error("nothing was moved")
		}
		third := mem.New()
		mustReplicate(t, replica, third, replicateOptions())
		for what, place := range map[string]*mem.Store{"replica": replica, "third": third} {
			if have := all(t, place); !maps.Equal(have, want) {
				t.Errorf("%s: %d files of %d", what, len(have), len(want))
			}
			wholePoints(t, place, what)
		}
	}
}

// What lies in containers is healed, too: by a replica that has the packs
// whole, or has them in other containers. Where the container or the record is
// lost the whole pack comes back.
func TestContainersHeal(t *testing.T) {
	source := grown(t, 3)
	want := all(t, source)
	moved, remove := dropped(t, source, true)
	mustReplicate(t, source, moved, replicateOptions())
	remove()
	other, remove := dropped(t, source, true)
	mustReplicate(t, source, other, replicateOptions())
	remove()
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[(len(b)-1)*at/100] ^= 1; return b }
	}
	for what, damage := range map[string]func(*mem.Store){
		"a frame":   func(s *mem.Store) { tamper(t, s, pack.ContainerPrefix, flip(100)) },
		"the head":  func(s *mem.Store) { tamper(t, s, pack.ContainerPrefix, flip(0)) },
		"cut short": func(s *mem.Store) { tamper(t, s, pack.ContainerPrefix, func(b []byte) []byte { return b[:len(b)-9] }) },
		"lost": func(s *mem.Store) {
			for _, name := range objects(t, s, pack.ContainerPrefix) {
				if err := s.Delete(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			}
		},
		"the records": func(s *mem.Store) { tamper(t, s, pack.MovedPrefix, flip(50)) },
	} {
		for from, replica := range map[string]*mem.Store{"packs": source, "containers": other} {
			s := moved.Clone()
			damage(s)
			r, told, err := withReplicas(t, s, replica)
			if err != nil {
				t.Fatal(err)
			}
			have, err := contents(t, r)
			if err != nil || !maps.Equal(have, want) {
				t.Fatalf("%s, from %s: %d files of %d: %v", what, from, len(have), len(want), err)
			}
			if err := r.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			healed := told.of(repo.Healed)
			switch sure := from == "packs" || what == "a frame" || what == "cut short"; {
			case what == "the head": // readers need none
				if len(told.all) > 0 {
					t.Errorf("%s, from %s: %+v", what, from, told.all)
				}
			case sure && healed == 0:
				t.Errorf("%s, from %s: %+v", what, from, told.all)
			case sure:
				wholePoints(t, s, what+", from "+from)
			}
			if what == "a frame" || what == "cut short" {
				sameObjects(t, s, moved)
			}
		}
	}
}

// tamper damages every object below a prefix.
func tamper(t *testing.T, s *mem.Store, prefix string, edit func([]byte) []byte) {
	t.Helper()
	for _, name := range objects(t, s, prefix) {
		if err := s.Tamper(name, edit); err != nil {
			t.Fatal(err)
		}
	}
}

// A pack of which the replica's collector condemned one frame is recorded with
// all the others, too, since what its record does not name counts as gone.
func TestReplicateAFrameThatWasCondemned(t *testing.T) {
	source, want := twoPoints(t)
	replica := mem.New()
	report := mustReplicate(t, source, replica, replicateOptions())
	round := &keep.Round{Repository: report.Repository, Number: 1, Dropped: true}
	var cut []string
	for _, name := range objects(t, replica, pack.Prefix) {
		b, err := store.ReadAll(t.Context(), replica, name, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		h, err := pack.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if n := uint32(h.Frames()); n > 2 {
			cut = append(cut, name)
			round.Frames = append(round.Frames, live.Need{Pack: h.ID, Frames: n, Runs: []live.Run{{Need: 0, Length: 1}, {Need: 255, Length: 1}, {Need: 0, Length: n - 2}}})
		}
	}
	if len(cut) == 0 {
		t.Fatal("no pack has several frames")
	}
	slices.SortFunc(round.Frames, func(a, b live.Need) int { return slices.Compare(a.Pack[:], b.Pack[:]) })
	if err := replica.Put(t.Context(), round.Name(), round.Marshal()); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Concat(objects(t, replica, "points/"), objects(t, replica, "ledger/")) {
		if err := replica.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	mustReplicate(t, source, replica, replicateOptions())
	for _, name := range cut {
		if err := replica.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if have := all(t, replica); !maps.Equal(have, want) {
		t.Errorf("%d files of %d", len(have), len(want))
	}
	wholePoints(t, replica, "without the packs' own objects")
	before := len(objects(t, replica, pack.ContainerPrefix))
	mustReplicate(t, source, replica, replicateOptions())
	if n := len(objects(t, replica, pack.ContainerPrefix)); n != before {
		t.Errorf("%d containers, then %d", before, n)
	}
}
