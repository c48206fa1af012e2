package page

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidemark-backup/tidemark/fs/history"
	"github.com/tidemark-backup/tidemark/fs/webdav"
	"github.com/tidemark-backup/tidemark/repo/table"
)

const (
	maxAsked  = 255 // bytes of what is searched for
	maxFound  = 1000
	searchFor = 45 * time.Second // that a search may take
	searching = 2                // at a time
)

// searchPage is what a search in all points found.
type searchPage struct {
	frame
	Places []place
	Place  place
	Asked  string
	Rows   []foundRow
	Note   string // how it ended
	Wrong  string
}

// foundRow is a file or folder that a search found, as some points have it.
type foundRow struct {
	Name, In    string
	Folder      bool
	Size        uint64
	First, Last time.Time // the points that have it
	Points      int
	Current     bool   // the newest point has it so
	Href        string // in the last of these points
}

// search looks for a name in all points of a repository.
func (q *request) search() error {
	form := q.r.URL.Query()
	d := &searchPage{frame: q.frame("files", "Search"), Places: q.places(), Asked: form.Get("find")}
	if len(d.Places) == 0 {
		return q.show("search", d)
	}
	d.Place = d.Places[0]
	if name := form.Get("at"); name != "" {
		var err error
		if d.Place, err = q.place(name); err != nil {
			return err
		}
	}
	if d.Asked == "" {
		return q.show("search", d)
	}
	if len(d.Asked) > maxAsked || !utf8.ValidString(d.Asked) {
		d.Wrong = fmt.Sprintf("Ask for up to %d characters.", maxAsked)
		return q.show("search", d)
	}
	v, err := q.vaults.take(q.r.Context(), d.Place)
	if err != nil {
		return err
	}
	defer q.vaults.give(v)
	if v.Locked() {
		return q.askPassphrase(d.Place)
	}
	select {
	case q.searches <- struct{}{}:
		defer func() { <-q.searches }()
	case <-q.r.Context().Done():
		return q.r.Context().Err()
	}
	if err := q.find(v, d); err != nil {
		return err
	}
	return q.show("search", d)
}

// find fills in what a search finds, within its time.
func (q *request) find(v *vault, d *searchPage) error {
	points, err := v.Points(q.r.Context())
	if len(points) == 0 {
		if err == nil {
			d.Note = "There are no recovery points yet."
		}
		return err
	}
	names, err := history.ReadNames(v.local.Names(), v.NamesKey())
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(q.r.Context(), searchFor)
	defer stop()
	matches := webdav.NameMatcher(d.Asked)
	match := func(e *table.Entry) bool { return matches(path.Base(table.Path(e.Key))) }
	newest := points[len(points)-1]
	for f, err := range history.Find(ctx, v.Repository, points, match, names, runtime.GOMAXPROCS(0)) {
		if errors.Is(err, context.DeadlineExceeded) {
			d.Note = "The search was ended after a while; there may be more. What it has learned makes the next one faster."
			break
		}
		if err != nil {
			return err
		}
		if len(d.Rows) == maxFound {
			d.Note = fmt.Sprintf("These are the first %d; ask for more of the name.", maxFound)
			break
		}
		full := table.Path(f.Entry.Key)
		row := foundRow{Name: webdav.Visible(path.Base(full)), In: webdav.Visible(path.Dir(full)), Folder: f.Entry.Kind == table.Folder, Size: f.Entry.Size,
			First: f.First.Started, Last: f.Last.Started, Points: f.Points, Current: f.Last == newest}
		if way, err := v.tree.Path(ctx, f.Last.ID); err == nil {
			row.Href = "files/" + v.Name + "/" + way + escapePath(full)
			if row.Folder {
				row.Href += "/"
			} else {
				row.Href += "?show"
			}
		}
		d.Rows = append(d.Rows, row)
	}
	if d.Note == "" {
		d.Note = plural(len(d.Rows), "was", "were") + " found in " + plural(len(points), "recovery point", "recovery points") + "."
	}
	if err := names.Write(); err != nil {
		q.o.Log.Warn("the next search takes as long", "error", err)
	}
	return nil
}

// escapePath escapes a path of a point for an address.
func escapePath(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}
