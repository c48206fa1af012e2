package history

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
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
// The file is sealed with a key of the repository's, as names are as secret
// there as content:
//
//	magic (8), nonce (12), then sealed with AES-256-GCM:
//	u32 number of sets; for each: u8 1 for an upper page, u32 length, content
//	u32 number of pages; for each: page ID (32), u32 number of its set
//
// The content of a leaf's set is, for each entry: u8 kind, uvarint of the bytes
// that its key shares with the one before, uvarint of the rest, the rest; that
// of an upper page u32 numbers of sets, each less than its own.
type Names struct {
	path string
	key  [32]byte

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
)

// ReadNames reads the names at path, which need not be there. What is damaged,
// or of another repository, counts as not there. secret is a key of the
// repository's.
func ReadNames(path string, secret []byte) (*Names, error) {
	n := newNames()
	n.path = path
	key, err := hkdf.Key(sha256.New, secret, nil, "tidemark names of pages", len(n.key))
	if err != nil {
		return nil, fmt.Errorf("derive the key of names: %w", err)
	}
	n.key = [32]byte(key)
	info, err := os.Stat(path)
	if errors.Is(err, iofs.ErrNotExist) || err == nil && info.Size() > maxNameBytes+40*maxNamePages+1<<20 {
		return n, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read names: %w", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read names: %w", err)
	}
	if err := n.parse(b); err != nil {
		n.clear()
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

func (n *Names) cipher() (cipher.AEAD, error) {
	b, err := aes.NewCipher(n.key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

func (n *Names) parse(b []byte) error {
	bad := fmt.Errorf("read names: %w", fault.Corrupt)
	gcm, err := n.cipher()
	if err != nil {
		return err
	}
	head := len(namesMagic) + gcm.NonceSize()
	if len(b) < head || string(b[:len(namesMagic)]) != namesMagic {
		return bad
	}
	b, err = gcm.Open(b[head:head], b[len(namesMagic):head], b[head:], []byte(namesMagic))
	if err != nil || len(b) < 4 {
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
		n.add(s)
		b = b[end:]
	}
	if len(b) < 4 {
		return bad
	}
	count = binary.LittleEndian.Uint32(b)
	if b = b[4:]; uint64(len(b)) != 36*uint64(count) || count > maxNamePages {
		return bad
	}
	for ; len(b) > 0; b = b[36:] {
		set := binary.LittleEndian.Uint32(b[32:])
		if int(set) >= len(n.sets) {
			return bad
		}
		n.pages[chunk.ID(b[:32])] = set
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

// add returns the number of a set. The lock is held, or nobody else is there.
func (n *Names) add(s nameSet) uint32 {
	h := sha256.New()
	_, _ = h.Write([]byte{map[bool]byte{true: 1}[s.upper]})
	_, _ = h.Write(s.data)
	sum := [16]byte(h.Sum(nil))
	if number, ok := n.known[sum]; ok {
		return number
	}
	number := uint32(len(n.sets))
	n.known[sum] = number
	n.sets = append(n.sets, s)
	n.bytes += len(s.data)
	return number
}

// Write keeps what has been learned since the names were read.
func (n *Names) Write() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fresh == 0 {
		return nil
	}
	gcm, err := n.cipher()
	if err != nil {
		return fmt.Errorf("write names: %w", err)
	}
	b := make([]byte, 0, n.bytes+5*len(n.sets)+36*len(n.pages)+64)
	b = append(b, namesMagic...)
	b = b[:len(b)+gcm.NonceSize()]
	nonce := b[len(namesMagic):]
	_, _ = rand.Read(nonce)
	head := len(b)
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
	b = gcm.Seal(b[:head], nonce, b[head:], []byte(namesMagic))
	err = durable.MkdirAll(filepath.Dir(n.path), 0o700)
	if err == nil {
		err = durable.WriteFile(n.path, b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write names: %w", err)
	}
	n.fresh = 0
	return nil
}

// learn notes the set of a page. The lock is held.
func (n *Names) learn(id chunk.ID, s nameSet) {
	if len(n.pages) >= maxNamePages || n.bytes+len(s.data) > maxNameBytes {
		return
	}
	n.pages[id] = n.add(s)
	n.fresh++
}

// search is a Names that watches one search.
type search struct {
	*Names
	match   func(*table.Entry) bool
	verdict []int8 // of sets: 1 holds a match, -1 holds none, 0 is not known yet
}

var _ table.Watcher = (*search)(nil)

// Skip implements table.Watcher.
func (s *search) Skip(ref *table.Ref) bool {
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

// Entries implements table.Watcher.
func (s *search) Entries(ref *table.Ref, leaf *table.Leaf) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.pages[ref.ID]; ok {
		return
	}
	var b, last []byte
	for i := range leaf.Len() {
		e := leaf.Entry(i)
		shared := 0
		for shared < min(len(last), len(e.Key)) && last[shared] == e.Key[shared] {
			shared++
		}
		b = append(b, byte(e.Kind))
		b = binary.AppendUvarint(b, uint64(shared))
		b = binary.AppendUvarint(b, uint64(len(e.Key)-shared))
		b = append(b, e.Key[shared:]...)
		last = e.Key
	}
	s.learn(ref.ID, nameSet{data: b})
}

// Below implements table.Watcher. What is not known of a page below is not
// known of this one.
func (s *search) Below(ref *table.Ref, refs []table.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.pages[ref.ID]; ok {
		return
	}
	b := make([]byte, 0, 4*len(refs))
	for i := range refs {
		set, ok := s.pages[refs[i].ID]
		if !ok {
			return
		}
		b = binary.LittleEndian.AppendUint32(b, set)
	}
	s.learn(ref.ID, nameSet{upper: true, data: b})
}
