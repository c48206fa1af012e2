package page

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo"
)

// restored sends a form, and waits until its restore is over.
func (w *world) restored(form url.Values) restoreState {
	w.t.Helper()
	a := w.post("restore", form)
	if a.status != http.StatusSeeOther {
		w.t.Fatalf("restore: %d %s", a.status, a.body)
	}
	var id uint64
	if _, err := fmt.Sscanf(strings.TrimPrefix(a.header.Get("Location"), w.page.base), "restores/%d", &id); err != nil {
		w.t.Fatal(err)
	}
	t, err := w.page.restores.find(id)
	if err != nil {
		w.t.Fatal(err)
	}
	for t.over().IsZero() {
		time.Sleep(time.Millisecond)
	}
	if a := w.get(fmt.Sprintf("restores/%d", id)); a.status != http.StatusOK || !strings.Contains(a.body, t.state().Text) {
		w.t.Errorf("its page: %d %s", a.status, a.body)
	}
	return t.state()
}

func (w *world) file(name string) string {
	w.t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		w.t.Error(err)
	}
	return string(b)
}

func TestRestoreToFolder(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	in := w.page.base + w.folder()
	a := w.get("restore?" + url.Values{"in": {in}, "escaped": {"letter.txt", "a", "%3Cb%3Ebold"}}.Encode())
	for _, want := range []string{"/source/letter.txt", "/source/a/", "/source/&lt;b&gt;bold", "files/office/points/20"} {
		if !strings.Contains(a.body, want) {
			t.Errorf("no %q in %s", want, a.body)
		}
	}
	to := filepath.Join(w.top, "restored")
	s := w.restored(url.Values{"in": {in}, "escaped": {"letter.txt", "a"}, "where": {"folder"}, "to": {to}, "conflict": {"copy"}})
	if s.State != "completed" && s.State != "completed_with_warnings" || s.Files != 2 || s.Error != "" {
		t.Errorf("%+v", s)
	}
	if got := w.file(filepath.Join(to, "letter.txt")) + w.file(filepath.Join(to, "a", "deep", "file")); got != "the letter\ndeep" {
		t.Errorf("%q", got)
	}
	// The whole of a folder, by its name.
	s = w.restored(url.Values{"in": {in + "a/"}, "where": {"folder"}, "to": {to + "2"}, "conflict": {"copy"}})
	if got := w.file(filepath.Join(to+"2", "a", "deep", "file")); got != "deep" {
		t.Errorf("%q: %+v", got, s)
	}
	// A whole point, by its paths.
	s = w.restored(url.Values{"in": {w.page.base + "files/office/latest/"}, "where": {"folder"}, "to": {to + "3"}, "conflict": {"copy"}})
	if got := w.file(filepath.Join(to+"3", w.source, "letter.txt")); got != "the letter\n" {
		t.Errorf("%q: %+v", got, s)
	}
	if a := w.get("restores"); !strings.Contains(a.body, "Everything") && !strings.Contains(a.body, "the whole point") {
		t.Errorf("%s", a.body)
	}
}

func TestRestoreInPlace(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	w.write("source/letter.txt", "changed since")
	form := url.Values{"in": {w.page.base + w.folder()}, "escaped": {"letter.txt"}, "where": {"place"}, "conflict": {"overwrite"}}
	a := w.post("restore", form)
	if a.status != http.StatusOK || !strings.Contains(a.body, "Restore and replace") || !strings.Contains(a.body, "is replaced") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if got := w.file(filepath.Join(w.source, "letter.txt")); got != "changed since" {
		t.Errorf("before it was confirmed: %q", got)
	}
	form.Set("sure", "yes")
	if s := w.restored(form); s.Files != 1 || s.Error != "" {
		t.Errorf("%+v", s)
	}
	if got := w.file(filepath.Join(w.source, "letter.txt")); got != "the letter\n" {
		t.Errorf("after: %q", got)
	}
	w.write("source/letter.txt", "changed again")
	form.Set("conflict", "skip")
	if s := w.restored(form); s.Skipped != 1 || w.file(filepath.Join(w.source, "letter.txt")) != "changed again" {
		t.Errorf("%+v", s)
	}
	form.Set("conflict", "copy")
	if s := w.restored(form); s.Copied != 1 || w.file(filepath.Join(w.source, "letter.txt")) != "changed again" {
		t.Errorf("%+v", s)
	}
}

// TestRestoreTells: how a restore ended is told to who wants to know.
func TestRestoreTells(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	told := make(chan error, 2)
	w.page.restores.told = func(what string, err error) {
		if !strings.HasSuffix(what, "letter.txt") {
			t.Errorf("told of %q", what)
		}
		told <- err
	}
	w.write("in-the-way", "a file")
	form := url.Values{"in": {w.page.base + w.folder()}, "escaped": {"letter.txt"}, "where": {"folder"}, "to": {filepath.Join(w.top, "in-the-way", "sub")}, "conflict": {"copy"}}
	if s := w.restored(form); s.State != "failed" || <-told == nil {
		t.Errorf("%+v", s)
	}
	form.Set("to", filepath.Join(w.top, "free"))
	if s := w.restored(form); s.Error != "" || <-told != nil {
		t.Errorf("%+v", s)
	}
}

// TestRestoreDeleted: what is chosen among deleted files comes from the point
// that had it last.
func TestRestoreDeleted(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	if err := os.Remove(filepath.Join(w.source, "letter.txt")); err != nil {
		t.Fatal(err)
	}
	w.backup()
	w.turned.Add(int64(time.Minute)) // the list of points is read anew
	in := w.page.base + w.folder()
	to := filepath.Join(w.top, "restored")
	if a := w.get(w.folder() + "@deleted/"); !strings.Contains(a.body, "letter.txt") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	s := w.restored(url.Values{"in": {in + "@deleted/"}, "escaped": {"letter.txt"}, "where": {"folder"}, "to": {to}, "conflict": {"copy"}})
	if got := w.file(filepath.Join(to, "letter.txt")); got != "the letter\n" {
		t.Errorf("%q: %+v", got, s)
	}
	if a := w.post("restore", url.Values{"in": {in + "@deleted/"}, "where": {"folder"}, "to": {to}, "conflict": {"copy"}}); a.status != http.StatusBadRequest {
		t.Errorf("a made-up folder: %d %s", a.status, a.body)
	}
}

func TestRestoreRefuses(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	in := w.page.base + w.folder()
	for _, c := range []struct {
		name   string
		form   url.Values
		status int
		text   string
	}{
		{"nowhere", url.Values{"in": {in}, "conflict": {"copy"}}, 200, "Say which folder"},
		{"a relative folder", url.Values{"in": {in}, "conflict": {"copy"}, "to": {"x"}}, 200, "whole path"},
		{"the repository", url.Values{"in": {in}, "conflict": {"copy"}, "to": {filepath.Join(w.top, "office", "x")}}, 200, "own"},
		{"the agent's folder", url.Values{"in": {in}, "conflict": {"copy"}, "to": {w.state()}}, 200, "own"},
		{"an unknown rule", url.Values{"in": {in}, "conflict": {"destroy"}, "to": {"/tmp/x"}}, 400, "no rule"},
		{"no point", url.Values{"in": {w.page.base + "files/office/"}, "conflict": {"copy"}, "to": {"/tmp/x"}}, 400, "enter a recovery point"},
		{"another repository", url.Values{"in": {w.page.base + "files/nothing/latest/"}, "conflict": {"copy"}, "to": {"/tmp/x"}}, 404, "no policy names it"},
		{"another place", url.Values{"in": {"/etc/"}, "conflict": {"copy"}, "to": {"/tmp/x"}}, 404, ""},
		{"a way up", url.Values{"in": {in + "%2e%2e/"}, "conflict": {"copy"}, "to": {"/tmp/x"}}, 404, ""},
		{"a name that is none", url.Values{"in": {in}, "escaped": {"..%2f..%2fetc"}, "conflict": {"copy"}, "to": {"/tmp/x"}}, 404, ""},
		{"too much", url.Values{"in": {in}, "escaped": make([]string, maxChosen+1), "conflict": {"copy"}, "to": {"/tmp/x"}}, 400, "possible"},
	} {
		if a := w.post("restore", c.form); a.status != c.status || !strings.Contains(a.body, c.text) {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}
	}
	if n := len(w.page.restores.states()); n != 0 {
		t.Errorf("%d restores began", n)
	}
	sealed := newWorld(t, repo.Sealed)
	if a := sealed.post("restore", url.Values{"in": {sealed.page.base + sealed.folder()}, "conflict": {"copy"}, "to": {"/tmp/x"}}); a.status != http.StatusForbidden || !strings.Contains(a.body, "locked") {
		t.Errorf("a locked repository: %d %s", a.status, a.body)
	}
}
