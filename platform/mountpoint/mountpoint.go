// Package mountpoint asks what is mounted where, and undoes mounts of ours.
//
// Noun: a Mount is one line of the kernel's table of mounts.
//
// A program that serves a FUSE mount and is killed leaves the mount behind:
// every access gives ENOTCONN, and nothing can be mounted there. ClearDead
// removes such a mount, but only one of Tidemark's. Unmount never takes a mount
// away that is in use; Detach does.
//
// On systems other than Linux nothing here is known, and every function says
// fault.Unsupported; on macOS and the BSDs Unmount works.
package mountpoint

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Ours is how the mounts of this program are called: the source of the mount,
// or the part after the dot of its file system's type ("fuse.tidemark").
const Ours = "tidemark"

// Mount is one mount as /proc/self/mountinfo tells it.
type Mount struct {
	ID      int
	Parent  int
	Major   uint32 // device numbers
	Minor   uint32
	Root    string // what of the file system is shown: "/" for all
	Path    string // where
	Options string // per mount: "rw,nosuid,relatime"
	Type    string // "ext4", "fuse.tidemark"
	Source  string
	Super   string // options of the file system
}

// IsOurs says whether the mount is a FUSE mount of this program.
func (m *Mount) IsOurs() bool {
	sub, fuse := strings.CutPrefix(m.Type, "fuse")
	if !fuse {
		return false
	}
	return sub == "."+Ours || m.Source == Ours || strings.HasPrefix(m.Source, Ours+":")
}

// Remote says whether a path lies on another machine, as far as is known: on a
// file system that waits for a server's answer for ever, or for very long. It asks
// the table of mounts and not the path, which could hang already.
func Remote(path string) bool {
	abs, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	all, err := List()
	if err != nil {
		return false
	}
	return remote(all, abs)
}

func remote(all []Mount, path string) bool {
	var at *Mount
	for i := range all {
		m := &all[i]
		if inside(path, m.Path) && (at == nil || len(m.Path) >= len(at.Path)) {
			at = m
		}
	}
	return at != nil && slices.Contains(remoteTypes[:], at.Type)
}

var remoteTypes = [...]string{"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "coda", "davfs", "lustre", "ncpfs",
	"fuse.sshfs", "fuse.rclone", "fuse.glusterfs", "fuse.ceph", "fuse.davfs", "fuse.s3fs", "fuse.curlftpfs", "fuse.gvfsd-fuse", "fuse.juicefs"}

// inside says whether a path is a folder or lies in it.
func inside(path, folder string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(folder, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// clean makes a path absolute without asking the mount itself anything: a
// dead one would not answer.
func clean(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("mount point %s: %w", path, fault.Invalid)
	}
	// The table has real paths. A dead mount cannot be resolved itself; the
	// folders above it can.
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real, nil
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", fmt.Errorf("mount point %s: %w", path, err)
	}
	return filepath.Join(dir, filepath.Base(abs)), nil
}
