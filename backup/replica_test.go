package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	iofs "io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
	"github.com/tidemark-backup/tidemark/repo/vault/store/patient"
)

// notices are what a repository told of its replicas.
type notices struct {
	mu  sync.Mutex
	all []repo.Notice
}

func (n *notices) add(one repo.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, one)
}

// of returns how many had an outcome.
func (n *notices) of(o repo.Outcome) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.all {
		if n.all[i].Outcome == o {
			count++
		}
	}
	return count
}

// opened opens a repository with replicas, for reading.
func withReplicas(t *testing.T, s store.Store, replicas ...store.Store) (*repo.Repository, *notices, error) {
	t.Helper()
	told := &notices{}
	o := repo.Options{Notice: told.add}
	for i, p := range replicas {
		o.Replicas = append(o.Replicas, repo.Replica{Name: fmt.Sprint("replica", i), Store: p})
	}
	r, err := repo.Open(t.Context(), s, o)
	if err != nil {
		return nil, told, err
	}
	_, err = r.Unlock(t.Context(), passphrase)
	return r, told, err
}

// contents reads all that a repository holds: a hash of each file by its path.
func contents(t *testing.T, r *repo.Repository) (map[string][32]byte, error) {
	t.Helper()
	tree := fs.New(r, fs.Options{Location: time.UTC})
	defer tree.Close()
	all := map[string][32]byte{}
	files := tree.IOFS(t.Context(), fs.Root)
	err := iofs.WalkDir(files, "points", func(path string, d iofs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := iofs.ReadFile(files, path)
		all[path] = sha256.Sum256(b)
		return err
	})
	return all, err
}

// twoPoints returns a repository of two points in memory, and what is in it.
func twoPoints(t *testing.T) (*mem.Store, map[string][32]byte) {
	t.Helper()
	s, r, src := sample(t)
	noisy := make([]byte, 5<<20)
	random := rand.New(rand.NewPCG(7, 7))
	for i := range noisy {
		noisy[i] = byte(random.Uint32())
	}
	write(t, src+"/noisy", noisy)
	if _, err := backup.Run(t.Context(), r, r.Local(t.TempDir()), backup.Job{Paths: []string{src}, Now: time.Now, Host: "h"}); err != nil {
		t.Fatal(err)
	}
	all, err := contents(t, r)
	if err != nil || len(all) < 80 {
		t.Fatal(len(all), err)
	}
	return s, all
}

// sameObjects fails unless two stores hold the same objects with the same bytes.
func sameObjects(t *testing.T, have, want *mem.Store) {
	t.Helper()
	read := func(s *mem.Store) map[string]string {
		all := map[string]string{}
		for o, err := range s.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			b, err := store.ReadAll(t.Context(), s, o.Name, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			all[o.Name] = string(b)
		}
		return all
	}
	h, w := read(have), read(want)
	for name := range w {
		if h[name] != w[name] {
			t.Errorf("%s: %d bytes that are not the %d it had", name, len(h[name]), len(w[name]))
		}
	}
	if !maps.Equal(h, w) {
		t.Errorf("%d objects of %d", len(h), len(w))
	}
}

// objects lists names.
func objects(t *testing.T, s store.Store, prefix string) (names []string) {
	t.Helper()
	for o, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, o.Name)
	}
	return names
}

// Whatever is damaged comes from the replica without an error to who reads, and
// afterwards the store is byte by byte as it was.
func TestReadsHealFromAReplica(t *testing.T) {
	pristine, want := twoPoints(t)
	random := rand.New(rand.NewPCG(5, 6))
	damages := map[string]func(*mem.Store, string) error{
		"a bit": func(s *mem.Store, name string) error {
			return s.Tamper(name, func(b []byte) []byte { b[random.IntN(len(b))] ^= 1 << random.IntN(8); return b })
		},
		"the first byte": func(s *mem.Store, name string) error {
			return s.Tamper(name, func(b []byte) []byte { b[0] ^= 1; return b })
		},
		"the end": func(s *mem.Store, name string) error {
			return s.Tamper(name, func(b []byte) []byte { return b[:len(b)/3] })
		},
		"all of it": func(s *mem.Store, name string) error {
			return s.Tamper(name, func(b []byte) []byte { return make([]byte, len(b)) })
		},
	}
	names := slices.Concat(objects(t, pristine, "packs/"), objects(t, pristine, "points/"), objects(t, pristine, "keys/slot"), []string{"repository"})
	for what, damage := range damages {
		t.Run(what, func(t *testing.T) {
			s, replica := pristine.Clone(), pristine.Clone()
			for _, name := range names {
				if err := damage(s, name); err != nil {
					t.Fatal(err)
				}
			}
			r, told, err := withReplicas(t, s, replica)
			if err != nil {
				t.Fatal(err)
			}
			have, err := contents(t, r)
			if err != nil || !maps.Equal(have, want) {
				t.Fatalf("%d files of %d: %v", len(have), len(want), err)
			}
			if err := r.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := told.of(repo.Healed); n != len(names) {
				t.Errorf("%d of %d healed: %+v", n, len(names), told.all)
			}
			sameObjects(t, s, pristine)
			sameObjects(t, replica, pristine)
		})
	}
}

// A frame that is damaged here and one that is damaged there make a whole pack.
func TestTwoDamagedPlacesMakeOneWhole(t *testing.T) {
	pristine, want := twoPoints(t)
	s, first, second := pristine.Clone(), pristine.Clone(), pristine.Clone()
	for _, name := range objects(t, pristine, "packs/") {
		b, err := store.ReadAll(t.Context(), pristine, name, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		h, err := pack.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		for i := range h.Frames() {
			at, _ := h.Frame(i)
			flip := func(b []byte) []byte { b[at] ^= 1; return b }
			places := []*mem.Store{s, first, second}
			places[i%3] = s // two of them hold each frame damaged, the store always
			for _, p := range places[:2] {
				if err := p.Tamper(name, flip); err != nil {
					t.Fatal(err)
				}
				if i%3 == 0 {
					break
				}
			}
		}
	}
	r, _, err := withReplicas(t, s, first, second)
	if err != nil {
		t.Fatal(err)
	}
	have, err := contents(t, r)
	if err != nil || !maps.Equal(have, want) {
		t.Fatalf("%d files of %d: %v", len(have), len(want), err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameObjects(t, s, pristine)
}

// Packs that are lost come back; those that a collector has removed do not, and
// neither does a point.
func TestWhatWasRemovedStaysRemoved(t *testing.T) {
	pristine, want := twoPoints(t)
	packs := objects(t, pristine, "packs/")
	for _, collected := range []bool{false, true} {
		s := pristine.Clone()
		for _, name := range packs {
			if err := s.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		r, told, err := withReplicas(t, s, pristine.Clone())
		if err != nil {
			t.Fatal(err)
		}
		if collected {
			round := &keep.Round{Repository: r.ID, Number: 1}
			for _, name := range packs {
				id, err := pack.ParseName(name)
				if err != nil {
					t.Fatal(err)
				}
				round.Frames = append(round.Frames, live.Need{Pack: id, Frames: 1, Runs: []live.Run{{Need: 255, Length: 1}}})
			}
			slices.SortFunc(round.Frames, func(a, b live.Need) int { return bytes.Compare(a.Pack[:], b.Pack[:]) })
			if err := s.Put(t.Context(), round.Name(), round.Marshal()); err != nil {
				t.Fatal(err)
			}
		}
		have, err := contents(t, r)
		if err != nil || !maps.Equal(have, want) {
			t.Fatalf("%d files of %d: %v", len(have), len(want), err)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(objects(t, s, "packs/")); collected && (n != 0 || told.of(repo.Served) != len(packs)) || !collected && n != len(packs) {
			t.Errorf("collected %v: %d packs: %+v", collected, n, told.all)
		}
	}
	s := pristine.Clone()
	if err := s.Delete(t.Context(), "points/0000000000000001"); err != nil {
		t.Fatal(err)
	}
	r, told, err := withReplicas(t, s, pristine)
	if err != nil {
		t.Fatal(err)
	}
	if have, err := contents(t, r); err != nil || len(have) >= len(want) || len(told.all) > 0 {
		t.Errorf("a removed point: %d files of %d, %v, %v", len(have), len(want), err, told.all)
	}
	if err := r.Close(t.Context()); err != nil || len(objects(t, s, "points/")) != 1 {
		t.Error("it came back", err)
	}
}

// A store that cannot be written to is read all the same.
func TestUnwritableStoreIsServed(t *testing.T) {
	pristine, want := twoPoints(t)
	for _, kind := range []error{fault.ReadOnly, fault.NoSpace, fault.Denied} {
		s := pristine.Clone()
		names := slices.Concat(objects(t, s, "packs/"), objects(t, s, "points/"))
		for _, name := range names {
			if err := s.Tamper(name, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }); err != nil {
				t.Fatal(err)
			}
		}
		damaged := s.Clone()
		s.SetHook(func(op mem.Op) (before, after error) {
			if op.Verb == mem.Get || op.Verb == mem.List {
				return nil, nil
			}
			return kind, nil
		})
		r, told, err := withReplicas(t, s, pristine)
		if err != nil {
			t.Fatal(err)
		}
		have, err := contents(t, r)
		if err != nil || !maps.Equal(have, want) {
			t.Fatalf("%d files of %d: %v", len(have), len(want), err)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.SetHook(nil)
		sameObjects(t, s, damaged)
		if told.of(repo.Served) != len(names) || told.of(repo.Healed) != 0 {
			t.Errorf("%v: %+v", kind, told.all)
		}
		for _, n := range told.all {
			if !errors.Is(n.Err, kind) || n.Cause == nil || n.Replica != "replica0" {
				t.Errorf("told %+v", n)
			}
		}
	}
}

// With the place gone, in each way in which places go, all is read from the
// replica, which is told once; nothing is written to either.
func TestPlaceIsGone(t *testing.T) {
	pristine, want := twoPoints(t)
	hook := func(err error) func(*mem.Store) {
		return func(s *mem.Store) { s.SetHook(func(mem.Op) (before, after error) { return err, nil }) }
	}
	for what, gone := range map[string]func(*mem.Store){
		"empty": func(s *mem.Store) {
			for _, name := range objects(t, s, "") {
				if err := s.Delete(t.Context(), name); err != nil {
					t.Error(err)
				}
			}
			s.ResetCounts()
		},
		"does not answer": hook(fault.Unavailable),
		"input/output":    hook(errors.New("input/output error")),
		"denied":          hook(fault.Denied),
	} {
		for _, later := range []bool{false, true} {
			t.Run(fmt.Sprint(what, later), func(t *testing.T) {
				s, replica := pristine.Clone(), pristine.Clone()
				if !later {
					gone(s)
				}
				r, told, err := withReplicas(t, s, replica)
				if err != nil {
					t.Fatal(err)
				}
				if later {
					gone(s)
				}
				have, err := contents(t, r)
				if err != nil || !maps.Equal(have, want) {
					t.Fatalf("%d files of %d: %v", len(have), len(want), err)
				}
				if err := r.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				if len(told.all) != 1 || told.of(repo.Away) != 1 {
					t.Errorf("told %+v", told.all)
				}
				c := s.Counts()
				if c.Puts+c.Deletes != 0 || replica.Counts().Puts != 0 {
					t.Errorf("written: %+v", c)
				}
				s.SetHook(nil)
				if what == "empty" && len(objects(t, s, "")) != 0 {
					t.Error("something was put into an empty place")
				}
			})
		}
	}
}

// A place that hangs is left for the replica after a bound, once; when it is
// back it is used again.
func TestPlaceHangs(t *testing.T) {
	pristine, want := twoPoints(t)
	s := pristine.Clone()
	slow := patient.New("the share", func(context.Context) (store.Store, error) { return s, nil }, patient.Options{Wait: 300 * time.Millisecond, Pause: 2 * time.Second})
	defer slow.Close()
	r, told, err := withReplicas(t, slow, pristine)
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	s.SetHook(func(mem.Op) (before, after error) { <-release; return nil, nil })
	began := time.Now()
	have, err := contents(t, r)
	if err != nil || !maps.Equal(have, want) {
		t.Fatalf("%d files of %d: %v", len(have), len(want), err)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("reading took %v", d)
	}
	s.SetHook(nil)
	close(release)
	time.Sleep(2100 * time.Millisecond)
	if have, err = contents(t, r); err != nil || !maps.Equal(have, want) {
		t.Fatalf("%d files of %d: %v", len(have), len(want), err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if told.of(repo.Away) == 0 || told.of(repo.Back) == 0 {
		t.Errorf("told %+v", told.all)
	}
	sameObjects(t, s, pristine)
}

// What holds another repository is not taken for a replica, and one that is
// damaged in the same frame does not help.
func TestNoHelp(t *testing.T) {
	pristine, _ := twoPoints(t)
	other, _, _ := sample(t)
	flip := func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
	s, same := pristine.Clone(), pristine.Clone()
	for _, name := range objects(t, s, "packs/") {
		for _, p := range []*mem.Store{s, same} {
			if err := p.Tamper(name, flip); err != nil {
				t.Fatal(err)
			}
		}
	}
	damaged := s.Clone()
	for _, replica := range []store.Store{other, same, mem.New()} {
		r, told, err := withReplicas(t, s, replica)
		if err != nil {
			t.Fatal(err)
		}
		_, err = contents(t, r)
		if !errors.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), "replica0") {
			t.Errorf("read: %v", err)
		}
		if err := r.Close(t.Context()); err != nil || told.of(repo.Healed) != 0 {
			t.Errorf("%+v, %v", told.all, err)
		}
		sameObjects(t, s, damaged)
	}
	if _, _, err := withReplicas(t, mem.New(), mem.New()); fault.KindOf(err) != fault.NotExist {
		t.Errorf("two empty places: %v", err)
	}
}

// Backups never go to the replica.
func TestBackupsDoNotGoToTheReplica(t *testing.T) {
	pristine, _ := twoPoints(t)
	s, replica := pristine.Clone(), pristine.Clone()
	r, _, err := withReplicas(t, s, replica)
	if err != nil {
		t.Fatal(err)
	}
	s.SetHook(func(mem.Op) (before, after error) { return fault.Unavailable, nil })
	src := t.TempDir()
	write(t, src+"/new", []byte("new"))
	_, err = backup.Run(t.Context(), r, r.Local(t.TempDir()), backup.Job{Paths: []string{src}, Now: time.Now, Host: "h"})
	if !errors.Is(err, fault.Unavailable) {
		t.Errorf("backup: %v", err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	sameObjects(t, replica, pristine)
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
