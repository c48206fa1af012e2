package meta

import (
	"errors"
	iofs "io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLstatAndLink(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	at := func(name string) At { return At{FD: int(dir.Fd()), Dir: dir.Name(), Name: name} }
	if err := os.WriteFile(at("a").Path(), []byte("four"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := unix.Symlink("a", at("l").Path()); err != nil {
		t.Fatal(err)
	}
	if err := Link(at("a"), at("b")); err != nil {
		t.Fatal(err)
	}
	if err := Link(at("l"), at("m")); err != nil {
		t.Fatal(err)
	}
	a, err := Lstat(at("a"))
	if err != nil || a.Type() != TypeFile || a.Size != 4 || a.Nlink != 2 || a.Mode&0o777 != 0o640 {
		t.Fatalf("%+v, %v", a, err)
	}
	if b, err := Lstat(at("b")); err != nil || b != a {
		t.Fatalf("%+v, %v", b, err)
	}
	if m, err := Lstat(at("m")); err != nil || m.Type() != TypeLink || m.Nlink != 2 || m.ID == a.ID {
		t.Fatalf("%+v, %v", m, err)
	}
	if f, err := Lstat(at("")); err != nil || f.Type() != TypeFolder {
		t.Fatalf("%+v, %v", f, err)
	}
	if _, err := Lstat(at("none")); !errors.Is(err, iofs.ErrNotExist) {
		t.Fatalf("%v", err)
	}
	if err := Link(at("a"), at("b")); !errors.Is(err, iofs.ErrExist) {
		t.Fatalf("%v", err)
	}
}
