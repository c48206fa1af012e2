package repo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// LedgerOptions say how the ledger is opened.
type LedgerOptions struct {
	// Accept goes on with a vault that lacks what this machine remembers, and
	// forgets that.
	Accept bool
}

// OpenLedger reads the repository's ledger. From then on Points goes by it,
// and Commit writes receipts into it. A vault that went back in time is
// fault.Rollback, and the error names what is missing; a damaged ledger is
// fault.Corrupt: the points can be read all the same.
func (r *Repository) OpenLedger(ctx context.Context, l Local, o LedgerOptions) error {
	memory := ""
	if l.Dir != "" {
		memory = l.Memory()
	}
	b, err := retain.Open(ctx, r.store, retain.Options{Repository: r.ID, Memory: memory, Accept: o.Accept})
	if r.asksReplicas(ctx, err) && !r.present(ctx) {
		// An empty folder is no ledger that went back in time.
		return fmt.Errorf("read the ledger: the repository is away: %w", fault.Unavailable)
	}
	if err != nil {
		return err
	}
	if b.Ledger().Accepted() {
		// The copies of the last tables are those of points that are no more:
		// package backup reads everything once more without them.
		if err := os.RemoveAll(filepath.Join(l.Dir, "copies")); err != nil {
			return fmt.Errorf("forget what the vault lacks: %w", err)
		}
	}
	r.book, r.accept = b, o.Accept
	if l.Dir != "" {
		r.cache = pointCache{path: l.Points()}
	}
	return nil
}

// Book returns the ledger that OpenLedger read; nil before.
func (r *Repository) Book() *retain.Book { return r.book }

// Remembers fails with fault.Rollback if a point that this machine knows to be
// written is not there and nothing says why. It is asked about the last one,
// which has no receipt if the run that wrote it was cut short.
func (r *Repository) Remembers(ctx context.Context, sequence uint64, id point.ID) error {
	if r.book == nil || r.accept {
		return nil
	}
	known, same := false, false
	r.book.View(func(s *retain.State) {
		if p := s.Point(sequence); p != nil {
			known, same = true, p.ID == id
		} else if p, ok := s.Gone(sequence); ok {
			known, same = true, p.ID == id
		}
	})
	if !known {
		h, _, err := r.readOwnPoint(ctx, sequence, point.MaxObject)
		if err != nil && !errors.Is(err, fault.NotExist) {
			return nil // a damaged point is for check
		}
		same = err == nil && h.ID == id
	}
	if !same {
		return fmt.Errorf("point %s (number %d), which this machine wrote, is not there any more: %w", id.Short(), sequence, fault.Rollback)
	}
	return nil
}

// listed returns the points' objects, ascending by number.
func (r *Repository) listed(ctx context.Context) ([]store.Object, error) {
	var out []store.Object
	for object, err := range r.store.List(ctx, point.Prefix) {
		if err != nil {
			return nil, fmt.Errorf("list points: %w", err)
		}
		if _, err := point.ParseName(object.Name); err == nil {
			out = append(out, object)
		}
	}
	return out, nil
}

// standing is what listing and ledger say of the points together.
type standing struct {
	shown, deleted []uint64 // ascending
	named          map[uint64]point.ID
	missing        []*retain.Point // that the ledger has and the listing has not
}

// stand lists the points, and leaves out those that the ledger says are
// removed.
func (r *Repository) stand(ctx context.Context) (*standing, error) {
	sequences, err := r.sequences(ctx)
	if err != nil {
		return nil, err
	}
	s := &standing{named: map[uint64]point.ID{}}
	if r.book == nil {
		s.shown = sequences
		return s, nil
	}
	r.book.View(func(state *retain.State) {
		for _, n := range sequences {
			p := state.Point(n)
			switch _, gone := state.Gone(n); {
			case gone:
				continue
			case p != nil && p.Deleted != nil:
				s.deleted = append(s.deleted, n)
			default:
				s.shown = append(s.shown, n)
			}
			if p != nil {
				s.named[n] = p.ID
			}
		}
		if r.mender.away.Load() {
			return // a replica has what it has
		}
		for _, p := range state.Kept() {
			if _, there := slices.BinarySearch(sequences, p.Sequence); !there {
				q := *p
				s.missing = append(s.missing, &q)
			}
		}
	})
	return s, nil
}

// current brings ledger and listing together. What the ledger keeps is missing
// in the listing for a moment, too, while somebody removes it: the record
// comes first.
func (r *Repository) current(ctx context.Context) (s *standing, bad, err error) {
	for range 2 {
		if r.book != nil {
			bad = r.book.Refresh(ctx)
			switch {
			case errors.Is(bad, fault.Rollback) && (len(r.replicas) == 0 || r.present(ctx)):
				return nil, nil, bad
			case r.asksReplicas(ctx, bad): // the listing tells whether the place is away
				bad = nil
			case bad != nil && !damaged(bad):
				return nil, nil, bad
			}
		}
		if s, err = r.stand(ctx); err != nil || len(s.missing) == 0 {
			return s, bad, err
		}
	}
	// A replica may have them.
	for _, p := range s.missing {
		list := &s.shown
		if p.Deleted != nil {
			list = &s.deleted
		}
		i, _ := slices.BinarySearch(*list, p.Sequence)
		*list = slices.Insert(*list, i, p.Sequence)
		s.named[p.Sequence] = p.ID
	}
	return s, bad, nil
}

// lacks returns the point of that number if it is missing in the listing.
func (s *standing) lacks(n uint64) *retain.Point {
	for _, p := range s.missing {
		if p.Sequence == n {
			return p
		}
	}
	return nil
}

func missingPoint(p *retain.Point) error {
	return fmt.Errorf("point %s of %s is in the ledger, and its object %s is missing: %w",
		p.ID.Short(), time.Unix(p.Arrival, 0).UTC().Format("2006-01-02 15:04 UTC"), point.Name(p.Sequence), fault.Corrupt)
}

// Receipt returns what the ledger says of the point that Commit wrote, or why
// it has no receipt yet: the next run writes it then.
func (w *Writer) Receipt() (ledger.Receipt, error) { return w.receipt, w.unreceipted }

// admit gives the point its receipt, and those that have none theirs. Only a
// point that can have none fails the run: any other waits for the next.
func (w *Writer) admit(ctx context.Context, p *Point, listed []store.Object, machine time.Time) error {
	w.receipt, w.unreceipted = w.giveReceipt(ctx, p, listed, machine)
	if errors.Is(w.unreceipted, fault.Exist) {
		// While this run slept for weeks, a point of that number came and went.
		return fmt.Errorf("commit: %w; back up again", w.unreceipted)
	}
	return nil
}

func (w *Writer) giveReceipt(ctx context.Context, p *Point, listed []store.Object, machine time.Time) (receipt ledger.Receipt, err error) {
	b := w.r.book
	if b == nil {
		return receipt, fmt.Errorf("the ledger cannot be read: %w", fault.Corrupt)
	}
	reading, err := b.Read(ctx, machine)
	if err != nil {
		return receipt, err
	}
	// Those that cannot be read now are adopted later.
	arrivals, _ := b.Strangers(ctx, listed, w.r.checkMember)
	mine := retain.Arrival{Sequence: p.Sequence, ID: p.ID, Live: p.Live}
	if !w.until.IsZero() {
		mine.Until = w.until.Unix()
	}
	arrivals = append(arrivals, mine)
	if _, err := b.Admit(ctx, w.device.Key, reading, arrivals); err != nil {
		return receipt, err
	}
	// It may be another run's entry: that one lists points, too.
	found := fmt.Errorf("the ledger holds no receipt of point %s: %w", p.ID.Short(), fault.Internal)
	b.View(func(s *retain.State) {
		if at := s.Point(p.Sequence); at != nil && at.ID == p.ID {
			receipt = ledger.Receipt{Sequence: p.Sequence, Point: p.ID, Live: p.Live, Arrival: at.Arrival, Tags: slices.Clone(at.Tags)}
			found = nil
		}
	})
	return receipt, found
}

// checkMember says whether somebody with the repository's keys wrote a point.
func (r *Repository) checkMember(h *point.Header) error {
	mac := seal.MAC(r.keys.PointMAC, h.MACInput())
	if !seal.Equal(mac[:], h.MAC[:]) {
		return fmt.Errorf("wrong MAC, so nobody with this repository's keys wrote it: %w", fault.Corrupt)
	}
	return nil
}

// Adopt gives receipts to the points that have none, and returns how many.
func (r *Repository) Adopt(ctx context.Context, d *Device, machine time.Time) (int, error) {
	listed, err := r.listed(ctx)
	if err != nil {
		return 0, err
	}
	check := r.checkMember
	if r.keys == nil {
		check = nil
	}
	strangers, err := r.book.Strangers(ctx, listed, check)
	if err != nil || len(strangers) == 0 {
		return 0, err
	}
	reading, err := r.book.Read(ctx, machine)
	if err != nil {
		return 0, err
	}
	if _, err := r.book.Admit(ctx, d.Key, reading, strangers); err != nil {
		return 0, err
	}
	return len(strangers), nil
}
