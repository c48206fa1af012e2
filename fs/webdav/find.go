package webdav

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// A search looks through the names below a folder, as its user may list them:
// what he cannot list he cannot find. It is sent as it goes on, and bounded.
const (
	maxFound   = 2000
	maxAsked   = 255       // bytes of what is searched for
	maxLevels  = 512       // of folders below each other
	maxLooked  = 5_000_000 // entries
	maxPeriod  = time.Minute
	maxStudies = 4 // searches and lists of versions at a time
)

// study waits for a turn to do what takes a while, and returns what ends it. A
// hundred users who search must not starve one who reads.
func (q *request) study() (end func(), err error) {
	select {
	case q.studies <- struct{}{}:
		return func() { <-q.studies }, nil
	case <-q.r.Context().Done():
		return nil, fmt.Errorf("wait for a turn: %w: %w", fault.Canceled, q.r.Context().Err())
	}
}

// finder looks for names.
type finder struct {
	q       *request
	matches func(name string) bool
	began   time.Time
	looked  int
	found   int
	full    string // why it ended early
	err     error
}

// findPage sends what a search below a folder found.
func (q *request) findPage(s *resource, asked string) error {
	if !s.folder() || asked == "" || len(asked) > maxAsked || !utf8.ValidString(asked) {
		return fmt.Errorf("search for %q: %w", asked, fault.Invalid)
	}
	end, err := q.study()
	if err != nil {
		return err
	}
	defer end()
	for _, err := range q.ReadDir(q.r.Context(), s.attr().Node, 2) {
		if err != nil {
			return err // before anything is sent
		}
		break
	}
	f := &finder{q: q, matches: NameMatcher(asked), began: q.opt.Now()}
	d := q.newPage(s.href, true)
	d.Heading, d.Asked, d.History = fmt.Sprintf("“%s” in %s", Visible(asked), d.Heading), asked, !s.way[0].Fixed
	d.Found, d.end = f.below(s), f.outcome
	q.show("found", d)
	if f.err != nil {
		panic(http.ErrAbortHandler) // or it would be taken for all there is
	}
	return nil
}

// outcome says what was found, when the search has ended.
func (f *finder) outcome() string {
	switch {
	case f.err != nil:
		return "The search failed."
	case f.full != "":
		return f.full + " Search in a folder further down, or for more of the name."
	case f.found == 0:
		return "Nothing was found."
	case f.found == 1:
		return "One was found."
	}
	return fmt.Sprintf("%d were found.", f.found)
}

// below yields what matches below a folder. Links are not entered.
func (f *finder) below(s *resource) iter.Seq[*row] {
	return func(yield func(*row) bool) { f.folder(s, "", 0, yield) }
}

func (f *finder) folder(s *resource, in string, level int, yield func(*row) bool) bool {
	if level > maxLevels {
		f.full = fmt.Sprintf("Folders more than %d levels down were left out.", maxLevels)
		return true
	}
	for c, err := range f.q.children(s, 0) {
		if gone(err) {
			return true // may be seen and not listed, or has gone with its point
		}
		if err != nil {
			f.err = err
			return false
		}
		if !f.goOn() {
			return false
		}
		if s.attr().Fixed && !c.attr().Fixed {
			continue // made up: no part of the folder
		}
		if f.matches(c.name) {
			r := f.q.row(s, c)
			r.In, r.InHref = Visible(in), s.href
			if in == "" {
				r.In = "this folder"
			}
			f.found++
			if !yield(r) {
				return false
			}
		}
		if !c.folder() || c.link || s.attr().Node == fs.Root && !s.attr().Fixed && c.name != fs.PointsName {
			continue // or what lies in one point would be found by each of its names
		}
		c.href = s.href + escapeName(c.name) + "/"
		if !f.folder(&c.resource, path.Join(in, c.name), level+1, yield) {
			return false
		}
	}
	return true
}

// goOn says whether there is something left of what a search may take.
func (f *finder) goOn() bool {
	f.looked++
	if f.looked%1024 == 0 {
		f.q.extend()
	}
	switch {
	case f.found >= maxFound:
		f.full = fmt.Sprintf("These are the first %d.", maxFound)
	case f.looked > maxLooked:
		f.full = fmt.Sprintf("These are out of the first %d files and folders.", maxLooked)
	case f.looked%1024 == 0 && f.q.r.Context().Err() != nil:
		f.err = context.Canceled
	case f.looked%1024 == 0 && f.q.opt.Now().Sub(f.began) > maxPeriod:
		f.full = "The search was ended after a minute."
	default:
		return true
	}
	return false
}

// NameMatcher returns what says whether a name has what was asked for in it, or if
// that has a * or ?, whether it is of that pattern. Case and normal form do not
// matter.
func NameMatcher(asked string) func(string) bool {
	asked = folded(asked)
	if !strings.ContainsAny(asked, "*?") {
		return func(name string) bool { return strings.Contains(folded(name), asked) }
	}
	pattern := strings.NewReplacer(`\`, `\\`, "[", `\[`).Replace(asked)
	return func(name string) bool {
		ok, err := path.Match(pattern, folded(name))
		return ok && err == nil
	}
}

func folded(s string) string { return strings.ToLower(norm.NFC.String(s)) }
