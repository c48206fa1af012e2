package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Names remembers which names are in which pages of tables, so that a search
// opens those alone that hold a match. Pages never change, so neither does
// that. It is a cache: what it does not know is read, and it can be deleted.
//
// Many pages have the same names, because content changes and names stay: each
// set of names is kept once, and for each page the number of its set. The set
// of an upper page is that of the sets below it.
//
// The file is sealed, as names are as secret as content; see seal.SealLocal. The
// magic is "TMNAMES1", the content
//
//	u32 number of sets; for each: u8 1 for an upper page, u32 length, content
//	u32 number of pages; for each: page ID (16), u32 number of its set
//
// The content of a leaf's set is, for each entry: u8 kind, uvarint of the bytes
// that its key shares with the one before, uvarint of the rest, the rest; that
// of an upper page u32 numbers of sets, each less than its own.
type Names struct {
	path  string
	key   seal.Key
	taken []uint64 // numbers of files of Recorders

	mu    sync.Mutex
	pages map[chunk.ID]uint32
	sets  []nameSet
	known map[[16]byte]uint32 // sets by hash
	bytes int                 // of all sets
	fresh int                 // pages since it was read
}

type nameSet struct {
	upper bool
	data  []byte
}

const (
	namesMagic = "TMNAMES1"

	// maxNamePages and maxNameBytes bound the memory: what comes after that is
	// not remembered, and read in each search.
	maxNamePages = 1 << 20
	maxNameBytes = 96 << 20

	// pageBytes are those of a page in the file: its ID, and the number of its set.
	pageBytes = len(chunk.ID{}) + 4

	// maxNamesFile is more than a file can have.
	maxNamesFile = 2*maxNameBytes + 2*pageBytes*maxNamePages
)

// ReadNames reads the names at path, which need not be there, and what Recorders
// left beside them. What is damaged, or of another repository, counts as not
// there. The key is one that only those have who can read points.
func ReadNames(path string, key seal.Key) (*Names, error) {
	n := newNames()
	n.path, n.key = path, key
	b, err := n.read(path, namesMagic, int64(maxNamesFile))
	switch {
	case err == nil:
		if n.parse(b) != nil {
			n.clear()
		}
	case !errors.Is(err, iofs.ErrNotExist) && fault.KindOf(err) != fault.Corrupt:
		return nil, fmt.Errorf("read names: %w", err)
	}
	if err := n.takeRecords(); err != nil {
		return nil, fmt.Errorf("read names: %w", err)
	}
	return n, nil
}

// newNames returns names that know nothing, and are of no file.
func newNames() *Names {
	n := &Names{}
	n.clear()
	return n
}

func (n *Names) clear() {
	n.pages, n.known = map[chunk.ID]uint32{}, map[[16]byte]uint32{}
	n.sets, n.bytes, n.fresh = nil, 0, 0
}

// read opens a sealed file. One that is damaged is fault.Corrupt.
func (n *Names) read(path, magic string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes: %w", path, info.Size(), fault.Corrupt)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if b, err = seal.OpenLocal(n.key, magic, b); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

func (n *Names) parse(b []byte) error {
	bad := fmt.Errorf("read names: %w", fault.Corrupt)
	if len(b) < 4 {
		return bad
	}
	count := binary.LittleEndian.Uint32(b)
	for b = b[4:]; count > 0; count-- {
		if len(b) < 5 || b[0] > 1 || uint64(len(b)-5) < uint64(binary.LittleEndian.Uint32(b[1:])) {
			return bad
		}
		end := 5 + int(binary.LittleEndian.Uint32(b[1:]))
		s := nameSet{upper: b[0] == 1, data: b[5:end:end]}
		if !s.valid(len(n.sets)) {
			return bad
		}
		n.number(s.hash(), s)
		b = b[end:]
	}
	if len(b) < 4 {
		return bad
	}
	count = binary.LittleEndian.Uint32(b)
	if b = b[4:]; uint64(len(b)) != uint64(pageBytes)*uint64(count) || count > maxNamePages {
		return bad
	}
	n.pages = make(map[chunk.ID]uint32, count)
	for ; len(b) > 0; b = b[pageBytes:] {
		set := binary.LittleEndian.Uint32(b[len(chunk.ID{}):])
		if int(set) >= len(n.sets) {
			return bad
		}
		n.pages[chunk.ID(b)] = set
	}
	return nil
}

// valid says whether a set can have a number.
func (s *nameSet) valid(number int) bool {
	if s.upper {
		for b := s.data; len(b) > 0; b = b[4:] {
			if len(b) < 4 || int(binary.LittleEndian.Uint32(b)) >= number {
				return false
			}
		}
		return true
	}
	return s.each(func([]byte, table.Kind) bool { return true })
}

// each gives the keys and kinds of a leaf's set until one is not wanted, and
// says whether it was whole.
func (s *nameSet) each(give func(key []byte, kind table.Kind) bool) bool {
	var key []byte
	for b := s.data; len(b) > 0; {
		kind := table.Kind(b[0])
		b = b[1:]
		shared, n := binary.Uvarint(b)
		if n <= 0 || shared > uint64(len(key)) {
			return false
		}
		b = b[n:]
		rest, n := binary.Uvarint(b)
		if n <= 0 || rest > uint64(len(b)-n) {
			return false
		}
		key = append(key[:shared], b[n:n+int(rest)]...)
		if b = b[n+int(rest):]; !give(key, kind) {
			return true
		}
	}
	return true
}

// hash tells sets apart.
func (s *nameSet) hash() [16]byte {
	sum := sha256.Sum256(s.data)
	if s.upper {
		sum[0]++ // what would be both a leaf's and an upper page's is not to be found
	}
	return [16]byte(sum[:16])
}

// number returns the number of a set, of which it keeps a copy if it is new. The
// lock is held, or nobody else is there.
func (n *Names) number(hash [16]byte, s nameSet) uint32 {
	if number, ok := n.known[hash]; ok {
		return number
	}
	number := uint32(len(n.sets))
	n.known[hash] = number
	n.sets = append(n.sets, nameSet{s.upper, bytes.Clone(s.data)})
	n.bytes += len(s.data)
	return number
}

// Write keeps what has been learned since the names were read.
func (n *Names) Write() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fresh > 0 {
		if err := n.write(); err != nil {
			return fmt.Errorf("write names: %w", err)
		}
	}
	n.fresh = 0
	for _, number := range n.taken {
		if err := os.Remove(n.record(number)); err != nil && !errors.Is(err, iofs.ErrNotExist) {
			return fmt.Errorf("write names: %w", err)
		}
	}
	n.taken = nil
	return nil
}

func (n *Names) write() error {
	b := make([]byte, 0, n.bytes+5*len(n.sets)+pageBytes*len(n.pages)+8)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(n.sets)))
	for _, s := range n.sets {
		b = append(b, map[bool]byte{true: 1}[s.upper])
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s.data)))
		b = append(b, s.data...)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(n.pages)))
	for id, set := range n.pages {
		b = append(b, id[:]...)
		b = binary.LittleEndian.AppendUint32(b, set)
	}
	if err := durable.MkdirAll(filepath.Dir(n.path), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(n.path, seal.SealLocal(n.key, namesMagic, b), 0o600)
}

// learn notes the set of a page, unless there is no room.
func (n *Names) learn(id chunk.ID, s nameSet) {
	hash := s.hash()
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.pages[id]; ok || n.full() {
		return
	}
	n.pages[id] = n.number(hash, s)
	n.fresh++
}

// full says that no more can be learned. The lock is held.
func (n *Names) full() bool { return len(n.pages) >= maxNamePages || n.bytes >= maxNameBytes }

// search is what one search looks for in Names.
type search struct {
	*Names
	match   func(*table.Entry) bool
	verdict []int8 // of sets: 1 holds a match, -1 holds none, 0 is not known yet
}

// skip says that nothing in a page, or below it, is a match.
func (s *search) skip(ref *table.Ref) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, ok := s.pages[ref.ID]
	return ok && !s.holds(set)
}

// holds says whether a set holds a match. The lock is held.
func (s *search) holds(number uint32) bool {
	if int(number) >= len(s.verdict) {
		s.verdict = append(s.verdict, make([]int8, len(s.sets)-len(s.verdict))...)
	}
	if v := s.verdict[number]; v != 0 {
		return v > 0
	}
	set, found := &s.sets[number], false
	if set.upper {
		for b := set.data; len(b) > 0 && !found; b = b[4:] {
			found = s.holds(binary.LittleEndian.Uint32(b))
		}
	} else {
		var e table.Entry
		set.each(func(key []byte, kind table.Kind) bool {
			e.Key, e.Kind = key, kind
			found = s.match(&e)
			return !found
		})
	}
	s.verdict[number] = -1
	if found {
		s.verdict[number] = 1
	}
	return found
}
