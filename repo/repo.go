// Package repo opens, reads and writes a repository: one protected server's
// recovery points in a store, sealed.
//
// Nouns: a Repository is an open repository; what it may do depends on the
// keys it was given. With none it can say what it is. With the derived keys
// it can write (sealed use). With the private keys too it can read. A Writer
// stores chunks and pages into packs and commits a point. A Point is the
// opened form of a recovery point.
//
//	store ── repository, keys/… ──► Open ── Unlock or Grant ──► Repository
//	Repository ── Points ──► Tree ── table pages ──► ReadRaw ── frames
//	Repository ── NewWriter ──► Store (chunks), Pages (tables) ──► Commit
//
// Reading needs no index and takes no lock. The package knows nothing of the
// host's files: walking, comparing and restoring are package backup's. Every
// byte it writes is described in FORMAT.md.
package repo

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Sign is the name of an object that is there whenever the repository is.
const Sign = nameRepository

const (
	nameRepository  = "repository"
	magicRepository = "tidmREP\x01"
	sizeRepository  = 86
	prefixEpochs    = "keys/epoch-"
	prefixSlots     = "keys/slot-"
	prefixFeatures  = "keys/feature-"
)

// Identity is the content of the object `repository`.
type Identity struct {
	ID      seal.RepositoryID
	Created time.Time // by the clock of the client that made it
	Chunks  chunk.Params
	PageMin int // bytes below which no page is cut
	PageAvg int

	raw []byte // as stored, with its MAC
}

// Repository is an open repository. Its methods may be called by several
// goroutines at once.
type Repository struct {
	Identity
	store store.Store

	keys    *seal.Keys // nil: locked
	epoch   *seal.Epoch
	private []seal.Private // nil: cannot read
	pageIDs *chunk.Hashers

	reader   reader
	replicas []*replica
	mender   mender

	book   *retain.Book // nil: the ledger was not opened
	accept bool         // of a vault that went back in time

	pointsMu sync.Mutex
	points   []*Point // ascending sequence; deleted ones, too
	cache    pointCache
	recent   newestBody
}

// Options bound what a Repository keeps in memory, and say where else its data
// is.
type Options struct {
	FrameCache int // bytes of decoded frames; 0: 32 MiB
	Workers    int // frames decoded at once; 0: one per processor

	// Replicas are asked, in their order, for what the store has damaged or
	// lost, and for everything while it is away. What comes from them is served,
	// and put back into the store where that can be done. Writing never uses
	// them. A Repository with replicas must be closed.
	Replicas []Replica
	// Notice, if set, is told what was served or put back. It is called by
	// several goroutines, and must not call the Repository.
	Notice func(Notice)
}

// CreateOptions are the choices of a new repository.
type CreateOptions struct {
	Passphrase []byte
	Cost       seal.Cost // zero: the default
	Label      string    // of the first key slot
	Now        time.Time
	Options
}

// Create makes a repository in an empty store and returns it open for reading
// and writing. A store that holds one already is fault.Exist.
func Create(ctx context.Context, s store.Store, o CreateOptions) (*Repository, error) {
	if err := mustBeEmpty(ctx, s); err != nil {
		return nil, err
	}
	if o.Cost == (seal.Cost{}) {
		o.Cost = seal.DefaultCost()
	}
	id := Identity{Created: o.Now, Chunks: chunk.DefaultParams(), PageMin: 2048, PageAvg: 4096}
	_, _ = rand.Read(id.ID[:])
	secrets := &seal.Secrets{}
	_, _ = rand.Read(secrets.Root[:])
	epoch, private, err := seal.NewEpoch(id.ID, 1, o.Now.Unix())
	if err != nil {
		return nil, err
	}
	secrets.Private = []seal.Private{*private}
	slot, err := seal.NewSlot(id.ID, seal.Passphrase, o.Label, o.Now.Unix(), o.Cost, o.Passphrase, secrets)
	if err != nil {
		return nil, err
	}
	keys := seal.Derive(secrets.Root, id.ID)
	id.raw = id.marshal(keys.RepMAC)
	// A Create that was cut short leaves a slot, which no repository knows. Of
	// two at once one is told that the other was faster; its slot stays, too,
	// and is passed over, as nothing of another's may be removed here.
	if err := s.Put(ctx, prefixSlots+slot.ID.String(), slot.Marshal()); err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	if err := s.Put(ctx, nameRepository, id.raw); err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	if err := s.Put(ctx, epochName(epoch.Number), epoch.Marshal(keys.RepMAC)); err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	r := newRepository(s, id, o.Options)
	r.take(keys, epoch, secrets.Private)
	return r, nil
}

func mustBeEmpty(ctx context.Context, s store.Store) error {
	for object, err := range s.List(ctx, "") {
		if err != nil {
			return fmt.Errorf("create repository: %w", err)
		}
		if object.Name == nameRepository {
			return fmt.Errorf("create repository: there is one in this place already: %w", fault.Exist)
		}
		if !strings.HasPrefix(object.Name, prefixSlots) {
			return fmt.Errorf("create repository: the place is not empty, it holds %s: %w", object.Name, fault.Exist)
		}
	}
	return nil
}

// Open reads what the repository in a store is. It can do nothing more until
// Unlock or Grant give it keys.
func Open(ctx context.Context, s store.Store, o Options) (*Repository, error) {
	id, err := readIdentity(ctx, s)
	if err == nil && len(o.Replicas) > 0 {
		err = id.agrees(ctx, s)
	}
	if err != nil && len(o.Replicas) > 0 && fault.KindOf(err) != fault.Unsupported && ctx.Err() == nil {
		return openElsewhere(ctx, s, o, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	return newRepository(s, id, o), nil
}

// readIdentity reads what the repository in a store is, and refuses one that
// this version cannot read.
func readIdentity(ctx context.Context, s store.Store) (Identity, error) {
	raw, err := store.ReadAll(ctx, s, nameRepository, 4096)
	if errors.Is(err, fault.NotExist) {
		return Identity{}, fmt.Errorf("there is none in this place: %w", fault.NotExist)
	}
	if err != nil {
		return Identity{}, err
	}
	id, err := parseIdentity(raw)
	if err != nil {
		return Identity{}, err
	}
	for feature, err := range s.List(ctx, prefixFeatures) {
		if err != nil {
			return Identity{}, err
		}
		if feature.Name == place.Feature {
			continue
		}
		return Identity{}, fmt.Errorf("it has %s, which this version of Tidemark does not know; use a newer one: %w", feature.Name, fault.Unsupported)
	}
	return id, nil
}

func newRepository(s store.Store, id Identity, o Options) *Repository {
	r := &Repository{Identity: id, store: s}
	r.reader.init(o)
	r.mender.init(o.Notice)
	for _, replica := range o.Replicas {
		r.replicas = append(r.replicas, newReplica(replica))
	}
	return r
}

// take makes keys the repository's.
func (r *Repository) take(keys *seal.Keys, epoch *seal.Epoch, private []seal.Private) {
	r.keys, r.epoch, r.private = keys, epoch, private
	r.pageIDs = chunk.NewHashers(r.PageKey())
}

// CanRead says whether points can be opened.
func (r *Repository) CanRead() bool { return r.keys != nil && len(r.private) > 0 }

// CanWrite says whether points can be written.
func (r *Repository) CanWrite() bool { return r.keys != nil && r.epoch != nil }

// Store returns the place where the repository is.
func (r *Repository) Store() store.Store { return r.store }

// ChunkKey names chunks.
func (r *Repository) ChunkKey() chunk.Key { return chunk.Key(r.keys.ChunkID) }

// PageKey names pages.
func (r *Repository) PageKey() chunk.Key { return chunk.Key(r.keys.PageID) }

// Cutter returns what cuts content into chunks.
func (r *Repository) Cutter() *chunk.Cutter {
	key := [32]byte(r.keys.Gear)
	return chunk.NewCutter(&key, r.Chunks)
}

// PageParams say how tables are cut into pages.
func (r *Repository) PageParams() table.Params {
	return table.Params{Min: r.PageMin, Average: r.PageAvg, Table: chunk.Key(r.keys.Table), Page: chunk.Key(r.keys.PageID)}
}

func (id *Identity) marshal(mac seal.Key) []byte {
	b := append([]byte(magicRepository), id.ID[:]...)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(id.Created.Unix()))
	for _, n := range []int{id.Chunks.Min, id.Chunks.Avg, id.Chunks.Max, id.PageMin, id.PageAvg} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	sum := seal.MAC(mac, b)
	return append(b, sum[:]...)
}

func parseIdentity(b []byte) (Identity, error) {
	if len(b) >= 8 && string(b[:7]) == magicRepository[:7] && b[7] != magicRepository[7] {
		return Identity{}, fmt.Errorf("repository of format version %d; this program knows version 1: %w", b[7], fault.Unsupported)
	}
	if len(b) != sizeRepository || string(b[:8]) != magicRepository {
		return Identity{}, fmt.Errorf("object repository is not one of version 1: %w", fault.Corrupt)
	}
	if f := binary.LittleEndian.Uint16(b[24:]); f != 0 {
		return Identity{}, fmt.Errorf("repository needs features %#x that this program does not know: %w", f, fault.Unsupported)
	}
	n := func(at int) int { return int(binary.LittleEndian.Uint32(b[at:])) }
	id := Identity{
		ID: seal.RepositoryID(b[8:24]), Created: time.Unix(int64(binary.LittleEndian.Uint64(b[26:])), 0),
		Chunks:  chunk.Params{Min: n(34), Avg: n(38), Max: n(42)},
		PageMin: n(46), PageAvg: n(50), raw: b,
	}
	if err := id.Chunks.Validate(); err != nil || id.Chunks.Max > 16<<20 || id.PageMin < 64 || id.PageAvg < id.PageMin || id.PageAvg > 256<<10 {
		return Identity{}, fmt.Errorf("repository with impossible sizes of chunks or pages: %w", fault.Corrupt)
	}
	return id, nil
}

// checkMAC fails if another key, or nobody, made the object `repository`.
func (id *Identity) checkMAC(key seal.Key) error {
	mac := seal.MAC(key, id.raw[:sizeRepository-32])
	if !seal.Equal(mac[:], id.raw[sizeRepository-32:]) {
		return fmt.Errorf("object repository has a wrong MAC: damaged or forged: %w", fault.Corrupt)
	}
	return nil
}

func epochName(n uint32) string { return fmt.Sprintf("%s%08x", prefixEpochs, n) }
