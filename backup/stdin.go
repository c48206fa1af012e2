package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/walk"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Stream is content that is no file: what a program prints, mostly. It becomes
// one file at the top of the point. Half a dump is none: a stream that fails
// leaves no point, or one without its file.
type Stream struct {
	Name string // of the file
	From io.Reader

	// Open begins the stream, instead of From, each time that it is needed.
	// What it returns fails, and does not end, if the content is not whole.
	Open func(context.Context) (io.ReadCloser, error)

	// Spare says that the point is of use without it: a failure is a warning.
	Spare bool
}

const (
	// maxStreamName is how long a file's name may be everywhere, in bytes.
	maxStreamName = 255
	maxStreamsJob = 1000
)

func (s *Stream) validate() error {
	if s.Name == "" || s.Name == "." || s.Name == ".." || len(s.Name) > maxStreamName || strings.ContainsAny(s.Name, "/\x00") {
		return fmt.Errorf("backup: %q cannot be the name of a file: %w", s.Name, fault.Invalid)
	}
	return nil
}

// streams are all of a job, by name.
func (j *Job) streams() []*Stream {
	if j.Stream != nil {
		return []*Stream{j.Stream}
	}
	return j.Items
}

func (j *Job) validateStreams() error {
	if j.Stream != nil && len(j.Paths)+len(j.Items) > 0 {
		return fmt.Errorf("backup: a stream that is all there is, and more: %w", fault.Invalid)
	}
	j.Items = slices.SortedFunc(slices.Values(j.Items), func(a, b *Stream) int { return cmp.Compare(a.Name, b.Name) })
	list := j.streams()
	if len(list) > maxStreamsJob {
		return fmt.Errorf("backup: %d streams, but %d are possible: %w", len(list), maxStreamsJob, fault.Invalid)
	}
	for i, s := range list {
		if err := s.validate(); err != nil {
			return err
		}
		if i > 0 && list[i-1].Name == s.Name {
			return fmt.Errorf("backup: two streams of the name %q: %w", s.Name, fault.Invalid)
		}
	}
	return nil
}

// protected names what the point is of.
func (j *Job) protected() []string {
	paths := slices.Clone(j.Paths)
	for _, s := range j.streams() {
		paths = append(paths, "/"+s.Name)
	}
	return paths
}

// consistency is what the caller says of the files, and what follows from the
// streams.
func (r *run) consistency() repo.Consistency {
	c := r.job.Consistency
	if c.Type == repo.Untyped {
		c = repo.Consistency{Type: repo.Live, Why: "no snapshot was asked for"}
	}
	list := r.job.streams()
	if len(list) == 0 {
		return c
	}
	if len(r.unprinted) > 0 {
		c.Why += "; left out, as it failed: " + strings.Join(r.unprinted, ", ")
		return c
	}
	printed := list[0].Name + " was printed by its program"
	if n := len(list); n > 1 {
		printed = fmt.Sprintf("%d files were printed by their programs", n)
	}
	if len(r.job.Paths) > 0 {
		printed += "; the others: " + c.Why
	}
	return repo.Consistency{Type: repo.Application, Why: printed}
}

// stream sends the files of the streams up to the one of a name, all if it is
// empty.
func (c *comparer) stream(ctx context.Context, f *walk.Folder, upTo string, out chan<- *batch) error {
	now := walk.Time{Sec: c.run.started.Unix(), Nsec: int32(c.run.started.Nanosecond())}
	for len(c.streams) > 0 && (upTo == "" || c.streams[0].Name <= upTo) {
		st := walk.Stat{
			Mode: walk.TypeFile | 0o600, UID: uint32(max(0, os.Getuid())), GID: uint32(max(0, os.Getgid())),
			Size: streamed + 1, MTime: now, CTime: now, Dev: f.Stat.Dev, Nlink: 1,
		}
		if err := c.entry(ctx, f, c.streams[0].Name, &st, out); err != nil {
			return err
		}
		c.streams = c.streams[1:]
	}
	return nil
}

// follow hands over a stream, as reader.stream does a large file.
func (r *reader) follow(ctx context.Context, b *batch, it *item) {
	fill(&it.entry, &it.stat, it.side.device)
	it.note(&it.stat, r.run.started)
	it.side.again = true
	close(b.done)
	s := &streamer{r: r, ctx: ctx, out: b.stream}
	it.late = s.content(func(a *ahead) error { return a.follow(it.from) })
	it.size = s.end
	r.run.bytesRead.Add(s.end)
}

// follow sends what comes, to the end.
func (a *ahead) follow(s *Stream) (err error) {
	in := s.From
	if s.Open != nil {
		opened, err := s.Open(a.ctx)
		if err != nil {
			return fmt.Errorf("begin %s: %w", s.Name, err)
		}
		defer opened.Close() // its end was read, or the run failed
		in = opened
	}
	from := breakable(a.ctx, in)
	for {
		buf := a.run.takePiece()
		n, err := io.ReadFull(from, buf[a.run.front():])
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return fmt.Errorf("read %s: %w", s.Name, err)
		}
		if err := a.send(part{buf: buf, n: int64(n), last: end}); err != nil || end {
			return err
		}
	}
}

// broken ends a run whose stream failed.
func (s *saver) broken(it *item) error {
	if it.from == nil || it.late == nil || it.from.Spare {
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
