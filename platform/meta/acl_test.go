package meta

import (
	"bytes"
	"testing"
)

// Only entries that name somebody have a number to replace.
func TestMapACL(t *testing.T) {
	acl := []byte{2, 0, 0, 0,
		1, 0, 6, 0, 255, 255, 255, 255, // owner
		2, 0, 7, 0, 1, 0, 0, 0, // user 1
		2, 0, 7, 0, 2, 1, 0, 0, // user 258
		4, 0, 4, 0, 255, 255, 255, 255, // group
		8, 0, 4, 0, 1, 0, 0, 0, // group 1
		16, 0, 7, 0, 255, 255, 255, 255, // mask
		32, 0, 0, 0, 255, 255, 255, 255} // others
	before := bytes.Clone(acl)
	want := bytes.Clone(acl)
	want[16], want[24], want[40] = 101, 102, 201
	add := func(n uint32) func(uint32) uint32 { return func(id uint32) uint32 { return id + n } }
	if got := MapACL(acl, add(100), add(200)); !bytes.Equal(got, want) {
		t.Errorf("% x, not % x", got, want)
	}
	if !bytes.Equal(acl, before) {
		t.Error("the value changed")
	}
	for _, bad := range [][]byte{nil, {2}, acl[:13], append([]byte{3, 0, 0, 0}, acl[4:]...)} {
		if got := MapACL(bad, add(1), add(1)); !bytes.Equal(got, bad) {
			t.Errorf("% x became % x", bad, got)
		}
	}
	if !IsACL("system.posix_acl_default") || IsACL("user.posix_acl_default") {
		t.Error("names")
	}
}
