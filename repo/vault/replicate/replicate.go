// Package replicate copies recovery points to another place, with no key: a
// replica.
//
// Nouns:
//
//   - A replica is a repository of its own, with the same identity and points.
//     It has its own ledger, clock, policy and collector, and obeys no delete
//     of the place it was copied from: a point that is removed there stays here
//     until its own tags have run out. What its own rules removed is not copied
//     again.
//   - A problem is something that could not be copied because it is damaged at
//     its source. It is named, not spread, and holds up nothing else.
//
// For each point, in an order by which every listed point of the replica is
// whole at any moment, and nothing of it can be collected under way:
//
//	live pages ─► intent ─► rounds of the replica ─► packs ─► point ─► receipt ─► intent gone
//
// A Run lists what is there and copies what is not, so it may be killed
// anywhere, repeated, and run beside others and beside a collector. It is a
// writer of FORMAT.md, section 9, that cannot give its frames other names: what
// the replica's collector has condemned or dropped it stores again in a
// container with a new moved record (9.2).
package replicate

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/limit"
)

// Options say what is copied and how.
type Options struct {
	OldestFirst bool     // else the newest point comes first
	Points      []uint64 // sequences; nil: all
	Rate        int64    // bytes in a second, read and written; 0: no bound
	Workers     int      // packs that are copied at once, each in memory; 0: 4

	// Key signs the receipts in the replica's ledger.
	Key ed25519.PrivateKey
	// SourceMemory and Memory are files in which this machine remembers the
	// ledgers of the source and of the replica; "": it has none.
	SourceMemory, Memory string
	Accept               bool // go on with places that lack what the machine remembers

	Now      func() time.Time // the machine's clock
	Progress func(Progress)   // told often, if set
}

// Progress is how far a Run is.
type Progress struct {
	Points, TotalPoints int
	Bytes               int64 // read and put
}

// Report tells what a Run did.
type Report struct {
	Repository [16]byte
	Copied     []uint64 // points that the replica has now and did not have, in the order of copying
	There      int      // points that it had
	Gone       int      // points that its own rules removed
	Expired    int      // points whose life is over, and that were not worth it
	Packs      int      // packs and containers put
	Objects    int      // all objects put
	Bytes      int64    // of them
	Problems   []Problem
	Emptied    bool // the replica had no point although this machine knows that it once had some
	// Slots are key slots that the replica has and the source has no more: who
	// knew their passphrases can still open the replica.
	Slots []string
}

// Problem is something that is damaged at its source, or stands against being
// copied.
type Problem struct {
	Object string   // its name in the source
	Points []uint64 // that could not be copied for it
	Err    error
}

// run is one Run.
type run struct {
	from, to store.Store
	o        Options
	id       [16]byte
	raw      []byte // the object `repository`
	report   *Report
	source   *retain.State // what the source's ledger says; nil: nothing that can be relied on
	book     *retain.Book  // of the replica
	have     *inventory    // of the replica
	revived  revived       // nil: not asked for so far
	intent   uint64        // run number for the next intent
	total    int
	copied   *counter
	problems map[string]int // object to its place in the report
}

// Run copies the points that the replica in to lacks. Beside an error the
// report tells what was done before it. Problems are no error.
func Run(ctx context.Context, from, to store.Store, o Options) (*Report, error) {
	if o.Workers <= 0 {
		o.Workers = 4
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	rate := limit.NewRate(o.Rate, o.Now)
	r := &run{from: limit.New(from, rate), to: to, o: o, report: &Report{}, problems: map[string]int{}, copied: &counter{}}
	r.intent = uint64(o.Now().UnixMicro())
	steps := []func(context.Context) error{r.identify, r.takeStock, r.keys, r.openLedgers, r.tidy, r.copyLedger, r.points}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return r.report, fmt.Errorf("replicate: %w", err)
		}
	}
	return r.report, nil
}

// problem notes what is wrong with an object of the source, once for each, and
// which point it concerns; 0: none.
func (r *run) problem(object string, sequence uint64, err error) {
	i, known := r.problems[object]
	if !known {
		i = len(r.report.Problems)
		r.problems[object] = i
		r.report.Problems = append(r.report.Problems, Problem{Object: object, Err: err})
	}
	if sequence > 0 {
		p := &r.report.Problems[i]
		p.Points = append(p.Points, sequence)
	}
}

// damaged says whether an error is about one object of the source. Others (the
// place is away, somebody gave up) end the run.
func damaged(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	switch fault.KindOf(err) {
	case fault.Unavailable, fault.Canceled:
		return false
	}
	return true
}

// put stores an object of the replica.
func (r *run) put(ctx context.Context, name string, data []byte) error {
	if err := r.to.Put(ctx, name, data); err != nil {
		return atReplica(err)
	}
	r.copied.add(int64(len(data)))
	r.tell()
	return nil
}

// replicaError is a failure of the replica, so that it is not taken for one of
// the source.
type replicaError struct{ error }

func (e replicaError) Unwrap() error { return e.error }

func atReplica(err error) error {
	if err == nil {
		return nil
	}
	return replicaError{fmt.Errorf("the replica: %w", err)}
}

func isReplicas(err error) bool {
	_, ok := errors.AsType[replicaError](err)
	return ok
}

func (r *run) tell() {
	r.o.Progress(Progress{Points: len(r.report.Copied), TotalPoints: r.total, Bytes: r.copied.bytes.Load()})
}

const (
	nameRepository  = "repository"
	magicRepository = "tidmREP\x01"
	sizeRepository  = 86
	prefixKeys      = "keys/"
	maxKey          = 1 << 20
)

// Identify reads which repository is in a place. None is fault.NotExist.
func Identify(ctx context.Context, s store.Store) (id [16]byte, raw []byte, err error) {
	raw, err = store.ReadAll(ctx, s, nameRepository, 4096)
	if errors.Is(err, fault.NotExist) {
		return id, nil, fmt.Errorf("there is no repository in this place: %w", fault.NotExist)
	}
	if err != nil {
		return id, nil, err
	}
	if len(raw) >= 8 && string(raw[:7]) == magicRepository[:7] && raw[7] != magicRepository[7] {
		return id, nil, fmt.Errorf("repository of format version %d; this program knows version 1: %w", raw[7], fault.Unsupported)
	}
	if len(raw) != sizeRepository || string(raw[:8]) != magicRepository {
		return id, nil, fmt.Errorf("object %s is damaged: %w", nameRepository, fault.Corrupt)
	}
	return [16]byte(raw[8:24]), raw, nil
}

// identify compares the two places, and makes the replica in an empty one.
func (r *run) identify(ctx context.Context) error {
	var err error
	if r.id, r.raw, err = Identify(ctx, r.from); err != nil {
		return err
	}
	r.report.Repository = r.id
	there, raw, err := Identify(ctx, r.to)
	switch {
	case errors.Is(err, fault.NotExist):
		if err := mustBeEmpty(ctx, r.to); err != nil {
			return err
		}
		return r.put(ctx, nameRepository, r.raw)
	case err != nil:
		return atReplica(err)
	case there != r.id:
		return atReplica(fmt.Errorf("it holds another repository, %x and not %x: %w", there[:4], r.id[:4], fault.Exist))
	case !bytes.Equal(raw, r.raw):
		return fmt.Errorf("object %s has other bytes in the replica: one of the two is damaged; `tidemark check` says which: %w", nameRepository, fault.Corrupt)
	}
	return nil
}

// mustBeEmpty refuses a place in which something else lies.
func mustBeEmpty(ctx context.Context, s store.Store) error {
	for object, err := range s.List(ctx, "") {
		if err != nil {
			return atReplica(err)
		}
		return atReplica(fmt.Errorf("the place is not empty, it holds %s: %w", object.Name, fault.Exist))
	}
	return nil
}

// keys copies what the replica lacks of keys and slots.
func (r *run) keys(ctx context.Context) error {
	for object, err := range r.from.List(ctx, prefixKeys) {
		if err != nil {
			return err
		}
		b, err := store.ReadAll(ctx, r.from, object.Name, maxKey)
		if errors.Is(err, fault.NotExist) {
			continue // removed since
		}
		if err == nil && int64(len(b)) != object.Size {
			// Nothing in a key says how long it is, and what is put stays.
			err = fmt.Errorf("%d of its %d bytes were read: %w", len(b), object.Size, fault.Corrupt)
		}
		if err == nil {
			err = checkKey(r.id, object.Name, b)
		}
		if errors.Is(err, errForeign) {
			continue
		}
		if err == nil { // half a key would stay so in the replica
			err = scrub.Verify(object.Name, b)
		}
		if err == nil {
			err = r.put(ctx, object.Name, b)
			if errors.Is(err, fault.Exist) {
				err = fmt.Errorf("it has other bytes in the replica; one of the two is damaged: %w", fault.Corrupt)
			}
		}
		delete(r.have.keys, object.Name)
		switch {
		case err == nil:
		case fault.KindOf(err) == fault.Unsupported, isReplicas(err), !damaged(ctx, err):
			return err
		default:
			r.problem(object.Name, 0, err)
		}
	}
	for name := range r.have.keys {
		r.report.Slots = append(r.report.Slots, name)
	}
	return nil
}

// known are the features with which a replica can be made.
const knownFeature = "keys/feature-0001"

var errForeign = errors.New("of another repository")

// checkKey checks what can be checked of a key's object without keys.
func checkKey(id [16]byte, name string, b []byte) error {
	magics := map[string]string{"keys/epoch-": "tidmEPO\x01", "keys/slot-": "tidmSLT\x01", "keys/feature-": "tidmFEA\x01"}
	for prefix, magic := range magics {
		if len(name) < len(prefix) || name[:len(prefix)] != prefix {
			continue
		}
		if prefix == "keys/feature-" && name != knownFeature {
			return fmt.Errorf("the repository has %s, which this version of Tidemark does not know; use a newer one: %w", name, fault.Unsupported)
		}
		if len(b) < 24 || string(b[:8]) != magic {
			return fmt.Errorf("it is damaged: %w", fault.Corrupt)
		}
		if [16]byte(b[8:24]) != id {
			return errForeign // making a repository that was cut short leaves such slots
		}
	}
	return nil
}

// inventory is what the replica has, by its listing.
type inventory struct {
	packs  map[pack.ID]bool
	moved  map[pack.ID]uint32 // highest generation
	pages  map[[32]byte]bool
	points map[uint64]int64 // size of the object
	keys   map[string]bool  // slots
	done   map[[32]byte]bool
	newest uint64
}

// takeStock lists the replica.
func (r *run) takeStock(ctx context.Context) error {
	v, err := list(ctx, r.to)
	if err != nil {
		return atReplica(err)
	}
	r.have = v
	return nil
}

// sequences lists the points of a place.
func sequences(ctx context.Context, s store.Store) (map[uint64]store.Object, error) {
	all := map[uint64]store.Object{}
	for o, err := range s.List(ctx, point.Prefix) {
		if err != nil {
			return nil, err
		}
		if n, err := point.ParseName(o.Name); err == nil {
			all[n] = o
		}
	}
	return all, nil
}

func sorted(points map[uint64]store.Object) []uint64 { return slices.Sorted(maps.Keys(points)) }
