package local

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/storetest"
)

// disk is a file system in a file, which can lose its power.
type disk struct {
	t     *testing.T
	image string
	dir   string
}

func newDisk(t *testing.T, mkfs ...string) *disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	for _, tool := range []string{mkfs[0], "xfs_io", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	d := &disk{t: t, image: filepath.Join(t.TempDir(), "image"), dir: t.TempDir()}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, 320<<20); err != nil {
		t.Fatal(err)
	}
	d.run(append(mkfs, d.image)...)
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.dir).CombinedOutput(); err != nil {
		t.Skipf("this host mounts no image of %s: %s", mkfs[0], out)
	}
	t.Cleanup(func() { d.run("umount", d.dir) })
	return d
}

func (d *disk) run(command ...string) {
	d.t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		d.t.Fatalf("%q: %v: %s", command, err, out)
	}
}

// cut stops the file system as a loss of power does: what was not synced is
// gone. Then it is there again.
func (d *disk) cut() {
	d.t.Helper()
	d.run("xfs_io", "-x", "-c", "shutdown", d.dir)
	d.run("umount", d.dir)
	d.run("mount", "-o", "loop", d.image, d.dir)
}

// TestPowerCut: every object whose Put has returned survives a loss of power
// at once afterwards, as does the folder that Create made. A file that nobody
// synced does not, else the test would show nothing.
func TestPowerCut(t *testing.T) {
	for _, mkfs := range [][]string{{"mkfs.ext4", "-q", "-F"}, {"mkfs.xfs", "-q"}} {
		t.Run(mkfs[0], func(t *testing.T) {
			disk := newDisk(t, mkfs...)
			root := filepath.Join(disk.dir, "a", "b", "store")
			for round := range 3 {
				d, err := Create(root)
				if err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				for w := range 4 {
					wg.Go(func() {
						for i := range 3 {
							n := round*100 + w*10 + i
							if err := d.Put(t.Context(), fmt.Sprintf("packs/%02x/%d", n%7, n), storetest.Data(uint64(n), 10_000*i)); err != nil {
								t.Error(err)
							}
						}
					})
				}
				wg.Wait()
				unsynced := filepath.Join(disk.dir, "unsynced")
				if err := os.WriteFile(unsynced, []byte("lost"), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				disk.cut()
				if text, err := os.ReadFile(unsynced); err == nil && string(text) == "lost" {
					t.Fatal("the power cut lost nothing: this test shows nothing")
				}
				checkSurvived(t, root, round)
			}
		})
	}
}

// checkSurvived reads all that rounds 0 to round have put.
func checkSurvived(t *testing.T, root string, round int) {
	t.Helper()
	d, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	count := 0
	for o, err := range d.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if _, err := fmt.Sscanf(filepath.Base(o.Name), "%d", &n); err != nil {
			t.Fatal(err)
		}
		got, err := store.ReadAll(t.Context(), d, o.Name, 1<<20)
		if err != nil || !bytes.Equal(got, storetest.Data(uint64(n), 10_000*(n%10))) {
			t.Errorf("%s: %d bytes, %v", o.Name, len(got), err)
		}
		count++
	}
	if want := 12 * (round + 1); count != want {
		t.Errorf("%d objects are left of %d", count, want)
	}
}
