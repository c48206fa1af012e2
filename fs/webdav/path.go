package webdav

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// resource is what a path leads to.
type resource struct {
	way  []fs.Attr // from the tree's root to the resource itself, links resolved
	top  int       // where in way the point begins that it is in; 0: in none
	from uint64    // where the listing of a folder begins, see morePrefix
	href string    // escaped path as the client knows it; a folder's ends in /
}

// attr describes the resource: a file or a folder.
func (s *resource) attr() *fs.Attr { return &s.way[len(s.way)-1] }

func (s *resource) folder() bool { return s.attr().Kind == table.Folder }

// splitPath returns the names in a request's path, unescaped one by one: an
// escaped slash is not a slash (and in no name).
func splitPath(escaped string) ([]string, error) {
	if !strings.HasPrefix(escaped, "/") {
		return nil, fmt.Errorf("path %q: %w", escaped, fault.Invalid)
	}
	var names []string
	for part := range strings.SplitSeq(escaped[1:], "/") {
		if part == "" {
			continue
		}
		name, err := url.PathUnescape(part)
		if err != nil || strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
			return nil, fmt.Errorf("path %q: %w", escaped, fault.NotExist)
		}
		names = append(names, name)
	}
	return names, nil
}

// escapeName escapes a name for an href. G4: upper-case digits, and all that
// some client or XML could take for something else.
func escapeName(name string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~@,=", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

// names returns the names in the request's path, below the share's root.
func (q *request) names() ([]string, error) {
	below, ok := strings.CutPrefix(q.r.URL.EscapedPath(), q.opt.Prefix)
	if below == "" {
		below = "/"
	}
	if !ok {
		return nil, fmt.Errorf("path above the share: %w", fault.NotExist)
	}
	return splitPath(below)
}

// resolve finds what the request's path leads to.
func (q *request) resolve() (*resource, error) {
	names, err := q.names()
	if err != nil {
		return nil, err
	}
	a, err := q.Attr(q.r.Context(), fs.Root)
	if err != nil {
		return nil, err
	}
	s := &resource{way: []fs.Attr{a}, href: q.opt.Prefix + "/"}
	for _, name := range names {
		s.href += escapeName(name)
		if from, ok := parseMore(name); ok && q.agent.maxReply() > 0 && s.folder() {
			s.from = from
		} else {
			s.from = 0
			if err := q.enter(s, name); err != nil {
				return nil, err
			}
		}
		if s.folder() {
			s.href += "/"
		}
	}
	return s, nil
}

// enter goes on from a folder to a name that the client said.
func (q *request) enter(s *resource, name string) error {
	if !s.folder() {
		return fmt.Errorf("look up %q: %w", name, fault.NotExist)
	}
	a, err := q.lookup(s.attr().Node, name)
	if err != nil {
		return err
	}
	return q.follow(s, a)
}

// maxLinks is how many links a path may lead over, as in Linux.
const maxLinks = 40

// follow goes on to a, which lies in the folder s, or to what it leads to if it
// is a link: to where it led on the server, but never out of its point. What
// is neither file nor folder is not there.
func (q *request) follow(s *resource, a fs.Attr) error {
	var todo []string
	for links := 0; ; {
		switch a.Kind {
		case table.File, table.Folder:
			if a.Fixed && !s.attr().Fixed {
				s.top = len(s.way)
			}
			s.way = append(s.way[:len(s.way):len(s.way)], a)
		case table.Symlink:
			if links++; links > maxLinks {
				return fmt.Errorf("too many links: %w", fault.NotExist)
			}
			target, err := q.Readlink(q.r.Context(), a.Node)
			if err != nil {
				return err
			}
			if strings.HasPrefix(target, "/") {
				s.way = s.way[:s.top+1]
			}
			todo = append(strings.Split(target, "/"), todo...)
		default:
			return fmt.Errorf("a %v: %w", a.Kind, fault.NotExist)
		}
		name, rest := q.up(s, todo)
		if name == "" {
			return nil
		}
		if !s.folder() {
			return fmt.Errorf("look up %q: %w", name, fault.NotExist)
		}
		var err error
		if a, err = q.Lookup(q.r.Context(), s.attr().Node, name); err != nil {
			return err
		}
		todo = rest
	}
}

// up takes "." and ".." from the beginning of a target, and returns the first
// name and what follows it. At the top of a point ".." leads nowhere else.
func (q *request) up(s *resource, todo []string) (name string, rest []string) {
	for i, name := range todo {
		switch {
		case name == "" || name == ".":
		case name != "..":
			return name, todo[i+1:]
		case len(s.way)-1 > s.top:
			s.way = s.way[:len(s.way)-1]
		}
	}
	return "", nil
}

// morePrefix begins the names of made-up folders that hold the rest of a
// folder that is too long for the client (W3): the cookie follows.
const morePrefix = "@more-"

func moreName(cookie uint64) string { return morePrefix + strconv.FormatUint(cookie, 10) }

func parseMore(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, morePrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n > 2
}
