package restore_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/backup/restore"
)

// acl is an ACL that lets one user and one group read.
func acl(user, group uint32) []byte {
	b := []byte{2, 0, 0, 0}
	for _, e := range [][3]uint32{{1, 6, 1<<32 - 1}, {2, 4, user}, {4, 4, 1<<32 - 1}, {8, 4, group}, {16, 4, 1<<32 - 1}, {32, 0, 1<<32 - 1}} {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return b
}

func ownerOf(t *testing.T, path string) (uid, gid uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Uid, st.Gid
}

// Owners go by number, and by name if that is wanted: where this host has the
// name, and never root's.
func TestOwnersByNameOrByNumber(t *testing.T) {
	src := t.TempDir()
	for _, name := range []string{"daemon's", "stranger's", "nameless", "root's", "with ACL"} {
		if err := os.WriteFile(filepath.Join(src, name), []byte(name), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for name, ids := range map[string][2]int{"daemon's": {4711, 4712}, "stranger's": {2, 2}, "nameless": {4713, 4713}} {
		if err := os.Chown(filepath.Join(src, name), ids[0], ids[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Lsetxattr(filepath.Join(src, "with ACL"), "system.posix_acl_access", acl(4711, 4712), 0); err != nil {
		t.Fatal(err)
	}
	s := save(t, src)
	// As a host would have saved it on which daemon has another number, 2 is
	// no "bin", and somebody else is 0.
	s.point.Users = map[uint32]string{4711: "daemon", 2: "nobody-here", 0: "daemon"}
	s.point.Groups = map[uint32]string{4712: "daemon", 2: "nobody-here", 0: "daemon"}
	for _, byName := range []bool{false, true} {
		to := t.TempDir()
		report := s.restore(restore.Job{Path: src, To: to, OwnerNames: byName})
		uid, gid := uint32(4711), uint32(4712)
		if byName {
			uid, gid = 1, 1
		}
		for name, want := range map[string][2]uint32{"daemon's": {uid, gid}, "stranger's": {2, 2}, "nameless": {4713, 4713}, "root's": {0, 0}} {
			if u, g := ownerOf(t, filepath.Join(to, name)); u != want[0] || g != want[1] {
				t.Errorf("by name %v: %s belongs to %d:%d, not to %d:%d", byName, name, u, g, want[0], want[1])
			}
		}
		got := make([]byte, 256)
		n, err := unix.Lgetxattr(filepath.Join(to, "with ACL"), "system.posix_acl_access", got)
		if err != nil || !slices.Equal(got[:n], acl(uid, gid)) {
			t.Errorf("by name %v: ACL % x, %v", byName, got[:n], err)
		}
		told := strings.Join(report.Owners, "\n")
		if strings.Contains(told, "--owner-names goes by name") == byName || !strings.Contains(told, "nobody-here of the point does not exist here, its number 2 is that of bin") {
			t.Errorf("by name %v: told %q", byName, told)
		}
		if report.WarningCount > 0 {
			t.Errorf("warned: %v", report.Warnings)
		}
	}
}

// A host's own points tell nothing, whatever way is asked for.
func TestOwnersOfThisHost(t *testing.T) {
	src := t.TempDir()
	path := filepath.Join(src, "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 1, 2); err != nil {
		t.Fatal(err)
	}
	if err := unix.Lsetxattr(path, "system.posix_acl_access", acl(3, 4), 0); err != nil {
		t.Fatal(err)
	}
	s := save(t, src)
	if s.point.Users[1] != "daemon" || s.point.Groups[2] != "bin" || s.point.Users[3] != "sys" || s.point.Groups[4] != "adm" {
		t.Errorf("the point names %v and %v", s.point.Users, s.point.Groups)
	}
	for _, byName := range []bool{false, true} {
		to := t.TempDir()
		report := s.restore(restore.Job{Path: src, To: to, OwnerNames: byName})
		if u, g := ownerOf(t, filepath.Join(to, "f")); u != 1 || g != 2 || len(report.Owners) > 0 {
			t.Errorf("%d:%d, told %q", u, g, report.Owners)
		}
	}
}
