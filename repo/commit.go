package repo

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// ErrCondemned says that a collector has condemned something that the run
// relied on while it ran. The run's pass over the files must be repeated; what
// it stored stays.
var ErrCondemned = errors.New("a collector condemned frames that this run needs")

// Use adds raw bytes of a pack to the point's live set. It returns false, and
// adds nothing, if they cannot be relied on: the pack is not in the store, or
// a collector has condemned a frame of it.
func (w *Writer) Use(id pack.ID, offset, length uint32) bool {
	p, ok := w.used[id]
	if !ok {
		known, ok := w.packOf(id)
		if !ok {
			return false
		}
		p = newUsed(known.Geometry)
		w.used[id] = p
	}
	if w.lacks(id, p.Geometry, offset, length) || w.live.Add(id, p.Geometry, offset, length) != nil {
		return false
	}
	p.count(offset, length)
	return true
}

// UseStored adds what Store returned. Packs that are still open have no
// geometry yet, so what lies in them is added later.
func (w *Writer) UseStored(a table.Address) {
	if w.Use(a.Pack, a.Offset, a.Length) {
		return
	}
	if n := len(w.later); n > 0 {
		if l := &w.later[n-1]; l.Pack == a.Pack && l.Offset+l.Length == a.Offset {
			l.Length += a.Length
			return
		}
	}
	w.later = append(w.later, a)
}

// useLater adds what lies in packs that are durable by now.
func (w *Writer) useLater() {
	w.later = slices.DeleteFunc(w.later, func(a table.Address) bool { return w.Use(a.Pack, a.Offset, a.Length) })
}

// Commit makes the run a recovery point: everything stored is made durable,
// then the live set is put and claimed, then the point. The live set is what
// Use was told, so that must be all of the table's pages and content.
// ErrCondemned: see there.
func (w *Writer) Commit(ctx context.Context, root *table.Root, d Details) (*Point, error) {
	if err := w.Flush(); err != nil {
		return nil, err
	}
	if w.useLater(); len(w.later) > 0 {
		return nil, fmt.Errorf("commit: pack %s is not in the index: %w", w.later[0].Pack, fault.Internal)
	}
	known, err := w.pagesThere(ctx)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	written, err := live.Write(ctx, w.r.store, w.live, live.WriteOptions{Absent: w.absent.Page, Salt: w.absent.Salt(), Known: known})
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	w.pagesPut = make(map[live.Hash]bool)
	for _, h := range written.Pages {
		w.pagesPut[h] = true
	}
	intent, err := w.claim(ctx, written.Root)
	if err != nil {
		return nil, err
	}
	absent, err := keep.ReadRounds(ctx, w.r.store, w.r.ID)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	if absent.Hits(w.live, written.Pages) || absent.New(w.absent) || w.absent.Outdated(absent) {
		// The pass that follows finds what was stored: where it takes over the
		// claims, they go when it has its point, else nothing needs them.
		if w.claims.record == "" {
			w.unclaim(ctx)
		}
		return nil, ErrCondemned
	}
	p, err := w.putPoint(ctx, intent, root, d)
	if err != nil {
		return nil, err
	}
	return p, w.release(ctx, intent, written.Pages, p)
}

// fewPages of a live set are put faster than looked for.
const fewPages = 4

// pagesThere tells which pages of the live set need not be put, as the job's
// last run put them and they are still there. A round that names one of them is
// read later than this, and counts.
func (w *Writer) pagesThere(ctx context.Context) (func(live.Hash) bool, error) {
	if len(w.pagesBefore) < fewPages {
		return nil, nil
	}
	there := make(map[live.Hash]bool)
	for object, err := range w.r.store.List(ctx, live.Prefix) {
		if err != nil {
			return nil, fmt.Errorf("list live pages: %w", err)
		}
		if h, err := live.ParseName(object.Name); err == nil && w.pagesBefore[h] {
			there[h] = true
		}
	}
	return func(h live.Hash) bool { return there[h] }, nil
}

// putPoint puts the point after the newest one. Of two runs that end at once
// the loser chains itself to the winner's point and tries again. A claim that
// has fallen is nothing to put a point on.
func (w *Writer) putPoint(ctx context.Context, intent *keep.Intent, root *table.Root, d Details) (*Point, error) {
	for range 100 {
		listed, err := w.r.listed(ctx) // a replica's would be no answer to what number is free
		if err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
		previous, sequence, err := w.r.newest(ctx, listed)
		if err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
		b := &body{Details: d, entries: root.Count, level: root.Level, root: root.Page}
		object, h, err := w.sealPoint(b, intent.Live, previous, sequence+1)
		if err != nil {
			return nil, err
		}
		if gone, err := keep.Gone(ctx, w.r.store, intent); err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		} else if gone {
			return nil, ErrCondemned
		}
		err = w.r.store.Put(ctx, point.Name(h.Sequence), object)
		if errors.Is(err, fault.Exist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
		w.stored.Add(int64(len(object)))
		p := &Point{ID: h.ID, Sequence: h.Sequence, Flags: h.Flags, Server: h.Server, Previous: h.Previous, Live: h.Live, Entries: root.Count, Details: d}
		return p, w.admit(ctx, p, listed, d.Finished)
	}
	return nil, fmt.Errorf("commit: a hundred other points were written in between: %w", fault.Unavailable)
}

// newest returns the newest point's ID, zeros if there is none, and the number
// that the next one follows: numbers of points that are gone are not used again.
func (r *Repository) newest(ctx context.Context, listed []store.Object) (point.ID, uint64, error) {
	var highest uint64
	if r.book != nil {
		r.book.View(func(s *retain.State) { highest = s.Highest() })
	}
	var last uint64
	if len(listed) > 0 {
		last, _ = point.ParseName(listed[len(listed)-1].Name) // listed has asked
	}
	if n := max(last, highest); n == point.MaxSequence {
		return point.ID{}, 0, fmt.Errorf("%s: no number can follow, somebody forged it: %w", point.Name(n), fault.Corrupt)
	}
	if last == 0 {
		return point.ID{}, highest, nil
	}
	h, _, err := r.readOwnPoint(ctx, last, point.MaxObject)
	if damaged(err) { // or read badly: what the chain says stays for ever
		h, _, err = r.readOwnPoint(ctx, last, point.MaxObject)
	}
	if damaged(err) {
		// A damaged point must not stop backups: `check` reports it, and the
		// chain shows the gap.
		return point.ID{}, max(last, highest), nil
	}
	if err != nil {
		return point.ID{}, 0, err
	}
	return h.ID, max(last, highest), nil
}

func (w *Writer) sealPoint(b *body, set live.Hash, previous point.ID, sequence uint64) ([]byte, *point.Header, error) {
	raw := b.marshal()
	if len(raw) > point.MaxBody {
		return nil, nil, fmt.Errorf("commit: the point's body has %d bytes: %w", len(raw), fault.TooLarge)
	}
	h := &point.Header{
		Repository: w.r.ID, Sequence: sequence, Server: w.device.Server, Previous: previous, Live: set, Epoch: w.r.epoch.Number,
		BodyID: pack.NewID(w.run), BodyRaw: uint32(len(raw)), Device: w.device.Key.Public().(ed25519.PublicKey), Session: w.sealed,
	}
	if b.Statistics.Warnings > 0 {
		h.Flags |= point.Warnings
	}
	box, commitment := w.r.keys.Pack(w.session, h.BodyID)
	h.Commitment = commitment
	encoder := w.encoder()
	plain := encoder.Encode(nil, raw, seal.Careful, 0)
	w.encoders <- encoder
	sealed := box.Sealer().Seal(nil, plain, seal.AD{Pack: h.BodyID, Kind: seal.Body, Raw: h.BodyRaw})
	h.BodySize, h.BodySum = uint32(len(sealed)), sha256.Sum256(sealed)
	head := h.Sign(seal.MAC(w.r.keys.PointMAC, h.MACInput()), w.device.Key)
	return append(head, sealed...), h, nil
}

// release looks once more whether the claim held, and gives it up. A machine
// that slept for a month between claim and point may have lost it.
func (w *Writer) release(ctx context.Context, i *keep.Intent, pages []live.Hash, p *Point) error {
	gone, err := keep.Gone(ctx, w.r.store, i)
	if err != nil {
		return fmt.Errorf("commit: point %s is written, but whether it is whole could not be seen; run check: %w", p.ID.Short(), err)
	}
	if gone {
		absent, err := keep.ReadRounds(ctx, w.r.store, w.r.ID)
		if err != nil {
			return fmt.Errorf("commit: point %s is written, but whether it is whole could not be seen; run check: %w", p.ID.Short(), err)
		}
		if absent.Hits(w.live, pages) || absent.New(w.absent) || w.absent.Outdated(absent) {
			return fmt.Errorf("commit: point %s is not whole: a collector removed frames of it while this machine was held up; back up again: %w", p.ID.Short(), fault.Corrupt)
		}
	}
	if err := w.stillTrusted(ctx, p); err != nil {
		return err
	}
	w.unclaim(ctx)
	return nil
}
