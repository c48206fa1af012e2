package fsconform

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"slices"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// The points of AddTime, by their folders, with Location UTC.
const (
	timeFirst  = "2026-11-22_10-00-00"
	timeSecond = "2026-11-22_11-00-00"
	timeThird  = "2026-11-22_12-00-00"
)

// AddTime adds the points that CheckTime looks at.
func AddTime(ctx context.Context, s *Source) ([]*repo.Point, error) {
	file := func(path, content string) File {
		var sum int64
		for _, c := range content {
			sum = sum*31 + int64(c)
		}
		return File{Path: path, Data: Bytes([]byte(content)),
			Entry: table.Entry{Kind: table.File, Mode: 0o640, UID: 5, GID: 6, MTime: table.Time{Sec: 1_700_000_000 + sum%1_000_000}}}
	}
	docs := func(mtime int64) File {
		return File{Path: "/docs", Entry: table.Entry{Kind: table.Folder, Mode: 0o751, UID: 5, GID: 6, MTime: table.Time{Sec: mtime}}}
	}
	both := []File{file("/docs/keep", "kept"), file("/docs/sub/deep/same", "same"), file("/other", "other")}
	var points []*repo.Point
	for i, files := range [][]File{
		{docs(1), file("/docs/letter.odt", "one"), file("/docs/gone.txt", "gone"), file("/docs/old/a", "A"), file("/docs/old/deep/b", "B"),
			file("/docs/sub/x", "1"), file("/docs/flip", "A"), file("/docs/.rc", "r")},
		{docs(2), file("/docs/letter.odt", "two"), file("/docs/sub/x", "1"), file("/docs/sub/new", "n"), file("/docs/flip", "B"), file("/docs/.rc", "r"),
			file("/docs/late", "late"), file("/real/@versions", "a file of this name"), file("/real/@diff/x", "x")},
		{docs(3), file("/docs/letter.odt", "two"), file("/docs/sub/x", "22"), file("/docs/flip", "A"), file("/docs/.rc", "r"),
			file("/docs/added/y", "y"), file("/real/@versions", "a file of this name")},
	} {
		p, err := s.Add(ctx, time.Date(2026, 11, 22, 10+i, 0, 0, 0, time.UTC), append(files, both...))
		if err != nil {
			return nil, err
		}
		points = append(points, p)
	}
	return points, nil
}

// CheckTime checks that v, whose root is that of a tree of the points of
// AddTime, has the folders that tell about time.
func CheckTime(t *testing.T, v View, listed bool) {
	t.Helper()
	t.Run("listings", func(t *testing.T) { timeListings(t, v, listed) })
	t.Run("content", func(t *testing.T) { timeContent(t, v) })
	t.Run("missing", func(t *testing.T) { timeMissing(t, v) })
	t.Run("attributes", func(t *testing.T) { timeAttributes(t, v) })
}

func in(point, path string) string { return "/points/" + point + path }

func timeListings(t *testing.T, v View, listed bool) {
	made := func(names ...string) []string {
		if listed {
			names = append(names, fs.DeletedName, fs.DiffName, fs.VersionsName)
		}
		return names
	}
	third := "/@GMT-2026.11.22-12.00.00"
	for path, want := range map[string][]string{
		in(timeThird, "/docs"):           made(".rc", "added", "flip", "keep", "letter.odt", "sub"),
		third + "/docs/sub":              made("deep", "x"),
		in(timeThird, "/docs/@versions"): {".rc", "flip", "keep", "letter.odt", "gone.txt", "late"},
		in(timeFirst, "/docs/@versions"): {".rc", "flip", "gone.txt", "keep", "letter.odt"},

		in(timeThird, "/docs/@versions/letter.odt"): {timeFirst + ".odt", timeSecond + ".odt"},
		in(timeThird, "/docs/@versions/gone.txt"):   {timeFirst + ".txt"},
		in(timeFirst, "/docs/@versions/late"):       {timeSecond},
		in(timeThird, "/docs/@versions/flip"):       {timeFirst, timeSecond},
		in(timeThird, "/docs/@versions/.rc"):        {timeFirst},
		third + "/docs/sub/@versions/x":             {timeFirst, timeThird},
		in(timeThird, "/docs/@deleted"):             {"gone.txt", "late", "old"},
		in(timeSecond, "/docs/@deleted"):            {"gone.txt", "old"},
		in(timeFirst, "/docs/@deleted"):             nil,
		in(timeThird, "/docs/@deleted/old"):         {"a", "deep"},
		third + "/docs/@deleted/old/deep":           {"b"},
		in(timeThird, "/docs/@diff"):                {timeFirst + ".." + timeThird, timeSecond + ".." + timeThird},

		in(timeThird, "/docs/@diff/"+timeFirst+".."+timeSecond):                   {"flip", "late", "letter.odt", "sub", "@removed"},
		in(timeThird, "/docs/@diff/"+timeFirst+".."+timeSecond+"/@removed"):       {"gone.txt", "old"},
		in(timeThird, "/docs/@diff/"+timeFirst+".."+timeSecond+"/@removed/old"):   {"a", "deep"},
		in(timeThird, "/docs/@diff/"+timeFirst+".."+timeSecond+"/sub"):            {"new"},
		in(timeThird, "/docs/@diff/"+timeSecond+".."+timeThird):                   {"added", "flip", "sub", "@removed"},
		in(timeThird, "/docs/@diff/"+timeSecond+".."+timeThird+"/added"):          {"y"},
		in(timeThird, "/docs/@diff/"+timeSecond+".."+timeThird+"/sub"):            {"x", "@removed"},
		in(timeThird, "/docs/@diff/"+timeSecond+".."+timeThird+"/sub/@removed"):   {"new"},
		in(timeThird, "/docs/@diff/"+timeThird+".."+timeThird):                    nil,
		in(timeThird, "/@diff/"+timeSecond+".."+timeThird):                        {"docs", "real"},
		in(timeThird, "/@diff/"+timeSecond+".."+timeThird+"/real/@removed"):       {"@diff"},
		in(timeSecond, "/real/@diff"):                                             made("x"),
		in(timeThird, "/real/@diff/"+timeFirst+".."+timeSecond+"/@diff"):          {"x"},
		in(timeThird, "/real/@diff/"+timeSecond+".."+timeThird+"/@removed"):       {"@diff"},
		in(timeThird, "/real/@diff/"+timeSecond+".."+timeThird+"/@removed/@diff"): {"x"},
	} {
		got, err := v.List(path)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s holds %q, %v; want %q", path, got, err, want)
		}
	}
}

func timeContent(t *testing.T, v View) {
	for path, want := range map[string]string{
		in(timeThird, "/docs/@versions/letter.odt/"+timeFirst+".odt"):                  "one",
		in(timeThird, "/docs/@versions/letter.odt/"+timeSecond+".odt"):                 "two",
		in(timeThird, "/docs/@versions/flip/"+timeFirst):                               "A",
		in(timeFirst, "/docs/@versions/late/"+timeSecond):                              "late",
		in(timeThird, "/docs/@deleted/gone.txt"):                                       "gone",
		"/@GMT-2026.11.22-12.00.00/docs/@deleted/old/deep/b":                           "B",
		in(timeThird, "/docs/@diff/"+timeSecond+".."+timeThird+"/flip"):                "A",
		in(timeThird, "/docs/@diff/"+timeThird+".."+timeSecond+"/flip"):                "B",
		in(timeThird, "/docs/@diff/"+timeFirst+".."+timeSecond+"/@removed/gone.txt"):   "gone",
		in(timeThird, "/docs/@diff/"+timeFirst+".."+timeSecond+"/@removed/old/deep/b"): "B",
		in(timeThird, "/real/@versions"):                                               "a file of this name",
	} {
		o, err := v.Open(path)
		if err != nil {
			t.Errorf("open %s: %v", path, err)
			continue
		}
		got, err := io.ReadAll(io.NewSectionReader(o, 0, 1<<20))
		if err != nil || string(got) != want {
			t.Errorf("%s is %q, %v; want %q", path, got, err, want)
		}
		if err := o.Close(); err != nil {
			t.Errorf("close %s: %v", path, err)
		}
	}
}

func timeMissing(t *testing.T, v View) {
	for _, path := range []string{
		"/points/@versions", "/@deleted", in(timeThird, "/docs/@other"), in(timeThird, "/docs/@versions/none"), in(timeThird, "/docs/@versions/sub"),
		in(timeThird, "/docs/@versions/letter.odt/"+timeThird+".odt"), in(timeThird, "/docs/@versions/letter.odt/"+timeFirst),
		in(timeThird, "/docs/@deleted/keep"), in(timeFirst, "/docs/@deleted/late"), in(timeThird, "/docs/@deleted/old/none"),
		in(timeThird, "/docs/@diff/"+timeFirst), in(timeThird, "/docs/@diff/"+timeFirst+".."), in(timeThird, "/docs/@diff/a..b"),
		in(timeThird, "/docs/@diff/"+timeSecond+".."+timeThird+"/keep"), in(timeThird, "/docs/@versions/@versions"),
	} {
		if _, err := v.Stat(path); !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("stat %s: %v, want not exist", path, err)
		}
	}
}

func timeAttributes(t *testing.T, v View) {
	at := func(hour int) int64 { return time.Date(2026, 11, 22, hour, 0, 0, 0, time.UTC).Unix() }
	seen := map[uint64]string{}
	for path, want := range map[string]fs.Attr{
		in(timeSecond, "/docs/@deleted"):                                   {Mode: 0o551, MTime: table.Time{Sec: at(11)}},
		in(timeFirst, "/docs/@diff"):                                       {Mode: 0o551, MTime: table.Time{Sec: at(10)}},
		in(timeFirst, "/docs/@versions"):                                   {Mode: 0o551, MTime: table.Time{Sec: at(12)}},
		in(timeFirst, "/docs/@versions/letter.odt"):                        {Mode: 0o551, MTime: table.Time{Sec: at(12)}},
		in(timeThird, "/docs/@versions/letter.odt"):                        {Mode: 0o551, MTime: table.Time{Sec: at(12)}},
		in(timeThird, "/docs/@diff/"+timeFirst+".."+timeSecond):            {Mode: 0o551, MTime: table.Time{Sec: at(12)}},
		in(timeThird, "/docs/@diff/"+timeFirst+".."+timeSecond+"/sub"):     {Mode: 0o555, MTime: table.Time{Sec: at(12)}},
		in(timeSecond, "/docs/@diff/"+timeFirst+".."+timeSecond+"/sub"):    {Mode: 0o555, MTime: table.Time{Sec: at(11)}},
		in(timeThird, "/docs/@deleted/old"):                                {Mode: 0o755},
		in(timeSecond, "/docs/@deleted/old"):                               {Mode: 0o755},
		"/@GMT-2026.11.22-11.00.00/docs/@deleted":                          {Mode: 0o551, MTime: table.Time{Sec: at(11)}},
		in(timeThird, "/docs/@diff/"+timeFirst+".."+timeThird+"/@removed"): {Mode: 0o551, MTime: table.Time{Sec: at(12)}},
	} {
		got, err := v.Stat(path)
		if err != nil {
			t.Errorf("stat %s: %v", path, err)
			continue
		}
		if got.Kind != table.Folder || got.Mode != want.Mode || got.Nlink != 1 || got.MTime.Sec != want.MTime.Sec {
			t.Errorf("stat %s: %+v, want %o of %d", path, got, want.Mode, want.MTime.Sec)
		}
		if again, err := v.Stat(path); err != nil || again != got {
			t.Errorf("stat %s: %+v, then %+v, %v", path, got, again, err)
		}
		if other := seen[got.Inode]; other != "" {
			t.Errorf("%s and %s have inode %d", path, other, got.Inode)
		}
		seen[got.Inode] = path
	}
	if _, err := v.List(fmt.Sprint("/points/", timeThird, "/docs/@versions/letter.odt/", timeFirst, ".odt")); err == nil {
		t.Error("a version can be listed")
	}
}
