package scrub

import (
	"context"
	"sync"
	"time"
)

// limiter lets so many bytes through in a second.
type limiter struct {
	rate int64 // 0: as many as come
	now  func() time.Time

	mu   sync.Mutex
	free time.Time // when what was let through is paid for
}

// wait returns once n bytes may be read.
func (l *limiter) wait(ctx context.Context, n int) error {
	if l.rate <= 0 {
		return ctx.Err()
	}
	l.mu.Lock()
	now := l.now()
	if l.free.Before(now) {
		l.free = now
	}
	pause := l.free.Sub(now)
	l.free = l.free.Add(time.Duration(float64(n) / float64(l.rate) * float64(time.Second)))
	l.mu.Unlock()
	if pause <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
