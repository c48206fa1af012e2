package mountpoint

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

const (
	maxMounts = 1_000_000 // more than the kernel's own limit of 100,000
	maxLine   = 1 << 20

	// fusermount answers at once, or waits for a server that hangs.
	fusermountPatience = 10 * time.Second
)

// List returns the mounts that this process sees, in the order in which they
// were made. Of several at one path the last one is seen.
func List() ([]Mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	var all []Mount
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		m, err := parse(lines.Text())
		if err != nil {
			return nil, err
		}
		if len(all) == maxMounts {
			return nil, fmt.Errorf("list mounts: more than %d: %w", maxMounts, fault.TooLarge)
		}
		all = append(all, m)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	return all, nil
}

// At returns the mount at path; ok is false if nothing is mounted just there.
// It works on dead mounts, too.
func At(path string) (m Mount, ok bool, err error) {
	if path, err = clean(path); err != nil {
		return Mount{}, false, err
	}
	all, err := List()
	if err != nil {
		return Mount{}, false, err
	}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Path == path {
			return all[i], true, nil
		}
	}
	return Mount{}, false, nil
}

// IsMount says whether something is mounted just at path.
func IsMount(path string) (bool, error) {
	_, ok, err := At(path)
	return ok, err
}

// IsDead says whether the program that served the mount at path is gone. It
// asks for the file system, not for the folder: what a mount said of its
// folder the kernel may remember long after the server's death.
func IsDead(path string) bool {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	return err == unix.ENOTCONN || err == unix.ECONNABORTED
}

// ClearDead removes a mount of ours at path whose server is gone, and says
// whether there was one. Other mounts, and living ones, are left alone: a dead
// one of another program is fault.Denied.
func ClearDead(ctx context.Context, path string) (bool, error) {
	if !IsDead(path) {
		return false, nil
	}
	m, ok, err := At(path)
	if err != nil {
		return false, fmt.Errorf("clear dead mount: %w", err)
	}
	if !ok {
		return false, nil
	}
	if !m.IsOurs() {
		return false, fmt.Errorf("clear dead mount %s: it belongs to %s (%s): %w", path, m.Source, m.Type, fault.Denied)
	}
	if err := unmount(ctx, m.Path, true); err != nil {
		return false, fmt.Errorf("clear dead mount %s: %w", path, err)
	}
	return true, nil
}

// Unmount removes the mount at path. If it is in use the error is
// fault.Unavailable and it stays.
func Unmount(ctx context.Context, path string) error {
	m, ok, err := At(path)
	switch {
	case err != nil:
		return fmt.Errorf("unmount: %w", err)
	case !ok:
		return fmt.Errorf("unmount %s: nothing is mounted there: %w", path, fault.NotExist)
	}
	if err := unmount(ctx, m.Path, false); err != nil {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}

// Detach takes the mount at path out of the tree of folders at once, also if
// it is in use: what is open stays so until it is closed.
func Detach(ctx context.Context, path string) error {
	m, ok, err := At(path)
	switch {
	case err != nil:
		return fmt.Errorf("detach: %w", err)
	case !ok:
		return fmt.Errorf("detach %s: nothing is mounted there: %w", path, fault.NotExist)
	}
	if err := unmount(ctx, m.Path, true); err != nil {
		return fmt.Errorf("detach %s: %w", path, err)
	}
	return nil
}

// unmount tries the system call, and where that is not allowed the helper
// that lets users undo their own mounts. lazy takes the mount out of the tree
// while files on it may still be open.
func unmount(ctx context.Context, path string, lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(path, flags)
	if err == nil {
		return nil
	}
	if err == unix.EBUSY {
		return fmt.Errorf("in use: %w", fault.Unavailable)
	}
	if err != unix.EPERM {
		return err
	}
	return fusermount(ctx, path, lazy)
}

func fusermount(ctx context.Context, path string, lazy bool) error {
	tool, err := exec.LookPath("fusermount3")
	if err != nil {
		if tool, err = exec.LookPath("fusermount"); err != nil {
			return fmt.Errorf("needs root or fusermount3 (package fuse3): %w", fault.Denied)
		}
	}
	args := []string{"-u", "--", path}
	if lazy {
		args = []string{"-u", "-z", "--", path}
	}
	ctx, cancel := context.WithTimeout(ctx, fusermountPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput()
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(string(out[:min(len(out), 500)]))
	kind := fault.Denied
	if strings.Contains(text, "busy") || ctx.Err() != nil {
		kind = fault.Unavailable
	}
	return fmt.Errorf("%s: %s: %w", filepath.Base(tool), text, kind)
}

// SetReadAhead sets how far the kernel reads ahead on the mount at path, in
// KiB; for FUSE that is also the largest buffered read. Only root may.
func SetReadAhead(path string, kib int) error {
	if kib < 0 || kib > 1<<20 {
		return fmt.Errorf("set read-ahead of %s to %d KiB: %w", path, kib, fault.Invalid)
	}
	m, ok, err := At(path)
	if err != nil {
		return fmt.Errorf("set read-ahead: %w", err)
	}
	if !ok {
		return fmt.Errorf("set read-ahead of %s: nothing is mounted there: %w", path, fault.NotExist)
	}
	file := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", m.Major, m.Minor)
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set read-ahead of %s: %w", path, err)
	}
	_, err = f.WriteString(strconv.Itoa(kib))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("set read-ahead of %s: %w", path, err)
	}
	return nil
}
