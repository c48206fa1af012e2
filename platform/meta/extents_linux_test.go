package meta

import (
	"bytes"
	"os"
	"slices"
	"testing"
)

func TestExtents(t *testing.T) {
	_, dir := folder(t)
	f, err := os.Create(at(dir, "f").Path())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := func(size int64) []Extent { return extents(t, f, size) }
	if got := all(0); len(got) != 0 {
		t.Errorf("empty file: %v", got)
	}
	const size = 100 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if got := all(size); len(got) != 0 {
		t.Errorf("one hole: %v", got)
	}
	data := bytes.Repeat([]byte{1}, 64<<10)
	var want []Extent
	for _, at := range []int64{1 << 20, 50 << 20, size - 64<<10} {
		if _, err := f.WriteAt(data, at); err != nil {
			t.Fatal(err)
		}
		want = append(want, Extent{at, 64 << 10})
	}
	if got := all(size); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	// The size that the caller knows bounds what he gets.
	if got := all(50<<20 + 100); !slices.Equal(got, []Extent{want[0], {50 << 20, 100}}) {
		t.Errorf("cut short: %v", got)
	}
	if got := all(size * 2); !slices.Equal(got, want) {
		t.Errorf("shrunk meanwhile: %v", got)
	}
	Sequential(f)
	WillNeed(f, 0, size)
	DontNeed(f, 0, 0)
}

func TestExtentsWhereNobodyCanTell(t *testing.T) {
	r, w, err := os.Pipe() // knows no holes
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, err := range Extents(r, 10) {
		if err == nil {
			t.Error("extents of a pipe")
		}
	}
	proc, err := os.Open("/proc/self/maps") // its file system cannot tell
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	if got := extents(t, proc, 10); !slices.Equal(got, []Extent{{0, 10}}) {
		t.Errorf("%v", got)
	}
}

func extents(t *testing.T, f *os.File, size int64) []Extent {
	t.Helper()
	var list []Extent
	for e, err := range Extents(f, size) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}
