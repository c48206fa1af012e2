package page

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo"
)

// TestEvents: a page hears of what changes, and of nothing else; not once its
// session is over.
func TestEvents(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	r, err := w.client.Do(w.request(http.MethodGet, "events", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if kind := r.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatal(kind)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(r.Body); s.Scan(); {
			if s.Text() == "event: change" {
				lines <- s.Text()
			}
		}
	}()
	if _, ok := <-lines; !ok { // how things are
		t.Fatal("the stream ended")
	}
	if a := w.post("pause", nil); a.status != http.StatusSeeOther {
		t.Fatalf("%d", a.status)
	}
	if _, ok := <-lines; !ok {
		t.Fatal("nobody is told of the pause")
	}
	w.post("logout", nil)
	for range lines { // until it ends
	}
}

// TestStreams: many pages that lie open are told so, and keep nobody out.
func TestStreams(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	for range maxStreams {
		w.page.streams <- struct{}{}
	}
	if a := w.get("events"); a.status != http.StatusServiceUnavailable {
		t.Errorf("%d", a.status)
	}
	if a := w.get("jobs"); a.status != http.StatusOK {
		t.Errorf("%d", a.status)
	}
}

// TestForgets: a passphrase is forgotten when nobody has looked for a while, but
// not under somebody who reads.
func TestForgets(t *testing.T) {
	w := newWorld(t, repo.Sealed)
	unlock := func() {
		if a := w.post("files/office/unlock", url.Values{"passphrase": {passphrase}}); a.status != http.StatusSeeOther {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	unlock()
	at := w.page.places()[0]
	v, err := w.page.vaults.take(t.Context(), at)
	if err != nil || v.Locked() {
		t.Fatal(err)
	}
	w.turned.Add(int64(time.Hour))
	w.page.vaults.endIdle(false)
	if a := w.get(w.folder() + "letter.txt"); a.body != "the letter\n" {
		t.Errorf("while somebody reads: %d", a.status)
	}
	w.page.vaults.give(v)
	w.page.vaults.endIdle(false)
	if a := w.get(w.folder() + "letter.txt"); a.body != "the letter\n" {
		t.Errorf("at once: %d", a.status)
	}
	w.turned.Add(int64(time.Hour))
	w.page.vaults.endIdle(false)
	if a := w.get(w.folder() + "letter.txt"); !strings.Contains(a.body, "office is locked") {
		t.Errorf("an hour later: %d %s", a.status, a.body)
	}
}

// TestTold: what somebody has told the agent the page need not ask for.
func TestTold(t *testing.T) {
	w := newWorld(t, repo.Sealed)
	w.page.o.Told = func(string) []byte { return []byte(passphrase) }
	if a := w.get(w.folder() + "letter.txt"); a.body != "the letter\n" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func FuzzChoose(f *testing.F) {
	for _, s := range []string{"files/office/latest/x/", "files/office/latest/%2e%2e/", "files/office/@deleted//", "files/", "files/office/points/%ff%00"} {
		f.Add(s, "letter.txt")
	}
	w := newWorld(f, repo.Unattended)
	f.Fuzz(func(t *testing.T, in, name string) {
		q := &request{Page: w.page, r: (&http.Request{}).WithContext(t.Context())}
		at, names, err := q.inForm(w.page.base + in)
		if err != nil {
			return
		}
		v, err := w.page.vaults.take(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		defer w.page.vaults.give(v)
		s, err := q.choose(v, names, url.Values{"escaped": {name}})
		if err == nil && (len(s.Items) != 1 || !strings.HasPrefix(s.Items[0].Path, "/") || strings.Contains(s.Items[0].Path, "/../")) {
			t.Errorf("%q, %q: %+v", in, name, s)
		}
	})
}
