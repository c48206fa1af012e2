package page

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

const (
	// liveHeader marks what the script asks for by itself.
	liveHeader = "X-Tidemark-Live"
	maxStreams = 32
	// tickEvery is how often a stream looks for something new; beats keep
	// what lies between from thinking that nobody is there.
	tickEvery = time.Second
	beatEvery = 20 * time.Second
)

// events tells a page when there is something new on it.
func (q *request) events() error {
	select {
	case q.streams <- struct{}{}:
		defer func() { <-q.streams }()
	default:
		return fmt.Errorf("keep the page up to date: %d pages are open: %w", maxStreams, fault.Unavailable)
	}
	h := q.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	control := http.NewResponseController(q.w)
	_ = control.SetReadDeadline(time.Time{}) // the server's is for what clients send
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	var last [32]byte
	beat := time.Time{}
	for {
		now := q.o.Now()
		state, err := q.fingerprint()
		if err != nil {
			return err
		}
		text := ""
		switch {
		case state != last:
			text = fmt.Sprintf("event: change\ndata: %x\n\n", state[:8])
		case now.Sub(beat).Abs() > beatEvery:
			text = ": still here\n\n"
		}
		if text != "" {
			last, beat = state, now
			_ = control.SetWriteDeadline(now.Add(time.Minute))
			if _, err := q.w.Write([]byte(text)); err != nil {
				return nil // who has gone is not told
			}
			if err := control.Flush(); err != nil {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-q.r.Context().Done():
			return nil
		}
		if q.doors.of(q.r) == nil {
			return nil // logged out meanwhile
		}
	}
}

// fingerprint changes when something on a page may have.
func (q *request) fingerprint() ([32]byte, error) {
	s, err := q.agent.Status()
	if err != nil {
		return [32]byte{}, err
	}
	b, err := json.Marshal([]any{s, q.restores.states()})
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(b), nil
}
