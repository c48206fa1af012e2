//go:build linux

package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// change alters a data set in place, the same way for the same seed and run.
// It says what it did.
func (g generator) change(name, dir string, run int) (string, error) {
	r := g.random("change "+name, uint64(run))
	switch name {
	case "one":
		return "1 file", g.overwrite(filepath.Join(dir, fmt.Sprintf("file%d", run%10)), r, 1, 500)
	case "small":
		return g.changeFiles(dir, r)
	case "large":
		return "20 MB", g.changeLarge(dir, r)
	case "image":
		return g.changeBlocks(filepath.Join(dir, "disk.img"), r)
	}
	return "", fmt.Errorf("data set %s has no change", name)
}

// changeFiles overwrites a part of 1 % of the regular files.
func (g generator) changeFiles(dir string, src *rand.ChaCha8) (string, error) {
	r := rand.New(src)
	files, size := 0, int64(0)
	err := filepath.WalkDir(dir, func(path string, d iofs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || r.IntN(100) > 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files, size = files+1, size+info.Size()
		return g.overwrite(path, src, 1, max(1, min(info.Size(), 1000)))
	})
	return fmt.Sprintf("%d files of %.1f MB", files, float64(size)/1e6), err
}

// source gives random bytes and numbers.
type source interface {
	io.Reader
	rand.Source
}

// overwrite puts n bytes of src at each of so many places of a file.
func (g generator) overwrite(path string, src source, places int, n int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r := rand.New(src)
	b := make([]byte, n)
	for range places {
		if _, err := io.ReadFull(src, b); err != nil {
			return err
		}
		if _, err := f.WriteAt(b, r.Int64N(max(1, info.Size()-n))); err != nil {
			return err
		}
	}
	return f.Close()
}

// changeLarge inserts 10 MB into the first large file, in ten places, and
// overwrites 10 MB of the second. Below full scale the amount stays, so that
// growth can be compared.
func (g generator) changeLarge(dir string, src *rand.ChaCha8) error {
	const places, each = 10, 1_000_000
	path := filepath.Join(dir, "large0.tar")
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	defer out.Close()
	r, step := rand.New(src), info.Size()/places
	for range places {
		before := r.Int64N(step)
		_, err1 := io.CopyN(out, in, before)
		_, err2 := io.CopyN(out, hexText{src}, each)
		_, err3 := io.CopyN(out, in, step-before)
		if err := errors.Join(err1, err2, err3); err != nil {
			return err
		}
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close(), os.Rename(path+".new", path)); err != nil {
		return err
	}
	return g.overwrite(filepath.Join(dir, "large1.tar"), hexText{src}, places, each)
}

// hexText is random hexadecimal digits: what is put into compressible files is
// compressible, too, to about a half.
type hexText struct{ src *rand.ChaCha8 }

func (h hexText) Read(b []byte) (int, error) {
	half := make([]byte, (len(b)+1)/2)
	h.src.Read(half)
	return copy(b, hex.EncodeToString(half)), nil
}

// Uint64 makes it a source of numbers.
func (h hexText) Uint64() uint64 { return h.src.Uint64() }

// changeBlocks rewrites 1 % of those 4 KiB blocks that are no holes with
// random bytes, scattered.
func (g generator) changeBlocks(path string, src *rand.ChaCha8) (string, error) {
	at, err := dataBlocks(path)
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	r := rand.New(src)
	n := max(1, len(at)/100)
	b := make([]byte, block)
	for range n {
		src.Read(b)
		if _, err := f.WriteAt(b, at[r.IntN(len(at))]); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d blocks, %.1f MB", n, float64(n)*block/1e6), f.Close()
}

// dataBlocks lists the offsets of the 4 KiB blocks of a file that are no hole.
func dataBlocks(path string) ([]int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var at []int64
	for end := int64(0); ; {
		start, err := unix.Seek(int(f.Fd()), end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return at, nil
		}
		if err != nil {
			return nil, fmt.Errorf("find data in %s: %w", path, err)
		}
		if end, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE); err != nil {
			return nil, fmt.Errorf("find holes in %s: %w", path, err)
		}
		for o := start &^ (block - 1); o+block <= end; o += block {
			at = append(at, o)
		}
	}
}
