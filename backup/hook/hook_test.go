package hook

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// script makes a program of a shell's lines, and returns its path.
func script(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+lines+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRunTellsAndHears(t *testing.T) {
	h := &Hook{When: After, Command: []string{script(t, `echo "$TIDEMARK_HOOK $TIDEMARK_POLICY $TIDEMARK_JOB $TIDEMARK_RESULT $TIDEMARK_POINT $1"; pwd`), "an argument"}}
	out, err := h.Run(t.Context(), Event{Policy: "p", Job: "7", Result: "completed", Point: "abc"})
	if err != nil || out != "after p 7 completed abc an argument\n/\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestFailureNamesProgramAndLastWords(t *testing.T) {
	h := &Hook{When: Before, Command: []string{script(t, "echo fine; echo the disk is gone >&2; exit 3")}}
	out, err := h.Run(t.Context(), Event{})
	if err == nil || !strings.Contains(err.Error(), h.Command[0]) || !strings.Contains(err.Error(), "exit status 3: the disk is gone") || !strings.HasPrefix(out, "fine\n") {
		t.Errorf("%q, %v", out, err)
	}
}

// TestRetries: one that succeeds at the third try.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Hook{When: Before, Retries: 2, Command: []string{script(t, `echo x >>"$0.n"; [ $(wc -l <"$0.n") = 3 ]`)}}
		began := time.Now()
		if _, err := h.Run(t.Context(), Event{}); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d < 2*pause {
			t.Errorf("all within %v", d)
		}
		h.Retries = 1
		if err := os.Remove(h.Command[0] + ".n"); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Run(t.Context(), Event{}); err == nil {
			t.Error("two tries are enough")
		}
	})
}

// TestTimeoutKillsAll: also what the hook has started, and which holds its
// output open.
func TestTimeoutKillsAll(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "alive")
	h := &Hook{When: Before, Timeout: schedule.Span(300 * time.Millisecond), Command: []string{script(t, "(sleep 2; touch "+mark+") & sleep 60")}}
	began := time.Now()
	_, err := h.Run(t.Context(), Event{})
	if !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "took longer than 300ms and was killed") {
		t.Error(err)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
	time.Sleep(2*time.Second + 200*time.Millisecond - time.Since(began))
	if _, err := os.Stat(mark); err == nil {
		t.Error("what it had started lives on")
	}
}

func TestCancel(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	h := &Hook{When: Before, Retries: 5, Command: []string{script(t, "sleep 60")}}
	if _, err := h.Run(ctx, Event{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestUnsafePrograms(t *testing.T) {
	path := script(t, "true")
	for _, c := range []struct {
		file, folder os.FileMode
		safe         bool
	}{{0o700, 0o700, true}, {0o755, 0o755, true}, {0o720, 0o700, false}, {0o702, 0o700, false}, {0o700, 0o777, false}, {0o700, 0o777 | os.ModeSticky, true}} {
		if err := errors.Join(os.Chmod(path, c.file), os.Chmod(filepath.Dir(path), c.folder)); err != nil {
			t.Fatal(err)
		}
		_, err := (&Hook{When: Before, Command: []string{path}}).Run(t.Context(), Event{})
		if c.safe && err != nil || !c.safe && !errors.Is(err, fault.Denied) {
			t.Errorf("mode %v in %v: %v", c.file, c.folder, err)
		}
	}
	if os.Geteuid() == 0 {
		if err := errors.Join(os.Chmod(path, 0o700), os.Chown(path, 1234, 1234)); err != nil {
			t.Fatal(err)
		}
		if _, err := (&Hook{When: Before, Command: []string{path}}).Run(t.Context(), Event{}); !errors.Is(err, fault.Denied) {
			t.Errorf("a program of another user: %v", err)
		}
	}
	if _, err := (&Hook{When: Before, Command: []string{path + "-missing"}}).Run(t.Context(), Event{}); !errors.Is(err, fault.NotExist) && !os.IsNotExist(errors.Unwrap(err)) {
		t.Errorf("a missing program: %v", err)
	}
}

// TestRules: which hooks run, and what their failure means.
func TestRules(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	say := func(word string, code string) []string {
		return []string{script(t, "echo "+word+" >>"+log+"; exit "+code)}
	}
	hooks := []Hook{
		{When: Before, Command: say("warned", "1"), OnFailure: Warn},
		{When: Before, Command: say("broke", "1")},
		{When: Before, Command: say("never", "0")},
		{When: After, If: Success, Command: say("success", "0")},
		{When: After, If: Failure, Command: say("failure", "1")},
		{When: After, Command: say("always", "0")},
	}
	var warned []error
	warn := func(err error) { warned = append(warned, err) }
	if err := RunAll(t.Context(), hooks, Before, Event{}, warn); err == nil || len(warned) != 1 {
		t.Errorf("%v, %v", err, warned)
	}
	if err := RunAll(t.Context(), hooks, After, Event{Error: "it failed"}, warn); err == nil {
		t.Error("a failure is lost")
	}
	if err := RunAll(t.Context(), hooks, After, Event{}, warn); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(log)
	if err != nil || strings.Join(strings.Fields(string(b)), " ") != "warned broke failure always success always" {
		t.Errorf("%s, %v", b, err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	h := &Hook{When: Before, Command: []string{script(t, "echo begin; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end")}}
	out, err := h.Run(t.Context(), Event{})
	if err != nil || len(out) > maxOutput+100 || !strings.HasPrefix(out, "begin\n") || !strings.HasSuffix(out, "\nend\n") || !strings.Contains(out, "bytes left out") {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

func TestValidate(t *testing.T) {
	good := Hook{When: After, If: Failure, Command: []string{"/bin/x"}, OnFailure: Warn, Retries: 3, Timeout: schedule.Span(time.Minute)}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Hook){
		"when is":        func(h *Hook) { h.When = "later" },
		"is empty":       func(h *Hook) { h.Command = nil },
		"not an absolut": func(h *Hook) { h.Command = []string{"x"} },
		"if is":          func(h *Hook) { h.If = "sometimes" },
		"if belongs":     func(h *Hook) { h.When = Before },
		"on_failure is":  func(h *Hook) { h.OnFailure = "explode" },
		"retries: -1":    func(h *Hook) { h.Retries = -1 },
		"timeout: 48h":   func(h *Hook) { h.Timeout = schedule.Span(48 * time.Hour) },
	} {
		h := good
		change(&h)
		if err := h.Validate(); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
