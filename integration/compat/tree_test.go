package compat

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"testing"

	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

const passphrase = "correct horse battery staple"

// openRepository opens a repository in a folder with the code under test.
func openRepository(t *testing.T, dir string) *repo.Repository {
	t.Helper()
	s, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Open(t.Context(), s, repo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Unlock(t.Context(), []byte(passphrase)); err != nil {
		t.Fatal(err)
	}
	return r
}

// readTree lists a point with the code under test and reads every file in it.
func readTree(ctx context.Context, r *repo.Repository, p *repo.Point) ([]line, error) {
	tree, err := r.Tree(ctx, p, table.Options{})
	if err != nil {
		return nil, err
	}
	names := map[table.Kind]string{table.File: "file", table.Folder: "folder", table.Symlink: "symlink",
		table.FIFO: "fifo", table.CharDevice: "char", table.BlockDevice: "block"}
	var out []line
	for item, err := range tree.From(ctx, 0) {
		if err != nil {
			return nil, err
		}
		e := item.Entry
		l := line{kind: names[e.Kind], mode: e.Mode, uid: e.UID, gid: e.GID, size: e.Size,
			sec: e.MTime.Sec, nsec: e.MTime.Nsec, path: table.Path(e.Key), target: e.Target}
		if e.Link != nil {
			l.link = fmt.Sprint(e.Link.Device, e.Link.Inode)
		}
		if l.kind == "char" || l.kind == "block" {
			l.device = fmt.Sprintf("%d,%d", e.Major, e.Minor)
		}
		for _, x := range e.Xattrs {
			l.xattrs = append(l.xattrs, [2]string{x.Name, string(x.Value)})
		}
		if l.sum, l.holes, err = readEntry(ctx, r, e); err != nil {
			return nil, fmt.Errorf("%s: %w", l.path, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// readEntry hashes a file's content and counts its bytes in holes.
func readEntry(ctx context.Context, r *repo.Repository, e *table.Entry) (sum [sha256.Size]byte, holes uint64, err error) {
	h := sha256.New()
	h.Write(e.Inline)
	add := func(x table.Extent) error {
		if x.Hole {
			holes += x.Length
			return writeZeros(h, x.Length)
		}
		data := make([]byte, x.Length)
		if err := r.ReadRaw(ctx, x.Pack, x.Offset, data); err != nil {
			return err
		}
		h.Write(data)
		return nil
	}
	for _, x := range e.Extents {
		if err := add(x); err != nil {
			return sum, 0, err
		}
	}
	if e.Tree != nil {
		for x, err := range table.OpenExtents(r, e, table.Options{}).From(ctx, 0) {
			if err != nil {
				return sum, 0, err
			}
			if err := add(x.Extent); err != nil {
				return sum, 0, err
			}
		}
	}
	return [sha256.Size]byte(h.Sum(nil)), holes, nil
}

func writeZeros(h hash.Hash, n uint64) error {
	block := make([]byte, 1<<16)
	for n > 0 {
		k := min(n, uint64(len(block)))
		if _, err := h.Write(block[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}
