// Package walk lists folders quickly, in order and within bounds.
//
// Nouns: a Folder is one listing, or a slice of a very big one; an Entry is
// one name in it with its lstat; a root is a file or folder that the caller
// asked for; the ancestors of a root are shown too, with only the entries
// that lead to roots, so that the tree is complete from "/".
//
// Table order: a folder's entries come sorted bytewise by name; then each of
// its subfolders, sorted bytewise, the same way. That is the order of the
// keys (folder path with '/' replaced by a zero byte, name), in which the
// subtree of "a" comes before the folder "a-b".
//
// How it works. Folders that still have something to do stand in one list in
// table order. Workers take the first piece of work in it: the listing of a
// folder, or the lstats of one slice of a big one. What they have ready ahead
// of the consumer is bounded in bytes. The consumer never waits for that
// bound: it does the piece it needs itself when nobody has begun it, so the
// walk cannot deadlock; and while it waits for a worker it helps.
//
// What it refuses to do: it follows no symbolic link below a root (those
// above a root are followed, since the caller named the root through them),
// leaves access times alone where the host lets it, never enters a file
// system other than a root's with OneFileSystem, and never one that the kernel
// makes up (proc, sysfs and their like) unless a root lies in it: such a mount
// point is shown as an empty folder.
//
// Bounds: about 8 MiB of entries ready ahead; names of one folder at a time
// up to 24 MiB (some 450,000), beyond which the folder is read several times,
// in ranges of names; 256 open folders. Paths may be longer than PATH_MAX (on
// Linux), and names are bytes, not text.
package walk

import (
	"context"
	"iter"
	"sort"
	"time"
	"unsafe"
)

// Type bits of Stat.Mode, as in Linux's st_mode. They are the same on every
// system, whatever its own headers say.
const (
	TypeMask   = 0o170000
	TypeSocket = 0o140000
	TypeLink   = 0o120000
	TypeFile   = 0o100000
	TypeBlock  = 0o060000
	TypeFolder = 0o040000
	TypeChar   = 0o020000
	TypeFIFO   = 0o010000
)

// Time is a moment in seconds and nanoseconds since 1970-01-01 UTC. Unlike
// nanoseconds in an int64 it reaches all years that a file system stores.
type Time struct {
	Sec  int64
	Nsec int32 // 0..999999999
}

// Time returns t in the standard library's form.
func (t Time) Time() time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }

// Stat is what lstat tells of an entry. On systems other than Linux fields
// that are not known are 0 (Windows: UID, GID, Ino, Dev and Rdev; Nlink is 1).
type Stat struct {
	Mode   uint32 // type and permission bits, as st_mode
	UID    uint32
	GID    uint32
	Size   int64 // bytes
	Blocks int64 // units of 512 bytes that are allocated
	MTime  Time
	CTime  Time
	Ino    uint64
	Dev    uint64
	Rdev   uint64 // of a device: its number
	Nlink  uint64
}

// Type returns the type bits of the mode.
func (s *Stat) Type() uint32 { return s.Mode & TypeMask }

// IsFolder says whether the entry is a folder.
func (s *Stat) IsFolder() bool { return s.Mode&TypeMask == TypeFolder }

// IsFile says whether the entry is a regular file.
func (s *Stat) IsFile() bool { return s.Mode&TypeMask == TypeFile }

// IsLink says whether the entry is a symbolic link.
func (s *Stat) IsLink() bool { return s.Mode&TypeMask == TypeLink }

// Entry is one name in a folder.
type Entry struct {
	// Name shares memory with its folder's other names: strings.Clone it
	// where it is kept for long.
	Name string
	Stat Stat
	Err  error // lstat failed (often: the entry vanished); Stat is zero
}

// Folder is one listing, or one slice of a very big folder's.
//
// It is valid in the body of the loop that receives it, and longer if
// retained. Entries may be kept without retaining the folder.
type Folder struct {
	Path    string // absolute, separated by '/'; "/" for the top
	Stat    Stat   // of the folder itself, as it was when it was opened
	Entries []Entry
	More    bool  // another slice of this folder follows, with later names
	Err     error // the folder could not be opened, or not listed to its end
	Note    any   // what Options.Enter returned

	h     *handle
	names *nameList // while Enter and Select run
	whole bool      // names has every name of the folder
}

// Join returns the path of the entry with that name.
func (f *Folder) Join(name string) string { return join(f.Path, name) }

// Find returns the entry with that name of this slice, or nil.
func (f *Folder) Find(name string) *Entry {
	i := sort.Search(len(f.Entries), func(i int) bool { return f.Entries[i].Name >= name })
	if i < len(f.Entries) && f.Entries[i].Name == name {
		return &f.Entries[i]
	}
	return nil
}

// Verdict says what becomes of an entry.
type Verdict uint8

// The verdicts.
const (
	Keep    Verdict = iota // show the entry; enter it if it is a folder
	Skip                   // leave out the entry and what is below
	Shallow                // show the entry, but do not enter it
)

// Options says what to walk and how.
type Options struct {
	// Roots are the files and folders wanted: absolute paths of this host.
	// Roots inside other roots and duplicates are merged. A root that is a
	// symbolic link is shown as the link.
	Roots []string

	// Workers is how many goroutines list ahead of the consumer. 0 means as
	// many as suit the host: on cold disks more than there are processors.
	Workers int

	// OneFileSystem keeps the walk on the file systems of the roots: a mount
	// point is shown, as an empty folder's entry, but not entered, unless it
	// is a root or leads to one.
	OneFileSystem bool

	// Elsewhere names folders that are read at another place: a snapshot's.
	// Keys and values are absolute paths of this host. What lies below is
	// read below that place, unless it is a key itself. Paths in the walk
	// stay as they are.
	Elsewhere map[string]string

	// Enter, if set, is called once for each folder at or below a root, when
	// its names are known (Folder.Has answers) and before Select sees its
	// entries. above is what it returned for the folder above (nil at a
	// root). What it returns is found in Folder.Note. Calls for different
	// folders run at the same time.
	Enter func(f *Folder, above any) any

	// Select, if set, decides on each entry at or below a root. It is called
	// after the lstat, for calls of different folders and slices at the same
	// time, and may read e and f.Path, f.Note, f.Has and f.Open; it must not
	// keep f. Entries whose lstat failed are not asked about.
	Select func(f *Folder, e *Entry) Verdict
}

// Walk yields the folders that hold the roots and all that lies below, in
// table order, beginning with "/". An error comes with a nil Folder: it names
// a root that cannot be walked (missing, or behind a symbolic link of another
// root), and the walk goes on; or it is the context's, and the walk is over.
// Failures inside the tree are in Folder.Err and Entry.Err.
//
// Leaving the loop early ends the walk; when the loop is over no goroutine of
// it runs any more.
func Walk(ctx context.Context, o Options) iter.Seq2[*Folder, error] {
	return func(yield func(*Folder, error) bool) {
		w := newWalker(ctx, o)
		w.run(yield)
	}
}

func join(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}

// joinTerminated is join with a zero byte after the path in memory, as the
// kernel wants it: folders are opened without a copy.
func joinTerminated(dir string, name []byte) string {
	b := make([]byte, 0, len(dir)+len(name)+2)
	b = append(b, dir...)
	if dir != "/" {
		b = append(b, '/')
	}
	b = append(append(b, name...), 0)
	return unsafe.String(&b[0], len(b)-1)
}
