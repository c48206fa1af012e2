package snapshot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/mountpoint"
)

const (
	subvolumeInode = 256 // of the root of each subvolume
	maxVolumes     = 1000
)

// still are file systems in which nothing is kept, or nothing changes: nobody
// misses a snapshot of them.
var still = []string{
	"proc", "sysfs", "tmpfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "mqueue", "hugetlbfs", "debugfs", "tracefs", "securityfs",
	"pstore", "bpf", "configfs", "fusectl", "binfmt_misc", "autofs", "ramfs", "efivarfs", "rpc_pipefs", "nsfs", "selinuxfs",
	"squashfs", "iso9660", "erofs",
}

// host looks for the volumes on which paths lie.
func host(ctx context.Context, o *Options) (*plan, error) {
	mounts, err := mountpoint.List()
	if err != nil {
		return nil, err
	}
	return planOf(ctx, o, mounts)
}

// planner makes a plan from the table of mounts.
type planner struct {
	*plan
	o      *Options
	mounts []mountpoint.Mount // of several at one path the last one
}

func planOf(ctx context.Context, o *Options, mounts []mountpoint.Mount) (*plan, error) {
	p := &planner{plan: &plan{through: map[string]string{}}, o: o, mounts: seen(mounts)}
	for _, path := range o.Paths {
		path = filepath.Clean(path)
		real, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			continue // the walk will tell
		}
		real = filepath.Join(real, filepath.Base(path))
		info, err := os.Lstat(path)
		if err != nil {
			continue
		}
		if !info.IsDir() {
			path, real = filepath.Dir(path), filepath.Dir(real)
		}
		p.add(ctx, path, real)
		for i := range p.mounts {
			m := &p.mounts[i]
			rest, inside := within(real, m.Path)
			if !inside || rest == "" || p.hidden(m) {
				continue
			}
			p.below(ctx, filepath.Join(path, rest), m)
		}
	}
	if len(p.volumes) > maxVolumes {
		return nil, fmt.Errorf("%d volumes: %w", len(p.volumes), fault.TooLarge)
	}
	return p.plan, nil
}

// seen leaves out what a later mount at the same path hides.
func seen(mounts []mountpoint.Mount) []mountpoint.Mount {
	var out []mountpoint.Mount
	for _, m := range mounts {
		out = slices.DeleteFunc(out, func(other mountpoint.Mount) bool { return other.Path == m.Path })
		out = append(out, m)
	}
	return out
}

// hidden says whether a mount lies on a folder that a later one, above it,
// covers.
func (p *planner) hidden(m *mountpoint.Mount) bool {
	above := p.of(filepath.Dir(m.Path))
	return m.Path != "/" && above != nil && above.ID != m.Parent && above.ID > m.ID
}

// of returns the mount on which a path lies.
func (p *planner) of(path string) *mountpoint.Mount {
	var best *mountpoint.Mount
	for i := range p.mounts {
		m := &p.mounts[i]
		if _, ok := within(m.Path, path); ok && (best == nil || len(m.Path) > len(best.Path)) {
			best = m
		}
	}
	return best
}

// within returns what of a path lies below a folder.
func within(dir, path string) (string, bool) {
	if path == dir {
		return "", true
	}
	return strings.CutPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// below returns the path of something below a folder of this host.
func below(dir, rest string) string { return filepath.Join(dir, rest) }

// below plans what becomes of a mount below a path.
func (p *planner) below(ctx context.Context, path string, m *mountpoint.Mount) {
	if p.o.OneFileSystem || slices.Contains(still, m.Type) || p.o.Skip != nil && p.o.Skip(path) {
		p.through[path] = m.Path
		return
	}
	p.add(ctx, path, m.Path)
}

// add plans how a folder is read, whose real path is known.
func (p *planner) add(ctx context.Context, path, real string) {
	m := p.of(real)
	switch {
	case m == nil:
		p.isLive(path, "nothing says on which file system it lies")
	case slices.Contains(still, m.Type):
		p.through[path] = real
	case m.Type == "btrfs":
		p.addBtrfs(ctx, path, real, m)
	case m.Type == "zfs":
		rest, _ := within(m.Path, real)
		p.want(path, rest, &volume{Driver: zfsDriver, Path: m.Path, Source: m.Source})
	case m.Root == "/" && strings.HasPrefix(m.Source, "/dev/"):
		if _, err := logicalVolume(ctx, m.Source); err != nil {
			p.isLive(path, fmt.Sprintf("%s on %s, which is no logical volume", m.Type, m.Source))
			return
		}
		rest, _ := within(m.Path, real)
		p.want(path, rest, &volume{Driver: lvmDriver, Path: m.Path, Source: m.Source, Type: m.Type})
	default:
		p.isLive(path, m.Type+" has no snapshots")
	}
}

func (p *planner) isLive(path, why string) {
	p.live = append(p.live, Live{Path: path, Why: why})
	p.through[path] = path
}

// want plans that a folder is read from a volume, which others may share.
func (p *planner) want(path, rest string, v *volume) {
	i := slices.IndexFunc(p.volumes, func(other *volume) bool { return other.Driver == v.Driver && other.Path == v.Path })
	if i < 0 {
		i = len(p.volumes)
		p.volumes = append(p.volumes, v)
	}
	p.wants = append(p.wants, want{path: path, volume: p.volumes[i], rest: rest})
}

// addBtrfs plans the snapshot of a subvolume, and of those inside it, which a
// snapshot shows as empty folders.
func (p *planner) addBtrfs(ctx context.Context, path, real string, m *mountpoint.Mount) {
	top := real
	for inode(top) != subvolumeInode {
		if top == m.Path || top == "/" {
			p.isLive(path, m.Path+" is no subvolume of btrfs, but a folder of one that is mounted by itself")
			return
		}
		top = filepath.Dir(top)
	}
	rest, _ := within(top, real)
	p.want(path, rest, &volume{Driver: btrfsDriver, Path: top})
	if p.o.OneFileSystem {
		return
	}
	for _, inner := range p.subvolumes(ctx, m, top) {
		rest, inside := within(real, inner)
		if !inside || rest == "" || p.of(inner) != m || strings.Contains(inner, "/"+Prefix) {
			continue
		}
		at := filepath.Join(path, rest)
		if p.o.Skip != nil && p.o.Skip(at) {
			p.through[at] = inner
			continue
		}
		p.want(at, "", &volume{Driver: btrfsDriver, Path: inner})
	}
}

func inode(path string) uint64 {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// subvolumes lists those inside a subvolume, at any depth, by their paths.
func (p *planner) subvolumes(ctx context.Context, m *mountpoint.Mount, top string) []string {
	var found []string
	queue := []string{top}
	for len(queue) > 0 && len(found) < maxVolumes {
		out, err := run(ctx, "btrfs", "subvolume", "list", "-o", queue[0])
		queue = queue[1:]
		if err != nil {
			continue // taking the snapshot will tell
		}
		for line := range strings.Lines(out) {
			_, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " path ")
			if !ok {
				continue
			}
			// Paths count from the top of the file system, of which the mount
			// shows what lies below its root.
			rest, inside := within(m.Root, "/"+name)
			at := filepath.Join(m.Path, rest)
			if inside && inode(at) == subvolumeInode {
				found, queue = append(found, at), append(queue, at)
			}
		}
	}
	return found
}

// mounted says whether something is mounted just at path.
func mounted(path string) bool {
	if path == "" {
		return false
	}
	ok, err := mountpoint.IsMount(path)
	return ok && err == nil
}
