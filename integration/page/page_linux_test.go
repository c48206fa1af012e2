package page

import (
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/integration/chromium"
)

// TestPage walks through the page as a person does.
func TestPage(t *testing.T) {
	w := newWorld(t, false)
	b := chromium.New(t)
	login(b, w.link())
	base := b.Ask("location.href")
	for _, at := range []struct{ name, path string }{
		{"overview", ""}, {"files", "files/"}, {"folder", "files/office/latest" + w.source + "/"},
		{"text", "files/office/latest" + w.source + "/letter.txt?show"}, {"image", "files/office/latest" + w.source + "/photos/sea.png?show"},
		{"versions", "files/office/latest" + w.source + "/letter.txt?versions"}, {"found", "files/office/latest" + w.source + "/?find=e"},
		{"calendar", "points"}, {"day", "points?day=" + time.Now().Format(time.DateOnly)}, {"search", "search?find=e"}, {"restore", "restore?in=" + url.QueryEscape(path.Join(mustPath(base), "files/office/latest"+w.source)+"/") + "&escaped=letter.txt&escaped=photos"}, {"restores", "restores"},
		{"jobs", "jobs"}, {"policies", "policies"}, {"charts", "charts?days=90"}, {"job", "jobs/61"}, {"failedjob", "jobs/63"}, {"alerts", "alerts"}, {"missing", "jobs/99"},
	} {
		for _, dark := range []bool{false, true} {
			b.Window(1100, dark)
			b.Open(base + at.path)
			name := at.name
			if dark {
				name += "-dark"
			}
			b.Picture(name)
		}
		b.Window(390, false)
		b.Open(base + at.path)
		b.Picture(at.name + "-phone")
	}
}

func mustPath(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return u.Path
}

// login opens a link and waits for the overview.
func login(b *chromium.Browser, link string) {
	b.Do("Page.navigate", map[string]any{"url": link})
	base := link[:strings.Index(link, "login?")]
	b.Until("location.href == '" + base + "' && document.readyState == 'complete'")
}
