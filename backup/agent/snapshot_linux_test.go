package agent

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/backup/hook"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/snapshot"
	"github.com/tidemark-backup/tidemark/repo"
)

// newFrozenSite is a site whose files lie on a file system that has snapshots.
func newFrozenSite(t *testing.T) *site {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	if _, err := exec.LookPath("mkfs.btrfs"); err != nil {
		t.Skip("btrfs-progs is not installed")
	}
	s := newSite(t)
	image, at := filepath.Join(s.dir, "image"), filepath.Join(s.dir, "src")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 256<<20)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs.btrfs", "-q", image}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	s.write("file", []byte("hello"))
	return s
}

// TestFrozen: a point has what was there when the snapshot was taken; programs
// are let go before a byte is read; the second run reads nothing again.
func TestFrozen(t *testing.T) {
	s := newFrozenSite(t)
	file := filepath.Join(s.dir, "src", "file")
	s.policy.Snapshot = snapshot.Require
	s.policy.Hooks = []hook.Hook{
		{When: hook.Before, Command: []string{"/bin/sh", "-c", "echo frozen >" + file}},
		{When: hook.Thaw, Command: []string{"/bin/sh", "-c", "echo thawed >>" + file}},
	}
	sum := s.run()
	if got := string(s.read(strings.TrimPrefix(file, "/"))); got != "frozen\n" {
		t.Errorf("%q", got)
	}
	if c := sum.Consistency; c.Type != repo.Application || c.Why != "the command before the run succeeded; btrfs snapshot of "+filepath.Dir(file) {
		t.Errorf("%+v", c)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "frozen\nthawed\n" {
		t.Errorf("%q, %v", b, err)
	}
	s.policy.Hooks = nil
	if sum := s.run(); sum.Consistency.Type != repo.FileSystem || sum.Changed == 0 {
		t.Errorf("%+v", sum)
	}
	if sum := s.run(); sum.New+sum.Removed > 0 || sum.Unchanged == 0 {
		t.Errorf("nothing has changed, but %+v", sum)
	}
	// A hook that may fail leaves what the file system knows.
	s.policy.Hooks = []hook.Hook{{When: hook.Before, Command: []string{"/bin/false"}, OnFailure: hook.Warn}}
	if c := s.run().Consistency; c.Type != repo.FileSystem || !strings.HasPrefix(c.Why, "a command before the run failed; btrfs") {
		t.Errorf("%+v", c)
	}
	names, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(names) != 1 {
		t.Errorf("left over: %v, %v", names, err)
	}
}

// TestNotFrozen: where there are no snapshots the point says so, or there is
// none.
func TestNotFrozen(t *testing.T) {
	s := newSite(t)
	thawed := filepath.Join(s.dir, "thawed")
	s.policy.Hooks = []hook.Hook{{When: hook.Thaw, Command: []string{"/usr/bin/touch", thawed}}}
	s.policy.Snapshot = snapshot.Auto
	if c := s.run().Consistency; c.Type != repo.Live || !strings.Contains(c.Why, "is read live: ") {
		t.Errorf("%+v", c)
	}
	if err := os.Remove(thawed); err != nil {
		t.Errorf("nothing was thawed: %v", err)
	}
	s.policy.Snapshot = snapshot.Require
	if sum, err := s.engine.Run(t.Context(), s.task()); !errors.Is(err, fault.Unsupported) || sum != nil {
		t.Errorf("%+v, %v", sum, err)
	}
	if err := os.Remove(thawed); err != nil {
		t.Errorf("nothing was thawed after a failure: %v", err)
	}
}
