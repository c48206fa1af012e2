// Package fault lists the kinds of failure that Tidemark tells apart.
//
// A kind is an error value, as syscall.Errno is. Code that fails wraps one:
//
//	return fmt.Errorf("open pack %s: %w", id, fault.Corrupt)
//
// and code that must act on a failure asks with errors.Is or KindOf. Each
// front end (FUSE, WebDAV, the command line) has one table from kind to its
// own codes, as long as NumKinds, so that a test finds a hole.
//
// The package is a leaf: it imports nothing of Tidemark, and everything may
// import it.
package fault

import (
	"context"
	"errors"
	iofs "io/fs"
	"syscall"
)

// Kind is one kind of failure. The zero Kind is Internal: a failure that
// nobody classified.
type Kind uint8

// The kinds. Their order is not stored anywhere.
const (
	Internal    Kind = iota // not classified; a bug or an unexpected answer
	NotExist                // there is no such object, file or point
	Exist                   // the name is taken by other bytes
	Denied                  // who asks may not do this
	Locked                  // wrong passphrase, or a key that is not here
	Corrupt                 // stored bytes are damaged, truncated or forged
	Invalid                 // the caller's input is wrong
	ReadOnly                // the place accepts no writes
	NoSpace                 // the place is full
	Unavailable             // the place does not answer now; trying again may help
	Unsupported             // this host, file system or version cannot do it
	Stale                   // what was there has been removed since
	TooLarge                // a declared size is beyond the format's bounds
	NotDir                  // a folder was expected
	IsDir                   // a folder was not expected
	Changed                 // a file changed while it was read
	Rollback                // the vault went back in time
	Canceled                // somebody stopped it

	NumKinds = int(Canceled) + 1
)

var texts = [NumKinds]string{
	Internal:    "internal error",
	NotExist:    "does not exist",
	Exist:       "exists already",
	Denied:      "permission denied",
	Locked:      "locked: wrong passphrase or missing key",
	Corrupt:     "damaged data",
	Invalid:     "invalid input",
	ReadOnly:    "read-only",
	NoSpace:     "no space left",
	Unavailable: "not available at the moment",
	Unsupported: "not supported here",
	Stale:       "no longer there",
	TooLarge:    "too large",
	NotDir:      "not a folder",
	IsDir:       "is a folder",
	Changed:     "changed while it was read",
	Rollback:    "the vault went back in time",
	Canceled:    "canceled",
}

// Error returns the kind in plain words.
func (k Kind) Error() string {
	if int(k) < NumKinds {
		return texts[k]
	}
	return texts[Internal]
}

// Is makes kinds answer to the standard library's questions too, so that
// errors.Is(err, iofs.ErrNotExist) holds for a wrapped NotExist.
func (k Kind) Is(target error) bool {
	switch target {
	case iofs.ErrNotExist:
		return k == NotExist || k == Stale
	case iofs.ErrExist:
		return k == Exist
	case iofs.ErrPermission:
		return k == Denied || k == Locked
	case iofs.ErrInvalid:
		return k == Invalid
	case context.Canceled:
		return k == Canceled
	}
	return false
}

// KindOf returns the kind that err wraps. Errors of the standard library and
// of the operating system are classified by what they mean. KindOf(nil) is
// Internal: ask only about failures.
func KindOf(err error) Kind {
	if k, ok := errors.AsType[Kind](err); ok {
		return k
	}
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return NotExist
	case errors.Is(err, iofs.ErrExist):
		return Exist
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Unavailable
	}
	if k, ok := kindOfErrno(err); ok {
		return k
	}
	if errors.Is(err, iofs.ErrPermission) {
		return Denied
	}
	return Internal
}

// Reason returns why something failed in a few words for people: the operating
// system's own, if it was asked, without the operation and the name that a
// report beside it has already.
func Reason(err error) string {
	if no, ok := errors.AsType[syscall.Errno](err); ok {
		return no.Error()
	}
	return err.Error()
}
