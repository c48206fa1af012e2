package hook

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

func read(t *testing.T, i *Item) (string, error) {
	t.Helper()
	in, err := i.Open(t.Context(), Event{Policy: "p", Job: "7"})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	b, err := io.ReadAll(in)
	return string(b), err
}

func TestItemPrints(t *testing.T) {
	i := &Item{Name: "x.sql", Command: []string{script(t, `echo "$TIDEMARK_HOOK $TIDEMARK_ITEM $TIDEMARK_POLICY $TIDEMARK_JOB $1"; echo aside >&2; head -c 300000 /dev/zero`), "an $argument"}}
	if out, err := read(t, i); err != nil || !strings.HasPrefix(out, "item x.sql p 7 an $argument\n\x00") || len(out) != 300000+len("item x.sql p 7 an $argument\n") {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

// TestItemsHaveNoHalves: what was printed before a failure has no end.
func TestItemsHaveNoHalves(t *testing.T) {
	i := &Item{Name: "x", Command: []string{script(t, "echo half; echo connection lost >&2; exit 4")}}
	if out, err := read(t, i); err == nil || out != "half\n" || !strings.Contains(err.Error(), i.Command[0]+": exit status 4: connection lost") {
		t.Errorf("%q, %v", out, err)
	}
	i.Command = []string{script(t, "echo half; kill -9 $$")}
	if _, err := read(t, i); err == nil || !strings.Contains(err.Error(), "signal: killed") {
		t.Error(err)
	}
	i = &Item{Name: "x", Timeout: schedule.Span(300 * time.Millisecond), Command: []string{script(t, "echo half; sleep 60 & sleep 60")}}
	if _, err := read(t, i); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "took longer than 300ms and was killed") {
		t.Error(err)
	}
}

// TestItemIsClosed: nobody reads to its end, and it ends all the same.
func TestItemIsClosed(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "alive")
	for _, cancel := range []bool{false, true} {
		i := &Item{Name: "x", Command: []string{script(t, "yes; touch "+mark)}}
		ctx, stop := context.WithCancel(t.Context())
		in, err := i.Open(ctx, Event{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(in, make([]byte, 100000)); err != nil {
			t.Error(err)
		}
		if cancel {
			stop()
			if _, err := io.Copy(io.Discard, in); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if n, err := in.Read(make([]byte, 1)); n > 0 || err == nil || err == io.EOF {
			t.Errorf("%d, %v after the end", n, err)
		}
		stop()
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("it went on")
	}
}

func TestUnsafeItems(t *testing.T) {
	path := script(t, "true")
	if err := os.Chmod(path, 0o722); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Item{Name: "x", Command: []string{path}}).Open(t.Context(), Event{}); !errors.Is(err, fault.Denied) {
		t.Error(err)
	}
	for want, i := range map[string]Item{
		"has no name":     {Command: []string{"/bin/true"}},
		"cannot be the":   {Name: "a/b", Command: []string{"/bin/true"}},
		"is empty":        {Name: "a"},
		"not an absolute": {Name: "a", Command: []string{"pg_dump"}},
		"on_failure is":   {Name: "a", Command: []string{"/bin/true"}, OnFailure: "shrug"},
		"timeout":         {Name: "a", Command: []string{"/bin/true"}, Timeout: schedule.Span(48 * time.Hour)},
	} {
		if err := i.Validate(); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
