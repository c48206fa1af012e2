package webdav

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// server is a share that is measured.
type server struct {
	name string
	pid  int
	url  string // of the source
}

// cpu returns what a process has used, in seconds.
func (s *server) cpu(t *testing.T) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err1 != nil || err2 != nil {
		t.Fatalf("%q", b)
	}
	return float64(user+system) / 100
}

// peak returns the most memory that a process had, in MiB.
func (s *server) peak(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}

// measured is one run of one thing.
type measured struct{ wall, cpu float64 }

func (s *server) measure(t *testing.T, do func(url string)) measured {
	t.Helper()
	cpu, start := s.cpu(t), time.Now()
	do(s.url)
	return measured{time.Since(start).Seconds(), s.cpu(t) - cpu}
}

// TestBesideRclone lists a folder of 100,000 files and streams a large one, by
// turns from this share and from rclone serve webdav over the source itself,
// which has nothing to decrypt. TIDEMARK_LONG=1 runs it.
func TestBesideRclone(t *testing.T) {
	if os.Getenv("TIDEMARK_LONG") == "" {
		t.Skip("takes minutes; TIDEMARK_LONG=1 runs it")
	}
	s := newShare(t)
	many := filepath.Join(s.source, "many")
	if err := os.Mkdir(many, 0o755); err != nil {
		t.Fatal(err)
	}
	const entries, size = 100_000, 512 << 20
	for i := range entries {
		if err := os.WriteFile(filepath.Join(many, fmt.Sprintf("a file with a usual name %06d.txt", i)), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(s.source, "stream"))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.NewChaCha8([32]byte{1})
	if _, err := io.CopyN(f, r, size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s.tidemark("backup", s.source)
	ours := &server{name: "tidemark"}
	ours.url, ours.pid = s.started("--anonymous")
	ours.url += "latest" + s.source
	both := []*server{ours, rcloneServe(t, s.source)}

	list := func(url string) {
		if n := propfind(t, url+"/many/"); n != entries+1 {
			t.Errorf("%s lists %d", url, n)
		}
	}
	stream := func(url string) {
		resp, err := http.Get(url + "/stream")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
			t.Errorf("%s streams %d: %v", url, n, err)
		}
	}
	for _, row := range []struct {
		name string
		do   func(string)
	}{{"list 100,000 entries", list}, {"stream 512 MiB", stream}} {
		runs := map[string][]measured{}
		for range 5 {
			for _, one := range both {
				runs[one.name] = append(runs[one.name], one.measure(t, row.do))
			}
		}
		wall, cpu := map[string]float64{}, map[string]float64{}
		for name, all := range runs {
			wall[name] = median(all[1:], func(m measured) float64 { return m.wall })
			cpu[name] = median(all[1:], func(m measured) float64 { return m.cpu })
		}
		for _, one := range both {
			t.Logf("%s: %s: first %.2f s, then %.2f s, %.2f CPU s, %d MiB", row.name, one.name, runs[one.name][0].wall, wall[one.name], cpu[one.name], one.peak(t))
		}
		if wall["tidemark"] > 2*wall["rclone"] {
			t.Errorf("%s: %.2f s, and rclone %.2f s", row.name, wall["tidemark"], wall["rclone"])
		}
	}
}

func median(all []measured, of func(measured) float64) float64 {
	var list []float64
	for _, m := range all {
		list = append(list, of(m))
	}
	slices.Sort(list)
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}

// propfind lists a folder and counts what is in the answer.
func propfind(t *testing.T, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "PROPFIND", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Depth", "1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte("</D:response>"))
}

// rcloneServe serves a folder by rclone.
func rcloneServe(t *testing.T, dir string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	c := exec.CommandContext(t.Context(), "rclone", "--config", filepath.Join(t.TempDir(), "none"), "serve", "webdav", "--read-only", "--addr", address, dir)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // whose error is that it was killed
	})
	for range 200 {
		if n, err := net.Dial("tcp", address); err == nil {
			_ = n.Close()
			return &server{name: "rclone", pid: c.Process.Pid, url: "http://" + address}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("rclone does not answer")
	return nil
}
