package backup

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	iofs "io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

// copies is the server's own copy of the last table, one per set of roots. A
// run compares the host's files with it, so that it needs neither the private
// key nor the vault to know what changed.
//
//	state    root page, devices, the list of pages, names of the two others
//	pages-N  pages (leaves, upper pages, pages of extents), back to back; grows
//	side-N   a record per entry, in order: what tells that a file is unchanged
//
// state is replaced when a point is committed and names the rest, so that a
// crash at any time leaves the old copy whole: what was appended to pages-N
// is not named. A copy that is damaged is as good as none: everything is read
// and hashed again, and only what is new is stored.
//
//	state: magic `tidmCPY` 02, repository ID 16, point ID 32, u64 sequence,
//	       u64 N of pages, u64 its length, u64 N of side, u64 entries,
//	       u32 level, u32 length of root page, u32 devices, u32 pages,
//	       root page, u64 per device, per page ID 16, u64 offset, u32 length;
//	       SHA-256 of all that
//	side:  i64 ctime seconds, u32 nanoseconds (bit 31: read again, bit 30: looks encrypted), u32 device
//	       slot, u64 inode; after each 4,096 of these, and after the last one, the
//	       CRC-32C of u64 N, u64 number of such blocks before, and the records
type copies struct {
	dir  string
	lock *durable.Lock // nil: another run holds it, and this one only reads
	old  *oldTable     // nil: none, or damaged

	ids     *chunk.Hashers // of pages
	pages   *os.File       // appended to
	pagesAt uint64
	number  uint64     // of pages
	mu      sync.Mutex // of the three below: the new table is read back, ahead, while pages are put
	known   map[chunk.ID]place
	added   []byte // not yet written
	addedAt uint64 // offset of added
	side    *sideWriter
	sideOut *os.File
	sideN   uint64
	used    map[chunk.ID]bool // pages of the new table
	broken  error             // why it cannot become the copy; the run goes on
	done    bool              // it is the copy
}

// place is where a page is in the file of pages.
type place struct {
	offset uint64
	length uint32
}

// oldTable is the copy that the last run left.
type oldTable struct {
	state
	pages *os.File
	side  *os.File
	known map[chunk.ID]place
	ids   *chunk.Hashers
}

type state struct {
	point    point.ID
	sequence uint64
	pagesN   uint64
	pagesLen uint64
	sideN    uint64
	entries  uint64
	level    int
	root     []byte
	devices  []uint64
}

const (
	magicCopy  = "tidmCPY\x02"
	stateFixed = 8 + 16 + 32 + 8*5 + 4*4
)

// errCopy says that the copy of the last table is damaged.
var errCopy = errors.New("the copy of the last table is damaged")

// openCopies opens the copy of a set of roots below dir; without forgets it.
func openCopies(dir string, id seal.RepositoryID, roots []string, pageID chunk.Key, without bool) (*copies, error) {
	c, err := tryCopies(dir, id, roots, pageID, without)
	if errors.Is(err, iofs.ErrNotExist) {
		// Another run removed the folder, which nobody had used for a year.
		c, err = tryCopies(dir, id, roots, pageID, without)
	}
	return c, err
}

func tryCopies(dir string, id seal.RepositoryID, roots []string, pageID chunk.Key, without bool) (*copies, error) {
	sum := sha256.Sum256([]byte(strings.Join(roots, "\x00")))
	c := &copies{dir: filepath.Join(dir, "copies", fmt.Sprintf("%x", sum[:8])), ids: chunk.NewHashers(pageID), known: make(map[chunk.ID]place), used: make(map[chunk.ID]bool)}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the copy of the last table: %w", err)
	}
	lock, err := durable.TryLock(filepath.Join(c.dir, "lock"))
	if err != nil && !errors.Is(err, fault.Unavailable) {
		return nil, fmt.Errorf("open the copy of the last table: %w", err)
	}
	c.lock = lock
	if !without {
		c.old = c.load(id)
	}
	begin := c.begin
	if c.lock == nil {
		begin = c.beginAlone
	}
	if err := begin(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the copy of the last table: %w", err), c.Close())
	}
	return c, nil
}

// name tells the copies of different sets of roots apart.
func (c *copies) name() string { return filepath.Base(c.dir) }

// load reads the last state; nil if there is none that can be used.
func (c *copies) load(id seal.RepositoryID) *oldTable {
	b, err := os.ReadFile(filepath.Join(c.dir, "state"))
	if err != nil {
		return nil
	}
	old, err := parseState(b, id)
	if err != nil {
		return nil
	}
	old.ids = c.ids
	if old.pages, err = os.Open(c.path("pages", old.pagesN)); err != nil {
		return nil
	}
	if old.side, err = os.Open(c.path("side", old.sideN)); err != nil {
		old.close()
		return nil
	}
	info, err := old.side.Stat()
	if err != nil || uint64(info.Size()) != sideLength(old.entries) {
		old.close()
		return nil
	}
	return old
}

func (c *copies) path(kind string, n uint64) string {
	return filepath.Join(c.dir, fmt.Sprintf("%s-%d", kind, n))
}

// begin prepares for a new table: pages are appended to the old ones, unless
// most of those are of no use any more.
func (c *copies) begin() error {
	var live uint64
	if c.old != nil {
		for id, p := range c.old.known {
			c.known[id] = p
			live += uint64(p.length)
		}
		c.number, c.pagesAt = c.old.pagesN, c.old.pagesLen
	}
	if c.old == nil {
		// Files that it names are about to be written over.
		if err := os.Remove(filepath.Join(c.dir, "state")); err != nil && !errors.Is(err, iofs.ErrNotExist) {
			return err
		}
		c.removeOthers(state{})
	} else {
		c.removeOthers(c.old.state) // of runs that died
	}
	if c.old == nil || c.pagesAt > 2*live+1<<20 {
		// Pages that are still of use are copied when they are kept.
		clear(c.known)
		c.number, c.pagesAt = c.number+1, 0
	}
	c.addedAt = c.pagesAt
	var err error
	flags := os.O_RDWR | os.O_CREATE
	if c.pages, err = os.OpenFile(c.path("pages", c.number), flags, 0o600); err != nil {
		return err
	}
	if err := c.pages.Truncate(int64(c.pagesAt)); err != nil {
		return err
	}
	// Drawn at random, so that no other file of side records has its checksums.
	c.sideN = rand.Uint64()
	if c.sideOut, err = os.OpenFile(c.path("side", c.sideN), flags|os.O_TRUNC, 0o600); err != nil {
		return err
	}
	c.side = &sideWriter{f: c.sideOut, number: c.sideN}
	return nil
}

// beginAlone prepares for a new table that will not become the copy, as another
// run holds the lock. Its pages go to a file that nobody else finds: the live
// set is made from them.
func (c *copies) beginAlone() error {
	f, err := os.CreateTemp(c.dir, "pages-*")
	if err != nil {
		return err
	}
	c.pages = f
	_ = os.Remove(f.Name()) // where open files stay, the next run with the lock removes it
	return nil
}

// Page implements table.Pages for the new table: what was put, then what the
// old copy has.
func (c *copies) Page(ctx context.Context, ref *table.Ref) ([]byte, error) {
	p, page := c.find(ref.ID)
	switch {
	case page != nil:
		return page, nil
	case p.length > 0:
		return readPage(c.pages, p, ref.ID, c.ids)
	case c.old != nil:
		return c.old.Page(ctx, ref)
	}
	return nil, fmt.Errorf("page %s is not in the copy of the last table: %w", ref.ID, fault.NotExist)
}

// find says where a page that was put is in the file of pages, or returns it if
// it is not written yet.
func (c *copies) find(id chunk.ID) (place, []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.known[id]
	if !ok || p.offset < c.addedAt {
		return p, nil
	}
	at := p.offset - c.addedAt
	return p, slices.Clone(c.added[at : at+uint64(p.length)])
}

// Page implements table.Pages for the old table.
func (o *oldTable) Page(_ context.Context, ref *table.Ref) ([]byte, error) {
	p, ok := o.known[ref.ID]
	if !ok {
		return nil, fmt.Errorf("%w: page %s is not in it", errCopy, ref.ID)
	}
	return readPage(o.pages, p, ref.ID, o.ids)
}

func readPage(f *os.File, p place, id chunk.ID, ids *chunk.Hashers) ([]byte, error) {
	b := make([]byte, p.length)
	if _, err := f.ReadAt(b, int64(p.offset)); err != nil {
		return nil, fmt.Errorf("%w: page %s: %w", errCopy, id, err)
	}
	if ids.Sum(b) != id {
		return nil, fmt.Errorf("%w: page %s has another hash", errCopy, id)
	}
	return b, nil
}

// put takes a page of the new table.
func (c *copies) put(id chunk.ID, page []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.known[id]; ok {
		return nil
	}
	c.known[id] = place{offset: c.addedAt + uint64(len(c.added)), length: uint32(len(page))}
	c.added = append(c.added, page...)
	if len(c.added) <= spillAt || c.broken != nil && len(c.added) <= maxAdded {
		return nil
	}
	if err := c.spill(); err != nil {
		// A full disk is no reason to have no backup, while memory serves.
		c.broken = err
		if len(c.added) > maxAdded {
			return err
		}
	}
	return nil
}

// New pages in memory before they are written, in bytes, and when that fails:
// the pages of some 400,000 entries.
const (
	spillAt  = 1 << 20
	maxAdded = 32 << 20
)

func (c *copies) spill() error {
	if _, err := c.pages.WriteAt(c.added, int64(c.addedAt)); err != nil {
		return fmt.Errorf("write the copy of the new table: %w", err)
	}
	c.addedAt += uint64(len(c.added))
	c.added = c.added[:0]
	return nil
}

// note adds the record of the new table's next entry.
func (c *copies) note(r *sideRecord) {
	if c.side == nil {
		return
	}
	if err := c.side.add(r); err != nil {
		c.broken = err
	}
}

// sides returns what reads the old table's side records.
func (o *oldTable) sides() *sides {
	return &sides{r: o.side, number: o.sideN, entries: o.entries}
}

// use says that the new table has a page, which was put or which the old copy
// has.
func (c *copies) use(id chunk.ID) error {
	c.used[id] = true
	if _, ok := c.known[id]; ok || c.old == nil {
		return nil
	}
	p, ok := c.old.known[id]
	if !ok {
		return nil // Page will tell
	}
	b, err := readPage(c.old.pages, p, id, c.ids)
	if err != nil {
		return err
	}
	return c.put(id, b)
}

// commit makes the new table the copy, after its point has been committed.
func (c *copies) commit(id seal.RepositoryID, s state) error {
	if c.lock == nil {
		return nil
	}
	if c.broken != nil {
		return c.broken
	}
	if err := c.spill(); err != nil {
		return err
	}
	if err := c.side.flush(); err != nil {
		return err
	}
	for id := range c.known {
		if !c.used[id] {
			delete(c.known, id)
		}
	}
	s.pagesN, s.pagesLen, s.sideN = c.number, c.addedAt, c.sideN
	for _, f := range []*os.File{c.pages, c.sideOut} {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("write the copy of the new table: %w", err)
		}
	}
	if err := durable.WriteFile(filepath.Join(c.dir, "state"), s.marshal(id, c.known), 0o600); err != nil {
		return fmt.Errorf("write the copy of the new table: %w", err)
	}
	c.done = true
	c.removeOthers(s)
	return nil
}

// removeOthers removes files that state does not name.
func (c *copies) removeOthers(s state) {
	names, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	for _, n := range names {
		path := filepath.Join(c.dir, n.Name())
		stale := strings.HasPrefix(n.Name(), "pages-") && path != c.path("pages", s.pagesN) ||
			strings.HasPrefix(n.Name(), "side-") && path != c.path("side", s.sideN)
		if stale {
			_ = os.Remove(path)
		}
	}
}

// Close frees everything. A new table that was not committed is forgotten.
func (c *copies) Close() error {
	var errs []error
	if c.old != nil {
		c.old.close()
	}
	for _, f := range []*os.File{c.pages, c.sideOut} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if c.sideOut != nil && !c.done {
		_ = os.Remove(c.sideOut.Name()) // the next run's has the same name
	}
	if c.lock != nil {
		errs = append(errs, c.lock.Unlock())
	}
	return errors.Join(errs...)
}

func (o *oldTable) close() {
	for _, f := range []*os.File{o.pages, o.side} {
		if f != nil {
			_ = f.Close() // only read
		}
	}
}

func (s *state) marshal(id seal.RepositoryID, known map[chunk.ID]place) []byte {
	b := append([]byte(magicCopy), id[:]...)
	b = append(b, s.point[:]...)
	for _, n := range []uint64{s.sequence, s.pagesN, s.pagesLen, s.sideN, s.entries} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	for _, n := range []int{s.level, len(s.root), len(s.devices), len(known)} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	b = append(b, s.root...)
	for _, d := range s.devices {
		b = binary.LittleEndian.AppendUint64(b, d)
	}
	for id, p := range known {
		b = append(b, id[:]...)
		b = binary.LittleEndian.AppendUint64(b, p.offset)
		b = binary.LittleEndian.AppendUint32(b, p.length)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func parseState(b []byte, id seal.RepositoryID) (*oldTable, error) {
	bad := fmt.Errorf("parse the copy's state: %w", fault.Corrupt)
	n := len(b) - 32
	if n < stateFixed || string(b[:8]) != magicCopy || seal.RepositoryID(b[8:24]) != id || sha256.Sum256(b[:n]) != [32]byte(b[n:]) {
		return nil, bad
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	u32 := func(at int) int { return int(binary.LittleEndian.Uint32(b[at:])) }
	s := state{point: point.ID(b[24:56]), sequence: u64(56), pagesN: u64(64), pagesLen: u64(72), sideN: u64(80), entries: u64(88), level: u32(96)}
	root, devices, pages := u32(100), u32(104), u32(108)
	if stateFixed+root+8*devices+28*pages != n || s.entries > math.MaxInt64/sideSize || s.pagesLen > math.MaxInt64 {
		return nil, bad
	}
	at := stateFixed
	s.root = b[at : at+root]
	for at += root; len(s.devices) < devices; at += 8 {
		s.devices = append(s.devices, u64(at))
	}
	old := &oldTable{state: s, known: make(map[chunk.ID]place, pages)}
	for ; at < n; at += 28 {
		p := place{offset: u64(at + 16), length: uint32(u32(at + 24))}
		if p.length > table.MaxPage || p.offset > s.pagesLen || uint64(p.length) > s.pagesLen-p.offset {
			return nil, bad
		}
		old.known[chunk.ID(b[at:at+16])] = p
	}
	return old, nil
}
