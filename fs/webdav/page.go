package webdav

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tidemark-backup/tidemark/fs"
)

// Pages are for people with a browser: a folder's list, to download from. They
// run no script, and load nothing.

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
}

// crumb is a folder above.
type crumb struct{ Name, Href string }

type pageData struct {
	Title  string
	Style  template.CSS
	Crumbs []crumb
	Here   string // href of the folder
	Rows   []row
	Next   string // href of the next page, if there is one
}

func pageTemplate() *template.Template {
	return template.Must(template.New("page").Parse(pageText))
}

// stylePolicy lets the page's own style through, and nothing else.
func stylePolicy() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// page sends a folder as a page.
func (q *request) page(s *resource) error {
	from, err := strconv.ParseUint(q.r.URL.Query().Get("from"), 10, 64)
	if err != nil {
		from = 0
	}
	data := &pageData{Title: q.opt.Title, Style: template.CSS(pageStyle), Crumbs: crumbs(s.href), Here: s.href}
	for c, err := range q.children(s, from) {
		if err != nil {
			return err
		}
		data.Rows = append(data.Rows, q.row(s, c))
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
	h := q.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", stylePolicy())
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	if q.r.Method == http.MethodHead {
		return nil
	}
	if err := pageTemplate().Execute(q.w, data); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (q *request) row(s *resource, c *child) row {
	r := row{
		Name: visible(c.name), Escaped: escapeName(c.name), Folder: c.folder(), Href: s.href + escapeName(c.name),
		Modified: modified(c.attr()).In(time.Local).Format("2006-01-02 15:04"),
	}
	if r.Folder {
		r.Href += "/"
	} else {
		r.Size = size(c.attr())
	}
	return r
}

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

func crumbs(href string) []crumb {
	all := []crumb{{"Recovery points", "/"}}
	at := "/"
	for part := range strings.SplitSeq(strings.Trim(href, "/"), "/") {
		if part == "" {
			continue
		}
		at += part + "/"
		name, err := url.PathUnescape(part)
		if err != nil {
			name = part
		}
		all = append(all, crumb{visible(name), at})
	}
	return all
}

// visible is a name that shows what is in it: no control characters, nothing
// that turns the direction of writing, no bytes that are no text.
func visible(name string) string {
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
