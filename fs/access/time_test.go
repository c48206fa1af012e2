package access

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Ann may see the folder today. What was in it while it was closed to her she
// learns from no made-up folder, by no name and no listing; the administrator
// does. What is hers she has.
func TestMadeUpFoldersLetNobodyIn(t *testing.T) {
	s := fsconform.NewSource()
	folder := func(path string, mode uint32) fsconform.File {
		return fsconform.File{Path: path, Entry: table.Entry{Kind: table.Folder, Mode: mode}}
	}
	file := func(path, content string, mode uint32) fsconform.File {
		return fsconform.File{Path: path, Data: fsconform.Bytes([]byte(content)),
			Entry: table.Entry{Kind: table.File, Mode: mode, UID: 7, MTime: table.Time{Sec: int64(len(content))}}}
	}
	for i, files := range [][]fsconform.File{
		{folder("/d", 0o755), file("/d/f", "open", 0o644), file("/d/early", "x", 0o644), file("/d/private", "p", 0o600), file("/d/sub/s", "sub", 0o644)},
		{folder("/d", 0o700), file("/d/f", "while closed", 0o644), file("/d/secret", "y", 0o644)},
		{folder("/d", 0o711), file("/d/f", "may be entered", 0o644), file("/d/unlisted", "z", 0o644)},
		{folder("/d", 0o755), file("/d/f", "open again", 0o644)},
	} {
		if _, err := s.Add(t.Context(), time.Date(2026, 11, 22, 10+i, 0, 0, 0, time.UTC), files); err != nil {
			t.Fatal(err)
		}
	}
	tree := fs.New(s, fs.Options{Location: time.UTC, ListTime: true})
	defer tree.Close()
	ann, admin := New(tree, &User{Name: "ann", UID: 1000, Groups: []uint32{1000}}), New(tree, &User{Name: "root", Admin: true})
	const top, diff = "points/2026-11-22_13-00-00/d/", "@diff/2026-11-22_11-00-00..2026-11-22_13-00-00"
	first, closed, entered, last := "2026-11-22_10-00-00", "2026-11-22_11-00-00", "2026-11-22_12-00-00", "2026-11-22_13-00-00"
	for _, c := range []struct {
		path       string
		ann, admin []string
	}{
		{"@versions", []string{"f", "early", "private"}, []string{"f", "early", "private", "secret", "unlisted"}},
		{"@versions/f", []string{first, last}, []string{first, closed, entered, last}},
		{"@deleted", []string{"early", "private", "sub"}, []string{"early", "private", "secret", "sub", "unlisted"}},
		{"@deleted/sub", []string{"s"}, []string{"s"}},
		{diff, []string{"f"}, []string{"f", "@removed"}},
		{diff + "/@removed", nil, []string{"secret"}},
	} {
		if got := names(t, admin, top+c.path); !slices.Equal(got, c.admin) {
			t.Errorf("the administrator sees %q in %s, want %q", got, c.path, c.admin)
		}
		if got := names(t, ann, top+c.path); !slices.Equal(got, c.ann) && !(len(c.ann) == 0 && len(got) <= 1 && c.path != diff) {
			t.Errorf("ann sees %q in %s, want %q", got, c.path, c.ann)
		}
	}
	for path, want := range map[string]string{
		"@versions/f/" + first: "open", "@versions/f/" + entered: "may be entered", "@versions/f/" + closed: "", "@versions/private/" + first: "",
		"@deleted/secret": "", "@deleted/unlisted": "z", "@deleted/early": "x", "@deleted/private": "",
		diff + "/@removed/secret": "", diff + "/f": "open again",
	} {
		if got := content(t, ann, top+path); got != want {
			t.Errorf("ann reads %q in %s, want %q", got, path, want)
		}
		if got := content(t, admin, top+path); got == "" {
			t.Errorf("the administrator reads nothing in %s", path)
		}
	}
}

// walkTo follows a path as a front end does; 0 if it does not lead anywhere.
func walkTo(t *testing.T, v *View, path string) fs.Node {
	t.Helper()
	n := fs.Root
	for name := range strings.SplitSeq(path, "/") {
		a, err := v.Lookup(t.Context(), n, name)
		if err != nil {
			return 0
		}
		n = a.Node
	}
	return n
}

func names(t *testing.T, v *View, path string) []string {
	t.Helper()
	var all []string
	for d, err := range v.ReadDir(t.Context(), walkTo(t, v, path), 2) {
		if err != nil {
			return []string{err.Error()}
		}
		all = append(all, string(d.Name))
	}
	return all
}

func content(t *testing.T, v *View, path string) string {
	t.Helper()
	b := make([]byte, 100)
	n, err := v.Read(t.Context(), walkTo(t, v, path), 0, b)
	if err != nil {
		return ""
	}
	return string(b[:n])
}
