package agent

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/mountpoint"
)

// Show is a mount or a share of the configuration, which the agent keeps alive:
// a process of its own shows the points, and is started again when it dies.
type Show struct {
	Mount *config.Mount // one of the two
	Share *config.Share
}

// Name returns its name.
func (s *Show) Name() string {
	if s.Mount != nil {
		return s.Mount.Name
	}
	return s.Share.Name
}

// Repository returns the address of the repository whose points it shows.
func (s *Show) Repository() string {
	if s.Mount != nil {
		return s.Mount.Repository
	}
	return s.Share.Repository
}

func (s *Show) kind() string {
	if s.Mount != nil {
		return "mount"
	}
	return "share"
}

// Kept is a process that shows points.
type Kept struct {
	Where string // folder or URL
	PID   int
	Done  <-chan error // what it ended with
	Stop  func()       // asks it to end; Done tells when it has
}

// Keep starts the process for a show and returns once it answers, or why it does
// not. The passphrase is nil where none is known.
type Keep func(ctx context.Context, s *Show, passphrase []byte) (*Kept, error)

// ShowState is how a show stands.
type ShowState string

// The states of a show.
const (
	ShowUp       ShowState = "up"
	ShowStarting ShowState = "starting"
	ShowDown     ShowState = "down"   // it is tried again
	ShowLocked   ShowState = "locked" // somebody must tell the passphrase
)

// ShowStatus is a show, and how it stands.
type ShowStatus struct {
	Name       string    `json:"name"`
	Kind       string    `json:"kind"` // mount or share
	Repository string    `json:"repository"`
	State      ShowState `json:"state"`
	Since      time.Time `json:"since"`
	Where      string    `json:"where,omitempty"`
	PID        int       `json:"pid,omitempty"`
	Starts     int       `json:"starts"`          // of its process, so far
	Error      string    `json:"error,omitempty"` // why it is not up
}

const (
	showFirstWait = time.Second // before a process that died is started again; doubled each time
	showLastWait  = 5 * time.Minute
	showPatience  = 2 * time.Minute // a show that is down so long is an alert
	showSteady    = time.Minute     // one that was up so long begins to wait anew
)

// shows are all that the agent keeps.
type shows struct {
	agent *Agent
	done  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	list   []*kept
}

// kept is one of them.
type kept struct {
	Show
	stop   context.CancelFunc
	over   chan struct{} // closed when nothing of it goes on
	again  chan struct{} // somebody has told a passphrase
	fresh  chan struct{} // it is to be started anew
	status ShowStatus    // guarded by shows.mu
}

// load keeps what a configuration says, and ends what it does not say any more.
func (s *shows) load(conf *config.Config) {
	if s.agent.o.Keep == nil {
		return
	}
	var want []Show
	for i := range conf.Mounts {
		want = append(want, Show{Mount: &conf.Mounts[i]})
	}
	for i := range conf.Shares {
		want = append(want, Show{Share: &conf.Shares[i]})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	var list []*kept
	for _, w := range want {
		var before chan struct{} // the same place, otherwise shown
		i := slices.IndexFunc(s.list, func(k *kept) bool { return k.Name() == w.Name() })
		if i >= 0 {
			k := s.list[i]
			s.list = slices.Delete(s.list, i, i+1)
			if reflect.DeepEqual(k.Show, w) {
				list = append(list, k)
				continue
			}
			k.stop()
			before = k.over
		}
		list = append(list, s.start(w, before))
	}
	for _, k := range s.list {
		k.stop()
		s.resolve(k, "it is gone from the configuration")
	}
	s.list = list
}

// start begins to keep a show, once what was there before has ended.
func (s *shows) start(w Show, before chan struct{}) *kept {
	ctx, stop := context.WithCancel(context.Background())
	k := &kept{Show: w, stop: stop, over: make(chan struct{}), again: make(chan struct{}, 1), fresh: make(chan struct{}, 1)}
	k.status = ShowStatus{Name: w.Name(), Kind: w.kind(), Repository: w.Repository(), State: ShowStarting, Since: s.agent.o.Now()}
	s.done.Go(func() {
		defer close(k.over)
		if before != nil {
			<-before
		}
		s.keep(ctx, k)
		if w.Mount == nil {
			return
		}
		// While it is kept, programs had better see an error than an empty folder.
		if _, err := mountpoint.ClearDead(context.Background(), w.Mount.Dir); err != nil {
			s.agent.o.Log.Warn("a dead mount is left", "dir", w.Mount.Dir, "error", err)
		}
	})
	return k
}

// keep keeps a show until ctx is done.
func (s *shows) keep(ctx context.Context, k *kept) {
	down, wait := s.agent.o.Now(), showFirstWait
	for ctx.Err() == nil {
		began := s.agent.o.Now()
		err := s.once(ctx, k)
		if ctx.Err() != nil {
			return
		}
		now := s.agent.o.Now()
		if k.status.State == ShowUp { // it was; only this goroutine writes it
			down = now
			if now.Sub(began) >= showSteady {
				wait = showFirstWait
			}
		}
		state := ShowDown
		if fault.KindOf(err) == fault.Locked {
			state = ShowLocked
		}
		s.set(k, func(st *ShowStatus) { st.State, st.Error, st.Where, st.PID = state, err.Error(), "", 0 })
		s.agent.o.Log.Warn("what shows points is down", "name", k.Name(), "again in", wait, "error", err)
		if now.Sub(down) >= showPatience {
			s.raise(k, err)
		}
		if !s.pause(ctx, k, wait) {
			wait = min(2*wait, showLastWait)
		} else {
			wait = showFirstWait
		}
	}
}

// pause waits; true: somebody wants it at once.
func (s *shows) pause(ctx context.Context, k *kept, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-k.fresh:
		return true
	case <-k.again:
		return true
	}
	return false
}

var errShowEnded = fmt.Errorf("its process ended: %w", fault.Unavailable)

// once starts the process and waits until it has ended. It returns why.
func (s *shows) once(ctx context.Context, k *kept) error {
	s.set(k, func(st *ShowStatus) { st.State = ShowStarting; st.Starts++ })
	select { // what was told before now is seen below
	case <-k.again:
	default:
	}
	p, err := s.agent.o.Keep(ctx, &k.Show, s.agent.o.Unlocked.Get(k.Repository()))
	if err != nil {
		return err
	}
	s.set(k, func(st *ShowStatus) { st.State, st.Where, st.PID, st.Error = ShowUp, p.Where, p.PID, "" })
	s.agent.o.Log.Info("points are shown", "name", k.Name(), "at", p.Where, "process", p.PID)
	s.resolve(k, "it is up again")
	select {
	case err = <-p.Done:
		return errors.Join(errShowEnded, err)
	case <-ctx.Done():
	case <-k.fresh:
	}
	p.Stop()
	return errors.Join(errShowEnded, <-p.Done)
}

func (s *shows) set(k *kept, change func(*ShowStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := k.status.State
	change(&k.status)
	if k.status.State != before {
		k.status.Since = s.agent.o.Now()
	}
}

// raise tells that a show stays down.
func (s *shows) raise(k *kept, why error) {
	text := fmt.Sprintf("%s %s is down for more than %v: %v", k.kind(), k.Name(), showPatience, why)
	if fault.KindOf(why) == fault.Locked {
		text = fmt.Sprintf("%s %s is locked: `tidemark agent unlock` tells the agent the passphrase", k.kind(), k.Name())
	}
	now := s.agent.o.Now()
	err := s.agent.o.Journal.Update(func(tx *journal.Tx) error {
		if tx.IsActiveOf(journal.ShowDown, k.Name()) {
			return nil
		}
		return tx.Raise(journal.Alert{Kind: journal.ShowDown, Subject: k.Name(), Text: text}, now)
	})
	if err != nil {
		s.agent.o.Log.Error("the journal cannot be written", "error", err)
	}
}

func (s *shows) resolve(k *kept, note string) {
	err := s.agent.o.Journal.Update(func(tx *journal.Tx) error { return tx.ResolveOf(journal.ShowDown, k.Name(), note, s.agent.o.Now()) })
	if err != nil {
		s.agent.o.Log.Error("the journal cannot be written", "error", err)
	}
}

// again has those that are down tried at once.
func (s *shows) again() { s.tell(func(k *kept) chan struct{} { return k.again }) }

// restart has all started anew.
func (s *shows) restart() { s.tell(func(k *kept) chan struct{} { return k.fresh }) }

func (s *shows) tell(which func(*kept) chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.list {
		select {
		case which(k) <- struct{}{}:
		default:
		}
	}
}

// close ends all, and waits for them.
func (s *shows) close() {
	s.mu.Lock()
	s.closed = true
	for _, k := range s.list {
		k.stop()
	}
	s.mu.Unlock()
	s.done.Wait()
}

func (s *shows) statuses() []ShowStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []ShowStatus{}
	for _, k := range s.list {
		list = append(list, k.status)
	}
	return list
}
