package backup

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup/triage"
	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// realFiles puts files of this machine below dir: documents, programs, data.
func realFiles(t *testing.T, dir string, n int) (paths []string) {
	t.Helper()
	for _, pattern := range []string{"/usr/share/doc/*/copyright", "/usr/bin/*", "/usr/share/zoneinfo/*/*", "/usr/lib/x86_64-linux-gnu/*.so.*"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			info, err := os.Stat(name)
			if err != nil || !info.Mode().IsRegular() || info.Size() < 300 || info.Size() > 200<<10 || len(paths) >= n {
				continue
			}
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, fmt.Sprint(len(paths)%7), fmt.Sprintf("%03d-%s", len(paths), filepath.Base(name)))
			write(t, path, b)
			paths = append(paths, path)
		}
	}
	if len(paths) < n {
		t.Fatalf("%d files of this machine", len(paths))
	}
	return paths
}

func encrypt(b []byte) []byte {
	block, err := aes.NewCipher([]byte("0123456789abcdef"))
	if err != nil {
		panic(err)
	}
	out := bytes.Clone(b)
	cipher.NewCTR(block, make([]byte, 16)).XORKeyStream(out, out)
	return out
}

// isHeld says whether a point does not expire.
func (p *testPlace) isHeld(sequence uint64) (held bool) {
	p.repo.Book().View(func(s *retain.State) {
		for _, q := range s.Shown() {
			held = held || q.Sequence == sequence && q.Held
		}
	})
	return held
}

// TestEncrypted: a tree that is encrypted in place. The alarm holds the points
// before, and marks those that follow, until somebody says that it is fine.
func TestEncrypted(t *testing.T) {
	p := newPlace(t)
	src := filepath.Join(p.dir, "src")
	paths := realFiles(t, src, 200)
	for range 3 {
		if s := p.backup(src); s.Alarm.Level != triage.Fine || len(s.Suspect) > 0 {
			t.Fatalf("%+v", s)
		}
	}
	for _, path := range paths[:120] {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, encrypt(b))
	}
	s := p.backup(src)
	if s.Alarm.Level != triage.Critical || len(s.Suspect) != 1 || !strings.Contains(s.Suspect[0], "of 200 files look encrypted, which did not before") || fmt.Sprint(s.Alarm.Held) != "[3 2 1]" {
		t.Errorf("%+v, suspect %q", s.Alarm, s.Suspect)
	}
	for n, want := range []bool{1: true, 2: true, 3: true, 4: false} {
		if n > 0 && p.isHeld(uint64(n)) != want {
			t.Errorf("point %d held: %v", n, !want)
		}
	}
	// What follows has encrypted files, too.
	if s := p.backup(src); s.Alarm.Level != triage.Fine || len(s.Suspect) != 1 || !strings.Contains(s.Suspect[0], "it follows on point "+pointID(p, 4)) {
		t.Errorf("%+v, suspect %q", s.Alarm, s.Suspect)
	}
	points, err := p.repo.Points(t.Context())
	for i, q := range points {
		if (len(q.Suspect) > 0) != (i >= 3) {
			t.Errorf("point %d: %q", i+1, q.Suspect)
		}
	}
	p.cleanIs(points[2])
	trusted, err2 := Run(t.Context(), p.repo, p.local, Job{Paths: []string{src}, Now: time.Now, Host: "h", Trust: time.Now()})
	if err := errors.Join(err, err2); err != nil || len(trusted.Suspect) > 0 {
		t.Errorf("%+v, %v", trusted, err)
	}
	if s := p.backup(src); len(s.Suspect) > 0 {
		t.Errorf("%q", s.Suspect)
	}
}

// cleanIs makes sure that latest-clean leads to a point, and is listed.
func (p *testPlace) cleanIs(want *repo.Point) {
	p.t.Helper()
	ctx := p.t.Context()
	tree := fs.New(p.repo, fs.Options{})
	path, err := tree.Path(ctx, want.ID)
	if err != nil {
		p.t.Fatal(err)
	}
	a, err := tree.Lookup(ctx, fs.Root, fs.CleanName)
	if err != nil {
		p.t.Fatal(err)
	}
	if to, err := tree.Readlink(ctx, a.Node); err != nil || to != path {
		p.t.Errorf("it leads to %s, not %s, %v", to, path, err)
	}
	var names []string
	list, err := iofs.ReadDir(tree.IOFS(ctx, fs.Root), ".")
	for _, e := range list {
		names = append(names, e.Name())
	}
	if err != nil || fmt.Sprint(names) != "[latest latest-clean points]" {
		p.t.Errorf("%v, %v", names, err)
	}
	server, err := tree.Lookup(ctx, fs.Root, fs.ServersName)
	if err == nil {
		server, err = tree.Lookup(ctx, server.Node, "h")
	}
	if err == nil {
		a, err = tree.Lookup(ctx, server.Node, fs.CleanName)
	}
	if err == nil {
		a, err = tree.Attr(ctx, a.Node)
	}
	if to, err2 := tree.Readlink(ctx, a.Node); err != nil || err2 != nil || "points/"+to != path {
		p.t.Errorf("the server's leads to %s, %v, %v", to, err, err2)
	}
}

func pointID(p *testPlace, sequence uint64) string {
	points, err := p.repo.Points(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return points[sequence-1].ID.Short()
}

// TestOpenSSL: each file is written anew beside the old one, which goes, with a
// suffix; and a note is left.
func TestOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	p := newPlace(t)
	src := filepath.Join(p.dir, "src")
	paths := realFiles(t, src, 100)
	p.backup(src)
	script := `for f; do openssl enc -aes-256-ctr -K 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff -iv 00112233445566778899aabbccddeeff -in "$f" -out "$f.q7x" && rm "$f" || exit 1; done`
	if out, err := exec.Command("sh", append([]string{"-c", script, "sh"}, paths[:60]...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	write(t, filepath.Join(src, "0", "HOW_TO_DECRYPT.txt"), []byte("Pay."))
	s := p.backup(src)
	if s.Alarm.Level != triage.Critical || len(s.Alarm.Reasons) != 3 || !strings.Contains(s.Alarm.Reasons[2], "60 of 100 files were given the suffix .q7x") {
		t.Errorf("%+v", s.Alarm)
	}
}

// TestNoAlarm: what people do to many files at once.
func TestNoAlarm(t *testing.T) {
	do := func(dir string, args ...string) {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	p := newPlace(t)
	src := filepath.Join(p.dir, "src")
	paths := realFiles(t, src, 200)
	photo := func(n int) []byte {
		return append([]byte("\xff\xd8\xff\xe0\x00\x10JFIF"), encrypt(bytes.Repeat([]byte{byte(n), byte(n >> 8)}, 4000))...)
	}
	git := filepath.Join(src, "git")
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"nothing", func() {}},
		{"a chmod of all", func() { do(src, "chmod", "-R", "g+w", ".") }},
		{"a photo import", func() {
			for i := range 300 {
				write(t, filepath.Join(src, "photos", fmt.Sprintf("IMG_%04d.JPG", i)), photo(i))
			}
		}},
		{"photos are moved and edited", func() {
			do(src, "mv", "photos", "pictures")
			for i := range 100 {
				write(t, filepath.Join(src, "pictures", fmt.Sprintf("IMG_%04d.JPG", i)), photo(1000+i))
			}
		}},
		{"a git repository with many commits", func() {
			write(t, filepath.Join(git, "a"), nil)
			do(git, "git", "init", "-q")
			do(git, "sh", "-c", `for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do echo $i >$i; cp `+paths[1]+` long-$i; echo $i >>long-$i; git add . && git -c user.name=a -c user.email=a@b commit -q -m $i; done`)
		}},
		{"git gc", func() { do(git, "git", "gc", "-q", "--prune=now") }},
		{"an upgrade of programs", func() {
			for i, path := range paths[:100] {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				at := len(b) / 2
				write(t, path, append(append(b[:at:at], fmt.Sprintf("version 2.%d", i)...), b[at:]...))
			}
		}},
		{"logs are compressed", func() { do(src, "sh", "-c", "gzip -r 3 4") }},
		{"some archives are made", func() { do(src, "tar", "-czf", "all.tgz", "0", "1") }},
	} {
		step.do()
		if summary := p.backup(src); summary.Alarm.Level != triage.Fine || len(summary.Suspect) > 0 {
			t.Errorf("%s: %+v", step.what, summary.Alarm)
		}
	}
}
