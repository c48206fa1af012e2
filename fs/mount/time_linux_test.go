package mount_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

func TestMountedTime(t *testing.T) {
	for _, listed := range []bool{false, true} {
		t.Run(fmt.Sprint("listed ", listed), func(t *testing.T) {
			c := start(t, orders{Time: true, List: listed}, 0)
			fsconform.CheckTime(t, view{c.dir}, listed)
		})
	}
}

// Who copies or searches a folder gets what the point holds, and no more.
func TestCopiesHoldNoTime(t *testing.T) {
	c := start(t, orders{Time: true}, 0)
	to := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", c.point()+"/docs", to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), "find", to, c.point()).CombinedOutput()
	if err != nil || strings.Contains(string(out), "/@") || !strings.Contains(string(out), "/docs/old/deep/b") {
		t.Errorf("find: %v: %s", err, out)
	}
	// What was asked for by name can be copied.
	for _, path := range []string{"@versions/letter.odt", "@deleted", "@diff/2026-11-22_10-00-00..2026-11-22_11-00-00"} {
		from := filepath.Join(c.dir, "points/2026-11-22_12-00-00/docs", path)
		if out, err := exec.CommandContext(t.Context(), "cp", "-r", from, filepath.Join(to, filepath.Base(path))).CombinedOutput(); err != nil {
			t.Errorf("cp %s: %v: %s", path, err, out)
		}
	}
	for path, want := range map[string]string{
		"letter.odt/2026-11-22_10-00-00.odt": "one", "@deleted/old/deep/b": "B",
		"2026-11-22_10-00-00..2026-11-22_11-00-00/@removed/gone.txt": "gone",
	} {
		if b, err := os.ReadFile(filepath.Join(to, path)); err != nil || string(b) != want {
			t.Errorf("%s is %q, %v", path, b, err)
		}
	}
}

// What was only in a point that has gone is in no made-up folder within seconds.
func TestVersionsAfterAPointHasGone(t *testing.T) {
	c := start(t, orders{Time: true}, 0)
	dir := filepath.Join(c.point(), "docs/@versions/letter.odt")
	before, err := view{dir}.List("/")
	if err != nil || len(before) != 2 {
		t.Fatalf("%q, %v", before, err)
	}
	c.order("remove")
	for range 100 {
		// The first content was in the point that is gone.
		now, err := view{filepath.Join(c.dir, "points/2026-11-22_12-00-00/docs/@versions/letter.odt")}.List("/")
		if err == nil && len(now) == 1 && now[0] == "2026-11-22_11-00-00.odt" {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Error("what was removed is still listed after 10 s")
}

// addGuarded adds a folder that was closed to others in the first point and is
// open in the second.
func addGuarded(ctx context.Context, source *fsconform.Source) (*repo.Point, error) {
	tree := func(mode uint32, more ...fsconform.File) []fsconform.File {
		return append(more,
			fsconform.File{Path: "/closed", Entry: table.Entry{Kind: table.Folder, Mode: mode}},
			fsconform.File{Path: "/open/b", Entry: table.Entry{Kind: table.File, Mode: 0o644, MTime: table.Time{Sec: int64(mode)}}, Data: fsconform.Bytes([]byte{'b', byte(mode)})})
	}
	secret := fsconform.File{Path: "/closed/inner/secret", Entry: table.Entry{Kind: table.File, Mode: 0o644}, Data: fsconform.Bytes([]byte("secret"))}
	p, err := source.Add(ctx, firstPoint, tree(0o700, secret))
	if err != nil {
		return nil, err
	}
	inner := fsconform.File{Path: "/closed/inner/now", Entry: table.Entry{Kind: table.File, Mode: 0o644}}
	_, err = source.Add(ctx, firstPoint.Add(time.Hour), tree(0o755, inner))
	return p, err
}

// What a point kept from a user no made-up folder of another point tells him.
func TestTimeLetsNobodyIn(t *testing.T) {
	c := start(t, orders{Guard: true}, 0)
	now := filepath.Join(c.dir, "points/2026-11-22_11-00-00")
	try := func(uid uint32, path string) string {
		cmd := exec.CommandContext(t.Context(), "find", filepath.Join(now, path), "-type", "f")
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, _ := cmd.Output()
		return string(out)
	}
	diff := "@diff/2026-11-22_10-00-00..2026-11-22_11-00-00"
	for _, path := range []string{"closed/inner/@versions", "closed/inner/@deleted", "closed/inner/" + diff, "closed/" + diff, diff, diff + "/closed/inner/@removed"} {
		if out := try(0, path); !strings.Contains(out, "secret") {
			t.Errorf("root sees in %s: %s", path, out)
		}
		if out := try(1234, path); strings.Contains(out, "secret") {
			t.Errorf("another user sees in %s: %s", path, out)
		}
	}
	if out := try(1234, "open/@versions"); strings.Count(out, "/b/") != 2 {
		t.Errorf("another user sees in open/@versions: %s", out)
	}
}
