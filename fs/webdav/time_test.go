package webdav

import (
	"archive/zip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
)

// Time is in the share as in the tree: by name, and in no listing, archive or
// copy of a folder unless it is asked for.
func TestTime(t *testing.T) {
	s := newShare(t, folder("/d"), text("/d/letter.odt", "one"), text("/d/gone.txt", "gone"), text("/d/old/a", "A"), link("/d/way", "old"))
	s.add(firstPoint.Add(time.Hour), folder("/d"), text("/d/letter.odt", "two, longer"), text("/d/new", "n"))
	const first, second = "2026-11-22_10-00-00", "2026-11-22_11-00-00"
	top := "/points/" + second + "/d/"
	for path, want := range map[string]string{
		"/@GMT-2026.11.22-10.00.00/d/gone.txt":                     "gone",
		top + "@versions/letter.odt/" + first + ".odt":             "one",
		top + "@versions/letter.odt/" + second + ".odt":            "two, longer",
		top + "@deleted/gone.txt":                                  "gone",
		top + "@deleted/old/a":                                     "A",
		"/latest/d/@deleted/old/a":                                 "A",
		top + "@diff/" + first + ".." + second + "/letter.odt":     "two, longer",
		top + "@diff/" + first + ".." + second + "/@removed/old/a": "A",
	} {
		if got := read(t, s.status(200, "GET", path, gvfsAgent, "")); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	listing := func(path, agent string) string {
		return read(t, s.status(207, "PROPFIND", path, agent, "", "Depth: 1"))
	}
	for _, agent := range []string{gvfsAgent, windowsAgent, macAgent} {
		if got := listing(top, agent); strings.Contains(got, "@") {
			t.Errorf("%s sees %s", agent, got)
		}
		if got := listing(top+"@deleted/", agent); strings.Count(got, "<D:href>") != 3 || !strings.Contains(got, "/@deleted/old/</D:href>") {
			t.Errorf("%s sees %s in @deleted", agent, got)
		}
		s.status(404, "GET", top+"@deleted/new", agent, "")
		s.status(403, "DELETE", top+"@deleted/gone.txt", agent, "")
	}
	s.tree = fs.New(s.source, fs.Options{Location: time.UTC, ListTime: true})
	t.Cleanup(s.tree.Close)
	if got := listing(top, gvfsAgent); !strings.Contains(got, top+"@versions/</D:href>") || !strings.Contains(got, top+"@diff/</D:href>") {
		t.Errorf("with them listed: %s", got)
	}
	if names := zipNames(t, read(t, s.status(200, "GET", top+"?zip", gvfsAgent, ""))); !slices.Equal(names, []string{"d/", "d/letter.odt", "d/new"}) {
		t.Errorf("the archive of a folder holds %q", names)
	}
	if names := zipNames(t, read(t, s.status(200, "GET", top+"@deleted/?zip", gvfsAgent, ""))); !slices.Contains(names, "@deleted/old/a") {
		t.Errorf("the archive of what was deleted holds %q", names)
	}
}

func zipNames(t *testing.T, body string) []string {
	t.Helper()
	z, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	return names
}
