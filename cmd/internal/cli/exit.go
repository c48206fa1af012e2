package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Exit codes.
const (
	ExitDone     = 0 // all was done
	ExitFailed   = 1 // it was not done
	ExitUsage    = 2 // the command line or the configuration is wrong
	ExitWarnings = 3 // done, but something was left out; each is named
	ExitNothing  = 4 // what was asked for is not there
	ExitLocked   = 5 // locked out: wrong passphrase, or denied
	ExitDamaged  = 6 // stored data is damaged
)

// exitTexts explains the codes in the README and in help.
var exitTexts = [...]string{
	ExitDone:     "done",
	ExitFailed:   "failed",
	ExitUsage:    "the command line or the configuration is wrong",
	ExitWarnings: "done with warnings; each skipped or damaged file is named with its reason",
	ExitNothing:  "what was asked for is not there",
	ExitLocked:   "locked out: wrong passphrase, missing key or permission denied",
	ExitDamaged:  "stored data is damaged",
}

// outcome is what the command line makes of a kind of failure.
type outcome struct {
	code int
	name string // in JSON
	hint string // what to do, if nobody knows better
}

// outcomes has a row for each kind; a test fails on a hole.
var outcomes = [fault.NumKinds]outcome{
	fault.Internal:    {ExitFailed, "internal", ""},
	fault.NotExist:    {ExitNothing, "not_exist", ""},
	fault.Exist:       {ExitFailed, "exist", ""},
	fault.Denied:      {ExitLocked, "denied", "run it as a user who may do this"},
	fault.Locked:      {ExitLocked, "locked", "check the passphrase; `tidemark key list` shows which key slots there are"},
	fault.Corrupt:     {ExitDamaged, "corrupt", "`tidemark check --read-data` names all damaged data and the files it hurts"},
	fault.Invalid:     {ExitUsage, "invalid", ""},
	fault.ReadOnly:    {ExitFailed, "read_only", "the place is mounted or opened read-only"},
	fault.NoSpace:     {ExitFailed, "no_space", "free some space and run it again; what was stored already is used again"},
	fault.Unavailable: {ExitFailed, "unavailable", "try again later; what was stored already is used again"},
	fault.Unsupported: {ExitFailed, "unsupported", ""},
	fault.Stale:       {ExitNothing, "stale", "it was removed in the meantime; `tidemark points` lists what is there"},
	fault.TooLarge:    {ExitDamaged, "too_large", ""},
	fault.NotDir:      {ExitNothing, "not_dir", ""},
	fault.IsDir:       {ExitFailed, "is_dir", ""},
	fault.Changed:     {ExitWarnings, "changed", ""},
	fault.Rollback:    {ExitDamaged, "rollback", "somebody put an older state of the repository back; find out who before you write to it again"},
	fault.Canceled:    {ExitFailed, "canceled", ""},
}

// ErrWarnings ends a command that did its work but left something out. The
// command has named what; nothing more is printed.
var ErrWarnings = errors.New("done with warnings")

// hinted is an error with advice.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// Hint adds to an error what its reader may do. It goes before the hint that
// the kind of the error has.
func Hint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return hinted{err, fmt.Sprintf(format, args...)}
}

// Usage is an error of whoever typed the command.
func Usage(format string, args ...any) error {
	return fmt.Errorf("%w: %w", fmt.Errorf(format, args...), fault.Invalid)
}

// ExitCode returns the exit code for an error of a command.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return ExitDone
	case errors.Is(err, ErrWarnings):
		return ExitWarnings
	}
	return outcomes[fault.KindOf(err)].code
}

func hintOf(err error) string {
	if h, ok := errors.AsType[hinted](err); ok {
		return h.hint
	}
	return outcomes[fault.KindOf(err)].hint
}

// Report prints why a command failed and returns the exit code. It prints
// nothing for nil and ErrWarnings.
func (a *App) Report(err error) int {
	code := ExitCode(err)
	if err == nil || errors.Is(err, ErrWarnings) {
		return code
	}
	text, hint := message(err), hintOf(err)
	if a.Globals.JSON {
		line, _ := json.Marshal(struct {
			Error string `json:"error"`
			Kind  string `json:"kind"`
			Hint  string `json:"hint,omitempty"`
			Exit  int    `json:"exit_code"`
		}{text, outcomes[fault.KindOf(err)].name, hint, code})
		fmt.Fprintf(a.Stderr, "%s\n", line)
		return code
	}
	fmt.Fprintf(a.Stderr, "tidemark: %s\n", clean(text))
	if hint != "" {
		fmt.Fprintf(a.Stderr, "hint: %s\n", clean(hint))
	}
	return code
}

// message is the error's text without the kind's words where they say nothing
// that the rest does not.
func message(err error) string {
	text := err.Error()
	for _, k := range []fault.Kind{fault.Invalid, fault.Internal} {
		text = strings.ReplaceAll(text, ": "+k.Error(), "")
	}
	return text
}
