package restore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/meta"
	"github.com/tidemark-backup/tidemark/platform/walk"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// outcome is what became of an entry.
type outcome uint8

const (
	fresh outcome = iota
	unchanged
	skipped
	copied
)

// fileJob is an entry other than a folder, for the workers.
type fileJob struct {
	dir   *dir // retained
	name  string
	entry *table.Entry
}

const (
	aheadBytes = 8 << 20 // opened ahead of what is written
	bigFile    = aheadBytes
	bigFiles   = 2 // written at a time
	zeroBlock  = 4 << 10
)

// work restores what comes, until there is no more.
func (r *restorer) work(ctx context.Context) error {
	for j := range r.jobs {
		out, err := r.restore(ctx, j)
		j.dir.release()
		if err := r.failed(j.entry, err); err != nil {
			return err
		}
		if err == nil {
			r.done(j.entry, out)
		}
	}
	return ctx.Err()
}

// restore restores one entry that is no folder.
func (r *restorer) restore(ctx context.Context, j *fileJob) (outcome, error) {
	name, out, err := r.place(j)
	if err != nil || out == unchanged || out == skipped {
		return out, err
	}
	temp := tempName(j.name)
	err = r.make(ctx, j, temp)
	if errors.Is(err, os.ErrExist) {
		// What a restore that was stopped has left.
		if err = j.dir.root.Remove(temp); err == nil {
			err = r.make(ctx, j, temp)
		}
	}
	if err != nil {
		_ = j.dir.root.Remove(temp) // what is left is removed by the next restore
		return out, err
	}
	if err := r.apply(j.dir.at(temp), j.entry, j.dir.owned(r.owners, j.entry)); err != nil {
		r.warn(table.Path(j.entry.Key), err.Error())
	}
	if name, out, err = r.settle(j, temp, name, out); err != nil || out == unchanged || out == skipped {
		_ = j.dir.root.Remove(temp)
		return out, err
	}
	if j.entry.Link != nil {
		r.links.made(j.entry, name)
	}
	return out, nil
}

// place decides under which name an entry is restored.
func (r *restorer) place(j *fileJob) (string, outcome, error) {
	if j.dir.empty {
		return j.name, fresh, nil
	}
	return r.look(j)
}

// look is place for a folder that was not empty.
func (r *restorer) look(j *fileJob) (string, outcome, error) {
	info, err := j.dir.root.Lstat(j.name)
	if errors.Is(err, os.ErrNotExist) {
		return j.name, fresh, nil
	}
	if err != nil {
		return "", fresh, err
	}
	if r.same(j, info) {
		return j.name, unchanged, nil
	}
	switch r.job.OnConflict {
	case Skip:
		return "", skipped, nil
	case Overwrite:
		if info.IsDir() {
			return "", fresh, fmt.Errorf("a folder is in the way: %w", fault.IsDir)
		}
		return j.name, fresh, nil
	}
	name, err := r.copyName(j.dir.root, "", j.name)
	return name, copied, err
}

// same says whether what stands in the entry's place is the entry, restored
// before: a file gets its time last but its name.
func (r *restorer) same(j *fileJob, info os.FileInfo) bool {
	e := j.entry
	mtime := info.ModTime()
	switch e.Kind {
	case table.File:
		return info.Mode().IsRegular() && info.Size() == int64(e.Size) && mtime.Unix() == e.MTime.Sec && mtime.Nanosecond() == int(e.MTime.Nsec)
	case table.Symlink:
		target, err := j.dir.root.Readlink(j.name)
		return err == nil && target == e.Target
	case table.FIFO:
		return info.Mode()&os.ModeNamedPipe != 0
	case table.CharDevice, table.BlockDevice:
		char := info.Mode()&os.ModeCharDevice != 0
		return info.Mode()&os.ModeDevice != 0 && char == (e.Kind == table.CharDevice) && mtime.Unix() == e.MTime.Sec && mtime.Nanosecond() == int(e.MTime.Nsec)
	}
	return false
}

// copyName returns a free name in a folder below root for one that is taken, as
// people know it from other tools: "2026-11-22 10-00 Copy of NAME", then "Copy
// (2) of NAME".
func (r *restorer) copyName(root *os.Root, folder, name string) (string, error) {
	stamp := r.job.Point.Started.Local().Format("2006-01-02 15-04")
	for n := 1; n <= 1000; n++ {
		count := ""
		if n > 1 {
			count = fmt.Sprintf("(%d) ", n)
		}
		other := fmt.Sprintf("%s Copy %sof %s", stamp, count, name)
		if _, err := root.Lstat(filepath.Join(folder, other)); errors.Is(err, os.ErrNotExist) {
			return other, nil
		} else if err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("a thousand copies of %s are there: %w", name, fault.Exist)
}

// tempName is the name of a file that is not whole yet. It depends on the
// name alone, so that a restore that goes on finds and removes it.
func tempName(name string) string {
	sum := sha256.Sum256([]byte(name))
	return fmt.Sprintf(".tidemark-%x", sum[:8])
}

// settle gives a finished entry its name. Only Overwrite may replace.
func (r *restorer) settle(j *fileJob, temp, name string, out outcome) (string, outcome, error) {
	err := meta.Rename(j.dir.root, j.dir.at(temp), name, r.job.OnConflict == Overwrite)
	if !j.dir.empty || !errors.Is(err, fault.Exist) {
		return name, out, err
	}
	// In an empty folder something is in the way: a name that is the same to
	// this file system, or another program's.
	name, out, err = r.look(j)
	if err == nil && out != unchanged && out != skipped {
		err = meta.Rename(j.dir.root, j.dir.at(temp), name, false)
	}
	return name, out, err
}

// make makes an entry under a name that is free.
func (r *restorer) make(ctx context.Context, j *fileJob, name string) error {
	e := j.entry
	switch e.Kind {
	case table.File:
		f, err := meta.Make(j.dir.root, j.dir.at(name))
		if err != nil {
			return err
		}
		err = r.content(ctx, f, e)
		return errors.Join(err, f.Close())
	case table.Symlink:
		return j.dir.root.Symlink(e.Target, name)
	case table.FIFO:
		return meta.Mkfifo(j.dir.at(name), 0o600)
	case table.CharDevice:
		return meta.Mknod(j.dir.at(name), walk.TypeChar|0o600, meta.DeviceOf(e.Major, e.Minor))
	case table.BlockDevice:
		return meta.Mknod(j.dir.at(name), walk.TypeBlock|0o600, meta.DeviceOf(e.Major, e.Minor))
	}
	return fmt.Errorf("%s: %w", e.Kind, fault.Unsupported)
}

// content writes an entry's content into an empty file.
func (r *restorer) content(ctx context.Context, f *meta.Made, e *table.Entry) error {
	if e.Form() == table.Inline {
		_, err := f.WriteAt(e.Inline, 0)
		return err
	}
	if e.Size > bigFile {
		// What is opened ahead for more of them at a time would push out of
		// memory what was opened for the others.
		select {
		case r.big <- struct{}{}:
			defer func() { <-r.big }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	w := &contentWriter{r: r, f: f, sparse: hasHole(e)}
	if w.sparse || e.Form() == table.Paged {
		if err := f.Truncate(int64(e.Size)); err != nil {
			return err
		}
	}
	x := table.OpenExtents(r.repo, e, table.Options{})
	var now table.Located // one behind, so that what comes next is known
	for l, err := range x.From(ctx, 0) {
		if err != nil {
			return err
		}
		if l.Hole {
			w.sparse = true
			continue
		}
		if err := w.extent(ctx, &now, &l); err != nil {
			return err
		}
		now = l
	}
	return w.extent(ctx, &now, nil)
}

// hasHole says whether a file is known to have holes. Those of a long list of
// extents show as it is read.
func hasHole(e *table.Entry) bool {
	for i := range e.Extents {
		if e.Extents[i].Hole {
			return true
		}
	}
	return false
}

// contentWriter writes one file.
type contentWriter struct {
	r      *restorer
	f      *meta.Made
	sparse bool
}

// extent writes one run of data, verified, and has opened what comes after it.
func (w *contentWriter) extent(ctx context.Context, x, next *table.Located) error {
	at, done, length := int64(x.Start), uint32(0), uint32(x.Length)
	if length == 0 {
		return nil
	}
	w.ahead(ctx, x, 0, next)
	return w.r.verify.Read(ctx, x.Pack, x.Offset, length, func(b []byte) error {
		done += uint32(len(b))
		w.ahead(ctx, x, done, next)
		if err := w.write(b, at); err != nil {
			return err
		}
		at += int64(len(b))
		w.r.job.Progress.Bytes.Add(int64(len(b)))
		return nil
	})
}

// ahead has opened what will be wanted once the first done bytes of an extent
// are written.
func (w *contentWriter) ahead(ctx context.Context, x *table.Located, done uint32, next *table.Located) {
	rest := int(uint32(x.Length) - done)
	w.r.repo.Prefetch(ctx, x.Pack, x.Offset+done, min(rest, aheadBytes))
	if next != nil && rest < aheadBytes {
		w.r.repo.Prefetch(ctx, next.Pack, next.Offset, min(int(next.Length), aheadBytes-rest))
	}
}

// write writes a piece; in a file with holes blocks of zeros are left out:
// holes that are smaller than a block of an image were read as zeros.
func (w *contentWriter) write(b []byte, at int64) error {
	if !w.sparse {
		_, err := w.f.WriteAt(b, at)
		return err
	}
	for len(b) > 0 {
		n, zero := zeroRun(b, at)
		if !zero {
			if _, err := w.f.WriteAt(b[:n], at); err != nil {
				return err
			}
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}

// zeroRun returns how many bytes at the beginning of b are whole blocks of the
// file that are all zeros, or that are not.
func zeroRun(b []byte, at int64) (n int, zero bool) {
	var block [zeroBlock]byte
	for n < len(b) {
		k := min(zeroBlock-int((at+int64(n))%zeroBlock), len(b)-n)
		z := k == zeroBlock && bytes.Equal(b[n:n+k], block[:])
		if n > 0 && z != zero {
			return n, zero
		}
		zero = z
		n += k
	}
	return n, zero
}

// apply puts an entry's metadata on what was made of it.
// owned tells that it belongs to whom it should already.
func (r *restorer) apply(at meta.At, e *table.Entry, owned bool) error {
	w := &meta.Wanted{
		Type: typeOf(e.Kind), Mode: e.Mode, UID: r.owners.users.id(e.UID), GID: r.owners.groups.id(e.GID),
		MTime: meta.Time{Sec: e.MTime.Sec, Nsec: int32(e.MTime.Nsec)},
	}
	what := meta.Owner | meta.Mode | meta.Xattrs | meta.Times
	if !r.root || owned {
		what &^= meta.Owner
	}
	for _, x := range e.Xattrs {
		if r.root || strings.HasPrefix(x.Name, "user.") || strings.HasPrefix(x.Name, "system.posix_acl_") {
			w.Xattrs = append(w.Xattrs, meta.Xattr{Name: x.Name, Value: r.owners.xattr(x.Name, x.Value)})
		}
	}
	// A folder may have got default ACLs from the one above it.
	w.ReplaceXattrs = e.Kind == table.Folder || len(e.Xattrs) > 0
	return meta.Apply(at, w, what)
}

func typeOf(k table.Kind) uint32 {
	return [...]uint32{
		table.File: walk.TypeFile, table.Folder: walk.TypeFolder, table.Symlink: walk.TypeLink,
		table.FIFO: walk.TypeFIFO, table.CharDevice: walk.TypeChar, table.BlockDevice: walk.TypeBlock,
	}[k]
}
