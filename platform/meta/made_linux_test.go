package meta

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// A file is made where nothing is, filled, and named; nothing of that follows a
// link, leaves the folder or replaces what it must not.
func TestMade(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	self, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	at := func(name string) At { return At{FD: int(self.Fd()), Dir: dir, Name: name} }
	m, err := Make(root, at("temp"))
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("tide"), 1<<18)
	if n, err := m.WriteAt(content, 10); n != len(content) || err != nil {
		t.Fatal(n, err)
	}
	if err := errors.Join(m.Truncate(1<<21), m.Close()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "temp")); err != nil || info.Mode().Perm() != 0o600 || info.Size() != 1<<21 {
		t.Fatal(info, err)
	}
	if err := os.Symlink("elsewhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"temp", "link"} {
		if _, err := Make(root, at(name)); !errors.Is(err, os.ErrExist) {
			t.Errorf("made over %s: %v", name, err)
		}
		if err := Rename(root, at("temp"), name, false); !errors.Is(err, fault.Exist) {
			t.Errorf("renamed over %s: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "../a", "/a", "a\x00b"} {
		if _, err := Make(root, at(name)); !errors.Is(err, fault.Invalid) {
			t.Errorf("made %q: %v", name, err)
		}
		if err := Rename(root, at("temp"), name, false); !errors.Is(err, fault.Invalid) {
			t.Errorf("renamed to %q: %v", name, err)
		}
	}
	if err := Rename(root, at("temp"), "link", true); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "link"))
	if err != nil || !bytes.Equal(got[10:10+len(content)], content) {
		t.Fatal("other bytes, or", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "temp"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := renameFree(root, "temp", "link"); !errors.Is(err, fault.Exist) {
		t.Error("without the kernel's help:", err)
	}
	if err := errors.Join(renameFree(root, "temp", "free"), Rename(root, at("free"), "named", false)); err != nil {
		t.Error(err)
	}
}

// Who owns a new file is known where the folder does not pass on its group.
func TestNewOwner(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if uid, gid, known := NewOwner(int(f.Fd())); !known || int(uid) != os.Geteuid() || int(gid) != os.Getegid() {
		t.Error(uid, gid, known)
	}
	if err := unix.Fchmod(int(f.Fd()), 0o2700); err != nil {
		t.Fatal(err)
	}
	if _, _, known := NewOwner(int(f.Fd())); known {
		t.Error("a folder that passes on its group")
	}
}
