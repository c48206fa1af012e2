package table

import (
	"testing"
	"unsafe"
)

func TestMemoryIsCounted(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("the figures are for 64-bit machines")
	}
	for name, c := range map[string][2]uintptr{
		"entry":     {entryMemory, unsafe.Sizeof(Entry{})},
		"extent":    {extentMemory, unsafe.Sizeof(Extent{})},
		"link":      {linkMemory, unsafe.Sizeof(Link{})},
		"attribute": {xattrMemory, unsafe.Sizeof(Xattr{})},
		"reference": {refMemory, unsafe.Sizeof(Ref{})},
	} {
		if c[0] < c[1] || c[0] > c[1]+16 {
			t.Errorf("%s counts as %d bytes and has %d", name, c[0], c[1])
		}
	}
}
