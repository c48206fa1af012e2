package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestProgressLine(t *testing.T) {
	p := Progress{Files: 1234, Bytes: 300 << 20, TotalFiles: 5000, TotalBytes: 900 << 20, Current: "/home/somebody/with/a/rather/long/path/to/file.txt"}
	for _, c := range []struct {
		width int
		want  string
	}{
		{200, "61 s, 1,234 of 5,000 files, 300 MiB, 100 MiB/s, 6 s left  /home/somebody/with/a/rather/long/path/to/file.txt"},
		{80, "1:01, 1,234 of 5,000 files, 300 MiB, 100 MiB/s, 6 s left  /home/…path/to/file.txt"},
		{40, "1:01, 1,234 of 5,000 files, 300 MiB, 10"},
		{1, ""},
	} {
		got := progressLine(p, 100<<20, 61*time.Second, c.width)
		if columns(got) > max(0, c.width-1) {
			t.Errorf("width %d: %d columns: %q", c.width, columns(got), got)
		}
		if c.width < 100 && c.width > 1 && !strings.HasPrefix(got, c.want[:20]) {
			t.Errorf("width %d: %q, want %q", c.width, got, c.want)
		}
		if c.width == 80 && !strings.HasSuffix(got, "file.txt") {
			t.Errorf("the file's name is cut off: %q", got)
		}
	}
	for width := range 120 {
		p.Current = "/日本語/\x1b[2J/" + strings.Repeat("長い", 30)
		got := progressLine(p, 1, time.Minute, width)
		if columns(got) > max(0, width-1) || strings.Contains(got, "\x1b") {
			t.Errorf("width %d: %q", width, got)
		}
	}
}

func TestProgressOfOtherThings(t *testing.T) {
	if got, want := progressLine(Progress{Files: 3, TotalFiles: 12, Noun: "pack"}, 0, 4*time.Second, 80), "4 s, 3 of 12 packs, 12 s left"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTimeLeft(t *testing.T) {
	for _, c := range []struct {
		p    Progress
		rate float64
		past time.Duration
		want string
	}{
		{Progress{Bytes: 10, TotalBytes: 110}, 10, time.Minute, "10 s"},
		{Progress{Bytes: 10, TotalBytes: 110}, 10, time.Second, ""},       // too early to tell
		{Progress{Bytes: 10, TotalBytes: 110}, 0.0001, time.Minute, ""},   // nothing moves
		{Progress{Bytes: 120, TotalBytes: 110}, 10, time.Minute, ""},      // more than expected
		{Progress{Files: 10, TotalFiles: 30}, 0, time.Minute, "2:00"},     // nothing is read, only looked at
		{Progress{Bytes: 1, TotalBytes: 1 << 60}, 1, 5 * time.Second, ""}, // years
	} {
		if got, _ := timeLeft(c.p, c.rate, c.past); got != c.want {
			t.Errorf("%+v: %q, want %q", c.p, got, c.want)
		}
	}
}

func TestMeter(t *testing.T) {
	var out bytes.Buffer
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	m := &Meter{out: &out, now: func() time.Time { return now }, width: func() (int, bool) { return 80, true }, start: now, last: now}
	m.Update(Progress{Files: 1})
	if out.Len() != 0 {
		t.Errorf("drawn at once: %q", &out)
	}
	for i := range uint64(100) {
		now = now.Add(10 * time.Millisecond)
		m.Update(Progress{Files: i, Bytes: i << 20})
	}
	if n := strings.Count(out.String(), "\r"); n != 10 {
		t.Errorf("drawn %d times in a second", n)
	}
	if m.rate < 80<<20 || m.rate > 120<<20 {
		t.Errorf("the rate is %.0f, about 100 MiB/s came in", m.rate)
	}
	out.Reset()
	m.Clear()
	m.Clear()
	if out.String() != "\r\x1b[K" {
		t.Errorf("cleared with %q", &out)
	}
}

func TestNoTerminalNoProgress(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	a := &App{Stderr: &out, Now: func() time.Time { now = now.Add(time.Second); return now }}
	m := a.Meter()
	m.Update(Progress{Files: 1})
	m.Clear()
	if out.Len() != 0 {
		t.Errorf("a pipe got %q", &out)
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	if err := Table(&out, [][]string{{"ID", ">SIZE", "NAME"}, {"ab", "1", ">x"}, {"cdef", "1,000", "日本"}}); err != nil {
		t.Fatal(err)
	}
	want := "ID     SIZE  NAME\nab        1  >x\ncdef  1,000  日本\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 420 * time.Millisecond: "0.42 s", 12 * time.Second: "12 s",
		185 * time.Second: "3:05", 7385 * time.Second: "2:03:05", 100 * time.Hour: "100:00:00",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
		}
	}
}
