//go:build linux

package main

import (
	stdbytes "bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mount is a file system that a tool shows.
type mount struct {
	dir   string
	root  string        // where the source's content stands
	ready time.Duration // from the start to the first listing
	proc  *process
}

// open mounts a repository with a cold cache and waits for the first listing
// of the newest point.
func (b *bench) open(ctx context.Context, t *tool, p *place, one bool) (*mount, error) {
	dir := p.repo + "-mount"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := dropCaches(); err != nil {
		return nil, err
	}
	proc, err := launch(ctx, command{args: t.mount(p, dir, one), env: t.env(p)}, b.logs, b.timeout)
	if err != nil {
		return nil, err
	}
	m := &mount{dir: dir, proc: proc}
	for {
		if m.root = t.tree(p, dir, one); listed(m.root) {
			m.ready = time.Since(proc.start)
			return m, nil
		}
		select {
		case <-proc.wait:
			_, err := proc.finish()
			return nil, errors.Join(errors.New("the mount ended"), err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// listed tells whether a folder can be listed and is not empty.
func listed(dir string) bool {
	l, err := os.ReadDir(dir)
	return err == nil && len(l) > 0
}

// cost is what the mounting process has used since before.
func (m *mount) cost(before usage) usage {
	pid := m.proc.cmd.Process.Pid
	return usage{Wall: time.Since(m.proc.start) - before.Wall, CPU: processor(pid) - before.CPU, Peak: resident(fmt.Sprint(pid))}
}

// close unmounts and waits for the process.
func (m *mount) close() {
	for range 50 {
		if err := unix.Unmount(m.dir, 0); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	select {
	case <-m.proc.wait:
	case <-time.After(10 * time.Second):
		m.proc.cancel()
		<-m.proc.wait
	}
	_ = unix.Unmount(m.dir, unix.MNT_DETACH) // most often EINVAL: it is gone
	os.Remove(m.dir)
}

func (b *bench) mountList(ctx context.Context, t *tool, p *place, _ int) (map[string]sample, error) {
	m, err := b.open(ctx, t, p, false)
	if err != nil {
		return nil, err
	}
	defer m.close()
	return map[string]sample{"mount-list": {m.ready.Seconds(), m.cost(usage{})}}, nil
}

// onMount is a step that measures with a mount, and beside it a file system
// from memory as the limit.
func (b *bench) onMount(ids []string, one bool, measure func(ctx context.Context, m *mount) (map[string]sample, error)) step {
	act := func(ctx context.Context, t *tool, p *place, _ int) (map[string]sample, error) {
		m, err := b.open(ctx, t, p, one)
		if err != nil {
			return nil, err
		}
		defer m.close()
		return measure(ctx, m)
	}
	return step{rows: ids, act: act, limit: func(ctx context.Context) (map[string]sample, error) {
		t, err := memoryTool()
		if err != nil {
			return nil, err
		}
		return act(ctx, t, &place{source: b.source, repo: filepath.Join(b.work, "memory")}, 0)
	}}
}

// find lists the tree with the size and time of each entry, first with
// nothing in the kernel's caches, then again.
func (b *bench) find(data string) step {
	ids := []string{"find-" + data + "-cold", "find-" + data + "-warm"}
	return b.onMount(ids, false, func(ctx context.Context, m *mount) (map[string]sample, error) {
		got := map[string]sample{}
		for _, id := range ids {
			before, start := m.cost(usage{}), time.Now()
			ctx, cancel := context.WithTimeout(ctx, b.timeout)
			out, err := exec.CommandContext(ctx, "find", m.root, "-printf", "%s %T@\n").Output()
			cancel()
			took := time.Since(start)
			if err != nil {
				return nil, fmt.Errorf("find: %w", err)
			}
			if n := stdbytes.Count(out, []byte{'\n'}); n != b.entries {
				return nil, fmt.Errorf("find saw %d entries, not %d", n, b.entries)
			}
			got[id] = sample{float64(b.entries) / took.Seconds(), m.cost(before)}
		}
		return got, nil
	})
}

// copyOut copies the whole tree with cp -a and compares the copy.
func (b *bench) copyOut(id string, one bool) step {
	return b.onMount([]string{id}, one, func(ctx context.Context, m *mount) (map[string]sample, error) {
		to := filepath.Join(b.work, "copied")
		defer os.RemoveAll(to)
		before, start := m.cost(usage{}), time.Now()
		limited, cancel := context.WithTimeout(ctx, b.timeout)
		defer cancel()
		if out, err := exec.CommandContext(limited, "cp", "-a", m.root, to).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("cp -a: %w: %.200s", err, out)
		}
		took, cost := time.Since(start), m.cost(before)
		if b.verify {
			if err := compare(ctx, b.source, to); err != nil {
				return nil, fmt.Errorf("copied something else: %w", err)
			}
		}
		return map[string]sample{id: {float64(b.entries) / took.Seconds(), cost}}, nil
	})
}

// stream reads one large file from start to end, cold, then warm; then it is
// compared with the source.
func (b *bench) stream(data string) step {
	ids, name := []string{"stream-" + data + "-cold"}, "random.bin"
	if data == "large" {
		ids, name = append(ids, "stream-large-warm"), "large0.tar"
	}
	return b.onMount(ids, false, func(ctx context.Context, m *mount) (map[string]sample, error) {
		got := map[string]sample{}
		for _, id := range ids {
			before, start := m.cost(usage{}), time.Now()
			n, err := drain(ctx, filepath.Join(m.root, name))
			if err != nil {
				return nil, err
			}
			got[id] = sample{float64(n) / 1e6 / time.Since(start).Seconds(), m.cost(before)}
		}
		if b.verify {
			if err := sameBytes(filepath.Join(b.source, name), filepath.Join(m.root, name)); err != nil {
				return nil, fmt.Errorf("shows something else: %w", err)
			}
		}
		return got, nil
	})
}

// drain reads a file in pieces of 128 KiB, as cat does.
func drain(ctx context.Context, path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf, total := make([]byte, 128<<10), int64(0)
	for {
		n, err := f.Read(buf)
		total += int64(n)
		if errors.Is(err, io.EOF) {
			return total, ctx.Err()
		}
		if err != nil {
			return total, err
		}
		if ctx.Err() != nil {
			return total, ctx.Err()
		}
	}
}

// spot is one block to read.
type spot struct {
	file int
	at   int64
	sum  uint64 // of what was read
}

// Random reads stop after so many or so long, whichever comes first.
const (
	maxReads    = 5000
	maxReadTime = 15 * time.Second
)

// randomReads reads blocks of 4 KiB that are no holes, one after the other, at
// random places of all files of the data set.
func (b *bench) randomReads(data string) step {
	speed, slow := "random-"+data, "p99-"+data
	return b.onMount([]string{speed, slow}, false, func(ctx context.Context, m *mount) (map[string]sample, error) {
		names, spots, err := b.spots()
		if err != nil {
			return nil, err
		}
		files, err := openAll(m.root, names)
		defer closeAll(files)
		if err != nil {
			return nil, err
		}
		seed, before, start := maphash.MakeSeed(), m.cost(usage{}), time.Now()
		var took []time.Duration
		buf := make([]byte, block)
		for i := range spots {
			s, t := &spots[i], time.Now()
			if _, err := files[s.file].ReadAt(buf, s.at); err != nil {
				return nil, fmt.Errorf("read %s at %d: %w", names[s.file], s.at, err)
			}
			took = append(took, time.Since(t))
			s.sum = maphash.Bytes(seed, buf)
			if time.Since(start) > maxReadTime || ctx.Err() != nil {
				break
			}
		}
		total, cost := time.Since(start), m.cost(before)
		if err := b.checkSpots(names, spots[:len(took)], seed); err != nil {
			return nil, err
		}
		slices.Sort(took)
		p99 := took[len(took)*99/100]
		return map[string]sample{
			speed: {float64(len(took)) / total.Seconds(), cost},
			slow:  {p99.Seconds() * 1000, cost},
		}, ctx.Err()
	})
}

// spots chooses the same blocks for every tool.
func (b *bench) spots() (names []string, spots []spot, err error) {
	var all []spot
	err = filepath.WalkDir(b.source, func(path string, d iofs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		at, err := dataBlocks(path)
		for _, o := range at {
			all = append(all, spot{file: len(names), at: o})
		}
		names = append(names, strings.TrimPrefix(path, b.source))
		return err
	})
	if err == nil && len(all) == 0 {
		err = errors.New("no block to read")
	}
	if err != nil {
		return nil, nil, err
	}
	r := rand.New(b.gen.random("spots", 0))
	for range maxReads {
		spots = append(spots, all[r.IntN(len(all))])
	}
	return names, spots, nil
}

// checkSpots compares what was read with the source.
func (b *bench) checkSpots(names []string, spots []spot, seed maphash.Seed) error {
	files, err := openAll(b.source, names)
	defer closeAll(files)
	if err != nil {
		return err
	}
	buf := make([]byte, block)
	for _, s := range spots {
		if _, err := files[s.file].ReadAt(buf, s.at); err != nil {
			return err
		}
		if maphash.Bytes(seed, buf) != s.sum {
			return fmt.Errorf("%s shows something else at %d", names[s.file], s.at)
		}
	}
	return nil
}

func openAll(root string, names []string) (files []*os.File, err error) {
	for _, n := range names {
		f, err := os.Open(filepath.Join(root, n))
		if err != nil {
			return files, err
		}
		files = append(files, f)
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
			return files, fmt.Errorf("fadvise: %w", err)
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
