// Package store says what a place that keeps a repository must do: four verbs
// on named, immutable objects.
//
// Nouns:
//
//   - A Store is one repository's place: a folder, a bucket, a part of a vault
//     server.
//   - An object is a name and bytes. It is whole or it is not there; its bytes
//     never change. It can only be deleted.
//   - A name is a path of lower-case segments, see ValidName.
//
// A Store knows nothing of packs, points or keys, and never looks into an
// object. It refuses to overwrite: whoever wants other bytes takes another
// name. Everything that repositories promise about crashes and races rests on
// two of its properties: Put is create-if-absent, atomic and durable when it
// returns, and List shows only whole objects, and all whose Put returned
// before List was called.
//
// The contract stands in the comments below. Package storetest runs it as a
// suite, and every implementation passes that suite. Retry, rate limit and
// cache are Stores around a Store: implementations report a failure once and
// do not try again by themselves.
package store

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Store keeps one repository's objects. All methods may be called at the same
// time, and refuse a name that ValidName refuses with fault.Invalid. When ctx
// is done a method returns early with an error that wraps ctx.Err(); a Put cut
// short so has stored the whole object or nothing.
//
// Every error wraps a kind of package fault and names the object and the
// place. fault.Unavailable is the kind that is worth another try.
type Store interface {
	// Put stores data under name and returns once it is durable: a power cut
	// right after takes nothing back. It is atomic, and creates only:
	//
	//   - The same bytes are there already: nil, once they are durable. So a
	//     Put whose reply was lost can simply be repeated.
	//   - Other bytes are there: fault.Exist, and nothing is changed. Of many
	//     Puts of one name at the same time, exactly one decides the bytes.
	//
	// A failed Put may have stored the object all the same (the lost reply),
	// but never a part of it. The store does not keep data after it returns
	// and does not change it. A full place is fault.NoSpace, one that takes no
	// writes fault.ReadOnly.
	//
	// No name is a folder of another: where packs/a is an object, packs/a/b
	// must not be put. Stores may refuse it with fault.Invalid, or not notice.
	Put(ctx context.Context, name string, data []byte) error

	// Get reads len(dst) bytes from offset into dst and returns how many it
	// read. Fewer than len(dst), with a nil error, means that the object ends
	// there; from its end on that is 0. An absent object is fault.NotExist,
	// for an empty dst too, and a negative offset fault.Invalid. After an
	// error the content of dst is undefined.
	Get(ctx context.Context, name string, offset int64, dst []byte) (n int, err error)

	// List yields the objects whose names begin with prefix (any beginning,
	// not only a whole folder; "" is all), sorted by name, byte by byte. Every
	// object whose Put returned before the call is among them unless it was
	// deleted since; what is put or deleted meanwhile may or may not be.
	// Unfinished objects and foreign files never are. After an error, yielded
	// with a zero Object, nothing follows.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]

	// Delete removes the object for good; nil when it is absent. Once it has
	// returned, Get and List of this Store no longer find the object. A
	// deletion may be undone by a power cut: nothing relies on it.
	Delete(ctx context.Context, name string) error
}

// Object is what a listing tells of one object.
type Object struct {
	Name string
	Size int64 // bytes

	// Modified is when the object was stored, by the clock of the place. It
	// is for people and for keeping what is fresh: promises never rest on it.
	Modified time.Time
}

// Clock is a Store that knows what time it is at its place.
type Clock interface {
	// Now asks for the time by the clock that Object.Modified is of.
	Now(ctx context.Context) (time.Time, error)
}

// Pacer is a Store that sends an object in parts, and can wait between them. A
// Store that cannot leaves the method out; then a bound of the rate holds over
// several objects only.
type Pacer interface {
	// PutPaced is Put, but calls pace with the number of bytes of each part
	// before it goes. What pace fails with ends the Put, which then has stored
	// nothing. Parts have PaceStep bytes at most.
	PutPaced(ctx context.Context, name string, data []byte, pace func(context.Context, int) error) error
}

// PaceStep is the most bytes that a Pacer sends at a time.
const PaceStep = 256 << 10

// Spacer is a Store that knows how full its place is.
type Spacer interface {
	// Space asks for the room of the place that holds the store.
	Space(ctx context.Context) (Space, error)
}

// Space is the room of a place, in bytes.
type Space struct {
	Total int64 // of the whole file system or quota
	Free  int64 // left for this user
}

// Replacer is a Store that can put an object in the place of a damaged one in
// one step. Bytes never change, save by damage: the only caller is the one who
// puts back those that were once Put (package scrub), and who checked that they
// are. A Store that cannot do it leaves the method out; healing then takes more
// steps.
type Replacer interface {
	// Replace stores data under name, whatever is there or is not, and returns
	// once that is durable. At any moment, and after a crash or a failure, the
	// object is what it was or data.
	Replace(ctx context.Context, name string, data []byte) error
}

// firstRead is what ReadAll asks for first: most objects read whole (slots,
// headers, pages of live sets) fit, so that they cost one round trip.
const firstRead = 64 << 10

// firsts are buffers of ReadAll: what is read is mostly some hundred bytes, and
// its reader may keep it for long.
var firsts = sync.Pool{New: func() any { return new([firstRead]byte) }}

// ReadAll returns the whole object. One larger than limit bytes is
// fault.TooLarge, found out before more than limit+1 bytes of memory are
// taken.
func ReadAll(ctx context.Context, s Store, name string, limit int64) ([]byte, error) {
	if limit < 0 {
		return nil, fmt.Errorf("read %s whole: limit %d: %w", name, limit, fault.Invalid)
	}
	// One byte more than is allowed tells an object of limit bytes from a
	// larger one without another round trip.
	first := firsts.Get().(*[firstRead]byte)
	buf, have := first[:min(limit+1, firstRead)], 0
	for {
		n, err := s.Get(ctx, name, int64(have), buf[have:])
		if err != nil { // and whoever was given buf may still write to it
			return nil, err
		}
		have += n
		if int64(have) > limit {
			return nil, fmt.Errorf("read %s whole: more than %d bytes: %w", name, limit, fault.TooLarge)
		}
		if have < len(buf) && first != nil {
			all := append(make([]byte, 0, have), buf[:have]...)
			firsts.Put(first)
			return all, nil
		}
		if have < len(buf) {
			return buf[:have:have], nil
		}
		grown := make([]byte, min(limit+1, 4*int64(len(buf))))
		copy(grown, buf)
		buf, first = grown, nil
	}
}
