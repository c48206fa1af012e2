package webdav

import (
	"bufio"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tidemark-backup/tidemark/fs"
)

// Pages are for people with a browser: a folder's list, what a search found, the
// versions of a file, all to download from. They run no script, and load nothing.

// Frame is the site that pages are a part of, which puts around them what is its
// own.
type Frame struct {
	Head    template.HTML                     // in <head>; PageStyle is not there unless it has it
	Top     func(*http.Request) template.HTML // before all else in the body
	Policy  func(*http.Request) string        // Content-Security-Policy of pages; images of this site must be let through
	Restore string                            // where the form of a folder can be sent, too, to have restored what is selected
}

// PageStyle is the style sheet of pages.
func PageStyle() string { return pageStyle }

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

// pageRows is how many entries a page has. What follows is on the next one.
const pageRows = 5000

// row is an entry on a page.
type row struct {
	Name, Href, Size, Modified string
	Escaped                    string // the name as a form sends it
	Folder                     bool
	Versions                   string // href of its versions; "": it has none
	In, InHref                 string // the folder that a search found it in
}

// crumb is a folder above.
type crumb struct {
	Name, Href string
	Last       bool
}

// pageData is what all pages have, and what some do.
type pageData struct {
	Title   string
	Heading string
	Style   template.CSS
	Head    template.HTML // of the site around, and what stands above
	Top     template.HTML
	Restore string // where what is selected can be restored; "": nowhere
	Crumbs  []crumb
	Here    string // href of the folder
	Search  bool   // whether there is a field to search with
	Asked   string // what it holds
	History bool   // whether files can have versions
	Deleted string // href of what was deleted from the folder; "" if that cannot be asked

	Rows     []row
	Next     string // href of the next page, if there is one
	Found    iter.Seq[*row]
	Versions []version
	Shown    *preview
	end      func() string
}

// Outcome says how it ended, once it has.
func (d *pageData) Outcome() string {
	if d.end == nil {
		return ""
	}
	return d.end()
}

// newPage begins the page of something with an href.
func (q *request) newPage(href string, folder bool) *pageData {
	d := &pageData{Title: q.opt.Title, Style: template.CSS(pageStyle), Crumbs: crumbs(q.opt.Title, q.opt.Prefix, href), Here: href, Search: folder}
	if f := q.opt.Frame; f != nil {
		d.Head, d.Top, d.Restore = f.Head, f.Top(q.r), f.Restore
	}
	last := &d.Crumbs[len(d.Crumbs)-1]
	last.Last, d.Heading = true, last.Name
	return d
}

var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Parse(pageText))
})

// pagePolicy is what pages may do.
func (q *request) pagePolicy() string {
	if q.opt.Frame != nil {
		return q.opt.Frame.Policy(q.r)
	}
	return stylePolicy()
}

// stylePolicy lets the page's own style through, and nothing else.
func stylePolicy() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; img-src 'self'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// show sends a page. After its first byte an error can only cut it short.
func (q *request) show(kind string, d *pageData) {
	h := q.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", q.pagePolicy())
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	if q.r.Method == http.MethodHead {
		return
	}
	q.extend()
	w := bufio.NewWriter(q.w)
	if d.Found != nil {
		d.Found = q.flushing(w, d.Found)
	}
	err := pageTemplate().ExecuteTemplate(w, kind, d)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// flushEvery is how long a row waits at most until it is sent.
const flushEvery = 500 * time.Millisecond

// flushing sends rows as they are found.
func (q *request) flushing(w *bufio.Writer, rows iter.Seq[*row]) iter.Seq[*row] {
	return func(yield func(*row) bool) {
		last := q.opt.Now()
		for r := range rows {
			if !yield(r) {
				return
			}
			if now := q.opt.Now(); now.Sub(last) > flushEvery {
				last = now
				q.extend()
				if w.Flush() != nil || http.NewResponseController(q.w).Flush() != nil {
					return // the next write says so
				}
			}
		}
	}
}

// page sends a folder as a page.
func (q *request) page(s *resource) error {
	from, err := strconv.ParseUint(q.r.URL.Query().Get("from"), 10, 64)
	if err != nil {
		from = 0
	}
	data := q.newPage(s.href, true)
	data.History = s.attr().Fixed && !s.way[0].Fixed
	if data.History {
		data.Deleted = s.href + fs.DeletedName + "/"
	}
	for c, err := range q.children(s, from) {
		if err != nil {
			return err
		}
		data.Rows = append(data.Rows, *q.row(s, c))
		if len(data.Rows) == pageRows {
			data.Next = s.href + "?from=" + strconv.FormatUint(c.next, 10)
			break
		}
	}
	slices.SortStableFunc(data.Rows, func(a, b row) int {
		switch {
		case a.Folder == b.Folder:
			return 0
		case a.Folder:
			return -1
		}
		return 1
	})
	q.show("folder", data)
	return nil
}

func (q *request) row(s *resource, c *child) *row {
	r := &row{
		Name: Visible(c.name), Escaped: escapeName(c.name), Folder: c.folder(), Href: s.href + escapeName(c.name), Modified: when(c.attr()),
	}
	if r.Folder {
		r.Href += "/"
	} else {
		r.Size, r.Versions = size(c.attr()), r.Href+"?versions"
		if q.opt.Frame != nil {
			r.Href += "?show"
		}
	}
	return r
}

func when(a *fs.Attr) string { return modified(a).In(time.Local).Format("2006-01-02 15:04") }

// size is a file's size as people read it.
func size(a *fs.Attr) string {
	if a.Size < 1024 {
		return fmt.Sprintf("%d B", a.Size)
	}
	n, unit := float64(a.Size), 0
	for n >= 1024 && unit < 5 {
		n, unit = n/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", n, " KMGTP"[unit])
}

// crumbs are links to the folders that href lies in, from the root on, which
// is below prefix.
func crumbs(title, prefix, href string) []crumb {
	at := prefix + "/"
	all := []crumb{{Name: title, Href: at}}
	for part := range strings.SplitSeq(strings.Trim(strings.TrimPrefix(href, at), "/"), "/") {
		if part == "" {
			continue
		}
		at += part + "/"
		name, err := url.PathUnescape(part)
		if err != nil {
			name = part
		}
		all = append(all, crumb{Name: Visible(name), Href: at})
	}
	return all
}

// Visible is a name that shows what is in it: no control characters, nothing
// that turns the direction of writing, no bytes that are no text.
func Visible(name string) string {
	var b strings.Builder
	for i, r := range name {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(name[i:], "�"):
			fmt.Fprintf(&b, `\x%02x`, name[i])
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
