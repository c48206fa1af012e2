package crash

import (
	"os"
	"testing"

	"github.com/tidemark-backup/tidemark/repo"
)

// F28: killed at half of what it stores, the rerun stores the other half, with
// whatever keys and whatever it has lost of its local state.
func TestKilledHalfWay(t *testing.T) {
	for _, c := range []struct {
		name string
		use  repo.Use
		lost []string
	}{
		{"passphrase", repo.Nothing, nil},
		{"unattended", repo.Unattended, nil},
		{"sealed", repo.Sealed, nil},
		{"sealed, index lost", repo.Sealed, []string{"index"}},
		{"sealed, copies lost", repo.Sealed, []string{"copies"}},
		{"sealed, both and the device lost", repo.Sealed, []string{"index", "copies", "device"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			const megabytes = 160
			p := newPlace(t, c.use)
			p.fill(megabytes)
			before := p.stored()
			o := p.orders
			o.KillBytes = megabytes << 20 / 2
			if !runToDeath(t, o) {
				t.Fatal("it was not killed")
			}
			half := p.stored() - before
			for _, part := range c.lost {
				if err := os.RemoveAll(p.local(part)); err != nil {
					t.Fatal(err)
				}
			}
			s := run(t, p.orders)
			all := p.stored() - before
			t.Logf("killed at %d %%, the rerun stored %d %%", 100*half/all, 100*int64(s.BytesStored)/all)
			// Two packs of 16 MiB may be on their way when it dies.
			if half*100 < all*40 || half*100 > all*75 {
				t.Errorf("it was killed with %d bytes of %d stored", half, all)
			}
			if more := int64(s.BytesStored) - (all - half); more*100 > all*2 || more*100 < -all*2 {
				t.Errorf("the rerun stored %d bytes, and %d of %d were missing", s.BytesStored, all-half, all)
			}
			// Nothing is stored twice but what a file half in a pack costs.
			if source := int64(s.Bytes); all > source*102/100 {
				t.Errorf("both together stored %d bytes for %d", all, source)
			}
			p.check(true)
			p.compare()
		})
	}
}
