//go:build unix

package process

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// KillGroup makes the end of the command's context kill what the command has
// started, too. It is called before Start.
func KillGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
}

// Trusted fails with fault.Denied if others than root and this user may change
// the file of a program, or put another in its place.
func Trusted(path string, info iofs.FileInfo) error {
	if err := trusted(path, info, 0o022); err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	dir, err := os.Stat(filepath.Dir(real))
	if err != nil {
		return err
	}
	if dir.Mode()&iofs.ModeSticky != 0 { // there, nobody renames the files of others
		return nil
	}
	return trusted(filepath.Dir(real), dir, 0o022)
}

func trusted(path string, info iofs.FileInfo, others iofs.FileMode) error {
	if info.Mode().Perm()&others != 0 {
		return fmt.Errorf("others may change %s (mode %04o); chmod go-w it: %w", path, info.Mode().Perm(), fault.Denied)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user (%d): %w", path, st.Uid, fault.Denied)
	}
	return nil
}
