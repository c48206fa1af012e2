package repo

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Outcome says what became of an object that could not be read.
type Outcome uint8

// The outcomes.
const (
	Served Outcome = iota // it came from a replica, and is still not right in the store: Err says why
	Healed                // it came from a replica, and was put back
	Right                 // when it was read again it was right
	Away                  // the store as a whole is away; a replica stands in for it
	Back                  // it is there again
)

// String names the outcome in one word.
func (o Outcome) String() string { return [...]string{"served", "healed", "right", "away", "back"}[o] }

// Notice tells what was read from a replica, and what became of it.
type Notice struct {
	Outcome Outcome
	Object  string // its name in the store; "" for Away and Back
	Frame   int    // the first damaged frame of a pack; -1: it is no pack, or its head is
	Frames  int    // how many of its frames were
	Replica string // its name, "" for Right and Back
	Cause   error  // what was wrong
	Err     error  // of Served: why it could not be put back; of Away: how it failed

	size int64 // of the pack's object
}

// mender puts objects back, one at a time, beside those who read.
type mender struct {
	notice func(Notice)
	turn   chan struct{} // the token of who mends
	stop   chan struct{} // closed when those that mend shall give up
	wait   sync.WaitGroup
	away   atomic.Bool

	mu     sync.Mutex
	closed bool
	busy   map[string]bool // objects that are being mended, or could not be for now
}

// mendAgain is when an object that could not be put back is tried again.
const mendAgain = 10 * time.Minute

func (m *mender) init(notice func(Notice)) {
	m.notice, m.turn, m.stop, m.busy = notice, make(chan struct{}, 1), make(chan struct{}), make(map[string]bool)
}

func (m *mender) tell(n Notice) {
	if m.notice != nil {
		m.notice(n)
	}
}

// mend puts an object back as f does, unless that is under way.
func (r *Repository) mend(ctx context.Context, name string, f func(context.Context) Notice) {
	m := &r.mender
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.busy[name] {
		return
	}
	m.busy[name] = true
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m.wait.Add(1)
	go func() {
		defer m.wait.Done()
		defer cancel()
		select {
		case m.turn <- struct{}{}:
		case <-m.stop:
			return
		}
		finished := make(chan struct{})
		go func() {
			select {
			case <-m.stop:
				cancel()
			case <-finished:
			}
		}()
		n := f(ctx)
		close(finished)
		<-m.turn
		if n.Outcome == Served {
			time.AfterFunc(mendAgain, func() { m.free(name) })
		} else {
			m.free(name)
		}
		m.tell(n)
	}()
}

func (m *mender) free(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.busy, name)
}

// Close waits until what was found damaged is put back, or ctx is done. The
// Repository can still be read, and puts nothing back any more.
func (r *Repository) Close(ctx context.Context) error {
	m := &r.mender
	m.mu.Lock()
	first := !m.closed
	m.closed = true
	m.mu.Unlock()
	done := make(chan struct{})
	go func() {
		m.wait.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		if first {
			close(m.stop)
		}
		return fmt.Errorf("wait for damaged objects to be put back: %w", ctx.Err())
	}
}

// heal puts right bytes in the place of an object. Whoever calls has proven
// them with keys; here they are once more compared with the hashes in them.
func (r *Repository) heal(ctx context.Context, name string, data []byte) error {
	if !r.present(ctx) {
		return fmt.Errorf("put %s back: the repository is not in its place: %w", name, fault.Unavailable)
	}
	return r.putBack(ctx, name, data)
}

func (r *Repository) putBack(ctx context.Context, name string, data []byte) error {
	s, err := r.place(ctx)
	if err != nil {
		return fmt.Errorf("put %s back: %w", name, err)
	}
	return scrub.Heal(ctx, s, name, data)
}

// place returns the repository's place itself: what it can do beyond the four
// verbs, its wrapping does not show.
func (r *Repository) place(ctx context.Context) (store.Store, error) {
	if w, ok := r.store.(interface {
		Place(context.Context) (store.Store, error)
	}); ok {
		return w.Place(ctx)
	}
	return r.store, nil
}

// mendObject puts back an object that comes from a replica as it is.
func (r *Repository) mendObject(ctx context.Context, name string, data []byte, p *replica, cause error) Notice {
	n := Notice{Outcome: Healed, Object: name, Frame: -1, Replica: p.Name, Cause: cause}
	if own, err := store.ReadAll(ctx, r.store, name, int64(len(data))); err == nil && bytes.Equal(own, data) {
		n.Outcome, n.Replica = Right, ""
		return n
	}
	if err := r.heal(ctx, name, data); err != nil {
		n.Outcome, n.Err = Served, err
	}
	return n
}

// healed heals a pack that a check found damaged, at once, and returns the size
// of its object. It says no if there is no replica that could help.
func (c *checker) healed(ctx context.Context, id pack.ID, cause error) (int64, bool) {
	if len(c.r.replicas) == 0 {
		return 0, false
	}
	m := &c.r.mender
	m.turn <- struct{}{}
	n := c.r.mendPack(ctx, id, cause)
	<-m.turn
	if n.Outcome == Served && n.Replica == "" {
		return 0, false // nothing came of it, and the check itself names the pack
	}
	m.tell(n)
	return n.size, n.Outcome != Served
}
