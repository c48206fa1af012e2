package page

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/journal"
)

// world is the built program as an agent, on a folder of odd files.
type world struct {
	t      *testing.T
	top    string
	source string
	tool   []string // the program and the flags of every command
}

// build builds the program.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "tidemark")
	(&world{t: t}).run("go", "build", "-o", program, "../../cmd/tidemark")
	return program
}

// newWorld starts an agent whose repository this machine can read, or, sealed,
// cannot.
func newWorld(t *testing.T, program string, sealed bool) *world {
	t.Helper()
	top, err := os.MkdirTemp("/tmp", "tidemark-page-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	w := &world{t: t, top: top, source: filepath.Join(top, "source")}
	w.fill()
	conf := fmt.Sprintf(`repository = %q
cache_dir = %q
[agent]
page = "127.0.0.1:0"
[[policy]]
name = "documents"
paths = [%q]
schedule = { at = ["09:00", "18:00"] }
retention = { hourly = { keep = 24 }, daily = { keep = 30 }, yearly = { keep = 10 } }
[[policy]]
name = "broken"
paths = [%q]
schedule = { every = "6h" }
retries = 0
`, filepath.Join(top, "office"), filepath.Join(top, "state"), w.source, filepath.Join(top, "missing"))
	w.write("config.toml", conf)
	w.write("pass", passphrase)
	w.tool = []string{program, "--config", filepath.Join(top, "config.toml"), "-q"}
	w.tidemark("--passphrase-file", filepath.Join(top, "pass"), "init", fmt.Sprintf("--unattended=%t", !sealed))
	w.past()
	w.agent()
	w.tidemark("backup", "now", "documents", "--wait")
	if err := os.Remove(filepath.Join(w.source, "gone.txt")); err != nil {
		t.Fatal(err)
	}
	w.write("source/letter.txt", "the second version of the letter\n")
	w.tidemark("backup", "now", "documents", "--wait")
	if out, err := exec.CommandContext(t.Context(), w.tool[0], slices.Concat(w.tool[1:], []string{"backup", "now", "broken", "--wait"})...).CombinedOutput(); err == nil {
		t.Fatalf("a policy without its folder: %s", out)
	}
	return w
}

// past writes two months of jobs into the journal.
func (w *world) past() {
	w.t.Helper()
	lock, err := agent.Hold(filepath.Join(w.top, "state"))
	if err != nil {
		w.t.Fatal(err)
	}
	j, err := journal.Open(agent.JournalPath(filepath.Join(w.top, "state")))
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	err = j.Update(func(tx *journal.Tx) error {
		for i := range 60 {
			at := now.AddDate(0, 0, i-60)
			job := journal.Job{Policy: "documents", Trigger: journal.Scheduled, State: journal.Completed, Started: at, Ended: at.Add(time.Duration(90+i*i%70) * time.Second),
				Point: strings.Repeat("0", 64), Files: uint64(12000 + 40*i), Bytes: uint64(4<<30 + i*i<<20), BytesStored: uint64(20<<20 + (i*37%11)<<22)}
			if i%17 == 5 {
				job.State, job.Error, job.Point, job.BytesStored = journal.Failed, "write pack: no space left on device", "", 0
			}
			if err := tx.NewJob(&job); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, j.Close(), lock.Unlock()); err != nil {
		w.t.Fatal(err)
	}
}

const passphrase = "correct horse battery staple"

// firstLetter is the letter in the first point.
const firstLetter = "Dear reader,\nthis is the first version of the letter.\n"

// fill makes files whose names and content try to do harm, and some that do not.
func (w *world) fill() {
	w.t.Helper()
	for name, text := range map[string]string{
		"letter.txt":                     firstLetter,
		"gone.txt":                       "it was here once\n",
		"notes/plan.md":                  "# Plan\n",
		"page.html":                      "<script>alert(1)</script>",
		"drawing.svg":                    `<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(2)</script></svg>`,
		"<img src=x onerror=alert(1)>":   "a name",
		"\"onmouseover=\"alert(1)":       "another name",
		"ünïcödé & 100%.txt":             "percent",
		"turned\u202etxt.exe":            "direction",
		"binary.bin":                     string(bytes.Repeat([]byte{0, 1, 2, 255}, 500)),
		strings.Repeat("long ", 45) + "": "a long name",
	} {
		w.write(filepath.Join("source", name), text)
	}
	m := image.NewRGBA(image.Rect(0, 0, 320, 200))
	for x := range 320 {
		for y := range 200 {
			m.Set(x, y, color.RGBA{uint8(x * 255 / 320), uint8(y * 255 / 200), 160, 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		w.t.Fatal(err)
	}
	w.write("source/photos/sea.png", b.String())
}

func (w *world) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.top, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) run(name string, args ...string) string {
	w.t.Helper()
	c := exec.CommandContext(w.t.Context(), name, args...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		w.t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, &stderr)
	}
	return string(out)
}

func (w *world) tidemark(args ...string) string {
	w.t.Helper()
	return w.run(w.tool[0], slices.Concat(w.tool[1:], args)...)
}

// agent starts the agent, which ends with the test.
func (w *world) agent() {
	t := w.t
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var log bytes.Buffer
	c := exec.CommandContext(ctx, w.tool[0], slices.Concat(w.tool[1:], []string{"agent", "run"})...)
	c.Stderr = &log
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = c.Wait() // whose error is that it was stopped
		if code := c.ProcessState.ExitCode(); code != 0 || t.Failed() {
			t.Errorf("the agent ended with %d: %s", code, &log)
		}
	})
	for range 300 {
		if exec.CommandContext(t.Context(), w.tool[0], slices.Concat(w.tool[1:], []string{"status"})...).Run() == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the agent does not answer")
}

// link is a way into the page.
func (w *world) link() string {
	w.t.Helper()
	return strings.TrimSpace(w.tidemark("agent", "page", "--print"))
}
