package webdav

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"path"
	"sync"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

func (q *request) get() error {
	query := q.r.URL.Query()
	if query.Has("versions") {
		return q.versionsPage()
	}
	s, err := q.resolve()
	if err != nil {
		return err
	}
	if query.Has("zip") || query.Has("tar") {
		return q.archive(s, query)
	}
	if query.Has("find") {
		return q.findPage(s, query.Get("find"))
	}
	if s.folder() {
		return q.page(s)
	}
	if query.Has("show") {
		return q.showPage(s)
	}
	if query.Has("image") {
		return q.imageFile(s)
	}
	return q.file(s)
}

// file sends a file's content. http.ServeContent knows ranges and conditions,
// If-Range by date among them.
func (q *request) file(s *resource) error {
	tag, err := q.etag(s)
	if err != nil {
		return err
	}
	name := path.Base(s.href)
	if raw, err := url.PathUnescape(name); err == nil {
		name = raw
	}
	if q.r.URL.Query().Has("dated") {
		name = dated(name, s.attr())
	}
	h := q.w.Header()
	h.Set("Etag", tag)
	h.Set("Content-Type", typeOf(s.href))
	h.Set("Content-Disposition", attachment(name))
	return q.send(s)
}

// attachment says that a browser shall keep a file and not show it.
func attachment(name string) string {
	if v := mime.FormatMediaType("attachment", map[string]string{"filename": name}); v != "" {
		return v
	}
	return "attachment"
}

// buffers are what is read at a time for one client, and small ones for those
// who come when many have a large one: a thousand clients who read slowly take
// 100 MiB, and not 300.
var (
	buffers      = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}
	smallBuffers = sync.Pool{New: func() any { b := make([]byte, smallBuffer); return &b }}
)

const (
	bufferSize  = 256 << 10
	smallBuffer = 32 << 10
	maxLarge    = 256 // large buffers in use
)

func (h *Handler) takeBuffer() *[]byte {
	if h.large.Add(1) <= maxLarge {
		return buffers.Get().(*[]byte)
	}
	h.large.Add(-1)
	return smallBuffers.Get().(*[]byte)
}

func (h *Handler) giveBuffer(b *[]byte) {
	if len(*b) < bufferSize {
		smallBuffers.Put(b)
		return
	}
	h.large.Add(-1)
	buffers.Put(b)
}

// content is a file that is being sent: an io.ReadSeeker that reads ahead, as
// net/http copies 32 KiB at a time.
type content struct {
	q    *request
	node fs.Node
	size int64
	at   int64 // of the next byte that Read returns
	buf  *[]byte
	from int64 // place of buf in the file
	have int
	want int   // bytes of the next read: more each time, for who reads on
	err  error // that ended a read, but for the client's leaving
}

func (q *request) open(a *fs.Attr) *content {
	return &content{q: q, node: a.Node, size: int64(min(a.Size, 1<<63-1))}
}

func (c *content) close() {
	if c.buf != nil {
		c.q.giveBuffer(c.buf)
		c.buf = nil
	}
}

// Seek implements io.Seeker.
func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d: %w", offset, fault.Invalid)
	}
	c.at = offset
	return offset, nil
}

// Read implements io.Reader.
func (c *content) Read(dst []byte) (int, error) {
	if c.at >= c.size {
		return 0, io.EOF
	}
	if c.at < c.from || c.at >= c.from+int64(c.have) {
		if err := c.fill(); err != nil {
			if !errors.Is(err, context.Canceled) {
				c.err = err
			}
			return 0, err
		}
	}
	n := copy(dst, (*c.buf)[c.at-c.from:c.have])
	c.at += int64(n)
	return n, nil
}

func (c *content) fill() error {
	if c.buf == nil {
		c.buf = c.q.takeBuffer()
	}
	c.q.extend()
	c.have, c.want = 0, min(max(2*c.want, smallBuffer), len(*c.buf))
	n, err := c.q.Read(c.q.r.Context(), c.node, uint64(c.at), (*c.buf)[:c.want])
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("file ends at byte %d of %d: %w", c.at, c.size, fault.Corrupt)
	}
	c.from, c.have = c.at, n
	return nil
}
