//go:build linux

package main

import (
	stdbytes "bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// compare checks that two trees hold the same names, types, sizes, modes,
// owners, times (to the second, folders' times left out), link targets and
// bytes. It returns the first difference it finds.
func compare(ctx context.Context, want, got string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	var seen atomic.Int64
	err := filepath.WalkDir(want, func(path string, d iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return filepath.SkipAll
		}
		if path == want {
			return nil
		}
		other := got + path[len(want):]
		if d.IsDir() {
			return sameNames(path, other)
		}
		seen.Add(1)
		g.Go(func() error { return sameEntry(path, other) })
		return nil
	})
	if err2 := g.Wait(); err2 != nil {
		return err2
	}
	if err == nil {
		err = sameNames(want, got)
	}
	if err == nil && seen.Load() == 0 {
		err = errors.New("the source holds nothing")
	}
	return err
}

func sameNames(a, b string) error {
	la, err := os.ReadDir(a)
	if err != nil {
		return err
	}
	lb, err := os.ReadDir(b)
	if err != nil {
		return err
	}
	if len(la) != len(lb) {
		return fmt.Errorf("%s has %d entries, %s has %d", a, len(la), b, len(lb))
	}
	for i := range la {
		if la[i].Name() != lb[i].Name() {
			return fmt.Errorf("%s is missing in %s", la[i].Name(), b)
		}
	}
	return nil
}

func sameEntry(a, b string) error {
	ia, err := os.Lstat(a)
	if err != nil {
		return err
	}
	ib, err := os.Lstat(b)
	if err != nil {
		return err
	}
	sa, sb := ia.Sys().(*syscall.Stat_t), ib.Sys().(*syscall.Stat_t)
	if sa.Mode != sb.Mode || sa.Uid != sb.Uid || sa.Gid != sb.Gid {
		return fmt.Errorf("%s: mode or owner differ: %v and %v", b, ia.Mode(), ib.Mode())
	}
	if ia.Mode()&os.ModeSymlink != 0 {
		return sameTarget(a, b)
	}
	if ia.ModTime().Unix() != ib.ModTime().Unix() {
		return fmt.Errorf("%s: time differs", b)
	}
	if !ia.Mode().IsRegular() {
		return nil
	}
	if ia.Size() != ib.Size() {
		return fmt.Errorf("%s: size %d, not %d", b, ib.Size(), ia.Size())
	}
	return sameBytes(a, b)
}

func sameTarget(a, b string) error {
	ta, err := os.Readlink(a)
	if err != nil {
		return err
	}
	tb, err := os.Readlink(b)
	if err != nil {
		return err
	}
	if ta != tb {
		return fmt.Errorf("%s: links to %q, not %q", b, tb, ta)
	}
	return nil
}

func sameBytes(a, b string) error {
	fa, err := os.Open(a)
	if err != nil {
		return err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return err
	}
	defer fb.Close()
	ba, bb := make([]byte, 128<<10), make([]byte, 128<<10)
	for at := int64(0); ; {
		n, err := io.ReadFull(fa, ba)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		m, err2 := io.ReadFull(fb, bb[:n])
		if err2 != nil && n > 0 {
			return fmt.Errorf("%s at %d: %w", b, at+int64(m), err2)
		}
		if !stdbytes.Equal(ba[:n], bb[:n]) {
			return fmt.Errorf("%s: content differs in the %d bytes at %d", b, n, at)
		}
		if err != nil {
			return nil
		}
		at += int64(n)
	}
}
