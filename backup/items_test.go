package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
)

// printed is a stream that can be opened again and again.
func printed(name string, content func() io.Reader) *Stream {
	return &Stream{Name: name, Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(content()), nil }}
}

// TestItems: streams stand at the top of the point, in their place among the
// folders that lead to the paths, and are compared with what the last point
// had of them.
func TestItems(t *testing.T) {
	p := newPlace(t)
	src := filepath.Join(p.dir, "src")
	write(t, filepath.Join(src, "file"), []byte("a file"))
	dump := make([]byte, 5<<20)
	if _, err := rand.NewChaCha8([32]byte{3}).Read(dump); err != nil {
		t.Fatal(err)
	}
	job := func(items ...*Stream) (*Summary, error) {
		return Run(t.Context(), p.repo, p.local, Job{Paths: []string{src}, Items: items, Now: time.Now, Host: "h"})
	}
	list := func() []*Stream {
		return []*Stream{
			printed("zz.sql", func() io.Reader { return bytes.NewReader(dump) }),
			printed("0.txt", func() io.Reader { return strings.NewReader("first") }),
			printed("m", func() io.Reader { return strings.NewReader("") }),
		}
	}
	for i := range 2 {
		s, err := job(list()...)
		if err != nil {
			t.Fatal(err)
		}
		if s.Files != 4 || s.Consistency.Type != repo.Application || s.Consistency.Why != "3 files were printed by their programs; the others: no snapshot was asked for" {
			t.Errorf("%+v", s)
		}
		if !bytes.Equal(p.content("zz.sql"), dump) || string(p.content("0.txt")) != "first" || len(p.content("m")) != 0 || string(p.content(filepath.Join(src, "file"))) != "a file" {
			t.Error("they come back as others")
		}
		if i == 1 && (s.Removed != 0 || s.New != 0 || s.BytesNew > 64<<10) {
			t.Errorf("again: %+v", s)
		}
	}
	s, err := job(printed("0.txt", func() io.Reader { return strings.NewReader("second") }))
	if err != nil || s.Removed != 2 || string(p.content("0.txt")) != "second" {
		t.Errorf("%+v, %v", s, err)
	}
	points, err := p.repo.Points(t.Context())
	if last := points[len(points)-1]; err != nil || last.Consistency != s.Consistency || strings.Join(last.Paths, " ") != src+" /0.txt" {
		t.Errorf("%+v, %v", last, err)
	}
}

// TestItemsThatFail: one ends the run, or is left out if the point is of use
// without it; half of it never stands there.
func TestItemsThatFail(t *testing.T) {
	p := newPlace(t)
	src := filepath.Join(p.dir, "src")
	write(t, filepath.Join(src, "file"), []byte("a file"))
	gone := errors.New("the database has gone")
	for _, n := range []int64{0, 100, 5 << 20} {
		broken := printed("dump", func() io.Reader {
			return io.MultiReader(io.LimitReader(rand.NewChaCha8([32]byte{2}), n), iotest.ErrReader(gone))
		})
		job := Job{Paths: []string{src}, Items: []*Stream{broken}, Now: time.Now, Host: "h"}
		if _, err := Run(t.Context(), p.repo, p.local, job); !errors.Is(err, gone) {
			t.Errorf("after %d bytes: %v", n, err)
		}
		broken.Spare = true
		s, err := Run(t.Context(), p.repo, p.local, job)
		if err != nil || s.Files != 1 || len(s.Warned) != 1 || s.Warned[0].Path != "/dump" || !strings.Contains(s.Warned[0].Reason, "database has gone") {
			t.Errorf("after %d bytes: %+v, %v", n, s, err)
		}
		if s.Consistency.Type != repo.Live || !strings.Contains(s.Consistency.Why, "left out, as it failed: dump") {
			t.Errorf("%+v", s.Consistency)
		}
	}
	same := []*Stream{printed("a", nil), printed("a", nil)}
	if _, err := Run(t.Context(), p.repo, p.local, Job{Paths: []string{src}, Items: same, Now: time.Now}); !errors.Is(err, fault.Invalid) {
		t.Errorf("two of one name: %v", err)
	}
}

// TestItemsAlone need no paths.
func TestItemsAlone(t *testing.T) {
	p := newPlace(t)
	for _, text := range []string{"one", "another"} {
		items := []*Stream{printed("a", func() io.Reader { return strings.NewReader(text) }), printed("b", func() io.Reader { return strings.NewReader("b") })}
		s, err := Run(t.Context(), p.repo, p.local, Job{Items: items, Now: time.Now, Host: "h"})
		if err != nil || s.Files != 2 || s.Removed != 0 || string(p.content("a")) != text {
			t.Errorf("%+v, %v", s, err)
		}
	}
}
