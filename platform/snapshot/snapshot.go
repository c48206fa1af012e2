// Package snapshot freezes volumes for the time of a backup: files are read as
// they were at one moment, open ones too.
//
// Nouns: a [Set] is what was taken for one run; a driver is a way to take
// snapshots: btrfs, LVM and ZFS by their own programs on Linux, the volume
// shadow copies of Windows by PowerShell.
//
// What it promises: every snapshot that it takes is removed, also if the
// process is killed. Before one is taken its name is written, durably, into a
// register; Close removes both, and [Sweep] removes what processes that are
// dead have left. A register is locked while its process lives, so that no run
// loses the snapshots that it reads. Names begin with [Prefix], so that people
// can tell whose they are.
//
// What it refuses to do: it never touches a snapshot that is not in its
// register, mounts nothing that can be written to, and asks no shell.
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Prefix begins the names of all snapshots.
const Prefix = ".tidemark-snapshot-"

// Mode says what a run wants.
type Mode string

// The modes.
const (
	Off     Mode = "off"     // files are read live
	Auto    Mode = "auto"    // snapshots where there can be some
	Require Mode = "require" // no run without
)

// Validate checks a word of a configuration; "" is Off. Errors are
// fault.Invalid.
func (m Mode) Validate() error {
	if !slices.Contains([]Mode{"", Off, Auto, Require}, m) {
		return fmt.Errorf("snapshot: %q is not off, auto or require: %w", string(m), fault.Invalid)
	}
	return nil
}

// Options say of what snapshots are wanted.
type Options struct {
	Dir           string                 // register, and places to mount at; only for this user
	Paths         []string               // absolute; what will be read
	OneFileSystem bool                   // what is mounted below them will not be read
	Skip          func(path string) bool // nor this mount point; nil: all will
	Require       bool                   // a volume that cannot be frozen is an error
}

// Live is a volume that is read as it changes.
type Live struct {
	Path string
	Why  string
}

// Set is what was taken for a run.
type Set struct {
	// Elsewhere is where folders are to be read, by their paths.
	Elsewhere map[string]string
	Live      []Live
	Dirty     bool // a file system had to be read without its journal: as after a loss of power

	register *register
	volumes  []*volume
}

// volume is one that is frozen.
type volume struct {
	Driver string `json:"driver"`
	Path   string `json:"path"`             // where it is seen: a mount point, the root of a subvolume
	Source string `json:"source,omitempty"` // dataset, volume group and volume, drive
	Name   string `json:"name"`             // of the snapshot
	Mount  string `json:"mount,omitempty"`  // where we mounted it
	Type   string `json:"type,omitempty"`   // of the file system, to mount it

	at string // where its content is read
}

// want is a folder that is to be read from a volume.
type want struct {
	path   string // as it is called in the walk
	volume *volume
	rest   string // below the volume's root
}

// plan is what a host says of paths.
type plan struct {
	volumes []*volume
	wants   []want
	live    []Live
	through map[string]string // read live though what lies above is frozen
}

// Take freezes the volumes on which paths lie. What cannot be frozen is in
// Live, or is the error if it is required: fault.Unsupported. The Set is to be
// closed.
func Take(ctx context.Context, o Options) (*Set, error) {
	p, err := host(ctx, &o)
	if err != nil {
		return nil, fmt.Errorf("take snapshots: %w", err)
	}
	return takePlan(ctx, &o, p)
}

func takePlan(ctx context.Context, o *Options, p *plan) (_ *Set, err error) {
	s := &Set{Elsewhere: map[string]string{}, Live: p.live}
	if len(p.volumes) > 0 {
		if s.register, err = newRegister(o.Dir, p.volumes); err != nil {
			return nil, fmt.Errorf("take snapshots: %w", err)
		}
	}
	s.take(ctx, p)
	if o.Require && len(s.Live) > 0 {
		err := fmt.Errorf("take snapshots: %s: %s: %w", s.Live[0].Path, s.Live[0].Why, fault.Unsupported)
		return nil, errors.Join(err, s.Close())
	}
	if len(s.volumes) == 0 {
		s.Elsewhere = nil
		return s, nil
	}
	for from, to := range p.through {
		s.Elsewhere[from] = to
	}
	return s, nil
}

// take takes what is planned. What fails is read live.
func (s *Set) take(ctx context.Context, p *plan) {
	failed := map[*volume]bool{}
	for _, group := range groups(p.volumes) {
		err := s.freeze(ctx, group)
		for _, v := range group {
			if err != nil {
				failed[v] = true
				s.Live = append(s.Live, Live{Path: v.Path, Why: fmt.Sprintf("%s: %v", v.Driver, err)})
				continue
			}
			s.volumes = append(s.volumes, v)
		}
	}
	for _, w := range p.wants {
		if failed[w.volume] {
			s.Elsewhere[w.path] = w.path // what lies above may be frozen
			continue
		}
		s.Elsewhere[w.path] = below(w.volume.at, w.rest)
	}
}

// groups parts volumes into those that are frozen by one call.
func groups(volumes []*volume) [][]*volume {
	var out [][]*volume
	pools := map[string]int{}
	for _, v := range volumes {
		pool, _, _ := strings.Cut(v.Source, "/")
		if i, ok := pools[pool]; ok && v.Driver == zfsDriver {
			out[i] = append(out[i], v)
			continue
		}
		if v.Driver == zfsDriver {
			pools[pool] = len(out)
		}
		out = append(out, []*volume{v})
	}
	return out
}

// String tells what was taken, in words: "btrfs snapshots of /home, /srv".
func (s *Set) String() string {
	if len(s.volumes) == 0 {
		return "no snapshot"
	}
	var drivers, paths []string
	for _, v := range s.volumes {
		if !slices.Contains(drivers, v.Driver) {
			drivers = append(drivers, v.Driver)
		}
		paths = append(paths, v.Path)
	}
	one := "snapshot"
	if len(paths) > 1 {
		one = "snapshots"
	}
	const few = 5
	if n := len(paths); n > few {
		paths = append(paths[:few:few], fmt.Sprintf("%d more", n-few))
	}
	return fmt.Sprintf("%s %s of %s", strings.Join(drivers, " and "), one, strings.Join(paths, ", "))
}

// Taken returns how many volumes are frozen.
func (s *Set) Taken() int { return len(s.volumes) }

// removal bounds how long it takes to remove the snapshots of a run that was
// cancelled.
const removal = 5 * time.Minute

// Close removes all snapshots. What cannot be removed stays in the register for
// Sweep.
func (s *Set) Close() error {
	if s.register == nil {
		return nil
	}
	ctx, stop := context.WithTimeout(context.Background(), removal)
	defer stop()
	return s.register.clear(ctx)
}
