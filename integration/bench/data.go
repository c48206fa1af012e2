//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	iofs "io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Sizes at full scale.
const (
	largeFiles = 4
	largeSize  = 2 << 30 // over all large files
	randomSize = 2 << 30
	imageSize  = 8 << 30
	imageFull  = 0.35 // share of the image that holds files
	tinyFiles  = 1_000_000
	block      = 4096
)

// generator makes data sets from a seed and from this machine's files.
type generator struct {
	seed  uint64
	scale float64
	roots []string // of the machine's files that material is made of
}

// machineRoots is where a Debian machine has files.
func machineRoots(ctx context.Context) []string {
	roots := []string{"/usr/lib", "/usr/bin", "/usr/share"}
	if root := goTree(ctx); root != "" {
		roots = append(roots, root)
	}
	return roots
}

func (g generator) random(label string, n uint64) *rand.ChaCha8 {
	var key [32]byte
	copy(key[:], fmt.Sprintf("%s/%d/%d", label, g.seed, n))
	return rand.NewChaCha8(key)
}

func (g generator) scaled(full int64) int64 {
	return int64(math.Ceil(float64(full) * g.scale))
}

// make writes a data set into the new folder dir.
func (g generator) make(ctx context.Context, name, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	switch name {
	case "one":
		return g.one(dir)
	case "small":
		return g.small(ctx, dir)
	case "large":
		return g.large(dir)
	case "random":
		return g.incompressible(dir)
	case "image":
		return g.image(ctx, dir)
	case "tiny":
		return g.tiny(ctx, dir)
	}
	return fmt.Errorf("unknown data set %s", name)
}

// one is a handful of files: what a point costs when there is nothing to do.
func (g generator) one(dir string) error {
	r := g.random("one", 0)
	for i := range 10 {
		b := make([]byte, 1000*(i+1))
		if _, err := r.Read(b); err != nil {
			return err
		}
		if err := os.WriteFile(fmt.Sprintf("%s/file%d", dir, i), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// goTree is where the Go distribution lies, "" if it does not say.
func goTree(ctx context.Context) string { return describe(ctx, "go", "env", "GOROOT") }

// small copies /usr/share and the Go tree, by tar so that all metadata come
// along; below full scale only folders that a hash of their name chooses.
func (g generator) small(ctx context.Context, dir string) error {
	roots := []string{"/usr/share"}
	if root := goTree(ctx); root != "" {
		roots = append(roots, root)
	}
	list, err := os.CreateTemp("", "bench-list-*")
	if err != nil {
		return err
	}
	defer os.Remove(list.Name())
	defer list.Close()
	w := bufio.NewWriter(list)
	for _, root := range roots {
		if err := g.choose(root, w); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	read := exec.CommandContext(ctx, "tar", "-C", "/", "--null", "--no-recursion", "--ignore-failed-read", "-cf", "-", "-T", list.Name())
	write := exec.CommandContext(ctx, "tar", "-C", dir, "-xpf", "-")
	if write.Stdin, err = read.StdoutPipe(); err != nil {
		return err
	}
	if err := write.Start(); err != nil {
		return err
	}
	if err := errors.Join(read.Run(), write.Wait()); err != nil {
		return fmt.Errorf("copy the machine's files: %w", err)
	}
	return nil
}

// choose lists what is copied, each name ended by a zero byte.
func (g generator) choose(root string, w io.Writer) error {
	return filepath.WalkDir(root, func(path string, d iofs.DirEntry, err error) error {
		if err != nil {
			return nil // cannot be read: not part of the data
		}
		if d.Type()&^(iofs.ModeDir|iofs.ModeSymlink) != 0 || !g.chosen(filepath.Dir(path)) {
			return nil
		}
		_, err = w.Write([]byte(path[1:] + "\x00"))
		return err
	})
}

func (g generator) chosen(folder string) bool {
	h := fnv.New64a()
	h.Write([]byte(folder))
	return float64(h.Sum64()%1e6)/1e6 < g.scale
}

// material is an endless stream of this machine's compressible files with
// seeded changes: each 4 KiB get one byte changed, so that no two places
// hold the same long run, however often the machine's files repeat.
type material struct {
	r     *rand.Rand
	paths []string
	next  int
	file  *os.File
}

func (g generator) material(label string) (*material, error) {
	m := &material{r: rand.New(g.random(label, 0))}
	for _, root := range g.roots {
		err := filepath.WalkDir(root, func(path string, d iofs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && !squeezed(path) {
				m.paths = append(m.paths, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(m.paths) == 0 {
		return nil, errors.New("this machine has no files to make data from")
	}
	// Runs of neighbours stay together, as in a tar; the runs are shuffled.
	const run = 64
	runs := (len(m.paths) + run - 1) / run
	shuffled := make([]string, 0, len(m.paths))
	for _, i := range m.r.Perm(runs) {
		shuffled = append(shuffled, m.paths[i*run:min((i+1)*run, len(m.paths))]...)
	}
	m.paths = shuffled
	return m, nil
}

// squeezed tells files that are compressed already by their names.
func squeezed(path string) bool {
	switch filepath.Ext(path) {
	case ".gz", ".xz", ".zst", ".bz2", ".zip", ".jar", ".png", ".jpg", ".whl", ".woff2", ".br":
		return true
	}
	return strings.HasSuffix(path, "/modules") // a JDK's image
}

// Read fills p with material; it ends only with an error.
func (m *material) Read(p []byte) (int, error) {
	for failures := 0; failures < len(m.paths); {
		if m.file == nil {
			f, err := os.Open(m.paths[m.next%len(m.paths)])
			m.next++
			if err != nil {
				failures++
				continue
			}
			m.file = f
		}
		n, err := m.file.Read(p)
		if n == 0 || err != nil {
			m.file.Close()
			m.file = nil
			if n == 0 {
				failures++
				continue
			}
		}
		for i := 0; i < n; i += block {
			p[i+m.r.IntN(min(block, n-i))] ^= byte(m.r.Uint32())
		}
		return n, nil
	}
	return 0, errors.New("none of the machine's files can be read")
}

func (g generator) large(dir string) error {
	m, err := g.material("large")
	if err != nil {
		return err
	}
	for i := range largeFiles {
		if err := fill(filepath.Join(dir, fmt.Sprintf("large%d.tar", i)), m, g.scaled(largeSize)/largeFiles); err != nil {
			return err
		}
	}
	return nil
}

func (g generator) incompressible(dir string) error {
	return fill(filepath.Join(dir, "random.bin"), g.random("random", 0), g.scaled(randomSize))
}

// fill writes a new file of n bytes.
func fill(path string, from io.Reader, n int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(from, n), make([]byte, 256<<10))
	return errors.Join(err, f.Close())
}

// image makes a sparse disk image with an ext4 file system full of material.
func (g generator) image(ctx context.Context, dir string) error {
	path, size := filepath.Join(dir, "disk.img"), g.scaled(imageSize)&^(1<<20-1)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", path).CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	inside := dir + ".mount"
	if err := os.MkdirAll(inside, 0o700); err != nil {
		return err
	}
	defer os.Remove(inside)
	if out, err := exec.CommandContext(ctx, "mount", "-o", "loop,noatime", path, inside).CombinedOutput(); err != nil {
		return fmt.Errorf("mount the image: %w: %s", err, out)
	}
	err = g.files(ctx, inside, int64(float64(size)*imageFull))
	return errors.Join(err, unix.Unmount(inside, 0))
}

// files writes files of many sizes until together they have n bytes.
func (g generator) files(ctx context.Context, dir string, n int64) error {
	m, err := g.material("image")
	if err != nil {
		return err
	}
	for i := 0; n > 0 && ctx.Err() == nil; i++ {
		folder := fmt.Sprintf("%s/%03d", dir, i/200)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		// from 1 KiB to 16 MiB, each power of two as often
		size := min(n, int64(1)<<(10+m.r.IntN(15)))
		if err := fill(fmt.Sprintf("%s/%05d", folder, i), m, size); err != nil {
			return err
		}
		n -= size
	}
	return ctx.Err()
}

// tiny writes files of 10 to 200 bytes, 1,000 in a folder.
func (g generator) tiny(ctx context.Context, dir string) error {
	const each = 1000
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(4)
	for f := range (g.scaled(tinyFiles) + each - 1) / each {
		work.Go(func() error {
			r := rand.New(g.random("tiny", uint64(f)))
			folder := fmt.Sprintf("%s/%02d/%04d", dir, f%50, f)
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
			for i := range each {
				b := fmt.Appendf(nil, "file %d of folder %d\n", i, f)
				for n := 10 + r.IntN(170); len(b) < n; {
					b = fmt.Appendf(b, "%x ", r.Uint32())
				}
				if err := os.WriteFile(fmt.Sprintf("%s/f%03d", folder, i), b, 0o644); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return work.Wait()
}
