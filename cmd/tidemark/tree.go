package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
)

// onePoint returns a tree whose root is that of a point.
func onePoint(o *opened, p *repo.Point) *fs.Tree {
	return fs.New(o.Repository, fs.Options{Point: p})
}

// walkTo finds a path in a tree of one point.
func walkTo(ctx context.Context, t *fs.Tree, name string) (fs.Attr, error) {
	at, err := t.Attr(ctx, fs.Root)
	for part := range strings.SplitSeq(strings.Trim(path.Clean("/"+name), "/"), "/") {
		if err != nil || part == "" {
			break
		}
		at, err = t.Lookup(ctx, at.Node, part)
	}
	if err != nil {
		kind := fault.KindOf(err)
		if kind == fault.NotExist || kind == fault.NotDir {
			return at, fmt.Errorf("find %s: %w", name, kind)
		}
		return at, err
	}
	return at, nil
}

// content gives a file's bytes piece by piece; buffer is reused.
func content(ctx context.Context, t *fs.Tree, file fs.Attr, buffer []byte, each func([]byte) error) error {
	for offset := uint64(0); offset < file.Size; {
		n, err := t.Read(ctx, file.Node, offset, buffer)
		if err != nil {
			return err
		}
		if n == 0 {
			return errShort
		}
		if err := each(buffer[:n]); err != nil {
			return err
		}
		offset += uint64(n)
	}
	return nil
}

var errShort = errors.New("the file ends before its size")
