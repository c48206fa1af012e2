package crash

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
)

// The disk of vault and local state is full at each MiB: what does not fit
// fails and says why, what was there stays whole, and with more room all goes
// on.
func TestFullAtEachMiB(t *testing.T) {
	const first, last = 1, 12
	full := 0
	for n := first; n <= last; n++ {
		disk := mount(t, "tmpfs", "tmpfs", 0, fmt.Sprintf("size=%dm", n))
		p := placeAt(t, repo.Unattended, filepath.Join(disk, "vault"), t.TempDir())
		p.State = filepath.Join(disk, "state")
		r := p.open()
		if err := r.Keep(r.Local(p.State), repo.Unattended); err != nil {
			t.Fatal(err)
		}
		p.write("first", noise(1, 10_000))
		if _, err := p.backup(); err != nil {
			t.Fatalf("%d MiB: %v", n, err)
		}
		for i := range 6 { // a pack a run, so that it is full at many places
			p.write(fmt.Sprintf("file %d", i), noise(uint64(10+i), 1<<20+i<<17))
			if _, err := p.backup(); err != nil && !errors.Is(err, fault.NoSpace) && fault.KindOf(err) != fault.NoSpace {
				t.Errorf("%d MiB: %v", n, err)
			} else if err != nil {
				full++
			}
		}
		p.check(true)
		if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
			t.Fatal(err)
		}
		if _, err := p.backup(); err != nil {
			t.Errorf("%d MiB, with more room: %v", n, err)
		}
		p.check(true)
		p.compare()
	}
	if t.Logf("%d runs met a full disk", full); full < last {
		t.Errorf("only %d runs met a full disk", full)
	}
}
