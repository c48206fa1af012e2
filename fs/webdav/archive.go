package webdav

import (
	"archive/tar"
	"archive/zip"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	kflate "github.com/klauspost/compress/flate"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// maxSelected bounds the names of a selection.
const maxSelected = 10_000

// archive sends a folder, or the names selected in it, as one file that is made
// as it goes: "?zip" for people, "?tar" with all metadata. Links stay links.
// A form cannot carry every byte of a name, so that it says "escaped" for
// "name".
func (q *request) archive(s *resource, query url.Values) error {
	names := query["name"]
	for _, e := range query["escaped"] {
		name, err := url.PathUnescape(e)
		if err != nil {
			return fmt.Errorf("archive %q: %w", e, fault.Invalid)
		}
		names = append(names, name)
	}
	if !s.folder() || len(names) > maxSelected {
		return fmt.Errorf("archive of what is no folder, or of %d names: %w", len(names), fault.Invalid)
	}
	items, err := q.selected(s, names)
	if err != nil {
		return err
	}
	kind, mime := "zip", "application/zip"
	if query.Has("tar") {
		kind, mime = "tar", "application/x-tar"
	}
	h := q.w.Header()
	h.Set("Content-Type", mime)
	h.Set("Content-Disposition", attachment(archiveName(s.href)+"."+kind))
	if q.r.Method == http.MethodHead {
		return nil
	}
	var a archiver = newZip(q.w)
	if kind == "tar" {
		a = &tarball{w: tar.NewWriter(q.w), links: map[uint64]string{}}
	}
	if err := q.pack(a, items); err != nil {
		if !errors.Is(err, context.Canceled) {
			q.opt.Log.Error("an archive was cut short", "path", q.r.URL.Path, "error", err)
		}
		panic(http.ErrAbortHandler) // or the client would take it for the whole
	}
	return nil
}

func archiveName(href string) string {
	if parts, err := splitPath(href); err == nil && len(parts) > 0 {
		return parts[len(parts)-1]
	}
	return "recovery-points"
}

// item is something that goes into an archive under a name.
type item struct {
	name string // path in the archive, without / at its end
	attr fs.Attr
}

func (q *request) selected(s *resource, names []string) ([]item, error) {
	if len(names) == 0 {
		return []item{{archiveName(s.href), *s.attr()}}, nil
	}
	var items []item
	for _, name := range names {
		if name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			return nil, fmt.Errorf("archive %q: %w", name, fault.Invalid)
		}
		a, err := q.lookup(s.attr().Node, name)
		if err != nil {
			return nil, err
		}
		items = append(items, item{name, a})
	}
	return items, nil
}

// archiver writes one kind of archive.
type archiver interface {
	// add writes an entry. content is nil for what is no file.
	add(ctx context.Context, v View, it *item, content io.Reader) error
	close() error
}

// opened is a folder that is being packed, and where its listing goes on.
type opened struct {
	item
	next uint64
}

// pack writes items and all below them. It remembers the folders above the one
// it is in, and no others: a folder of a million folders takes no memory.
func (q *request) pack(a archiver, items []item) error {
	ctx := q.r.Context()
	for i := range items {
		if err := q.add(ctx, a, &items[i]); err != nil {
			return err
		}
		if items[i].attr.Kind != table.Folder {
			continue
		}
		within := []opened{{items[i], 2}} // behind "." and ".."
		for len(within) > 0 {
			sub, err := q.packUntilFolder(ctx, a, &within[len(within)-1])
			if err != nil {
				return err
			}
			if sub == nil {
				within = within[:len(within)-1]
			} else {
				within = append(within, opened{*sub, 2})
			}
		}
	}
	return a.close()
}

// packUntilFolder goes on with a folder, and returns the first folder in it
// that it wrote; nil at its end.
func (q *request) packUntilFolder(ctx context.Context, a archiver, in *opened) (*item, error) {
	for d, err := range q.ReadDir(ctx, in.attr.Node, in.next) {
		if gone(err) {
			return nil, nil // a folder that may be seen and not entered
		}
		if err != nil {
			return nil, err
		}
		in.next = d.Next
		sub := item{in.name + "/" + string(d.Name), d.Attr}
		if d.Bare {
			if sub.attr, err = q.Attr(ctx, d.Attr.Node); err != nil {
				return nil, err
			}
		}
		if in.attr.Fixed && !sub.attr.Fixed {
			continue // made up: no part of the folder
		}
		if err := q.add(ctx, a, &sub); err != nil {
			return nil, err
		}
		if sub.attr.Kind == table.Folder {
			return &sub, nil
		}
	}
	return nil, nil
}

func (q *request) add(ctx context.Context, a archiver, it *item) error {
	if it.attr.Kind != table.File {
		return a.add(ctx, q.View, it, nil)
	}
	c := q.open(&it.attr)
	defer c.close()
	if it.attr.Size > 0 {
		// Whether it may be read at all shows before its header is written.
		if err := c.fill(); gone(err) {
			return nil
		} else if err != nil {
			return fmt.Errorf("archive %s: %w", it.name, err)
		}
	}
	if err := a.add(ctx, q.View, it, c); err != nil {
		return fmt.Errorf("archive %s: %w", it.name, err)
	}
	return nil
}

// zipped writes a zip.
type zipped struct{ w *zip.Writer }

func newZip(w io.Writer) *zipped {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return kflate.NewWriter(w, flate.BestSpeed)
	})
	return &zipped{z}
}

func (z *zipped) close() error { return z.w.Close() }

func (z *zipped) add(ctx context.Context, v View, it *item, content io.Reader) error {
	h := &zip.FileHeader{Name: it.name, Modified: modified(&it.attr), Method: zip.Deflate, NonUTF8: !utf8.ValidString(it.name)}
	mode := iofs.FileMode(it.attr.Mode & 0o777)
	switch it.attr.Kind {
	case table.Folder:
		h.Name, h.Method = h.Name+"/", zip.Store
		mode |= iofs.ModeDir
	case table.Symlink:
		mode |= iofs.ModeSymlink
		target, err := v.Readlink(ctx, it.attr.Node)
		if err != nil {
			return err
		}
		content = strings.NewReader(target)
	case table.File:
		if packed(it.name) {
			h.Method = zip.Store
		}
	default:
		return nil // a zip has no devices
	}
	h.SetMode(mode)
	w, err := z.w.CreateHeader(h)
	if err != nil || content == nil {
		return err
	}
	_, err = io.Copy(w, content)
	return err
}

// packed says whether content is known by its name not to shrink.
func packed(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".zip", ".gz", ".xz", ".zst", ".bz2", ".7z", ".jpg", ".jpeg", ".png", ".mp3", ".mp4", ".mkv", ".webp", ".docx", ".xlsx", ".pptx":
		return true
	}
	return false
}

// maxTarLinks bounds the hard links that a tar remembers: a file whose first
// name is forgotten is written again.
const maxTarLinks = 1 << 20

// tarball writes a tar with all metadata (pax).
type tarball struct {
	w     *tar.Writer
	links map[uint64]string // first name of each hard-linked inode
}

func (t *tarball) close() error { return t.w.Close() }

func (t *tarball) add(ctx context.Context, v View, it *item, content io.Reader) error {
	a := &it.attr
	h := &tar.Header{
		Name: it.name, Mode: int64(a.Mode), Uid: int(a.UID), Gid: int(a.GID), Format: tar.FormatPAX,
		ModTime: time.Unix(a.MTime.Sec, int64(a.MTime.Nsec)), PAXRecords: map[string]string{},
	}
	switch a.Kind {
	case table.File:
		h.Typeflag, h.Size = tar.TypeReg, int64(a.Size)
	case table.Folder:
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	case table.Symlink:
		target, err := v.Readlink(ctx, a.Node)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	case table.FIFO:
		h.Typeflag = tar.TypeFifo
	case table.CharDevice, table.BlockDevice:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(a.Major), int64(a.Minor)
		if a.Kind == table.BlockDevice {
			h.Typeflag = tar.TypeBlock
		}
	}
	if a.Nlink > 1 && a.Kind != table.Folder {
		if first, ok := t.links[a.Inode]; ok {
			h.Typeflag, h.Linkname, h.Size, content = tar.TypeLink, first, 0, nil
		} else if len(t.links) < maxTarLinks {
			t.links[a.Inode] = it.name
		}
	}
	if err := attributes(ctx, v, a.Node, h); err != nil {
		return err
	}
	if err := t.w.WriteHeader(h); err != nil {
		return err
	}
	if content == nil {
		return nil
	}
	_, err := io.Copy(t.w, content)
	return err
}

// attributes adds extended attributes as GNU tar and libarchive know them.
func attributes(ctx context.Context, v View, n fs.Node, h *tar.Header) error {
	if h.Typeflag == tar.TypeLink {
		return nil
	}
	names, err := v.Xattrs(ctx, n)
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		if name == "" || strings.Contains(name, "=") {
			continue
		}
		value, err := v.Xattr(ctx, n, name)
		if err != nil {
			return err
		}
		h.PAXRecords["SCHILY.xattr."+name] = string(value)
	}
	return nil
}
