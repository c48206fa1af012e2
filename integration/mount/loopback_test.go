//go:build linux

package mount

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	loopback "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/platform/mountpoint"
)

// A loopback file system of the same library is what a mount can be measured
// by: it does no more than hand on what the kernel of this host has already.

// loopbackVariable makes this program serve one: the folder below and the mount
// point, with a line feed between them.
const loopbackVariable = "TIDEMARK_TEST_LOOPBACK"

func serveLoopback(source, dir string) error {
	root, err := loopback.NewLoopbackRoot(source)
	if err != nil {
		return err
	}
	server, err := loopback.Mount(dir, root, &loopback.Options{MountOptions: fuse.MountOptions{
		Name: "tidemark", FsName: "tidemark", MaxWrite: 1 << 20, DirectMountStrict: true, DirectMountFlags: syscall.MS_RDONLY,
		DisabledCapabilities: fuse.CAP_PASSTHROUGH, // with it the kernel reads the file by itself
	}})
	if err != nil {
		return err
	}
	if err := mountpoint.SetReadAhead(dir, 4096); err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("ready\n"); err != nil {
		return err
	}
	server.Wait()
	return nil
}

// stream reads a file from its beginning to its end, of which the kernel has
// nothing in memory, and returns the time.
func stream(b *testing.B, path string) time.Duration {
	b.Helper()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		b.Fatal(err)
	}
	begin := time.Now()
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		b.Fatal(err)
	}
	return time.Since(begin)
}

// BenchmarkStreamAgainstLoopback reads a large file that does not shrink, by
// turns through a mount and through the loopback file system:
//
//	go test ./integration/mount -run ^$ -bench Loopback -benchtime 9x
func BenchmarkStreamAgainstLoopback(b *testing.B) {
	p := newPlace(b)
	const size = 512 << 20
	content := make([]byte, 1<<20)
	f, err := os.Create(filepath.Join(p.source, "large"))
	p.check(err)
	random := rand.NewChaCha8([32]byte{9})
	for range size / len(content) {
		random.Read(content)
		_, err := f.Write(content)
		p.check(err)
	}
	p.check(f.Close())
	p.backup()
	mounted := p.mount(false).Process.Pid
	dir := p.dir + ".loopback"
	p.check(os.Mkdir(dir, 0o755))
	below := p.child(dir, loopbackVariable+"="+p.source+"\n"+dir).Process.Pid
	ours, theirs := filepath.Join(p.shown(false), "large"), filepath.Join(dir, "large")
	p.run("/", "cmp", ours, theirs) // and so both are warm
	var ratios []float64
	var us, them time.Duration
	ourCPU, theirCPU := processor(b, mounted), processor(b, below)
	for b.Loop() {
		mine, other := stream(b, ours), stream(b, theirs)
		us, them = us+mine, them+other
		ratios = append(ratios, mine.Seconds()/other.Seconds())
	}
	// Of a busy host only the processor's time tells something.
	ourCPU, theirCPU = processor(b, mounted)-ourCPU, processor(b, below)-theirCPU
	gigabytes := size / 1e9 * float64(len(ratios))
	b.ReportMetric(ourCPU/gigabytes, "CPU-s/GB")
	b.ReportMetric(theirCPU/gigabytes, "loopback-CPU-s/GB")
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x-loopback")
	b.ReportMetric(size/1e6*float64(len(ratios))/us.Seconds(), "MB/s")
	b.ReportMetric(size/1e6*float64(len(ratios))/them.Seconds(), "loopback-MB/s")
}

// processor returns the processor's time that a process has taken, in seconds.
func processor(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		b.Fatalf("%q", text)
	}
	return float64(user+system) / 100 // of which there are 100 a second on all Linuxes that Go runs on
}
