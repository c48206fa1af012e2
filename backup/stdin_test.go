package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func (p *testPlace) stream(ctx context.Context, name string, from io.Reader) (*Summary, error) {
	return Run(ctx, p.repo, p.local, Job{Stream: &Stream{Name: name, From: from}, Now: time.Now, Host: "h"})
}

// TestStreams of all lengths about the pieces that are read, in crumbs, too.
func TestStreams(t *testing.T) {
	p := newPlace(t)
	random := rand.NewChaCha8([32]byte{1})
	for _, n := range []int{0, 1, 600, streamed, pieceSize - 1, pieceSize, pieceSize + 1, 3 * pieceSize, 10<<20 + 17} {
		content := make([]byte, n)
		if _, err := random.Read(content); err != nil {
			t.Fatal(err)
		}
		s, err := p.stream(t.Context(), "dump.sql", iotest.HalfReader(bytes.NewReader(content)))
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if s.Files != 1 || s.Bytes != uint64(n) || s.BytesRead != uint64(n) || len(s.Warned) > 0 {
			t.Errorf("%d bytes: %+v", n, s)
		}
		if !bytes.Equal(p.content("dump.sql"), content) {
			t.Errorf("%d bytes come back as others", n)
		}
		if n < 2*pieceSize {
			continue
		}
		// The same again, with something in front: only that is new.
		s, err = p.stream(t.Context(), "dump.sql", io.MultiReader(bytes.NewReader([]byte("-- Monday\n")), bytes.NewReader(content)))
		if err != nil || s.BytesNew > uint64(n)/2 {
			t.Errorf("%d bytes again: %v, %+v", n, err, s)
		}
	}
	// A file of that name is none of the stream's business.
	if s := p.backup(t.TempDir()); s.Bytes != 0 {
		t.Errorf("%+v", s)
	}
}

// TestBrokenStream leaves no point.
func TestBrokenStream(t *testing.T) {
	p := newPlace(t)
	broken := errors.New("the database has gone")
	for _, n := range []int64{0, 100, 5 << 20} {
		from := io.MultiReader(io.LimitReader(rand.NewChaCha8([32]byte{2}), n), iotest.ErrReader(broken))
		if _, err := p.stream(t.Context(), "dump", from); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	silent, end := io.Pipe()
	defer end.Close()
	if _, err := p.stream(ctx, "dump", silent); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that says nothing: %v", err)
	}
	points, err := p.repo.Points(t.Context())
	if len(points) != 0 || err != nil {
		t.Errorf("%d points, %v", len(points), err)
	}
	for _, name := range []string{"", ".", "..", "a/b", "a\x00", string(make([]byte, 256))} {
		if _, err := p.stream(t.Context(), name, silent); !errors.Is(err, fault.Invalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}
