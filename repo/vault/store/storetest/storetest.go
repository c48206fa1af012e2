// Package storetest is the contract of package store as a suite of tests. An
// implementation calls Run from a test of its own, with a function that makes
// an empty store.
//
// The suite cannot show that a Put is durable: that takes a power cut, and is
// tested where the implementation is.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Run tests the stores that empty returns: a new one without objects at each
// call, whose clock agrees with this host's to a minute.
func Run(t *testing.T, empty func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"PutGet", testPutGet},
		{"PutIsCreateOnly", testCreateOnly},
		{"PutKeepsNothingOfTheCaller", testPutCopies},
		{"GetAtEdges", testGetEdges},
		{"Absent", testAbsent},
		{"Names", testNames},
		{"List", testList},
		{"ListPrefixes", testListPrefixes},
		{"ListMany", testListMany},
		{"ListStopsEarly", testListStops},
		{"Delete", testDelete},
		{"Canceled", testCanceled},
		{"RacingPutsOneWins", testRacingPuts},
		{"RacingEqualPutsAllWin", testRacingEqualPuts},
		{"RacingMix", testRacingMix},
		{"ListShowsWholeObjects", testListWhole},
		{"BigObject", testBig},
		{"ReadAll", testReadAll},
		{"Space", testSpace},
		{"Replace", testReplace},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, empty(t)) })
	}
}

// Data returns n bytes that follow from seed and do not compress.
func Data(seed uint64, n int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	data := make([]byte, n)
	rand.NewChaCha8(key).Read(data)
	return data
}

func put(t *testing.T, s store.Store, name string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, data); err != nil {
		t.Fatalf("Put %s: %v", name, err)
	}
}

// holds checks that the object has exactly these bytes.
func holds(t *testing.T, s store.Store, name string, want []byte) {
	t.Helper()
	buf := make([]byte, len(want)+1)
	n, err := s.Get(t.Context(), name, 0, buf)
	if err != nil {
		t.Fatalf("Get %s: %v", name, err)
	}
	if !bytes.Equal(buf[:n], want) {
		t.Fatalf("Get %s: %d bytes that are not the %d put", name, n, len(want))
	}
}

// wantKind checks the kind of a failure.
func wantKind(t *testing.T, what string, err error, want fault.Kind) {
	t.Helper()
	if err == nil || fault.KindOf(err) != want {
		t.Errorf("%s: error %v, want kind %q", what, err, want)
	}
}

// names lists and checks the order.
func names(t *testing.T, s store.Store, prefix string) []string {
	t.Helper()
	var all []string
	for o, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("List %q: %v", prefix, err)
		}
		all = append(all, o.Name)
	}
	if !slices.IsSorted(all) {
		t.Fatalf("List %q is not sorted: %q", prefix, all)
	}
	return all
}

func testPutGet(t *testing.T, s store.Store) {
	objects := map[string][]byte{
		"repository":                               Data(1, 300),
		"keys/epoch-00000001":                      Data(2, 1),
		"keys/slot-00112233445566aa":               {},
		"packs/3f/" + strings.Repeat("3f", 16):     Data(3, 100_000),
		"moved/" + strings.Repeat("3f", 16) + "/1": Data(4, 10),
		"live/" + strings.Repeat("ab", 32):         Data(5, 4096),
		"points/00000000000000000001":              Data(6, 4095),
		"intents/7-1":                              Data(7, 4097),
		"gc/1":                                     []byte("x"),
		"ledger/1":                                 []byte("y"),
	}
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		put(t, s, name, objects[name])
		holds(t, s, name, objects[name])
	}
	for name, data := range objects { // all are still there
		holds(t, s, name, data)
	}
}

func testCreateOnly(t *testing.T, s store.Store) {
	for i, c := range [][2][]byte{
		{Data(1, 1000), Data(2, 1000)},            // same size
		{Data(1, 1000), Data(1, 1000)[:999]},      // beginning
		{Data(1, 1000), append(Data(1, 1000), 0)}, // one more
		{{}, {0}}, // empty
		{{0}, {}}, // by empty
		{Data(1, 3<<20), append(Data(1, 3<<20-1), 7)}, // last byte, maybe
	} {
		name := fmt.Sprintf("a/%d", i)
		put(t, s, name, c[0])
		put(t, s, name, c[0]) // the reply got lost: again
		wantKind(t, "Put of other bytes", s.Put(t.Context(), name, c[1]), fault.Exist)
		holds(t, s, name, c[0])
	}
}

func testPutCopies(t *testing.T, s store.Store) {
	data := Data(1, 5000)
	put(t, s, "a", data)
	want := bytes.Clone(data)
	clear(data)
	holds(t, s, "a", want)
	// Nor may a reader's buffer be the stored one.
	buf := make([]byte, len(want))
	if _, err := s.Get(t.Context(), "a", 0, buf); err != nil {
		t.Fatal(err)
	}
	clear(buf)
	holds(t, s, "a", want)
}

func testGetEdges(t *testing.T, s store.Store) {
	const size = 10_000
	data := Data(1, size)
	put(t, s, "o", data)
	put(t, s, "empty", nil)
	for _, c := range []struct {
		offset int64
		len    int
	}{
		{0, 0}, {0, 1}, {0, size - 1}, {0, size}, {0, size + 1}, {1, size - 1}, {1, size},
		{size - 1, 0}, {size - 1, 1}, {size - 1, 2}, {size, 0}, {size, 1}, {size + 1, 1},
		{4096, 4096}, {4095, 4097}, {1 << 40, 10}, {1<<63 - 1, 1}, {1<<63 - 1, 10},
	} {
		dst := bytes.Repeat([]byte{0xee}, c.len)
		from := min(c.offset, size)
		want := data[from:min(from+int64(c.len), size)]
		n, err := s.Get(t.Context(), "o", c.offset, dst)
		if err != nil || !bytes.Equal(dst[:n], want) {
			t.Errorf("Get offset %d length %d: %d bytes, %v; want %d", c.offset, c.len, n, err, len(want))
		}
		n, err = s.Get(t.Context(), "empty", c.offset, dst)
		if err != nil || n != 0 {
			t.Errorf("Get of the empty object, offset %d length %d: %d, %v", c.offset, c.len, n, err)
		}
	}
	_, err := s.Get(t.Context(), "o", -1, make([]byte, 1))
	wantKind(t, "Get at offset -1", err, fault.Invalid)
}

func testAbsent(t *testing.T, s store.Store) {
	put(t, s, "a/b", []byte("x"))
	for _, name := range []string{"b", "a", "a/c", "b/c", "a/b/c", "a/b/c/d"} {
		for _, dst := range [][]byte{nil, make([]byte, 10)} {
			_, err := s.Get(t.Context(), name, 0, dst)
			wantKind(t, "Get "+name, err, fault.NotExist)
		}
		if err := s.Delete(t.Context(), name); err != nil {
			// Deleting a folder as if it were an object may be refused.
			if name != "a" {
				t.Errorf("Delete of absent %s: %v", name, err)
			}
		}
	}
	holds(t, s, "a/b", []byte("x"))
}

// odd are names that no store may take.
func odd() []string {
	return []string{
		"", ".", "..", "/", "//", "/a", "a/", "a//b", "a/./b", "a/../b", "../a", "..a", ".a", "a.",
		"A", "a/B", "ä", "a b", "a\x00b", "a\nb", `a\b`, "a:b", "a*", "a?", "\xff", "~", "tmp", "tmp/a",
		"nul", "a/con.txt", "com1", strings.Repeat("a", 513), strings.Repeat("a/", 256) + "a",
		strings.Repeat("a", 129), "C:", "c:/a", "file:a", "%2e%2e", "a%2fb",
	}
}

func testNames(t *testing.T, s store.Store) {
	for _, name := range odd() {
		wantKind(t, fmt.Sprintf("Put %q", name), s.Put(t.Context(), name, []byte("x")), fault.Invalid)
		_, err := s.Get(t.Context(), name, 0, make([]byte, 1))
		wantKind(t, fmt.Sprintf("Get %q", name), err, fault.Invalid)
		wantKind(t, fmt.Sprintf("Delete %q", name), s.Delete(t.Context(), name), fault.Invalid)
	}
	if got := names(t, s, ""); len(got) != 0 {
		t.Errorf("refused names left objects: %q", got)
	}
	long := strings.Repeat(strings.Repeat("a", 127)+"/", 4)[:511] + "b"
	for _, name := range []string{
		long, strings.Repeat("b", 128), "x-y_z.0", "-", "_", "a..b", "temp", "0/tmp", "con1", "com10", "nula", "--", "c/-rf",
	} {
		put(t, s, name, []byte(name))
		holds(t, s, name, []byte(name))
	}
}

func testDelete(t *testing.T, s store.Store) {
	a, b := Data(1, 1000), Data(2, 500)
	put(t, s, "d/a", a)
	put(t, s, "d/b", b)
	holds(t, s, "d/a", a) // a reader that keeps files open has it open now
	for range 2 {
		if err := s.Delete(t.Context(), "d/a"); err != nil {
			t.Fatalf("Delete: %v", err)
		}
		_, err := s.Get(t.Context(), "d/a", 0, make([]byte, 10))
		wantKind(t, "Get after Delete", err, fault.NotExist)
		if got := names(t, s, ""); !slices.Equal(got, []string{"d/b"}) {
			t.Errorf("List after Delete: %q", got)
		}
	}
	holds(t, s, "d/b", b)
	put(t, s, "d/a", b) // the name is free again
	holds(t, s, "d/a", b)
}

func testCanceled(t *testing.T, s store.Store) {
	put(t, s, "a", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantKind(t, "Put", s.Put(ctx, "b", nil), fault.Canceled)
	_, err := s.Get(ctx, "a", 0, make([]byte, 1))
	wantKind(t, "Get", err, fault.Canceled)
	wantKind(t, "Delete", s.Delete(ctx, "a"), fault.Canceled)
	count := 0
	for o, err := range s.List(ctx, "") {
		count++
		wantKind(t, "List of "+o.Name, err, fault.Canceled)
	}
	if count != 1 {
		t.Errorf("a canceled List yielded %d times, want one error", count)
	}
	if got := names(t, s, ""); !slices.Equal(got, []string{"a"}) {
		t.Errorf("after canceled calls: %q", got)
	}
}

func testBig(t *testing.T, s store.Store) {
	const size = 40<<20 + 1
	data := Data(1, size)
	put(t, s, "packs/big", data)
	holds(t, s, "packs/big", data)
	put(t, s, "packs/big", data)
	data[size-1] ^= 1
	wantKind(t, "Put with another last byte", s.Put(t.Context(), "packs/big", data), fault.Exist)
	data[size-1] ^= 1
	buf := make([]byte, 4096)
	r := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		at := r.Int64N(size)
		n, err := s.Get(t.Context(), "packs/big", at, buf)
		if err != nil || !bytes.Equal(buf[:n], data[at:min(at+4096, size)]) {
			t.Fatalf("Get at %d: %d bytes, %v", at, n, err)
		}
	}
}

func testReadAll(t *testing.T, s store.Store) {
	for _, size := range []int{0, 1, 100, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20, 1<<20 + 7} {
		name := fmt.Sprintf("o%d", size)
		data := Data(uint64(size), size)
		put(t, s, name, data)
		for _, limit := range []int{size, size + 1, 2*size + 1, 10 << 20} {
			got, err := store.ReadAll(t.Context(), s, name, int64(limit))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("ReadAll of %d bytes, limit %d: %d bytes, %v", size, limit, len(got), err)
			}
		}
		if size > 0 {
			_, err := store.ReadAll(t.Context(), s, name, int64(size)-1)
			wantKind(t, fmt.Sprintf("ReadAll of %d bytes above the limit", size), err, fault.TooLarge)
		}
	}
	_, err := store.ReadAll(t.Context(), s, "none", 10)
	wantKind(t, "ReadAll of an absent object", err, fault.NotExist)
	_, err = store.ReadAll(t.Context(), s, "o1", -1)
	wantKind(t, "ReadAll with limit -1", err, fault.Invalid)
}

func testSpace(t *testing.T, s store.Store) {
	spacer, ok := s.(store.Spacer)
	if !ok {
		return // not every place can tell
	}
	space, err := spacer.Space(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if space.Total <= 0 || space.Free < 0 || space.Free > space.Total {
		t.Errorf("space %+v", space)
	}
}

func testReplace(t *testing.T, s store.Store) {
	r, ok := s.(store.Replacer)
	if !ok {
		return // healing takes more steps then
	}
	a, b := Data(1, 3000), Data(2, 4000)
	put(t, s, "d/a", a)
	holds(t, s, "d/a", a)
	for _, data := range [][]byte{b, b, a[:10], {}, a} {
		if err := r.Replace(t.Context(), "d/a", data); err != nil {
			t.Fatalf("Replace: %v", err)
		}
		holds(t, s, "d/a", data)
	}
	if err := r.Replace(t.Context(), "e/f/new", b); err != nil {
		t.Fatalf("Replace of an absent object: %v", err)
	}
	holds(t, s, "e/f/new", b)
	if got := names(t, s, ""); !slices.Equal(got, []string{"d/a", "e/f/new"}) {
		t.Errorf("List after Replace: %q", got)
	}
	wantKind(t, "Put of other bytes after Replace", s.Put(t.Context(), "d/a", b), fault.Exist)
	for _, name := range odd() {
		wantKind(t, fmt.Sprintf("Replace %q", name), r.Replace(t.Context(), name, a), fault.Invalid)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantKind(t, "Replace, canceled", r.Replace(ctx, "d/a", b), fault.Canceled)
	holds(t, s, "d/a", a)
}
