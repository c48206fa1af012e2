//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// steps are the acts on one data set, in order: what reads the first point
// comes before what changes the source.
func (b *bench) steps(data string) []step {
	first := b.firstBackup(data)
	restore := step{rows: []string{"restore-" + data}, act: b.restore}
	switch data {
	case "one":
		first.keyed = true
		return []step{first, b.changed("one-point")}
	case "small":
		first.keyed = b.wanted("points") || b.wanted("mount-list")
		first.limit = b.readAll
		return []step{first, b.unchanged(data, true), b.unchanged(data, false),
			{rows: []string{"points"}, keyed: true, act: b.points},
			{rows: []string{"mount-list"}, keyed: true, act: b.mountList},
			b.find(data), b.copyOut("copy-one", true), b.copyOut("copy-all", false),
			restore, b.changed("change-small", "growth-small")}
	case "large":
		return []step{first, b.stream(data), b.randomReads(data), restore, b.changed("change-large", "growth-large")}
	case "random":
		first.limit = b.sealAll
		return []step{first, b.stream(data), restore}
	case "image":
		return []step{first, b.randomReads(data), restore, b.changed("change-image", "growth-image")}
	default:
		return []step{first, b.unchanged(data, true), b.unchanged(data, false), b.find(data), restore}
	}
}

// command runs one of a tool's command lines to its end.
func (b *bench) command(ctx context.Context, t *tool, p *place, c command) (usage, error) {
	c.env = append(c.env, t.env(p)...)
	proc, err := launch(ctx, c, b.logs, b.timeout)
	if err != nil {
		return usage{}, err
	}
	return proc.finish(t.allowed...)
}

// create makes an empty repository, unmeasured.
func (b *bench) create(ctx context.Context, t *tool, p *place) error {
	for _, dir := range []string{p.repo, p.state} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(p.state, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(p.secret, []byte("correct horse battery staple\n"), 0o600); err != nil {
		return err
	}
	p.point, p.latest = 0, ""
	for _, args := range t.create(p) {
		if _, err := b.command(ctx, t, p, command{args: args}); err != nil {
			return err
		}
	}
	return nil
}

// backup writes one point.
func (b *bench) backup(ctx context.Context, t *tool, p *place) (usage, error) {
	u, err := b.command(ctx, t, p, command{args: t.backup(p)})
	if err != nil {
		return u, err
	}
	p.point++
	if t.newest != nil {
		p.latest, err = t.newest(ctx, t, p)
	}
	return u, err
}

func (b *bench) firstBackup(data string) step {
	first, size := "first-"+data, "size-"+data
	s := step{rows: []string{first, size}, needed: true}
	if unitOf(first) == "" {
		s.rows = []string{"first"} // not in the table
	}
	s.act = func(ctx context.Context, t *tool, p *place, _ int) (map[string]sample, error) {
		if err := b.create(ctx, t, p); err != nil {
			return nil, err
		}
		if err := dropCaches(); err != nil {
			return nil, err
		}
		u, err := b.backup(ctx, t, p)
		if err != nil {
			return nil, err
		}
		n, err := diskUse(p.repo)
		if err != nil {
			return nil, err
		}
		return map[string]sample{first: {u.Wall.Seconds(), u}, size: {float64(n), usage{}}}, nil
	}
	return s
}

func (b *bench) unchanged(data string, cold bool) step {
	id := "same-" + data + "-warm"
	if cold {
		id = "same-" + data + "-cold"
	}
	return step{
		rows: []string{id},
		act: func(ctx context.Context, t *tool, p *place, _ int) (map[string]sample, error) {
			if !cold {
				// Whatever ran last, each tool finds the same: its own files
				// and the source's inodes in memory.
				if _, err := b.backup(ctx, t, p); err != nil {
					return nil, err
				}
			} else if err := dropCaches(); err != nil {
				return nil, err
			}
			u, err := b.backup(ctx, t, p)
			return map[string]sample{id: {u.Wall.Seconds(), u}}, err
		},
		limit: func(ctx context.Context) (map[string]sample, error) { return b.bareWalk(ctx, id, cold) },
	}
}

// changed alters the source and measures the next point: time, and growth if
// a second row is named. The last run's point is restored and compared.
func (b *bench) changed(ids ...string) step {
	s := step{rows: ids, keyed: ids[0] == "one-point"}
	s.before = func(run int) error {
		what, err := b.gen.change(b.data, b.source, run)
		b.progress("changed %s: %s", b.data, what)
		return err
	}
	s.act = func(ctx context.Context, t *tool, p *place, run int) (map[string]sample, error) {
		before, err := diskUse(p.repo)
		if err != nil {
			return nil, err
		}
		u, err := b.backup(ctx, t, p)
		if err != nil {
			return nil, err
		}
		after, err := diskUse(p.repo)
		if err != nil {
			return nil, err
		}
		if b.verify && run == b.runs-1 {
			if _, err := b.restore(ctx, t, p, run); err != nil {
				return nil, fmt.Errorf("verify: %w", err)
			}
		}
		got := map[string]sample{ids[0]: {u.Wall.Seconds(), u}}
		if len(ids) > 1 {
			got[ids[1]] = sample{value: float64(after - before)}
		}
		return got, nil
	}
	return s
}

func (b *bench) points(ctx context.Context, t *tool, p *place, _ int) (map[string]sample, error) {
	u, err := b.command(ctx, t, p, command{args: t.points(p)})
	return map[string]sample{"points": {u.Wall.Seconds(), u}}, err
}

// restore restores the newest point, cold, and compares it with the source.
func (b *bench) restore(ctx context.Context, t *tool, p *place, _ int) (map[string]sample, error) {
	to := p.repo + "-restored"
	defer os.RemoveAll(to)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return nil, err
	}
	if err := dropCaches(); err != nil {
		return nil, err
	}
	u, err := b.command(ctx, t, p, t.restore(p, to))
	if err != nil {
		return nil, err
	}
	if b.verify {
		if err := compare(ctx, b.source, to); err != nil {
			return nil, fmt.Errorf("restored something else: %w", err)
		}
	}
	return map[string]sample{"restore-" + b.data: {u.Wall.Seconds(), u}}, nil
}

// diskUse is what a folder takes on disk, each inode once.
func diskUse(dir string) (int64, error) {
	var total int64
	seen := map[uint64]bool{}
	err := filepath.WalkDir(dir, func(_ string, d iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, iofs.ErrNotExist) {
			return nil // a lock that went meanwhile
		}
		if err != nil {
			return err
		}
		if st := info.Sys().(*syscall.Stat_t); !seen[st.Ino] {
			seen[st.Ino] = true
			total += allocated(info)
		}
		return nil
	})
	return total, err
}

// allocated is what a file takes on disk.
func allocated(info iofs.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }
