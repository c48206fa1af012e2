package webdav

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	idle = 60 * time.Second

	// patience is how long a client may take for a buffer of what it asked
	// for. Who is slow keeps his connection, who has gone does not.
	patience = 2 * time.Minute

	// ending is how long requests under way have when the share ends.
	ending = 5 * time.Second
)

// extend gives the client time for what is sent next. Not every
// http.ResponseWriter can do it; those of tests cannot.
func (q *request) extend() {
	_ = http.NewResponseController(q.w).SetWriteDeadline(q.opt.Now().Add(patience))
}

// Serve answers on l until ctx is done, over TLS (and HTTP/2) if config is not
// nil. Requests under way may then end within a few seconds.
func Serve(ctx context.Context, l net.Listener, h http.Handler, config *tls.Config, log *slog.Logger) error {
	s := &http.Server{
		Handler: inTurn(h, maxRequests), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams}, ReadHeaderTimeout: 15 * time.Second, ReadTimeout: time.Minute, IdleTimeout: idle,
		WriteTimeout: patience, // and more for who reads on, see extend
		TLSConfig:    config, MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	l = newLimited(l, maxConnections, maxFromOne)
	go func() {
		if config != nil {
			done <- s.ServeTLS(l, "", "")
		} else {
			done <- s.Serve(l)
		}
	}()
	select {
	case err := <-done:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), ending)
	defer cancel()
	if err := s.Shutdown(last); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("end the share on %s: %w", l.Addr(), err)
	}
	_ = s.Close() // what is under way still is cut short, and its client sees it
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
	return nil
}
