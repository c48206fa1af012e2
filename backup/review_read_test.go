package backup

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/walk"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// listed returns a folder as the walk shows it, with an item of a file in it.
func listed(t *testing.T, dir, name string) (*walk.Folder, *item) {
	t.Helper()
	for f, err := range walk.Walk(t.Context(), walk.Options{Roots: []string{dir}}) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Path == dir {
			f.Retain()
			t.Cleanup(f.Release)
			return f, &item{name: name, stat: f.Find(name).Stat}
		}
	}
	t.Fatal("the walk did not show the folder")
	return nil, nil
}

func newReader(t *testing.T) *reader {
	t.Helper()
	p := newPlace(t)
	key := p.repo.ChunkKey()
	r := &run{job: &Job{}, repo: p.repo, params: p.repo.Chunks, cutter: p.repo.Cutter()}
	return &reader{run: r, hasher: chunk.NewHasher(&key)}
}

// A file that was small when it was listed can be of any size when it is read.
func TestSmallFileThatHasGrown(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	write(t, path, []byte("first line"))
	f, it := listed(t, dir, "log")
	if err := os.Truncate(path, 64<<30); err != nil {
		t.Fatal(err)
	}
	b := &batch{folder: f}
	r := newReader(t)
	if err := r.small(b, it); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, c := range it.chunks {
		total += len(c.data) + int(c.hole)
	}
	if it.size < maxSmall || it.size > 4*maxSmall || uint64(it.size) != it.entry.Size || total != int(it.size) || cap(b.arena) > 8*maxSmall {
		t.Errorf("%d bytes read, %d in chunks and holes, %d in the entry, %d of memory", it.size, total, it.entry.Size, cap(b.arena))
	}
	if !it.entry.Incomplete || it.warning == "" || !bytes.HasPrefix(it.chunks[0].data, []byte("first line")) {
		t.Errorf("incomplete: %v, warning %q", it.entry.Incomplete, it.warning)
	}
}

// A file that is cut short while it is streamed ends where it ends: nothing
// that came later in it moves into the gap.
func TestFileCutShortWhileStreamed(t *testing.T) {
	content := make([]byte, 16<<20)
	for i := range content {
		content[i] = byte(i*i>>9) | 1
	}
	for _, hole := range []int64{0, 4 << 20} {
		path := filepath.Join(t.TempDir(), "file")
		write(t, path, content)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt(content, int64(len(content))+hole); err != nil {
			t.Fatal(err)
		}
		st, err := walk.StatOf(f)
		if err != nil {
			t.Fatal(err)
		}
		const left = 8<<20 + 100 // more than is read before the first piece is taken
		out := make(chan piece)
		s := &streamer{r: newReader(t), ctx: t.Context(), out: out}
		failed := make(chan error, 1)
		go func() {
			defer close(out)
			failed <- s.content(readFile(f, &st))
		}()
		var got []byte
		for p := range out {
			if got == nil {
				if err := f.Truncate(left); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range p.parts {
				got = append(append(got, c.data...), make([]byte, c.hole)...)
			}
		}
		if err := <-failed; !errors.Is(err, fault.Changed) || !bytes.Equal(got, content[:left]) || s.end != left {
			t.Errorf("with a hole of %d: %d bytes, not the %d that are left; %v", hole, len(got), left, err)
		}
	}
}

// Names of one file are told by device slot and inode. When the numbers of two
// devices have changed places, entries of both are made anew, not some.
func TestLinkOfAnotherSlotIsMadeAnew(t *testing.T) {
	st := walk.Stat{Mode: walk.TypeFile | 0o644, Ino: 7, Nlink: 2}
	old := table.Entry{Kind: table.File, Mode: 0o644, Link: &table.Link{Device: 1, Inode: 7, Count: 2}}
	side := sideRecord{inode: 7}
	for slot, want := range []bool{false, true, false} {
		if got := unchanged(&old, &side, &st, uint32(slot)); got != want {
			t.Errorf("slot %d: unchanged %v", slot, got)
		}
	}
}

// Data and holes come back where they were, whatever lies where: in blocks or
// cut by content, up to the last byte, and beyond a file's last data.
func TestSparseFilesComeBack(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	r := newReader(t)
	ids := chunk.NewHashers(r.run.repo.ChunkKey())
	for range 150 {
		path := filepath.Join(t.TempDir(), "file")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		size := random.Int64N(9 << 20)
		for range random.IntN(12) {
			at := random.Int64N(size + 1)
			if random.IntN(2) == 0 {
				at = at / 4096 * 4096
			}
			n := min(int64(random.IntN(1<<random.IntN(21)+1)), size-at)
			if _, err := f.WriteAt(bytes.Repeat([]byte{byte(random.IntN(255)) + 1}, int(n)), at); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		st, err := walk.StatOf(f)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out := make(chan piece, 1)
		s := &streamer{r: r, ctx: t.Context(), out: out, block: []int{0, 16 << 10, 32 << 10, 64 << 10}[random.IntN(4)]}
		go func() {
			defer close(out)
			if err := s.content(readFile(f, &st)); err != nil {
				t.Error(err)
			}
		}()
		var got []byte
		for p := range out {
			for _, c := range p.parts {
				if s.block > 0 && (len(got)%s.block != 0 || len(c.data) > s.block) {
					t.Fatalf("%d bytes at %d in blocks of %d", len(c.data), len(got), s.block)
				}
				if c.data != nil && ids.Sum(c.data) != c.id {
					t.Fatal("a chunk of another ID")
				}
				got = append(append(got, c.data...), make([]byte, c.hole)...)
			}
			r.run.givePiece(p.buf)
		}
		if !bytes.Equal(got, want) || s.end != size {
			t.Fatalf("%d bytes in blocks of %d came back as %d others", size, s.block, len(got))
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A file that waits for somebody to write, as some of the kernel's do, holds
// up nobody for long.
func TestFileThatWaits(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.Write([]byte("a line")); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	err = newReader(t).smallContent(&batch{}, &item{}, r, &walk.Stat{})
	if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(started) > 10*patience {
		t.Errorf("after %v: %v", time.Since(started), err)
	}
}
