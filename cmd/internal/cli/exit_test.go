package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func TestEveryKindHasItsExitCode(t *testing.T) {
	names := map[string]fault.Kind{}
	for k := range fault.Kind(fault.NumKinds) {
		o := outcomes[k]
		if o.code == ExitDone || o.name == "" {
			t.Errorf("kind %v: no exit code or no name", k)
		}
		if other, dup := names[o.name]; dup {
			t.Errorf("kinds %v and %v share the name %s", k, other, o.name)
		}
		names[o.name] = k
		if exitTexts[o.code] == "" {
			t.Errorf("exit code %d has no text", o.code)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("anything"), 1},
		{Usage("no"), 2},
		{fmt.Errorf("backup: %w", ErrWarnings), 3},
		{&os.PathError{Op: "open", Path: "x", Err: os.ErrNotExist}, 4},
		{Hint(fmt.Errorf("unlock: %w", fault.Locked), "try"), 5},
		{os.ErrPermission, 5},
		{fmt.Errorf("open pack: %w", fault.Corrupt), 6},
		{context.Canceled, 1},
	} {
		if got := ExitCode(c.err); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.want)
		}
	}
}

func TestReport(t *testing.T) {
	err := Hint(Usage("no \x1b[31msuch\nthing"), "do this")
	var out bytes.Buffer
	a := &App{Stderr: &out}
	if code := a.Report(err); code != ExitUsage || out.String() != "tidemark: no \\x1b[31msuch\nthing\nhint: do this\n" {
		t.Errorf("%d %q", code, &out)
	}
	out.Reset()
	if code := a.Report(ErrWarnings); code != ExitWarnings || out.Len() != 0 {
		t.Errorf("%d %q", code, &out)
	}
	a.Globals.JSON = true
	a.Report(err)
	var got map[string]any
	if e := json.Unmarshal(out.Bytes(), &got); e != nil || got["kind"] != "invalid" || got["exit_code"] != 2.0 || got["hint"] != "do this" {
		t.Errorf("%v %q", e, &out)
	}
}

func TestHintBeforeTheKindsOwn(t *testing.T) {
	inner := fmt.Errorf("x: %w", fault.Locked)
	if h := hintOf(inner); !strings.Contains(h, "passphrase") {
		t.Errorf("hint %q", h)
	}
	if h := hintOf(fmt.Errorf("y: %w", Hint(inner, "better"))); h != "better" {
		t.Errorf("hint %q", h)
	}
}
