package page

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/fs/webdav"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

//go:embed assets
var files embed.FS

// looks reads the templates. They are part of the program: one that is wrong is
// a bug that every test finds.
func looks() *template.Template {
	return template.Must(template.New("page").ParseFS(files, "assets/*.html"))
}

// asset is a file that pages load.
type asset struct {
	kind string
	text []byte
}

func loadAssets() map[string]asset {
	read := func(name string) []byte {
		b, err := files.ReadFile("assets/" + name)
		if err != nil {
			panic(err) // it is part of the program
		}
		return b
	}
	return map[string]asset{
		"page.css": {"text/css; charset=utf-8", append([]byte(webdav.PageStyle()), read("page.css")...)},
		"page.js":  {"text/javascript; charset=utf-8", read("page.js")},
		"icon.svg": {"image/svg+xml", read("icon.svg")},
	}
}

func (p *Page) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := p.assets[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	_, _ = w.Write(a.text) // who hung up is not told
}

// frame is what every page has around it.
type frame struct {
	Base    string // path that everything is below
	Title   string
	Section string // of the navigation
	CSRF    string // of forms; "": nobody is logged in
	Host    string
	Version string
	Alerts  int // active ones
	Paused  bool
	Live    bool // the page is kept up to date
	now     time.Time
	zone    *time.Location
}

// frame begins a page of a section.
func (q *request) frame(section, title string) frame {
	f := frame{Base: q.base, Title: title, Section: section, CSRF: q.session.csrf, Version: q.o.Version, now: q.o.Now(), zone: q.o.Zone}
	f.Host, _ = os.Hostname()
	if s, err := q.agent.Status(); err == nil {
		f.Alerts, f.Paused = s.Alerts.Critical+s.Alerts.Warning+s.Alerts.Information, s.Pause.On
	}
	return f
}

// Now is when the page was made.
func (f *frame) Now() time.Time { return f.now }

// When is a moment as people read it.
func (f *frame) When(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	t = t.In(f.zone)
	switch now := f.now.In(f.zone); {
	case sameDay(t, now):
		return "today " + t.Format("15:04")
	case sameDay(t, now.AddDate(0, 0, 1)):
		return "tomorrow " + t.Format("15:04")
	case sameDay(t, now.AddDate(0, 0, -1)):
		return "yesterday " + t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

func sameDay(a, b time.Time) bool { return a.Format(time.DateOnly) == b.Format(time.DateOnly) }

// Stamp is a moment as programs read it.
func (f *frame) Stamp(t time.Time) string { return t.In(f.zone).Format(time.RFC3339) }

// Ago is how long ago a moment was.
func (f *frame) Ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return span(f.now.Sub(t)) + " ago"
}

// In is how far ahead a moment is.
func (f *frame) In(t time.Time) string {
	if d := t.Sub(f.now); d > 0 {
		return "in " + span(d)
	}
	return "now"
}

// Took is how long a job has run, or did.
func (f *frame) Took(j *journal.Job) string { return span(j.Took(f.now)) }

// Size is a number of bytes.
func (f *frame) Size(n uint64) string { return humanize.IBytes(n) }

// Count is a number.
func (f *frame) Count(n uint64) string { return humanize.Comma(int64(n)) }

// Code is a text in which what stands between backquotes is something to type.
func (f *frame) Code(text string) template.HTML {
	var b strings.Builder
	for i, part := range strings.Split(text, "`") {
		part = template.HTMLEscapeString(part)
		if i%2 == 1 {
			part = "<code>" + part + "</code>"
		}
		b.WriteString(part)
	}
	return template.HTML(b.String())
}

// Plural is a number with its noun.
func (f *frame) Plural(n uint64, one, more string) string { return plural(int(n), one, more) }

// span is a duration in its largest units.
func span(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < time.Second:
		return "0 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return two(int(d/time.Minute), "min", int(d%time.Minute/time.Second), "s")
	case d < 48*time.Hour:
		return two(int(d/time.Hour), "h", int(d%time.Hour/time.Minute), "min")
	}
	if days := int(d / (24 * time.Hour)); days >= 2*365 {
		return fmt.Sprintf("%d years", days/365)
	} else if days >= 14 {
		return fmt.Sprintf("%d days", days)
	}
	return two(int(d/(24*time.Hour)), "days", int(d%(24*time.Hour)/time.Hour), "h")
}

func two(a int, unit string, b int, smaller string) string {
	if b == 0 {
		return fmt.Sprintf("%d %s", a, unit)
	}
	return fmt.Sprintf("%d %s %d %s", a, unit, b, smaller)
}

// plural is a number with its noun.
func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(int64(n)) + " " + more
}

// render sends a page, whole or not at all.
func (p *Page) render(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := p.look.ExecuteTemplate(&b, name, data); err != nil {
		p.o.Log.Error("a page cannot be made", "page", name, "error", err)
		http.Error(w, "The page cannot be made; the agent's log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // who hung up is not told
}

// show sends a page.
func (q *request) show(name string, data any) error {
	q.render(q.w, http.StatusOK, name, data)
	return nil
}

// statusOf says with what each kind of failure is answered.
func statusOf(err error) int {
	switch fault.KindOf(err) {
	case fault.NotExist, fault.Stale, fault.NotDir:
		return http.StatusNotFound
	case fault.Denied, fault.Locked:
		return http.StatusForbidden
	case fault.Invalid, fault.TooLarge, fault.IsDir:
		return http.StatusBadRequest
	case fault.Exist:
		return http.StatusConflict
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

type failurePage struct {
	frame
	Text   string
	Advice string
	Back   string
}

// fail sends a page that says what went wrong. Who is let in here may know all.
func (q *request) fail(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	status := statusOf(err)
	if status >= 500 {
		q.o.Log.Error("a page failed", "path", strings.TrimPrefix(q.r.URL.Path, q.base), "error", err)
	}
	d := failurePage{frame: q.frame("", "That did not work"), Text: sentence(err.Error()), Back: q.base}
	if status == http.StatusNotFound {
		d.Title = "Not found"
	}
	d.Advice = advice(err)
	q.render(q.w, status, "failure", &d)
}

// sentence makes one of an error's text.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

// advice says what can be done about a failure.
func advice(err error) string {
	switch fault.KindOf(err) {
	case fault.Locked:
		return "Unlock the repository with its passphrase, below Files."
	case fault.Unavailable:
		return "Is the place of the repository there: mounted, switched on, reachable?"
	case fault.Corrupt:
		return "“tidemark check” on this machine says what is damaged, “tidemark repair” heals it."
	case fault.Rollback:
		return "Somebody put an older state of the repository back. Find out who, before anything else."
	case fault.Stale, fault.NotExist:
		return "It may have gone with its recovery point since the page was made."
	}
	return ""
}
