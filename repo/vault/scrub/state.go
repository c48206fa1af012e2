package scrub

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	iofs "io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// State is what a machine remembers between scrubs of one repository: when
// each object was last found whole, when all points were last found to have
// what they need, and the SHA-256 of objects that carry no proof of their own.
// It is a file that can be lost: then all counts as never scrubbed.
//
//	tidmSCR 01 ‖ repository ID (16) ‖ i64 when the points' needs were looked at
//	u32 n ‖ n × (key 16, i64 Unix seconds), ascending keys
//	u32 m ‖ m × (key 16, SHA-256 32), ascending keys
//	SHA-256 of everything before
//
// A key is the first half of the SHA-256 of an object's name. Its methods may
// be called by several goroutines.
type State struct {
	path       string
	repository [16]byte

	mu     sync.Mutex
	needs  int64            // Unix seconds; 0: never
	whole  map[key]int64    // Unix seconds
	proofs map[key][32]byte // of objects that carry none
}

type key [16]byte

const (
	magicState = "tidmSCR\x01"
	headState  = 8 + 16 + 8
	maxState   = 1 << 30 // some 50 million objects
)

func keyOf(name string) key {
	sum := sha256.Sum256([]byte(name))
	return key(sum[:16])
}

// newState returns one that is kept nowhere.
func newState(repository [16]byte) *State {
	return &State{repository: repository, whole: map[key]int64{}, proofs: map[key][32]byte{}}
}

// OpenState reads the file path. One that is missing or damaged, or another
// repository's, is as good as none.
func OpenState(path string, repository [16]byte) (*State, error) {
	s := newState(repository)
	s.path = path
	info, err := os.Stat(path)
	if errors.Is(err, iofs.ErrNotExist) || err == nil && info.Size() > maxState {
		return s, nil
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of the last scrub: %w", err)
	}
	if other, err := parseState(b); err == nil && other.repository == repository {
		other.path = path
		return other, nil
	}
	return s, nil
}

// parseState reads what marshal wrote.
func parseState(b []byte) (*State, error) {
	n := len(b) - sha256.Size
	if n < headState+8 || string(b[:8]) != magicState || sha256.Sum256(b[:n]) != [32]byte(b[n:]) {
		return nil, bad("state of a scrub")
	}
	s := &State{
		repository: [16]byte(b[8:24]), needs: int64(binary.LittleEndian.Uint64(b[24:])),
		whole: map[key]int64{}, proofs: map[key][32]byte{},
	}
	b = b[headState:n]
	count := binary.LittleEndian.Uint32(b)
	if b = b[4:]; uint64(len(b)) < uint64(count)*24+4 {
		return nil, bad("state of a scrub: cut short")
	}
	for range count {
		s.whole[key(b[:16])] = int64(binary.LittleEndian.Uint64(b[16:]))
		b = b[24:]
	}
	count = binary.LittleEndian.Uint32(b)
	if b = b[4:]; uint64(len(b)) != uint64(count)*48 {
		return nil, bad("state of a scrub: length")
	}
	for ; len(b) > 0; b = b[48:] {
		s.proofs[key(b[:16])] = [32]byte(b[16:48])
	}
	return s, nil
}

func (s *State) marshal() []byte {
	b := append(make([]byte, 0, headState+8+24*len(s.whole)+48*len(s.proofs)+32), magicState...)
	b = append(b, s.repository[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.needs))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s.whole)))
	for _, k := range slices.SortedFunc(maps.Keys(s.whole), compareKeys) {
		b = append(b, k[:]...)
		b = binary.LittleEndian.AppendUint64(b, uint64(s.whole[k]))
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s.proofs)))
	for _, k := range slices.SortedFunc(maps.Keys(s.proofs), compareKeys) {
		sum := s.proofs[k]
		b = append(append(b, k[:]...), sum[:]...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func compareKeys(a, b key) int { return bytes.Compare(a[:], b[:]) }

// save writes the file.
func (s *State) save() error {
	if s.path == "" {
		return nil
	}
	s.mu.Lock()
	b := s.marshal()
	s.mu.Unlock()
	if len(b) > maxState {
		return fmt.Errorf("keep the state of the scrub: %d bytes: %w", len(b), fault.TooLarge)
	}
	err := durable.MkdirAll(filepath.Dir(s.path), 0o700)
	if err == nil {
		err = durable.WriteFile(s.path, b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep the state of the scrub: %w", err)
	}
	return nil
}

// last returns when an object was last found whole; the zero time: never.
func (s *State) last(name string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.whole[keyOf(name)]
	if !ok {
		return time.Time{}
	}
	return time.Unix(at, 0)
}

// found notes that an object was found whole, or was not.
func (s *State) found(name string, whole bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if whole {
		s.whole[keyOf(name)] = now.Unix()
	} else {
		delete(s.whole, keyOf(name)) // so that it is the first one next time
	}
}

// proof compares the SHA-256 of an object that carries no proof of its own
// with the one remembered, or remembers it.
func (s *State) proof(name string, data []byte) error {
	sum := sha256.Sum256(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.proofs[keyOf(name)]
	if known && old != sum {
		return bad("it has other bytes than when this machine first saw it")
	}
	s.proofs[keyOf(name)] = sum
	return nil
}

// retain forgets all objects but these.
func (s *State) retain(names func(yield func(string) bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	whole, proofs := make(map[key]int64, len(s.whole)), make(map[key][32]byte, len(s.proofs))
	for name := range names {
		k := keyOf(name)
		if at, ok := s.whole[k]; ok {
			whole[k] = at
		}
		if sum, ok := s.proofs[k]; ok {
			proofs[k] = sum
		}
	}
	s.whole, s.proofs = whole, proofs
}

// reached returns when the needs of all points were last looked at.
func (s *State) reached() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.needs == 0 {
		return time.Time{}
	}
	return time.Unix(s.needs, 0)
}

func (s *State) setReached(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.needs = 0; !at.IsZero() {
		s.needs = at.Unix()
	}
}
