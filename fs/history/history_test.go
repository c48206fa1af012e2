package history_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/fs/history"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

func file(path, content string, mode uint32, sec int64) fsconform.File {
	return fsconform.File{Path: path, Entry: table.Entry{Kind: table.File, Mode: mode, MTime: table.Time{Sec: sec}}, Data: fsconform.Bytes([]byte(content))}
}

// told is the history of a path in one line.
func told(t *testing.T, src history.Source, points []*repo.Point, path string) string {
	t.Helper()
	var out []string
	for v, err := range history.Versions(t.Context(), src, points, path) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%d-%d(%d):%d", v.First.Sequence, v.Last.Sequence, v.Points, v.Entry.Size))
	}
	return strings.Join(out, " ")
}

func TestVersions(t *testing.T) {
	s := fsconform.NewSource()
	long := strings.Repeat("long content ", 1000)
	var points []*repo.Point
	for i, files := range [][]fsconform.File{
		{file("/a", "one", 0o644, 1), file("/b", "x", 0o644, 1)},
		{file("/a", "one", 0o600, 1), file("/b", "x", 0o644, 1)}, // mode only
		{file("/a", "two!", 0o600, 2)},
		{file("/c", "without a", 0o644, 1)},
		{file("/a", "two!", 0o600, 2)},           // came back
		{file("/a", long, 0o600, 3)},             // stored at one place
		{file("/a", long, 0o600, 3)},             // and at another
		{file("/a", "same size", 0o600, 4)},      // inline: compared by content
		{file("/a", "SAME SIZE", 0o600, 5)},      // other content of the same length
		{file("/a", "SAME SIZE", 0o600, 6)},      // touched
		{file("/a/b", "a folder now", 0o600, 7)}, // of another kind
	} {
		p, err := s.Add(t.Context(), time.Unix(int64(i), 0), files)
		if err != nil {
			t.Fatal(err)
		}
		points = append(points, p)
	}
	if got := told(t, s, points, "/a"); got != "1-2(2):3 3-3(1):4 5-5(1):4 6-7(2):13000 8-8(1):9 9-10(2):9 11-11(1):0" {
		t.Errorf("/a: %s", got)
	}
	if got := told(t, s, points, "/b"); got != "1-2(2):1" {
		t.Errorf("/b: %s", got)
	}
	if got := told(t, s, points, "/none"); got != "" {
		t.Errorf("/none: %s", got)
	}
	s.Remove(points[4])
	if got := told(t, gone{s}, points, "/a"); !strings.HasPrefix(got, "1-2(2):3 3-3(1):4 6-7") {
		t.Errorf("with a point removed: %s", got)
	}
}

// gone says of removed points what a repository says.
type gone struct{ *fsconform.Source }

func (g gone) Tree(ctx context.Context, p *repo.Point, o table.Options) (*table.Tree, error) {
	t, err := g.Source.Tree(ctx, p, o)
	if errors.Is(err, fault.NotExist) {
		err = fault.Stale
	}
	return t, err
}

// A path is found in a thousand points for little more than in one.
func TestVersionsOfManyPointsReadWhatChanged(t *testing.T) {
	s := fsconform.NewSource()
	var points []*repo.Point
	files := make([]fsconform.File, 2000)
	for i := range files {
		files[i] = file(fmt.Sprintf("/d%02d/f%04d", i%40, i), fmt.Sprint(i), 0o644, 1)
	}
	for n := range 200 {
		files[n] = file(files[n].Path, "changed", 0o644, int64(n+2))
		p, err := s.Add(t.Context(), time.Unix(int64(n), 0), files)
		if err != nil {
			t.Fatal(err)
		}
		points = append(points, p)
	}
	counted := &counting{Source: s}
	if got := told(t, counted, points, "/d05/f0005"); got != "1-5(5):1 6-200(195):7" {
		t.Errorf("%s", got)
	}
	if counted.trees.Load() != 200 {
		t.Errorf("%d trees were opened", counted.trees.Load())
	}
}

type counting struct {
	*fsconform.Source
	trees atomic.Int64
}

func (c *counting) Tree(ctx context.Context, p *repo.Point, o table.Options) (*table.Tree, error) {
	c.trees.Add(1)
	if o.Cache == nil {
		return nil, errors.New("a tree without the shared cache")
	}
	return c.Source.Tree(ctx, p, o)
}
