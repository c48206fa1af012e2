//go:build linux

package mount

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fill makes a source with everything that a file system can hold.
func (p *place) fill() {
	p.t.Helper()
	r := rand.New(rand.NewPCG(5, 6))
	p.check(p.plain(r))
	p.check(p.special())
	p.check(p.attributes())
	p.run("/", "fio", "--name=write", "--filename="+filepath.Join(p.source, "fio"), "--rw=write", "--bs=4k", "--size=32M",
		"--verify=crc32c", "--do_verify=0", "--output="+filepath.Join(p.t.TempDir(), "fio"))
	p.check(p.times(r))
}

func (p *place) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// text returns n bytes that shrink.
func text(r *rand.Rand, n int) []byte {
	var b bytes.Buffer
	words := strings.Fields("the vault never sees a name or a byte in clear but holds all of them")
	for b.Len() < n {
		b.WriteString(words[r.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.Bytes()[:n]
}

// plain writes files of many sizes in many folders, owned by many.
func (p *place) plain(r *rand.Rand) error {
	folders := []string{"", "a", "a/b", "a/b/c d", "new\nline", "\xff\xfe", "z"}
	for _, f := range folders {
		if err := os.MkdirAll(filepath.Join(p.source, f), 0o755); err != nil {
			return err
		}
	}
	for i := range 400 {
		path := filepath.Join(p.source, folders[r.IntN(len(folders))], "f"+strconv.Itoa(i))
		if err := os.WriteFile(path, text(r, r.IntN(1<<r.IntN(18))), 0o644); err != nil {
			return err
		}
		if err := os.Lchown(path, 1000+r.IntN(3), 1000+r.IntN(3)); err != nil {
			return err
		}
		if err := unix.Chmod(path, uint32(r.IntN(0o10000))); err != nil {
			return err
		}
	}
	for name, n := range map[string]int{"empty": 0, "large": 40<<20 + 13, "inline": 512, "page": 4096} {
		if err := os.WriteFile(filepath.Join(p.source, name), text(r, n), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// special makes links, devices, pipes and holes.
func (p *place) special() error {
	at := func(name string) string { return filepath.Join(p.source, name) }
	sparse, err := os.Create(at("sparse"))
	if err != nil {
		return err
	}
	defer sparse.Close()
	for i := range int64(100) {
		if _, err := sparse.WriteAt([]byte(strings.Repeat("data", 1024)), i<<22+4096*(i%7)); err != nil {
			return err
		}
	}
	if err := sparse.Truncate(1 << 30); err != nil {
		return err
	}
	for _, err := range []error{
		os.Link(at("page"), at("a/hard")), os.Link(at("page"), at("z/hard")),
		os.Symlink("a/b", at("symlink")), os.Symlink("/nowhere/\xfe", at("dangling")), os.Link(at("dangling"), at("a/dangling")),
		unix.Mkfifo(at("pipe"), 0o640), unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mknod(at("disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70_000))),
		os.Lchown(at("symlink"), 12, 34), unix.Chmod(at("a"), 0o3775),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// attributes sets extended attributes and access control lists.
func (p *place) attributes() error {
	at := func(name string) string { return filepath.Join(p.source, name) }
	for path, attrs := range map[string]map[string]string{
		"page":  {"user.note": "hello", "user.zero": "", "trusted.secret": "\x00\x01"},
		"a":     {"user.folder": "yes"},
		"empty": {"user.long": strings.Repeat("v", 2000)},
	} {
		for name, value := range attrs {
			if err := unix.Setxattr(at(path), name, []byte(value), 0); err != nil {
				return err
			}
		}
	}
	p.run(p.source, "setfacl", "-m", "u:1001:rw,g:1002:r", "page")
	p.run(p.source, "setfacl", "-m", "u:1001:rwx,d:u:1002:rx", "a/b")
	p.run(p.source, "setcap", "cap_net_raw+ep", "inline")
	return nil
}

// times sets times to the nanosecond, before 1970 too, children first.
func (p *place) times(r *rand.Rand) error {
	var paths []string
	err := filepath.WalkDir(p.source, func(path string, _ os.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		return err
	}
	for i := len(paths) - 1; i >= 0; i-- {
		at := unix.NsecToTimespec(time.Unix(r.Int64N(2_000_000_000)-200_000_000, r.Int64N(1_000_000_000)).UnixNano())
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, paths[i], []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	return nil
}

// sortedParagraphs parts what getfacl and getfattr say of files: they list
// folders in the order of the disk.
func sortedParagraphs(s string) []string {
	parts := strings.Split(strings.TrimSpace(s), "\n\n")
	sort.Strings(parts)
	return parts
}
