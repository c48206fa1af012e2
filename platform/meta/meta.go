// Package meta reads and applies what a file is besides its bytes: extended
// attributes (among them POSIX ACLs and capabilities), owner, mode and times;
// it makes devices and pipes, finds holes, and names users and groups.
//
// Nouns: an At is a place, a name in an open folder; an Xattr is one extended
// attribute with its raw value; an Extent is a run of a file's data between
// holes.
//
// Nothing here follows a symbolic link in the last step of a name. Every
// attribute that cannot be read or applied is one named error; the others are
// still read or applied, so that a user without root's rights gets warnings
// and his files.
package meta

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"slices"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Bounds on extended attributes. Linux keeps each below 64 KiB and the list
// of names below 64 KiB.
const (
	MaxXattrValue = 64 << 10
	MaxXattrTotal = 1 << 20 // names and values of one file, and xattrLengths for each

	maxXattrNames = 64 << 10
	xattrLengths  = 6 // bytes: a table bounds them with their lengths
)

// At is a place: Name in the folder that FD is open on. On systems without
// calls relative to a folder FD is -1 and Dir, its path, is used; Dir also
// names the place in errors. An empty Name means the folder itself.
type At struct {
	FD   int
	Dir  string
	Name string
}

// Path returns the place as a path.
func (a At) Path() string {
	switch {
	case a.Name == "":
		return a.Dir
	case a.Dir == "/":
		return "/" + a.Name
	}
	return a.Dir + "/" + a.Name
}

// Xattr is one extended attribute. POSIX ACLs are the attributes
// system.posix_acl_access and system.posix_acl_default, capabilities
// security.capability, all in the kernel's form.
type Xattr struct {
	Name  string
	Value []byte
}

// Time is a moment in seconds and nanoseconds since 1970-01-01 UTC.
type Time struct {
	Sec  int64
	Nsec int32
}

// TimeOf returns t as a Time.
func TimeOf(t time.Time) Time { return Time{t.Unix(), int32(t.Nanosecond())} }

// What is applied to a file; see Wanted.
type What uint8

// The parts of Wanted that Apply applies.
const (
	Owner What = 1 << iota
	Mode
	Xattrs // and ACLs
	Times
	All = Owner | Mode | Xattrs | Times
)

// Wanted is how a file shall be.
type Wanted struct {
	Type   uint32 // type bits as in st_mode; links have no mode to apply
	Mode   uint32 // permission, set-id and sticky bits: 0..07777
	UID    uint32
	GID    uint32
	Xattrs []Xattr
	MTime  Time

	// ReplaceXattrs removes those that the file has and Xattrs does not, in
	// the name spaces that Read reads.
	ReplaceXattrs bool
}

// Types of files in st_mode, the same on every system.
const (
	typeMask = 0o170000
	typeLink = 0o120000
)

// An AttrError is the failure of one attribute of one file.
type AttrError struct {
	Verb string // "read" or "apply"
	Attr string // "owner", "mode", "times", "xattrs" or the name of an xattr
	Path string
	Err  error
}

// Error says what failed.
func (e *AttrError) Error() string {
	return fmt.Sprintf("%s %s of %s: %v", e.Verb, e.Attr, e.Path, e.Err)
}

// Unwrap returns the cause.
func (e *AttrError) Unwrap() error { return e.Err }

// Apply makes the file at a as w says, as far as what asks. All steps are
// tried; the errors are joined, each an *AttrError.
//
// The order matters, since each step may undo another: chown clears set-id
// bits and capabilities, so the owner comes first; chmod of a file with an
// ACL changes its mask, so ACLs that are not wanted go before the mode is
// set, and those that are come after it; user.* attributes need write
// permission, so they precede the mode; everything may change the times, so
// they come last.
func Apply(a At, w *Wanted, what What) error {
	s := applier{at: a, want: w, what: what}
	if what&Owner != 0 {
		s.note("owner", setOwner(a, w.UID, w.GID))
	}
	if what&Xattrs != 0 {
		s.removeXattrs()
		s.setXattrs(false)
	}
	if what&Mode != 0 && w.Type&typeMask != typeLink {
		s.note("mode", setMode(a, w.Mode&0o7777))
	}
	if what&Xattrs != 0 {
		s.setXattrs(true)
	}
	if what&Times != 0 {
		s.note("times", setTimes(a, w.MTime))
	}
	return errors.Join(s.errs...)
}

// applier is one call of Apply.
type applier struct {
	at   At
	want *Wanted
	what What
	errs []error
}

func (s *applier) note(attr string, err error) {
	if err != nil {
		s.errs = append(s.errs, &AttrError{Verb: "apply", Attr: attr, Path: s.at.Path(), Err: err})
	}
}

// removeXattrs removes the attributes that are not wanted, of the kinds that
// are ours to remove: a file may have got an ACL from its folder.
func (s *applier) removeXattrs() {
	if !s.want.ReplaceXattrs {
		return
	}
	names, err := listXattrs(s.at, make([]byte, maxXattrNames))
	if err != nil {
		if !isUnsupported(err) {
			s.note("xattrs", err)
		}
		return
	}
	for name := range strings.SplitSeq(string(names), "\x00") {
		wanted := slices.ContainsFunc(s.want.Xattrs, func(x Xattr) bool { return x.Name == name })
		if name != "" && !wanted && removable(name) {
			s.note(name, removeXattr(s.at, name))
		}
	}
}

func removable(name string) bool {
	return isACL(name) || name == "security.capability" ||
		strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted.")
}

// setXattrs sets the ACLs, or all other attributes.
func (s *applier) setXattrs(acls bool) {
	for _, x := range s.want.Xattrs {
		if isACL(x.Name) != acls {
			continue
		}
		err := setXattr(s.at, x.Name, x.Value)
		if errors.Is(err, iofs.ErrPermission) && !acls && s.what&Mode != 0 && s.want.Type&typeMask != typeLink {
			// The owner may lack write permission; the mode is set next.
			if setMode(s.at, s.want.Mode&0o777|0o200) == nil {
				err = setXattr(s.at, x.Name, x.Value)
			}
		}
		s.note(x.Name, err)
	}
}

func isACL(name string) bool {
	return name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

// tooLarge is the failure of attributes beyond the bounds.
func tooLarge(size, limit int) error {
	return fmt.Errorf("%d bytes, more than %d: %w", size, limit, fault.TooLarge)
}

// Time returns t in the standard library's form.
func (t Time) Time() time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }
