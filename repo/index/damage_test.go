package index

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// storedIndex makes an index of several segments and returns its folder and model.
func storedIndex(t testing.TB) (string, *model) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "index")
	ix := mustOpen(t, dir, tiny())
	m := &model{}
	for n := range 40 {
		ids := make([]int, 50)
		for i := range ids {
			ids[i] = n*40 + i
		}
		if err := m.add(ix, n, ids); err != nil {
			t.Fatal(err)
		}
		if n == 20 {
			ix.Drop(func(id pack.ID) bool { return id == testPack(3).ID })
		}
	}
	if err := ix.Close(); err != nil {
		t.Fatal(err)
	}
	ix = mustOpen(t, dir, tiny())
	if s := ix.Stats(); s.Segments < 3 {
		t.Fatalf("only %d segments", s.Segments)
	}
	if err := ix.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, m
}

// checkDamaged opens a damaged copy and asks it everything, twice: what is
// left after damage was found must work, too, and be usable again.
func checkDamaged(t *testing.T, dir string, m *model) (rebuilt bool) {
	t.Helper()
	for round := range 2 {
		ix := mustOpen(t, dir, tiny())
		if err := m.verify(ix); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		rebuilt = rebuilt || ix.Rebuilt()
		// Merge what is stored, so that every block is read.
		more := model{append([]added(nil), m.history...)}
		for n := range 40 {
			if err := more.add(ix, 1000+n, []int{9000 + 3*n, 9001 + 3*n, 9002 + 3*n}); err != nil {
				t.Fatal(err)
			}
		}
		if err := ix.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := more.verify(ix); err != nil {
			t.Fatalf("round %d, after adding: %v", round, err)
		}
		if err := ix.Close(); err != nil {
			t.Fatal(err)
		}
		m = &more
	}
	return rebuilt
}

// TestDamage truncates, changes and removes every file in many places.
func TestDamage(t *testing.T) {
	dir, m := storedIndex(t)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	changes := map[string]func(b []byte, at int) []byte{
		"truncate": func(b []byte, at int) []byte { return b[:at] },
		"flip":     func(b []byte, at int) []byte { b[at] ^= 0x10; return b },
		"zero": func(b []byte, at int) []byte {
			clear(b[at:min(len(b), at+512)])
			return b
		},
		"zero tail": func(b []byte, at int) []byte { clear(b[at:]); return b },
		"grow":      func(b []byte, at int) []byte { return append(b, b[at:]...) },
		"shift":     func(b []byte, at int) []byte { return append(b[:at:at], b[min(len(b), at+28):]...) },
	}
	found := map[string]int{}
	for _, e := range entries {
		whole, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for name, change := range changes {
			for at := 0; at < len(whole); at += 1 + len(whole)/15 {
				copied := copyFolder(t, dir)
				b := change(append([]byte(nil), whole...), at)
				if err := os.WriteFile(filepath.Join(copied, e.Name()), b, 0o600); err != nil {
					t.Fatal(err)
				}
				if checkDamaged(t, copied, m) {
					found[name]++
				}
				if t.Failed() {
					t.Fatalf("%s at %d of %s", name, at, e.Name())
				}
				os.RemoveAll(copied)
			}
		}
		if e.Name() == lockName {
			continue
		}
		copied := copyFolder(t, dir)
		if err := os.Remove(filepath.Join(copied, e.Name())); err != nil {
			t.Fatal(err)
		}
		if !checkDamaged(t, copied, m) {
			t.Errorf("%s is missing, and nobody noticed", e.Name())
		}
	}
	t.Logf("discarded: %v", found)
	for name := range changes {
		if found[name] == 0 {
			t.Errorf("%s was never noticed", name)
		}
	}
}

// TestDamageInSecondProcess: it must not touch what is stored.
func TestDamageInSecondProcess(t *testing.T) {
	dir, m := storedIndex(t)
	owner := mustOpen(t, dir, tiny())
	if !owner.Stats().Owner {
		t.Fatal("not the owner")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(whole) == 0 {
			continue
		}
		for at := 0; at < len(whole); at += 1 + len(whole)/10 {
			whole[at] ^= 1
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			checkDamaged(t, dir, m)
			whole[at] ^= 1
			if got, err := os.ReadFile(path); err != nil || len(got) != len(whole) {
				t.Fatalf("%s has %d bytes, had %d: %v", path, len(got), len(whole), err)
			}
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := m.verify(owner); err != nil || owner.Rebuilt() {
		t.Errorf("the owner: %v, rebuilt %v", err, owner.Rebuilt())
	}
}

func TestOtherRepository(t *testing.T) {
	dir, m := storedIndex(t)
	o := tiny()
	o.Repository[5]++
	ix := mustOpen(t, dir, o)
	if s := ix.Stats(); !ix.Rebuilt() || s.Packs != 0 || s.Segments != 0 {
		t.Errorf("index of another repository: %+v, rebuilt %v", s, ix.Rebuilt())
	}
	if err := m.verify(ix); err != nil {
		t.Error(err)
	}
	if _, ok := ix.Lookup(m.history[0].chunks[0].ID); ok {
		t.Error("answers from another repository")
	}
	if err := ix.Close(); err != nil {
		t.Fatal(err)
	}
	if ix := mustOpen(t, dir, o); ix.Rebuilt() {
		t.Error("rebuilt again")
	}
}

// TestSwappedSegments: a whole, valid file in the place of another.
func TestSwappedSegments(t *testing.T) {
	dir, m := storedIndex(t)
	names, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil || len(names) < 2 {
		t.Fatal(names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(names[1], b, 0o600); err != nil {
		t.Fatal(err)
	}
	if !checkDamaged(t, dir, m) {
		t.Error("nobody noticed")
	}
}

// FuzzLog reads arbitrary logs. In every second run the CRCs are made right,
// to get behind them.
func FuzzLog(f *testing.F) {
	dir, _ := storedIndex(f)
	log, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(log, true)
	f.Add(log, false)
	f.Add(log[:len(log)-5], false)
	many := encodeFrame(0, true, change{next: 9, packs: []numbered{{3, newEntry(testPack(3), 5)}}})
	many = append(many, encodeFrame(1, false, change{next: 9, packs: []numbered{{4, newEntry(testPack(4), 5)}}, segments: []uint64{7}})...)
	f.Add(append(logHeader(repository), many...), true)
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		if repair && len(b) >= logHeaderSize {
			b = append([]byte(nil), b...)
			copy(b, logHeader(repository))
			for rest := b[logHeaderSize:]; len(rest) >= frameHead; {
				n := frameHead + uint64(binary.LittleEndian.Uint32(rest))
				if n > uint64(len(rest)) {
					break
				}
				binary.LittleEndian.PutUint32(rest[12:], checksum(rest[:12], rest[frameHead:n]))
				rest = rest[n:]
			}
		}
		s, err := readLog(strings.NewReader(string(b)), int64(len(b)), repository)
		if err != nil {
			return
		}
		if s.end < logHeaderSize || s.end > int64(len(b)) {
			t.Fatalf("log of %d bytes ends at %d", len(b), s.end)
		}
		count := 0
		for number, e := range s.packs.all() {
			if n, ok := s.packs.number(e.id); !ok || n != number || number >= s.packs.next {
				t.Fatalf("pack %s is number %d and %d", e.id, number, n)
			}
			count++
		}
		if count != s.packs.count {
			t.Fatalf("%d packs, %d counted", s.packs.count, count)
		}
		again, err := readLog(strings.NewReader(string(b[:s.end])), s.end, repository)
		if err != nil || again.packs.count != count || len(again.segments) != len(s.segments) {
			t.Fatalf("what counts of the log reads differently: %v", err)
		}
	})
}

// FuzzSegment opens arbitrary segments and reads all of them.
func FuzzSegment(f *testing.F) {
	dir, _ := storedIndex(f)
	names, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
		f.Add(b, false)
	}
	place := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		const number = 5
		if repair {
			b = repairSegment(append([]byte(nil), b...), number)
		}
		sub, err := os.MkdirTemp(place, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(sub)
		if err := os.WriteFile(segmentName(sub, number), b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openSegment(sub, number, repository)
		if err != nil {
			return
		}
		defer s.file.Close()
		s.keep.Store(true)
		if err := readAll(sub, s); err != nil {
			t.Fatal(err)
		}
	})
}

// readAll asks a segment for each of its records and for others, and merges
// it. Only what must never happen is an error.
func readAll(dir string, s *segment) error {
	block := new([blockSize]byte)
	stream := segmentSource(s)
	count := uint64(0)
	for {
		ok, err := stream.advance()
		if !ok || err != nil {
			break
		}
		count++
		id := stream.head.id
		if loc, ok, err := s.find(&id, block); ok && err == nil && loc == (Location{}) && stream.head.loc != loc {
			return fmt.Errorf("record %v found at %v", stream.head, loc)
		}
		id[7]++
		s.find(&id, block)
	}
	if count > s.records {
		return fmt.Errorf("%d records of %d", count, s.records)
	}
	for n := range 300 {
		id := testID(n)
		s.find(&id, block)
	}
	s.find(&chunk.ID{}, block)
	w, err := createSegment(dir, repository, s.records)
	if err != nil {
		return err
	}
	defer w.remove()
	merge(w, []*source{segmentSource(s), segmentSource(s)}, func(pack uint32) bool { return pack%2 == 0 })
	return nil
}

// repairSegment makes header, checksums and tags right, as far as the lengths
// allow.
func repairSegment(b []byte, number uint64) []byte {
	if len(b) < headerSize {
		return b
	}
	copy(b, segmentMagic)
	copy(b[8:], repository[:])
	binary.LittleEndian.PutUint64(b[24:], number)
	clear(b[48:60])
	lines := binary.LittleEndian.Uint32(b[40:])
	blocks := (binary.LittleEndian.Uint64(b[32:]) + blockRecords - 1) / blockRecords
	start := blocksStart(lines)
	if blocks > uint64(len(b)) || start+int64(blocks)*(blockSize+fenceSize) != int64(len(b)) {
		return b
	}
	for i := range int(lines) {
		sealLine((*[lineSize]byte)(b[headerSize+i*lineSize:]))
	}
	for i := range int(blocks) {
		block := b[start+int64(i)*blockSize:][:blockSize]
		binary.LittleEndian.PutUint32(block[blockTag:], uint32(number)+uint32(i))
		binary.LittleEndian.PutUint32(block[blockSize-4:], checksum(block[:blockSize-4]))
	}
	binary.LittleEndian.PutUint32(b[44:], checksum(b[start+int64(blocks)*blockSize:]))
	binary.LittleEndian.PutUint32(b[60:], checksum(b[:60]))
	return b
}
