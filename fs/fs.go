// Package fs shows all recovery points of a repository as one read-only tree.
// It knows no protocol: front ends (fs/fuse) translate, and restore reads the
// same tree, so there is one read path.
//
//	/latest                             link to the newest point's folder
//	/latest-clean                       … that does not look as if somebody had encrypted its files; listed where it is another
//	/points/2026-11-22_10-00-00/…       a point, by its local time; inside it
//	/points/2026-11-22_10-00-00-2/…     the source's absolute paths
//	/servers/HOST/latest, …             the points of one server; listed where there are several
//	/@GMT-2026.11.22-09.00.00/…         a point, by the name that Samba knows it by
//	…/@versions  …/@deleted  …/@diff    in each folder of a point, see made.go
//
// What begins with @ is found by name, and listed only with Options.ListTime:
// so nobody copies it who copies a folder.
//
// With Options.Point the root is that point's tree itself.
//
// Nouns:
//
//   - A Source gives points, their tables, and the raw bytes of packs. A
//     repository is one.
//   - A Node is a number for one file or folder of the tree. It is made of the
//     point's slot and the entry's ordinal in the point's table, so nodes cost
//     no memory and nobody has to forget them.
//   - A slot is a point's number in this Tree. It is never reused: a node of a
//     point that has gone is fault.Stale, and never another file.
//   - An Entry is what the table holds; an Attr is what a user sees of it.
//
// The package never writes, keeps no lock in the repository, and holds no
// more memory than Options.CacheBytes, a few KiB a point, and 20 MiB for made-up
// folders at most.
//
// Names are the source's bytes, unchanged. A folder's children lie side by
// side in a table, so a place in a listing (a cookie) is an ordinal: listings
// can be left and taken up again at any cookie, without state.
package fs

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"

	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// Source is what the tree needs of a repository. It is used by several
// goroutines at a time.
type Source interface {
	// Points returns the points in ascending order of Sequence. A point never
	// changes; asked again, it should read only those that are new. Together
	// with points an error names those that cannot be opened; without any it
	// means that the list could not be read.
	Points(ctx context.Context) ([]*repo.Point, error)

	// Tree opens the table of a point that Points returned; fault.Stale or
	// fault.NotExist if the point has gone since.
	Tree(ctx context.Context, p *repo.Point, o table.Options) (*table.Tree, error)

	table.Pages

	// ReadRaw fills dst with raw bytes of a pack from offset on. All or
	// nothing: bytes that are not there or fail authentication are an error.
	ReadRaw(ctx context.Context, id pack.ID, offset uint32, dst []byte) error

	// Prefetch asks for the frames of a run of raw bytes to be opened ahead,
	// in parallel, and returns at once. What lies past the pack's end is
	// ignored, and so are errors: the read itself meets them again. What is
	// open already costs next to nothing.
	Prefetch(ctx context.Context, id pack.ID, offset uint32, length int)
}

// Options say how a tree is shown.
type Options struct {
	// Point makes the root the tree of this point alone.
	Point *repo.Point

	// Owner shows everything as owned by this user and group.
	Owner *Owner

	// Open lets everybody read everything: files get the mode bits 0444,
	// folders 0555, and access control lists are left out.
	Open bool

	// Keeper is for front ends where a kernel judges who may see what by owner
	// and mode: made-up folders that show what the way to them does not guard
	// are this user's alone. nil: the front end judges each entry by its Way.
	Keeper *Owner

	// ListTime lists the names that begin with @, which else are there and not
	// listed.
	ListTime bool

	// CacheBytes bounds the memory of decoded pages; 0 means 48 MiB. The
	// Source bounds that of frames.
	CacheBytes int64

	// Location is the time zone of the points' names; nil means time.Local.
	Location *time.Location

	// Now is the clock; nil means time.Now.
	Now func() time.Time

	// Log hears of points that cannot be shown. nil: nobody does.
	Log *slog.Logger
}

// Owner is a user and a group by number.
type Owner struct{ UID, GID uint32 }

var _ Source = (*repo.Repository)(nil)

// Tree is the tree of all points, or of one. Its methods may be called from
// several goroutines at a time.
type Tree struct {
	src     Source
	opt     Options
	points  pointList
	tables  tableCache
	pages   table.Cache
	ahead   readAhead
	listing listAhead
	inodes  inodeHash
	content [16]byte // drawn for each tree, see ContentID
	scanned xattrScan
	made    madeTable
	memos   memoTable
}

// Attr is what users see of a file or folder.
type Attr struct {
	Node         Node
	Inode        uint64 // unique in the tree; hard links of a point share it
	Kind         table.Kind
	Mode         uint32 // the 12 permission bits
	UID, GID     uint32
	Nlink        uint32 // ≥ 1; 1 for folders, whose subfolders nobody counts
	Size         uint64 // bytes; of a link its target's length
	Blocks       uint64 // of 512 bytes that are not holes
	MTime        table.Time
	Major, Minor uint32 // of a device
	Fixed        bool   // never changes: part of a point, not the list of points
}

// New returns the tree of what src holds; Close it. It reads nothing yet.
func New(src Source, opt Options) *Tree {
	if opt.CacheBytes <= 0 {
		opt.CacheBytes = 48 << 20
	}
	if opt.Location == nil {
		opt.Location = time.Local
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	t := &Tree{src: src, opt: opt, pages: table.NewCache(opt.CacheBytes)}
	t.inodes.init()
	_, _ = rand.Read(t.content[:])
	t.ahead.init(src)
	t.listing.init()
	t.points.init()
	t.made.init()
	if opt.Point != nil {
		t.points.merge([]*repo.Point{opt.Point}, opt.Now(), opt.Location)
	}
	return t
}
