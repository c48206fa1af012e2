package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Recorder notes what Names would learn of the pages that a backup writes, while
// it has them at hand. What a run writes goes into a file of its own beside that
// of Names, path-NUMBER, so that it costs what is new; who reads Names takes them
// over, and who then writes them removes the file.
//
// It is sealed as Names are. Inside, for each page, after those that it names:
// u8 1 for an upper page, page ID (16), u32 length, content; that of a leaf as in
// Names, of an upper page the IDs of the pages that it names.
type Recorder struct {
	names *Names // of its place and its key, knowing nothing
	data  []byte
	set   setWriter
}

const (
	recordMagic = "TMNAMED1"

	// maxRecord bounds what a run records, in bytes. One that has more records
	// nothing, and the next search reads its pages.
	maxRecord = 32 << 20

	// manyRecords are more files than a search should have to read.
	manyRecords = 64

	recordHead = 1 + len(chunk.ID{}) + 4
)

// NewRecorder returns a Recorder beside the names at path, with the same key.
func NewRecorder(path string, key seal.Key) *Recorder {
	return &Recorder{names: &Names{path: path, key: key}}
}

// Page notes a page of a table, or of a file's extents, which have no names.
func (r *Recorder) Page(id chunk.ID, page []byte) {
	if len(r.data) > maxRecord {
		return
	}
	r.set = r.set[:0]
	if _, err := table.EachName(page, r.set.add); err == nil {
		r.note(0, id, r.set)
	} else if refs, err := table.DecodeRefs(page, false); err == nil {
		for i := range refs {
			r.set = append(r.set, refs[i].ID[:]...)
		}
		r.note(1, id, r.set)
	}
}

func (r *Recorder) note(upper byte, id chunk.ID, content []byte) {
	r.data = append(append(r.data, upper), id[:]...)
	r.data = binary.LittleEndian.AppendUint32(r.data, uint32(len(content)))
	r.data = append(r.data, content...)
}

// Write leaves what was noted for the next search.
func (r *Recorder) Write() error {
	if len(r.data) == 0 || len(r.data) > maxRecord {
		return nil
	}
	numbers, err := r.names.records()
	if err != nil {
		return fmt.Errorf("record names: %w", err)
	}
	next := uint64(1)
	if len(numbers) > 0 {
		next = numbers[len(numbers)-1] + 1
	}
	if err = durable.MkdirAll(filepath.Dir(r.names.path), 0o700); err == nil {
		err = durable.Create(r.names.record(next), seal.SealLocal(r.names.key, recordMagic, r.data), 0o600)
	}
	if errors.Is(err, fault.Exist) {
		return nil // of another run at the same time; ours will be read
	}
	if err == nil && len(numbers) >= manyRecords {
		var n *Names
		if n, err = ReadNames(r.names.path, r.names.key); err == nil {
			err = n.Write()
		}
	}
	if err != nil {
		return fmt.Errorf("record names: %w", err)
	}
	return nil
}

// record is the path of a file of a Recorder.
func (n *Names) record(number uint64) string { return fmt.Sprintf("%s-%08d", n.path, number) }

// records returns the numbers of the files of Recorders, ascending.
func (n *Names) records() ([]uint64, error) {
	entries, err := os.ReadDir(filepath.Dir(n.path))
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries { // sorted by name, which has 8 digits
		if rest, ok := strings.CutPrefix(e.Name(), filepath.Base(n.path)+"-"); ok && len(rest) == 8 {
			if number, err := strconv.ParseUint(rest, 10, 64); err == nil {
				numbers = append(numbers, number)
			}
		}
	}
	return numbers, nil
}

// takeRecords learns what Recorders noted. What is damaged is passed over.
func (n *Names) takeRecords() error {
	numbers, err := n.records()
	if err != nil {
		return err
	}
	for _, number := range numbers {
		if b, err := n.read(n.record(number), recordMagic, 2*maxRecord); err == nil {
			n.takeRecord(b)
		}
		n.taken = append(n.taken, number)
	}
	return nil
}

func (n *Names) takeRecord(b []byte) {
	for len(b) >= recordHead {
		upper, id, length := b[0] == 1, chunk.ID(b[1:]), binary.LittleEndian.Uint32(b[recordHead-4:])
		if b = b[recordHead:]; uint64(length) > uint64(len(b)) {
			return
		}
		content := b[:length]
		b = b[length:]
		if upper {
			if content = n.setOfIDs(content); content == nil {
				continue
			}
		}
		if s := (nameSet{upper, content}); s.valid(len(n.sets)) {
			n.learn(id, s)
		}
	}
}

// setOfIDs returns the set of an upper page that names pages; nil if one of them
// is not known.
func (n *Names) setOfIDs(ids []byte) []byte {
	set := make([]byte, 0, len(ids)/len(chunk.ID{})*4)
	for ; len(ids) >= len(chunk.ID{}); ids = ids[len(chunk.ID{}):] {
		number, ok := n.pages[chunk.ID(ids)]
		if !ok {
			return nil
		}
		set = binary.LittleEndian.AppendUint32(set, number)
	}
	return set
}
