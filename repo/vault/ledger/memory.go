package ledger

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"

	"github.com/tidemark-backup/tidemark/platform/durable"
)

const magicMemory = "tidmLMM\x01"

// memory is the file of all entries that a machine has verified, back to back
// behind a head of 24 bytes: magic and repository ID. It is only ever appended
// to. A tail that a power cut has torn is cut off when it is next written.
type memory struct {
	path       string // "": none
	repository [16]byte
	bytes      []byte // of the file, the good ones
	head       Head
	torn       bool
}

// loadMemory reads a memory; one that is missing or of no use is empty. What
// is in it was verified before it was written, so the chain of hashes and the
// last signature are enough.
func loadMemory(path string, repository [16]byte) (*memory, error) {
	m := &memory{path: path, repository: repository}
	if path == "" {
		return m, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, iofs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read this machine's memory of the ledger: %w", err)
	}
	if len(b) < 24 || string(b[:8]) != magicMemory || [16]byte(b[8:24]) != repository {
		m.torn = true
		return m, nil
	}
	good := 24
	var last *Entry
	for good < len(b) {
		e, rest, err := next(b[good:])
		if err != nil {
			break
		}
		if e.Number == m.head.Number && e.Hash == m.head.Hash {
			// Two processes learned of it at once. Cut out below.
			m.torn = true
		} else if e.follows(m.head, repository) != nil {
			break
		}
		m.head, last = e.Head(), e
		good = len(b) - len(rest)
	}
	if last != nil && last.Verify() != nil {
		m.head, good = Head{}, 24
	}
	m.torn = m.torn || good < len(b)
	m.bytes = b[:good]
	return m, nil
}

// entries calls do with each entry.
func (m *memory) entries(do func(*Entry)) {
	if len(m.bytes) == 0 {
		return
	}
	var head Head
	for b := m.bytes[24:]; len(b) > 0; {
		e, rest, err := next(b)
		if err != nil {
			return // not after loadMemory
		}
		if b = rest; e.Number > head.Number {
			head = e.Head()
			do(e)
		}
	}
}

// add appends entries to the file. Of what fails only speed and this machine's
// word against an older vault suffer.
func (m *memory) add(entries []*Entry) error {
	if m.path == "" || len(entries) == 0 {
		return nil
	}
	m.head = entries[len(entries)-1].Head()
	if m.torn || len(m.bytes) == 0 {
		return m.write(entries)
	}
	var b []byte
	for _, e := range entries {
		b = e.appendTo(b)
	}
	f, err := os.OpenFile(m.path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.Write(b)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("write this machine's memory of the ledger: %w", err)
	}
	return nil
}

// write writes the file anew: what is good of the old one, and entries.
func (m *memory) write(entries []*Entry) error {
	b := append([]byte(magicMemory), m.repository[:]...)
	m.entries(func(e *Entry) { b = e.appendTo(b) })
	for _, e := range entries {
		b = e.appendTo(b)
	}
	err := os.MkdirAll(filepath.Dir(m.path), 0o700)
	if err == nil {
		err = durable.WriteFile(m.path, b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write this machine's memory of the ledger: %w", err)
	}
	m.bytes, m.torn = b, false
	return nil
}
