package fuse

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/mountpoint"
)

const (
	seekData = 3
	seekHole = 4

	readAheadKiB = 4096
)

func mountOptions(o Options) *gofuse.MountOptions {
	m := &gofuse.MountOptions{
		AllowOther:    o.AllowOther,
		Options:       []string{"default_permissions"},
		FsName:        Name,
		Name:          Name,
		MaxWrite:      1 << 20, // which is the largest read, too
		MaxBackground: 16,
		EnableAcl:     true,
		// Where a link leads never changes: also latest is another one as soon
		// as it leads elsewhere.
		EnableSymlinkCaching: true,
		DisableSplice:        true,                      // answers are in memory: nothing to splice
		ExtraCapabilities:    gofuse.CAP_EXPORT_SUPPORT, // see operations.lookup
		Debug:                o.Debug,
	}
	if os.Geteuid() == 0 {
		// Root mounts without the helper, and without letting the users in
		// for whom it mounts it would be of little use.
		m.AllowOther = true
		m.DirectMountStrict = true
		m.DirectMountFlags = syscall.MS_RDONLY | syscall.MS_NOSUID | syscall.MS_NODEV
		return m
	}
	m.Options = append(m.Options, "ro", "nosuid", "nodev")
	return m
}

// tune lets the kernel read further ahead, which only root may ask for. Else
// it reads 128 KiB at a time.
func tune(dir string, log *slog.Logger) {
	if os.Geteuid() != 0 {
		return
	}
	if err := mountpoint.SetReadAhead(dir, readAheadKiB); err != nil {
		log.Debug("read-ahead stays as it is", "error", err)
	}
}

// explain says why a mount failed and what helps. The helper's own words went
// to standard error.
func explain(err error) error {
	f, open := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if open == nil {
		f.Close()
	}
	switch {
	case errors.Is(open, os.ErrNotExist):
		return fmt.Errorf("this kernel has no FUSE, or /dev/fuse is missing (modprobe fuse; in a container: --device /dev/fuse): %w: %w", fault.Unsupported, err)
	case errors.Is(open, os.ErrPermission):
		return fmt.Errorf("no access to /dev/fuse (as root: chmod 666 /dev/fuse): %w: %w", fault.Denied, err)
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("fusermount3 is missing (Debian: apt install fuse3): %w: %w", fault.Unsupported, err)
	case errors.Is(err, syscall.EPERM):
		return fmt.Errorf("mounting is not allowed here (in a container: --cap-add SYS_ADMIN): %w: %w", fault.Denied, err)
	}
	return err
}
