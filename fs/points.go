package fs

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

// refreshAfter is the age at which the list of points is read again when
// somebody looks at it. With the second for which a front end lets the kernel
// keep the folder's attributes, a new point is seen well within 10 s. Nobody
// looking costs nothing, which matters where a listing is paid for.
const refreshAfter = 5 * time.Second

// nameFormat is how the folder of a point is named, in local time.
const nameFormat = "2006-01-02_15-04-05"

// tokenFormat is how the folder of a point is named at the root, in UTC: as the
// module shadow_copy2 of Samba asks for it when a Windows client looks at
// previous versions.
const tokenFormat = "@GMT-2006.01.02-15.04.05"

// slot is a point's place in the tree. All but gone is fixed.
type slot struct {
	number uint32
	point  *repo.Point
	name   string
	token  string // its name in tokenFormat
	server *server
	gone   atomic.Bool // the point has been removed from the repository
}

// server is a folder below servers: the points of one host name.
type server struct {
	number uint32
	name   string
	live   []*slot // as in pointList, and guarded as there
}

func (v *server) node() Node { return firstServer | Node(v.number) }

// pointList is the list of points as the tree shows it.
type pointList struct {
	reading   sync.Mutex // held while the Source is asked, so that one asks at a time
	complaint string     // about points that cannot be opened; guarded by reading

	mu      sync.RWMutex
	slots   []*slot   // slots[i] has number i+1; never shrinks
	servers []*server // servers[i] has number i+1; never shrinks
	byHost  map[string]*server
	byID    map[point.ID]*slot // gone ones, too
	byName  map[string]*slot   // by name and by token: none is the other's form
	live    []*slot            // those not gone, ascending Sequence
	checked time.Time          // when the Source was asked last
	changed time.Time          // when live became what it is
	turn    uint32             // how often it has changed
}

func (l *pointList) init() {
	l.byID = map[point.ID]*slot{}
	l.byName = map[string]*slot{}
	l.byHost = map[string]*server{}
}

func (l *pointList) slot(number uint32) *slot {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if number == 0 || int(number) > len(l.slots) {
		return nil
	}
	return l.slots[number-1]
}

// named returns the point whose folder has a name in a view.
func (l *pointList) named(view uint8, name string) *slot {
	l.mu.RLock()
	defer l.mu.RUnlock()
	s := l.byName[name]
	if s == nil || s.gone.Load() || s.nameIn(view) != name {
		return nil
	}
	return s
}

// nameIn returns the name of the point's folder in a view.
func (s *slot) nameIn(view uint8) string {
	if view == tokenView {
		return s.token
	}
	return s.name
}

// list returns the points that are there, and when that last changed. The
// slice is not changed any more.
func (l *pointList) list() ([]*slot, time.Time) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.live, l.changed
}

// server returns the server with a number, nil if there is none.
func (l *pointList) server(number uint32) *server {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if number == 0 || int(number) > len(l.servers) {
		return nil
	}
	return l.servers[number-1]
}

// serverNamed returns the server with a name, nil if none has points.
func (l *pointList) serverNamed(name string) *server {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if v := l.byHost[name]; v != nil && len(v.live) > 0 {
		return v
	}
	return nil
}

// serversThere returns the servers that have points, by number.
func (l *pointList) serversThere() []*server {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var there []*server
	for _, v := range l.servers {
		if len(v.live) > 0 {
			there = append(there, v)
		}
	}
	return there
}

// listOf returns the points of a server, as list does those of all.
func (l *pointList) listOf(v *server) []*slot {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return v.live
}

// turns returns how often the list has changed.
func (l *pointList) turns() uint32 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.turn
}

// of returns the slot of a point, nil if it is not shown.
func (l *pointList) of(id point.ID) *slot {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.byID[id]
}

func (l *pointList) age(now time.Time) time.Duration {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return now.Sub(l.checked)
}

// merge takes over what the Source says. Points that were there keep slot and
// name; names that have been used stay used, so that no path ever leads to
// another point than it did.
func (l *pointList) merge(points []*repo.Point, now time.Time, loc *time.Location) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checked = now
	live := make([]*slot, 0, len(points))
	there := make(map[point.ID]bool, len(points))
	changed := len(l.live) == 0
	for _, p := range points {
		there[p.ID] = true
		s := l.byID[p.ID]
		if s != nil && s.gone.Load() { // a replica that stood in for the store did not have it
			s.gone.Store(false)
			changed = true
		}
		if s == nil {
			if len(l.slots) >= maxSlot {
				break // a million points have come and gone: mount again
			}
			s = &slot{number: uint32(len(l.slots) + 1), point: p, name: l.freeName(p.Started.In(loc)), token: l.freeToken(p.Started), server: l.serverOf(p)}
			l.slots = append(l.slots, s)
			l.byID[p.ID] = s
			l.byName[s.name], l.byName[s.token] = s, s
			changed = true
		}
		live = append(live, s)
	}
	for _, s := range l.live {
		if !there[s.point.ID] {
			s.gone.Store(true)
			changed = true
		}
	}
	if changed {
		l.live, l.changed = live, now
		for _, v := range l.servers {
			v.live = nil
		}
		for _, s := range live {
			s.server.live = append(s.server.live, s)
		}
		l.turn++
	}
}

// serverOf returns the server of a point, and makes it if it is new.
func (l *pointList) serverOf(p *repo.Point) *server {
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == 0 {
			return '_'
		}
		return r
	}, p.Host)
	if len(name) > table.MaxName {
		name = name[:table.MaxName]
	}
	if name == "" || name == "." || name == ".." {
		name = "unknown"
	}
	v := l.byHost[name]
	if v == nil {
		v = &server{number: uint32(len(l.servers) + 1), name: name}
		l.servers = append(l.servers, v)
		l.byHost[name] = v
	}
	return v
}

func (l *pointList) freeName(at time.Time) string {
	base := at.Format(nameFormat)
	name := base
	for n := 2; l.byName[name] != nil; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	return name
}

// freeToken returns the first token not before a time: Samba takes no suffix, so
// that the second point of one second is dated to the next.
func (l *pointList) freeToken(at time.Time) string {
	at = at.UTC()
	for l.byName[at.Format(tokenFormat)] != nil {
		at = at.Add(time.Second)
	}
	return at.Format(tokenFormat)
}

// Refresh reads the list of points again. Front ends need not call it: the
// tree does when somebody looks and the list is older than a few seconds.
func (t *Tree) Refresh(ctx context.Context) error {
	t.points.reading.Lock()
	defer t.points.reading.Unlock()
	return t.refresh(ctx)
}

func (t *Tree) refresh(ctx context.Context) error {
	if t.opt.Point != nil {
		return nil
	}
	points, err := t.src.Points(ctx)
	if err != nil && len(points) == 0 {
		return fmt.Errorf("list points: %w", err)
	}
	if err != nil {
		t.points.complain(t.opt.Log, err)
	}
	t.points.merge(points, t.opt.Now(), t.opt.Location)
	return nil
}

// current makes sure that the list of points is not older than it may be. If
// the vault does not answer, an older list is better than none.
func (t *Tree) current(ctx context.Context) error {
	if t.opt.Point != nil || t.points.age(t.opt.Now()) < refreshAfter {
		return nil
	}
	t.points.reading.Lock()
	defer t.points.reading.Unlock()
	if t.points.age(t.opt.Now()) < refreshAfter {
		return nil // somebody else has just done it
	}
	err := t.refresh(ctx)
	if err == nil {
		return nil
	}
	live, _ := t.points.list()
	if len(live) == 0 || fault.KindOf(err) == fault.Canceled {
		return err
	}
	t.opt.Log.Warn("the list of points stays as it was", "error", err)
	t.points.postpone(t.opt.Now())
	return nil
}

// complain logs why points are not shown, once for each new reason.
func (l *pointList) complain(log *slog.Logger, err error) {
	if text := err.Error(); text != l.complaint {
		l.complaint = text
		log.Warn("points are left out", "error", err)
	}
}

// postpone counts a failed reading as one, so that a vault that is away is
// not asked at every look.
func (l *pointList) postpone(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checked = now
}

// Path returns where a point is below the root: "points/…", or "" if the root
// is the point itself. A point that is not shown is fault.NotExist.
func (t *Tree) Path(ctx context.Context, id point.ID) (string, error) {
	if err := t.current(ctx); err != nil {
		return "", err
	}
	t.points.mu.RLock()
	defer t.points.mu.RUnlock()
	s := t.points.byID[id]
	if s == nil || s.gone.Load() {
		return "", fmt.Errorf("find point %s: %w", id.Short(), fault.NotExist)
	}
	if t.opt.Point != nil {
		return "", nil
	}
	return PointsName + "/" + s.name, nil
}

// PointRoot returns the node of the root folder of a point.
func (t *Tree) PointRoot(ctx context.Context, id point.ID) (Node, error) {
	if err := t.current(ctx); err != nil {
		return 0, err
	}
	t.points.mu.RLock()
	defer t.points.mu.RUnlock()
	s := t.points.byID[id]
	if s == nil || s.gone.Load() {
		return 0, fmt.Errorf("find point %s: %w", id.Short(), fault.NotExist)
	}
	return t.nodeOf(place{slot: s}), nil
}
