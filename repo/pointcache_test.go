package repo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/meta"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// shelf is a repository with a ledger, and a machine that lists its points.
type shelf struct {
	t     *testing.T
	store *mem.Store
	repo  *Repository // of who writes
	local Local
	read  atomic.Int64 // points that were read
}

func newShelf(t *testing.T, points int) *shelf {
	s := &shelf{t: t}
	s.store, s.repo, _ = newTest(t)
	s.local = s.repo.Local(t.TempDir())
	if err := s.repo.OpenLedger(t.Context(), s.local, LedgerOptions{}); err != nil {
		t.Fatal(err)
	}
	for i := range points {
		s.add(sampleDetails(i))
	}
	s.store.SetHook(func(o mem.Op) (before, after error) {
		if o.Verb == mem.Get && o.Offset == 0 && strings.HasPrefix(o.Name, point.Prefix) {
			s.read.Add(1)
		}
		return nil, nil
	})
	return s
}

func sampleDetails(i int) Details {
	d := sampleBody().Details
	d.Started = time.Unix(1_700_000_000+int64(i)*86400, 5)
	d.Statistics.Files = uint64(i)
	if i%3 == 1 {
		d.Users, d.ServerUsers = map[uint32]string{0: "root"}, nil
	}
	if i%5 == 2 {
		d.Tags, d.Devices = []string{fmt.Sprint(i)}, []uint64{uint64(i)}
	}
	return d
}

// add writes a point of an empty folder.
func (s *shelf) add(d Details) {
	s.t.Helper()
	w, err := s.repo.NewWriter(s.t.Context(), s.local, WriterOptions{Now: time.Now()})
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := table.NewBuilder(w.Pages(func(chunk.ID, []byte) error { return nil }), s.repo.PageParams())
	if err == nil {
		err = b.Add(s.t.Context(), &table.Entry{Key: table.Key("/"), Kind: table.Folder})
	}
	var root *table.Root
	if err == nil {
		root, err = b.Finish(s.t.Context())
	}
	if err == nil {
		_, err = w.Commit(s.t.Context(), root, d)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		s.t.Fatal(err)
	}
	if _, err := w.Receipt(); err != nil {
		s.t.Fatal(err)
	}
}

// open opens the repository as another process does.
func (s *shelf) open(l Local) *Repository {
	s.t.Helper()
	r, err := Open(s.t.Context(), s.store, Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	r.take(s.repo.keys, s.repo.epoch, s.repo.private)
	if err := r.OpenLedger(s.t.Context(), l, LedgerOptions{}); err != nil {
		s.t.Fatal(err)
	}
	return r
}

// list lists points in another process, and returns how many it read.
func (s *shelf) list(l Local) (shown, deleted []*Point, read int64) {
	s.t.Helper()
	r := s.open(l)
	before := s.read.Load()
	shown, deleted, err := r.allPoints(s.t.Context())
	if err != nil {
		s.t.Error(err)
	}
	return shown, deleted, s.read.Load() - before
}

// say appends to the ledger.
func (s *shelf) say(plan func(*retain.State, retain.Verdict) ([]ledger.Record, error)) {
	s.t.Helper()
	w, err := s.local.Device()
	if err != nil {
		s.t.Fatal(err)
	}
	reading, err := s.repo.book.Read(s.t.Context(), time.Now())
	if err == nil {
		_, err = s.repo.book.Append(s.t.Context(), w.Key, reading, plan)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// A point is read once on a machine, whatever happens to it: what the ledger
// says of it is seen at once.
func TestPointsAreReadOnce(t *testing.T) {
	s := newShelf(t, 20)
	cold, _, n := s.list(s.local)
	if len(cold) != 20 || n != 20 {
		t.Fatalf("%d points, %d of them read", len(cold), n)
	}
	s.want(20, 0, 0, cold)
	s.add(sampleDetails(20))
	s.want(21, 0, 1, cold)
	s.want(21, 0, 0, cold)
	s.say(func(st *retain.State, v retain.Verdict) ([]ledger.Record, error) { return st.Delete(v, 7) })
	s.want(20, 1, 0, nil)
	s.say(func(st *retain.State, v retain.Verdict) ([]ledger.Record, error) { return st.Undelete(v, 7) })
	s.want(21, 0, 0, cold)

	r := s.open(s.local)
	s.store.ResetCounts()
	if points, err := r.Points(t.Context()); len(points) != 21 || err != nil {
		t.Fatal(len(points), err)
	}
	if c := s.store.Counts(); c.Gets != 0 || c.Lists != 2 {
		t.Errorf("a list of points asked the store %+v", c)
	}
	// One that is not there is named, though the machine knows what it held.
	if err := s.store.Delete(t.Context(), point.Name(3)); err != nil {
		t.Fatal(err)
	}
	points, err := s.open(s.local).Points(t.Context())
	if len(points) != 20 || fault.KindOf(err) != fault.Corrupt || !strings.Contains(err.Error(), point.Name(3)) {
		t.Errorf("%d points, %v", len(points), err)
	}
}

// want lists the points in another process, and looks whether they are those
// that were read first.
func (s *shelf) want(shown, deleted int, read int64, first []*Point) {
	s.t.Helper()
	a, b, n := s.list(s.local)
	if len(a) != shown || len(b) != deleted || n != read {
		s.t.Errorf("%d points, %d deleted, %d read, instead of %d, %d, %d", len(a), len(b), n, shown, deleted, read)
	}
	for i, p := range first {
		if !reflect.DeepEqual(a[i], p) {
			s.t.Errorf("%+v instead of %+v", a[i], p)
		}
	}
}

// Whatever is wrong with the file is as if it were not there, and is mended.
func TestDamagedPointCache(t *testing.T) {
	s := newShelf(t, 4)
	right, _, _ := s.list(s.local)
	file, err := os.ReadFile(s.local.Points())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(file, []byte("tidemark")) || bytes.Contains(file, []byte("/etc")) {
		t.Error("the file says what it holds")
	}
	if info, err := os.Stat(s.local.Points()); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	damaged := map[string][]byte{"empty": {}, "longer": append(bytes.Clone(file), 0), "large": make([]byte, maxPointCache+1)}
	for _, at := range []int{0, 7, 8, 20, len(file) / 2, len(file) - 1} {
		flipped := bytes.Clone(file)
		flipped[at] ^= 4
		damaged[fmt.Sprint("flipped at ", at)], damaged[fmt.Sprint("cut at ", at)] = flipped, file[:at]
	}
	other := s.repo.keys.OfReaders(&s.repo.private[0], "another")
	damaged["other key"] = seal.SealLocal(other, magicPoints, marshalPoints(right, map[uint64]point.ID{1: right[0].ID}))
	for what, b := range damaged {
		if err := os.WriteFile(s.local.Points(), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if points, _, n := s.list(s.local); n != 4 || !reflect.DeepEqual(points, right) {
			t.Errorf("%s: %d read", what, n)
		}
		if points, _, n := s.list(s.local); n != 0 || !reflect.DeepEqual(points, right) {
			t.Errorf("%s: %d read again", what, n)
		}
	}
	// Of a number that the ledger gives to another point nothing is believed.
	forged := *right[1]
	forged.ID[0] ^= 1
	forged.Host = "nowhere"
	plain := marshalPoints([]*Point{right[0], &forged}, map[uint64]point.ID{1: right[0].ID, 2: forged.ID})
	if err := os.WriteFile(s.local.Points(), seal.SealLocal(s.repo.cacheKey(), magicPoints, plain), 0o600); err != nil {
		t.Fatal(err)
	}
	if points, _, n := s.list(s.local); n != 3 || !reflect.DeepEqual(points, right) {
		t.Errorf("with another point's: %d read", n)
	}
	// Who keeps nothing, or may not write, lists all the same.
	if points, _, n := s.list(Local{}); n != 4 || !reflect.DeepEqual(points, right) {
		t.Errorf("without a file: %d read", n)
	}
}

// Points that share what is the same in them take little each, in memory and in
// the file; one that is large does not, and is read all the same.
func TestPointsShare(t *testing.T) {
	s := newShelf(t, 0)
	d := sampleDetails(0)
	for i := range 3000 {
		d.ServerUsers = append(d.ServerUsers, meta.ServerUser{Name: fmt.Sprintf("user %05d", i), UID: uint32(i), Groups: []uint32{1, 2, 3}})
	}
	d.ServerUsers = d.ServerUsers[2:]
	for i := range 5 {
		d.Started = time.Unix(int64(i), 0)
		if d.Warnings = nil; i == 2 {
			d.Warnings = make([]Warning, MaxWarnings)
			for k := range d.Warnings {
				d.Warnings[k] = Warning{Path: strings.Repeat("a", 2000), Reason: fmt.Sprint(k)}
			}
		}
		s.add(d)
	}
	for range 2 {
		points, _, _ := s.list(s.local)
		for i, p := range points {
			if len(p.ServerUsers) != 3000 || &p.ServerUsers[0] != &points[0].ServerUsers[0] || !p.Started.Equal(time.Unix(int64(i), 0)) || p.Warnings != nil {
				t.Errorf("point %d has %d users of its own, %d warnings", i, len(p.ServerUsers), len(p.Warnings))
			}
		}
		if w, err := s.repo.Warnings(t.Context(), points[2]); len(w) != MaxWarnings || err != nil || w[7].Reason != "7" {
			t.Errorf("%d warnings, %v", len(w), err)
		}
	}
	if info, err := os.Stat(s.local.Points()); err != nil || info.Size() > 150<<10 {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
}

// What a machine keeps of its points cannot be opened with the keys that a
// machine in sealed use has.
func TestPointCacheIsForReaders(t *testing.T) {
	s := newShelf(t, 1)
	s.list(s.local)
	for keys := s.repo.keys.Marshal()[len(s.repo.ID):]; len(keys) > 0; keys = keys[32:] {
		b, err := os.ReadFile(s.local.Points())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := seal.OpenLocal(seal.Key(keys[:32]), magicPoints, b); !errors.Is(err, fault.Corrupt) {
			t.Errorf("a key of the writers opens it: %v", err)
		}
	}
	r := s.open(s.local)
	r.private = nil
	if _, err := r.Points(t.Context()); !errors.Is(err, fault.Locked) {
		t.Errorf("%v", err)
	}
}

// FuzzPoints: what is taken for a list of points has one meaning.
func FuzzPoints(f *testing.F) {
	var points []*Point
	named := map[uint64]point.ID{}
	for i := range 6 {
		p := &Point{ID: point.ID{byte(i)}, Sequence: uint64(i*i + 1), Entries: uint64(i), Details: sampleDetails(i)}
		points, named[p.Sequence] = append(points, p), p.ID
	}
	f.Add(marshalPoints(points, named))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parsePoints(b)
		if err != nil {
			if !errors.Is(err, fault.Corrupt) {
				t.Fatal(err)
			}
			return
		}
		named := map[uint64]point.ID{}
		for _, p := range list {
			named[p.Sequence] = p.ID
		}
		again, err := parsePoints(marshalPoints(list, named))
		if err != nil || len(again) != len(list) {
			t.Fatal(len(again), len(list), err)
		}
		for i, p := range list {
			if q := again[i]; q.ID != p.ID || q.Statistics != p.Statistics || !q.Started.Equal(p.Started) || q.Host != p.Host || len(q.Users) != len(p.Users) || len(q.ServerUsers) != len(p.ServerUsers) {
				t.Fatalf("%+v became %+v", p, q)
			}
		}
	})
}
