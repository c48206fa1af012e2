//go:build linux

package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sync/errgroup"
)

// walkers is how many folders or files the bare limits work on at once.
const walkers = 16

// timed measures a limit, which runs in this process: no memory is told.
func timed(id string, act func() error) (map[string]sample, error) {
	start := time.Now()
	err := act()
	took := time.Since(start)
	return map[string]sample{id: {took.Seconds(), usage{Wall: took}}}, err
}

// bareWalk lists all folders in parallel and calls lstat on each entry.
func (b *bench) bareWalk(ctx context.Context, id string, cold bool) (map[string]sample, error) {
	walk := func() error { return eachEntry(ctx, b.source, func(string, iofs.FileInfo) error { return nil }) }
	if cold {
		if err := dropCaches(); err != nil {
			return nil, err
		}
	} else if err := walk(); err != nil { // as warm as for the tools
		return nil, err
	}
	return timed(id, walk)
}

// readAll walks and reads all files in parallel, cold.
func (b *bench) readAll(ctx context.Context) (map[string]sample, error) {
	if err := dropCaches(); err != nil {
		return nil, err
	}
	return timed("first-"+b.data, func() error {
		return eachEntry(ctx, b.source, func(path string, info iofs.FileInfo) error {
			if !info.Mode().IsRegular() {
				return nil
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 64<<10))
			return err
		})
	})
}

// eachEntry calls do for each entry below root, many at once.
func eachEntry(ctx context.Context, root string, do func(path string, info iofs.FileInfo) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(walkers)
	var folder func(dir string) error
	folder = func(dir string) error {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		names, err := f.Readdirnames(-1)
		if err := errors.Join(err, f.Close(), ctx.Err()); err != nil {
			return err
		}
		for _, n := range names {
			path := filepath.Join(dir, n)
			info, err := os.Lstat(path)
			if err != nil {
				return err
			}
			if !info.IsDir() {
				if err := do(path, info); err != nil {
					return err
				}
				continue
			}
			// A goroutine if one is free, else this one: waiting for a slot
			// while holding one would hang.
			if !g.TryGo(func() error { return folder(path) }) {
				if err := folder(path); err != nil {
					return err
				}
			}
		}
		return nil
	}
	g.Go(func() error { return folder(root) })
	return g.Wait()
}

// piece is what the sealing limit hashes, seals and writes at once.
const piece = 1 << 20

// sealAll reads the one large file, hashes (BLAKE3), seals (AES-256-GCM) and
// writes it, with a worker for each processor, and waits until it is durable:
// what a backup that finds nothing to compress cannot avoid. Cold.
func (b *bench) sealAll(ctx context.Context) (map[string]sample, error) {
	if err := dropCaches(); err != nil {
		return nil, err
	}
	in, err := os.Open(filepath.Join(b.source, "random.bin"))
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	out, err := os.Create(filepath.Join(b.work, "sealed"))
	if err != nil {
		return nil, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	return timed("first-"+b.data, func() error {
		g, ctx := errgroup.WithContext(ctx)
		var next atomic.Int64
		for range runtime.GOMAXPROCS(0) {
			g.Go(func() error { return sealPieces(ctx, in, out, &next, info.Size()) })
		}
		return errors.Join(g.Wait(), out.Sync())
	})
}

func sealPieces(ctx context.Context, in io.ReaderAt, out io.WriterAt, next *atomic.Int64, size int64) error {
	key := blake3.Sum256([]byte("any key"))
	hash, err := blake3.NewKeyed(key[:])
	if err != nil {
		return err
	}
	c, err := aes.NewCipher(key[:])
	if err != nil {
		return err
	}
	seal, err := cipher.NewGCM(c)
	if err != nil {
		return err
	}
	buf, sealed := make([]byte, piece), make([]byte, 0, piece+seal.Overhead())
	nonce, sum := make([]byte, seal.NonceSize()), make([]byte, 0, 32)
	for ctx.Err() == nil {
		i := next.Add(1) - 1
		if i*piece >= size {
			return nil
		}
		n := min(piece, size-i*piece)
		if _, err := in.ReadAt(buf[:n], i*piece); err != nil {
			return fmt.Errorf("read %d bytes at %d: %w", n, i*piece, err)
		}
		hash.Reset()
		if _, err := hash.Write(buf[:n]); err != nil {
			return err
		}
		sum = hash.Sum(sum[:0])
		binary.BigEndian.PutUint64(nonce[4:], uint64(i))
		sealed = seal.Seal(sealed[:0], nonce, buf[:n], sum)
		if _, err := out.WriteAt(sealed, i*int64(piece+seal.Overhead())); err != nil {
			return err
		}
	}
	return ctx.Err()
}
