package webdav

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// maxBody bounds a request's XML in bytes: clients send some hundred.
const maxBody = 64 << 10

// wanted is what a PROPFIND asks for.
type wanted struct {
	names bool       // only which properties there are
	all   bool       // the usual ones
	props []xml.Name // these (besides the usual ones, if all)
}

// maxProps bounds the properties of a request: clients ask for about ten.
const maxProps = 100

// parsePropfind reads the body of a PROPFIND; W2: an empty one means all.
func parsePropfind(r io.Reader) (*wanted, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("read request: %w: %w", fault.Canceled, err)
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("request of more than %d bytes: %w", maxBody, fault.TooLarge)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return &wanted{all: true}, nil
	}
	w, d := &wanted{}, xml.NewDecoder(bytes.NewReader(body))
	depth := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read request: %w: %w", fault.Invalid, err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth++; !w.element(depth, t.Name) || len(w.props) > maxProps || depth > 16 || undeclares(t) {
				return nil, fmt.Errorf("PROPFIND with %s: %w", t.Name.Local, fault.Invalid)
			}
		case xml.EndElement:
			depth--
		case xml.Directive: // a DTD: no client sends one
			return nil, fmt.Errorf("PROPFIND with a directive: %w", fault.Invalid)
		}
	}
	if depth != 0 || !w.all && !w.names && w.props == nil {
		return nil, fmt.Errorf("PROPFIND that asks for nothing: %w", fault.Invalid)
	}
	return w, nil
}

// undeclares says whether an element binds a prefix to no namespace, which is not
// well-formed and the decoder lets pass.
func undeclares(t xml.StartElement) bool {
	return slices.ContainsFunc(t.Attr, func(a xml.Attr) bool { return a.Name.Space == "xmlns" && a.Value == "" })
}

// element takes an element at a depth, and says whether it may stand there.
func (w *wanted) element(depth int, name xml.Name) bool {
	switch {
	case depth == 1:
		return name == xml.Name{Space: "DAV:", Local: "propfind"}
	case depth == 2 && name.Space == "DAV:":
		switch name.Local {
		case "allprop":
			w.all = true
		case "propname":
			w.names = true
		case "prop":
			if w.props == nil {
				w.props = []xml.Name{} // an empty list asks for nothing, which is allowed
			}
		}
	case depth == 3:
		w.props = append(w.props, name)
	}
	return true // RFC 4918, 17: what is not known is ignored
}

// depth of a PROPFIND.
type depth uint8

const (
	itself   depth = iota
	children       // and itself
	below          // without itself: "1,noroot"
)

// G6: an absent Depth means infinity, and whoever walks a server's whole tree
// in one answer gets it refused, with the reason that the RFC has for it.
func parseDepth(s string) (d depth, finite bool, err error) {
	switch strings.ToLower(strings.ReplaceAll(s, " ", "")) {
	case "0":
		return itself, true, nil
	case "1":
		return children, true, nil
	case "1,noroot":
		return below, true, nil
	case "", "infinity", "infinity,noroot":
		return 0, false, nil
	}
	return 0, true, fmt.Errorf("depth %q: %w", s, fault.Invalid)
}

const finiteDepth = xml.Header + `<D:error xmlns:D="DAV:"><D:propfind-finite-depth/></D:error>`

func (q *request) propfind() error {
	d, finite, err := parseDepth(q.r.Header.Get("Depth"))
	if err != nil {
		return err
	}
	if !finite {
		q.w.Header().Set("Content-Type", "application/xml; charset=utf-8")
		q.w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(q.w, finiteDepth)
		return nil
	}
	want, err := parsePropfind(q.r.Body)
	if err != nil {
		return err
	}
	s, err := q.resolve()
	if err != nil {
		return err
	}
	m := q.multistatus(want)
	if d != below {
		if err := m.resource(s); err != nil {
			return err
		}
	}
	if d != itself && s.folder() {
		if err := q.list(m, s); err != nil {
			return err
		}
	}
	return m.end()
}

// list writes a folder's children. Once the answer has begun an error can only
// cut it short, so that nobody takes it for the whole folder.
func (q *request) list(m *multistatus, s *resource) error {
	var names twins
	last := s.from
	for c, err := range q.children(s, s.from) {
		if err != nil {
			return m.abort(err)
		}
		if limit := q.agent.maxReply(); limit > 0 && m.written > limit {
			more := &resource{way: s.way, top: s.top, href: folderHref(s, moreName(last))}
			return m.resource(more)
		}
		c.href = s.href + escapeName(names.shown(q.agent, c.name))
		if c.folder() {
			c.href += "/"
		}
		if err := m.resource(&c.resource); err != nil {
			return m.abort(err)
		}
		last = c.next
	}
	return nil
}

// folderHref is the href of a made-up folder in s, or beside it if s is one.
func folderHref(s *resource, name string) string {
	base := s.href
	if s.from > 0 {
		base = base[:strings.LastIndexByte(strings.TrimSuffix(base, "/"), '/')+1]
	}
	return base + escapeName(name) + "/"
}

// child is one entry of a folder as clients see it.
type child struct {
	resource
	name string // as in the point
	next uint64 // cookie behind it
	link bool
}

// children yields what a folder holds from a cookie on. Links to files are
// files; links to folders can be entered by name and are not listed, because
// those who copy a tree would follow them, in circles too.
func (q *request) children(s *resource, from uint64) func(func(*child, error) bool) {
	ctx := q.r.Context()
	return func(yield func(*child, error) bool) {
		for d, err := range q.ReadDir(ctx, s.attr().Node, from) {
			if err != nil {
				yield(nil, err)
				return
			}
			c := &child{name: string(d.Name), next: d.Next}
			if c.name == "." || c.name == ".." {
				continue
			}
			if err := q.child(ctx, s, c, d); err != nil {
				if gone(err) {
					continue
				}
				yield(nil, err)
				return
			}
			if c.link && c.folder() && (s.attr().Fixed || s.attr().Node != fs.Root) {
				continue
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// gone says whether an error means that an entry is not to be seen.
func gone(err error) bool {
	switch fault.KindOf(err) {
	case fault.NotExist, fault.Denied, fault.Stale, fault.NotDir:
		return true
	}
	return false
}

func (q *request) child(ctx context.Context, s *resource, c *child, d *fs.DirEntry) (err error) {
	a := d.Attr
	if d.Bare {
		if a, err = q.Attr(ctx, a.Node); err != nil {
			return err
		}
	}
	c.link = a.Kind == table.Symlink
	c.resource = resource{way: s.way, top: s.top}
	return q.follow(&c.resource, a)
}

// proppatch refuses: G8, 207 with 403 inside for each property.
func (q *request) proppatch() error {
	s, err := q.resolve()
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(q.r.Body, maxBody))
	if err != nil {
		return fmt.Errorf("read request: %w: %w", fault.Canceled, err)
	}
	m := q.multistatus(&wanted{})
	m.refusal(s, patched(body))
	return m.end()
}

// patched returns the properties that a PROPPATCH names.
func patched(body []byte) []xml.Name {
	var names []xml.Name
	d, depth := xml.NewDecoder(bytes.NewReader(body)), 0
	for len(names) < maxProps {
		token, err := d.Token()
		if err != nil {
			break
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth++; depth == 4 {
				names = append(names, t.Name)
			}
		case xml.EndElement:
			depth--
		}
	}
	return names
}
