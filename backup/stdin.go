package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/walk"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Stream is content that is no file: what a program prints, mostly. It becomes
// one file at the top of the point. A stream that fails leaves no point: half a
// dump is none.
type Stream struct {
	Name string // of the file
	From io.Reader
}

// maxStreamName is how long a file's name may be everywhere, in bytes.
const maxStreamName = 255

func (s *Stream) validate() error {
	if s.Name == "" || s.Name == "." || s.Name == ".." || len(s.Name) > maxStreamName || strings.ContainsAny(s.Name, "/\x00") {
		return fmt.Errorf("backup: %q cannot be the name of a file: %w", s.Name, fault.Invalid)
	}
	return nil
}

// compareStream sends the top folder and the stream's file. There is nothing to
// compare with.
func (r *run) compareStream(ctx context.Context, out chan<- *batch) error {
	c := &comparer{job: r.job, run: r, devices: &r.devices}
	o := walk.Options{Roots: []string{"/"}, Select: func(*walk.Folder, *walk.Entry) walk.Verdict { return walk.Skip }}
	for f, err := range walk.Walk(ctx, o) {
		if err != nil {
			return err
		}
		if err := c.entry(ctx, f, "", &f.Stat, out); err != nil {
			return err
		}
		now := walk.Time{Sec: r.started.Unix(), Nsec: int32(r.started.Nanosecond())}
		st := walk.Stat{
			Mode: walk.TypeFile | 0o600, UID: uint32(max(0, os.Getuid())), GID: uint32(max(0, os.Getgid())),
			Size: streamed + 1, MTime: now, CTime: now, Dev: f.Stat.Dev, Nlink: 1,
		}
		if err := c.entry(ctx, f, r.job.Stream.Name, &st, out); err != nil {
			return err
		}
		return c.send(ctx, out)
	}
	return ctx.Err()
}

// follow hands over the job's stream, as reader.stream does a large file.
func (r *reader) follow(ctx context.Context, b *batch, it *item) {
	fill(&it.entry, &it.stat, it.side.device)
	it.note(&it.stat, r.run.started)
	it.side.again = true
	close(b.done)
	s := &streamer{r: r, ctx: ctx, out: b.stream}
	from := breakable(ctx, r.run.job.Stream.From)
	it.late = s.content(func(a *ahead) error { return a.follow(from) })
	it.size = s.end
	r.run.bytesRead.Add(s.end)
}

// follow sends what comes, to the end.
func (a *ahead) follow(from io.Reader) error {
	for {
		buf := a.run.takePiece()
		n, err := io.ReadFull(from, buf[a.run.front():])
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return fmt.Errorf("read %s: %w", a.run.job.Stream.Name, err)
		}
		if err := a.send(part{buf: buf, n: int64(n), last: end}); err != nil || end {
			return err
		}
	}
}

// broken ends a run whose stream failed.
func (s *saver) broken(it *item) error {
	if s.run.job.Stream == nil || it.late == nil {
		return nil
	}
	return fmt.Errorf("the stream %s did not come to its end, so there is no point: %w", table.Path(it.entry.Key), it.late)
}

// breakable returns a reader that ends with the context's error when that is
// done, also while in waits for somebody to write. One Read of in may then go on
// until the process ends: nothing else ends it.
func breakable(ctx context.Context, in io.Reader) io.Reader {
	out, to := io.Pipe()
	go func() {
		_, err := io.Copy(to, in)
		to.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { out.CloseWithError(context.Cause(ctx)) })
	return out
}
