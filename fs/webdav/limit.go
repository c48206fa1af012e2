package webdav

import (
	"net"
	"net/http"
	"sync"
)

const (
	// maxConnections bounds the memory that clients take. W11: Windows may
	// open one for each file and forget it, so that idle ones are ended.
	maxConnections = 1024

	// maxFromOne is how many of these one address may have, so that nobody
	// keeps the others out with connections on which he says nothing. Loopback
	// is excepted: a proxy there speaks for everybody.
	maxFromOne = 128

	// maxStreams is how many requests a client may have under way on one
	// connection of HTTP/2.
	maxStreams = 32

	// maxRequests is how many are worked on at a time. More wait.
	maxRequests = 1024
)

// limited is a listener that bounds connections, in all and of each address.
type limited struct {
	net.Listener
	max, each int

	mu   sync.Mutex
	all  int
	from map[string]int
}

func newLimited(l net.Listener, max, each int) *limited {
	return &limited{Listener: l, max: max, each: each, from: map[string]int{}}
}

// Accept implements net.Listener. What is too much is closed at once: to wait
// would keep out those who come next.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addressOf(c.RemoteAddr())
		if l.take(from) {
			return &counted{Conn: c, l: l, from: from}, nil
		}
		_ = c.Close() // there is nothing to lose in it
	}
}

func (l *limited) take(from string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.max || from != "" && l.from[from] >= l.each {
		return false
	}
	l.all++
	l.from[from]++
	return true
}

func (l *limited) give(from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.from[from]--; l.from[from] == 0 {
		delete(l.from, from)
	}
}

// addressOf returns what stands for a client, "" for all on this machine. One
// with IPv6 has a network of addresses.
func addressOf(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	switch {
	case !ok:
		return a.String()
	case t.IP.IsLoopback():
		return ""
	case t.IP.To4() == nil:
		return t.IP.Mask(net.CIDRMask(64, 128)).String()
	}
	return t.IP.String()
}

// counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn
	l    *limited
	from string
	once sync.Once
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.once.Do(func() { c.l.give(c.from) })
	return c.Conn.Close()
}

// inTurn lets so many requests be worked on at a time.
func inTurn(h http.Handler, n int) http.Handler {
	turns := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case turns <- struct{}{}:
			defer func() { <-turns }()
			h.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
}
