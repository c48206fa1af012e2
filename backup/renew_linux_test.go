package backup_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// renew runs a backup that lets hollow frames die however little they waste.
func (m *machine) renew(floor int64) *backup.Summary {
	m.t.Helper()
	r := m.open()
	s, err := backup.Run(context.Background(), r, r.Local(m.state), backup.Job{Paths: []string{m.src}, Now: later, Renew: repo.HollowLimits{Worth: 1, Floor: floor}})
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

// needed returns the packs of one kind that the newest point needs.
func (m *machine) needed(kind pack.Kind) map[pack.ID]bool {
	m.t.Helper()
	kinds := map[pack.ID]pack.Kind{}
	for _, p := range m.packs() {
		kinds[p.ID] = p.Kind
	}
	points := m.points()
	out := map[pack.ID]bool{}
	for n, err := range live.Walk(m.t.Context(), m.store, points[len(points)-1].Live, nil) {
		if err != nil {
			m.t.Fatal(err)
		}
		if kinds[n.Pack] == kind {
			out[n.Pack] = true
		}
	}
	return out
}

// file returns the content of a file of a tree whose frames get hollow: when
// it changes, a small one is another; of an image two blocks of sixteen stay.
func file(kind pack.Kind, i int, stays, changed bool) []byte {
	if kind != pack.Blocks {
		if stays || !changed {
			return noise(uint64(i), 9000)
		}
		return noise(uint64(100+i), 9000)
	}
	const block, size = 16 << 10, 1280 << 10
	b := noise(uint64(i), size)
	if changed {
		other := noise(uint64(100+i), size)
		for at := 0; at < size; at += block {
			if !stays || at/block%16 > 1 {
				copy(b[at:at+block], other[at:])
			}
		}
	}
	return b
}

func fileName(kind pack.Kind, i int) string {
	if kind == pack.Blocks {
		return fmt.Sprintf("f%02d.img", i)
	}
	return fmt.Sprintf("f%02d", i)
}

// hollow backs up twice, so that of the frames of the first point the second
// needs little.
func (m *machine) hollow(kind pack.Kind) {
	m.t.Helper()
	for i := range 20 {
		m.write(fileName(kind, i), file(kind, i, false, false))
	}
	for _, i := range []int{7, 13} {
		name := fileName(kind, i)
		if err := os.Link(filepath.Join(m.src, name), filepath.Join(m.src, "link of "+name)); err != nil {
			m.t.Fatal(err)
		}
	}
	m.backup()
	for i := range 20 {
		if stays := i == 7 || i == 13; !stays || kind == pack.Blocks {
			m.write(fileName(kind, i), file(kind, i, stays, true))
		}
	}
	m.backup()
}

// What is left in a hollow frame is read again and stored again, though it did
// not change, and the frame is not needed any more.
func TestHollowFramesAreLeft(t *testing.T) {
	for _, kind := range []pack.Kind{pack.Small, pack.Blocks} {
		for _, lost := range [][]string{nil, {"copies"}} {
			t.Run(fmt.Sprint(kind, lost), func(t *testing.T) {
				m := newMachine(t)
				m.hollow(kind)
				before := m.needed(kind)
				m.forget(lost...)
				s := m.renew(1 << 30)
				if s.Renewed == 0 || s.BytesNew != 0 {
					t.Errorf("%d bytes stored again, %d new", s.Renewed, s.BytesNew)
				}
				if lost == nil && (s.Changed > 1 || s.BytesRead == 0) { // a folder above may have changed
					t.Errorf("%d entries changed, %d bytes read", s.Changed, s.BytesRead)
				}
				m.hollowIsGone(kind, before)
				m.whole()
				m.linked(fileName(kind, 7), fileName(kind, 13))
				if s := m.renew(1 << 30); s.Renewed != 0 {
					t.Errorf("%d bytes stored again by the run after", s.Renewed)
				}
				m.forget("needed")
				m.nothingNew("without what the last point needs")
			})
		}
	}
}

// hollowIsGone makes sure that fewer of some packs are needed than before.
func (m *machine) hollowIsGone(kind pack.Kind, before map[pack.ID]bool) {
	m.t.Helper()
	now, left := m.needed(kind), 0
	for id := range before {
		if now[id] {
			left++
		}
	}
	if left >= len(before) {
		m.t.Errorf("all of the %d packs are still needed", left)
	}
}

// linked makes sure that the newest point's hard links have one content.
func (m *machine) linked(names ...string) {
	m.t.Helper()
	points := m.points()
	tree, err := m.open().Tree(m.t.Context(), points[len(points)-1], table.Options{})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, name := range names {
		var both []*table.Entry
		for _, n := range []string{name, "link of " + name} {
			it, err := tree.Lookup(m.t.Context(), table.Key(filepath.Join(m.src, n)))
			if err != nil {
				m.t.Fatal(err)
			}
			both = append(both, it.Entry)
		}
		if a, b := both[0], both[1]; a.Link == nil || b.Link == nil || *a.Link != *b.Link || !slices.Equal(a.Extents, b.Extents) {
			m.t.Errorf("%s: %+v and %+v", name, a, b)
		}
	}
}

// A run stores no more again than it may, and one with little to gain nothing.
func TestHollowFramesWithinTheBudget(t *testing.T) {
	m := newMachine(t)
	m.hollow(pack.Small)
	m.backup() // nothing new, so that half of that is no budget either
	if s := m.renew(1); s.Renewed != 0 {
		t.Errorf("%d bytes were stored again", s.Renewed)
	}
	m.nothingNew("with the default, for which this wastes too little")
	if s := m.renew(1 << 20); s.Renewed == 0 {
		t.Error("nothing was stored again")
	}
}

// A file that did not change and cannot be read again stays as it was.
func TestHollowFrameOfAFileThatCannotBeRead(t *testing.T) {
	for _, kind := range []pack.Kind{pack.Small, pack.Blocks} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			var bad atomic.Bool
			fail := func() syscall.Errno {
				if bad.Load() {
					return unix.EIO
				}
				return 0
			}
			late := func(off int64) syscall.Errno {
				if bad.Load() && off > 0 {
					return unix.EIO
				}
				return 0
			}
			m := newMachine(t)
			m.write("f", nil)
			// A file has the name by which it was looked up last, so both names fail.
			f := &faults{open: map[string]func() syscall.Errno{}, read: map[string]func(int64) syscall.Errno{}}
			want := 2
			for _, of := range []string{"", "link of "} {
				f.open[of+fileName(kind, 7)] = fail
				if kind == pack.Blocks {
					f.read[of+fileName(kind, 13)] = late
					want = 4
				}
			}
			m.faulty(f)
			m.hollow(kind)
			bad.Store(true)
			s := m.renew(1 << 30)
			if len(s.Warned) != want || !strings.Contains(s.Warned[0].Reason, "kept as it was") {
				t.Errorf("warned: %v", s.Warned)
			}
			bad.Store(false)
			m.whole()
		})
	}
}
