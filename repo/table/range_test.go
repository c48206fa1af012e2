package table

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// DiffRange is Diff with what lies outside left out.
func TestDiffRange(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMemory()
		before := plain(rapid.IntRange(1, 600).Draw(rt, "n"))
		after := mutate(rt, before, 30)
		a, b := open(t, m, build(t, m, small, before), Options{}), open(t, m, build(t, m, small, after), Options{})
		bound := func(name string) []byte {
			if rapid.IntRange(0, 4).Draw(rt, name+" open") == 0 {
				return nil
			}
			key := bytes.Clone(before[rapid.IntRange(0, len(before)-1).Draw(rt, name)].Key)
			return append(key, rapid.SliceOfN(rapid.Byte(), 0, 1).Draw(rt, name+" more")...)
		}
		from, to := bound("from"), bound("to")
		var want, got []string
		for c, err := range Diff(t.Context(), a, b) {
			if err != nil {
				rt.Fatal(err)
			}
			if key := keyOf(c); bytes.Compare(key, from) >= 0 && (to == nil || bytes.Compare(key, to) < 0) {
				want = append(want, string(key))
			}
		}
		for c, err := range DiffRange(t.Context(), a, b, from, to) {
			if err != nil {
				rt.Fatal(err)
			}
			got = append(got, string(keyOf(c)))
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("from %q to %q: %q\nwant %q", from, to, got, want)
		}
	})
}

func keyOf(c Change) []byte {
	if c.A != nil {
		return c.A.Key
	}
	return c.B.Key
}

// A range costs the way to it and its own pages, however much differs beside it.
func TestDiffRangeReadsTheRange(t *testing.T) {
	m := newMemory()
	before := plain(20000)
	after := make([]*Entry, len(before))
	for i, e := range before {
		after[i] = e.Clone()
		after[i].MTime.Sec++
	}
	a, b := open(t, m, build(t, m, testParams, before), Options{}), open(t, m, build(t, m, testParams, after), Options{})
	reads, n := m.reads.Load(), 0
	for _, err := range DiffRange(t.Context(), a, b, before[7000].Key, before[7100].Key) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if got := m.reads.Load() - reads; n != 100 || got > 20 {
		t.Errorf("%d changes of %d pages", n, got)
	}
}
