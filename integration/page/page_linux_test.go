package page

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/integration/chromium"
)

func TestPage(t *testing.T) {
	program := build(t)
	t.Run("open", func(t *testing.T) { open(t, program) })
	t.Run("sealed", func(t *testing.T) { sealed(t, program) })
}

// open goes through the page as a person does: looks at everything, with
// axe-core beside him, and then has things done.
func open(t *testing.T, program string) {
	w := newWorld(t, program, false)
	b := chromium.New(t)
	base := w.login(b)
	t.Run("pages", func(t *testing.T) { pages(t, w, b, base) })
	t.Run("live", func(t *testing.T) { live(t, w, b, base) })
	t.Run("alert", func(t *testing.T) { alert(t, b, base) })
	t.Run("calendar", func(t *testing.T) { calendar(t, b, base) })
	t.Run("restore", func(t *testing.T) { restore(t, w, b, base) })
	t.Run("plain", func(t *testing.T) { plain(t, w, b, base) })
	t.Run("logout", func(t *testing.T) { logout(t, b, base) })
	if b.Dialogs != 0 {
		t.Errorf("what was backed up opened %d dialogs", b.Dialogs)
	}
}

// login opens a link, waits for the overview, and returns its address.
func (w *world) login(b *chromium.Browser) string {
	w.t.Helper()
	link := w.link()
	b.Do("Page.navigate", map[string]any{"url": link})
	base := link[:strings.Index(link, "login?")]
	b.Until("location.href == '" + base + "' && document.readyState == 'complete'")
	return base
}

// pages looks at each page, light and dark.
func pages(t *testing.T, w *world, b *chromium.Browser, base string) {
	script := axe(t)
	at, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	folder := "files/office/latest" + w.source + "/"
	chosen := url.Values{"in": {at.Path + folder}, "escaped": {"letter.txt", "photos"}}.Encode()
	for _, p := range []struct{ name, path, want string }{
		{"overview", "", "One thing needs you"}, {"calendar", "points", "2 recovery points in all"}, {"day", "points?day=" + time.Now().Format(time.DateOnly), "documents"},
		{"files", "files/", "2 recovery points"}, {"folder", folder, "<img src=x onerror=alert(1)>"}, {"text", folder + "letter.txt?show", "the second version"},
		{"image", folder + "photos/sea.png?show", "sea.png"}, {"page", folder + "page.html?show", "<script>alert(1)</script>"}, {"drawing", folder + "drawing.svg?show", "onload"},
		{"binary", folder + "binary.bin?show", "neither text nor a picture"}, {"versions", folder + "letter.txt?versions", "show"}, {"found", folder + "?find=e", "were found"},
		{"search", "search?find=letter", "gone or changed since"}, {"restore", "restore?" + chosen, "Where to"}, {"restores", "restores", "Nothing was restored"},
		{"jobs", "jobs", "Run now"}, {"job", "jobs/61", "somebody asked"}, {"failedjob", "jobs/63", "none of the paths is there"}, {"alerts", "alerts", "Backup failed"},
		{"policies", "policies", "one a day"}, {"charts", "charts?days=90", "Growth"}, {"missing", "jobs/9999", "Not found"},
	} {
		b.Window(1100, false)
		b.Open(base + p.path)
		if text := b.Ask("document.body.innerText"); !strings.Contains(text, p.want) {
			t.Errorf("%s: no %q in %s", p.name, p.want, text)
		}
		if n := b.Ask("[...document.images].filter(i => !i.complete || i.naturalWidth == 0).length"); n != "0" {
			t.Errorf("%s: %s pictures are broken", p.name, n)
		}
		b.Picture(p.name)
		audit(t, b, script, p.name)
		b.Window(1100, true)
		audit(t, b, script, p.name+", dark", "color-contrast")
		b.Picture(p.name + "-dark")
		b.Window(390, false)
		if wide := b.Ask("document.documentElement.scrollWidth"); wide != "390" {
			t.Errorf("%s: %s points wide on a telephone", p.name, wide)
		}
		b.Picture(p.name + "-phone")
	}
	b.Window(1100, false)
}

// live has jobs run, and the page follow them by itself.
func live(t *testing.T, w *world, b *chromium.Browser, base string) {
	b.Open(base + "jobs")
	w.tidemark("backup", "now", "documents", "--wait")
	b.Until("[...document.querySelectorAll('#list tbody th')].some(c => c.innerText == '64')")
	if b.Ask("location.pathname.endsWith('jobs')") != "true" {
		t.Error("the page went elsewhere")
	}
	press(b, "Pause")
	b.Until("document.body.innerText.includes('The agent is paused')")
	b.Open(base)
	b.Until("document.body.innerText.includes('The agent is paused')")
	b.Picture("paused")
	w.tidemark("agent", "resume")
	b.Until("!document.body.innerText.includes('The agent is paused')") // with nobody's doing
	b.Open(base + "jobs")
	press(b, "Run now")
	b.Until("location.pathname.endsWith('jobs/65') && document.body.innerText.includes('completed')")
}

// press presses the button that says something.
func press(b *chromium.Browser, text string) {
	b.Ask(fmt.Sprintf("[...document.querySelectorAll('main button, .bar button, main a.button')].find(e => e.innerText.trim() == %q).click()", text))
}

// alert closes an alert with a note.
func alert(t *testing.T, b *chromium.Browser, base string) {
	b.Open(base + "alerts")
	b.Ask("document.querySelector('input[name=note]').focus()")
	b.Do("Input.insertText", map[string]any{"text": "the <disk> was off"})
	b.Key("Enter", 13, "\r")
	b.Until("document.body.innerText.includes('No alert is active')")
	b.Ask("document.querySelector('details').open = true")
	if text := b.Ask("document.body.innerText"); !strings.Contains(text, "the <disk> was off") {
		t.Errorf("%s", text)
	}
	b.Picture("closed")
	b.Open(base)
	if text := b.Ask("document.querySelector('h1').innerText"); text != "Everything is fine" {
		t.Errorf("%s", text)
	}
	b.Picture("fine")
}

// calendar goes from day to day with the keys, and into a point.
func calendar(t *testing.T, b *chromium.Browser, base string) {
	b.Open(base + "points")
	day := "d" + time.Now().Format("20060102")
	b.Ask("document.querySelector('.calendar a').focus()")
	for range 40 {
		if b.Ask("document.activeElement.id") == day {
			break
		}
		b.Key("ArrowRight", 39, "")
	}
	if at := b.Ask("document.activeElement.id"); at != day {
		t.Fatalf("the keys lead to %s", at)
	}
	if says := b.Ask("document.activeElement.querySelector('.hidden').textContent"); !strings.Contains(says, "recovery points") {
		t.Errorf("a screen reader says %q", says)
	}
	b.Key("Enter", 13, "\r")
	b.Until("location.search.startsWith('?at=office&day=') && document.readyState == 'complete'")
	b.Ask("[...document.querySelectorAll('#daylist a')].find(a => a.innerText.startsWith('Open')).click()")
	b.Until("location.pathname.includes('/files/office/points/20') && document.readyState == 'complete'")
}

// restore finds the first version of the letter, and restores it: into a folder,
// then in place.
func restore(t *testing.T, w *world, b *chromium.Browser, base string) {
	b.Open(base + "files/office/latest" + w.source + "/letter.txt?versions")
	b.Ask("[...document.querySelectorAll('tbody a')].filter(a => a.innerText.startsWith('show'))[1].click()")
	b.Until("document.querySelector('pre')?.innerText.includes('the first version')")
	press(b, "Restore…")
	b.Until("document.getElementById('to') != null && document.readyState == 'complete'")
	press(b, "Restore")
	b.Until("document.querySelector('[role=alert]')?.innerText == 'Say which folder to restore into.'")
	b.Picture("wrong")
	to := filepath.Join(w.top, "restored")
	b.Ask("document.getElementById('to').focus()")
	b.Do("Input.insertText", map[string]any{"text": to})
	press(b, "Restore")
	b.Until("location.pathname.endsWith('restores/1') && document.querySelector('.sign')?.innerText.startsWith('completed')")
	b.Picture("restored")
	same(t, filepath.Join(to, "letter.txt"), firstLetter)

	// In place: of a folder, what is chosen in it, after he was asked.
	w.write("source/letter.txt", "spoilt")
	b.Open(base + "files/office/latest" + w.source + "/")
	b.Ask("document.querySelector('input[value=\"letter.txt\"]').click()")
	press(b, "Restore…")
	b.Until("document.getElementById('where-place') != null && document.readyState == 'complete'")
	b.Ask("document.getElementById('where-place').click(); document.getElementById('c-overwrite').click()")
	press(b, "Restore")
	b.Until("document.querySelector('h1')?.innerText == 'Restore to where it was?'")
	b.Picture("sure")
	same(t, filepath.Join(w.source, "letter.txt"), "spoilt")
	press(b, "Restore and replace")
	b.Until("location.pathname.endsWith('restores/2') && document.querySelector('.sign')?.innerText.startsWith('completed')")
	same(t, filepath.Join(w.source, "letter.txt"), "the second version of the letter\n")
	b.Open(base + "restores")
	b.Picture("restores-two")

	// A folder as a zip.
	b.Open(base + "files/office/latest" + w.source + "/photos/")
	b.Ask("document.querySelector('button[name=zip]').click()")
	if got := b.File("photos.zip"); !strings.HasPrefix(got, "PK") {
		t.Errorf("a zip that begins with %.10q", got)
	}
}

func same(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s is %q, %v", path, got, err)
	}
}

// plain uses the page without its script.
func plain(t *testing.T, w *world, b *chromium.Browser, base string) {
	b.Do("Emulation.setScriptExecutionDisabled", map[string]any{"value": true})
	defer b.Do("Emulation.setScriptExecutionDisabled", map[string]any{"value": false})
	b.Do("Page.navigate", map[string]any{"url": base + "search?find=plan"})
	b.Until("document.readyState == 'complete' && document.body.innerText.includes('plan.md')")
	b.Do("Page.navigate", map[string]any{"url": base + "jobs"})
	b.Until("document.readyState == 'complete' && document.querySelector('select#policy') != null")
	if got := b.Ask("document.querySelector('noscript meta')?.content ?? document.querySelector('meta[http-equiv]')?.content"); got != "10" {
		t.Errorf("without the script the page is loaded anew after %s", got)
	}
	press(b, "Run now")
	b.Until("location.pathname.includes('/jobs/')")
}

func logout(t *testing.T, b *chromium.Browser, base string) {
	b.Open(base + "jobs")
	press(b, "Log out")
	b.Until("document.body.innerText.includes('You are logged out')")
	b.Do("Page.navigate", map[string]any{"url": base + "jobs"})
	b.Until("document.readyState == 'complete' && document.body.innerText.includes('tidemark agent page')")
	b.Picture("stranger")
	if text := b.Ask("document.body.innerText"); strings.Contains(text, "documents") {
		t.Errorf("%s", text)
	}
}

// sealed is on a machine that cannot read what it backs up, until somebody has
// typed the passphrase.
func sealed(t *testing.T, program string) {
	w := newWorld(t, program, true)
	b := chromium.New(t)
	base := w.login(b)
	script := axe(t)
	b.Open(base + "points?day=" + time.Now().Format(time.DateOnly))
	if text := b.Ask("document.body.innerText"); !strings.Contains(text, "locked") || !strings.Contains(text, "hourly") {
		t.Errorf("%s", text)
	}
	audit(t, b, script, "locked points")
	b.Picture("locked-points")
	folder := base + "files/office/latest" + w.source + "/"
	b.Open(folder)
	audit(t, b, script, "locked")
	for _, try := range []struct{ passphrase, until string }{
		{"not the passphrase", "document.querySelector('[role=alert]')?.innerText.includes('not the passphrase')"},
		{passphrase, "document.body.innerText.includes('letter.txt')"},
	} {
		b.Ask("document.getElementById('passphrase').focus()")
		b.Do("Input.insertText", map[string]any{"text": try.passphrase})
		b.Key("Enter", 13, "\r")
		b.Until(try.until)
		if strings.HasPrefix(try.passphrase, "not") {
			b.Picture("locked")
			audit(t, b, script, "wrong passphrase")
		}
	}
	b.Open(base + "files/")
	b.Picture("unlocked")
	press(b, "Lock: forget the passphrase")
	b.Until("document.querySelector('.sign')?.innerText == 'locked'")
	b.Open(folder)
	if text := b.Ask("document.body.innerText"); strings.Contains(text, "letter.txt") || !strings.Contains(text, "is locked") {
		t.Errorf("%s", text)
	}
}
