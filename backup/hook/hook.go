// Package hook runs commands before and after a backup, and those whose output
// is backed up.
//
// Nouns: a [Hook] is a command as a configuration has it, with when it runs,
// how long it may take and what its failure means; an [Item] is a command that
// prints a file of the point; an [Event] is what they are told, in their
// environment.
//
// A hook runs with no shell in between. Its output is kept, bounded, for the
// job's record. One that takes too long is killed with all that it started.
// A program that others may change is refused: hooks mostly run as root.
package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/process"
)

// Hook is a command of a policy.
type Hook struct {
	When      string        `toml:"when"`       // "before", "thaw" (once snapshots are taken; without, before "after") or "after"
	If        string        `toml:"if"`         // after only: "always" (""), "success" or "failure"
	Command   []string      `toml:"command"`    // program and arguments
	Timeout   schedule.Span `toml:"timeout"`    // of one try; 0: DefaultTimeout
	Retries   int           `toml:"retries"`    // after a failure
	OnFailure string        `toml:"on_failure"` // "fail" ("") or "warn"
}

// The words of a Hook.
const (
	Before, Thaw, After      = "before", "thaw", "after"
	Always, Success, Failure = "always", "success", "failure"
	Fail, Warn               = "fail", "warn"
)

// Bounds of what a hook may say.
const (
	DefaultTimeout = 30 * time.Minute
	MaxTimeout     = 24 * time.Hour
	maxRetries     = 20
	maxArguments   = 1000

	pause     = 5 * time.Second // before another try
	maxOutput = 64 << 10        // bytes that are kept
	grace     = 5 * time.Second // for the output of one that was killed
)

// Validate checks what a configuration says; errors are fault.Invalid.
func (h *Hook) Validate() error {
	why := ""
	switch {
	case h.When != Before && h.When != Thaw && h.When != After:
		why = fmt.Sprintf("when is %q, not before, thaw or after", h.When)
	case len(h.Command) == 0 || h.Command[0] == "":
		why = "command is empty"
	case len(h.Command) > maxArguments:
		why = "command has too many arguments"
	case !filepath.IsAbs(h.Command[0]):
		why = fmt.Sprintf("command: %q is not an absolute path", h.Command[0])
	case h.If != "" && h.If != Always && h.If != Success && h.If != Failure:
		why = fmt.Sprintf("if is %q, not always, success or failure", h.If)
	case h.If != "" && h.When != After:
		why = "if belongs to hooks that run after a backup"
	case h.OnFailure != "" && h.OnFailure != Fail && h.OnFailure != Warn:
		why = fmt.Sprintf("on_failure is %q, not fail or warn", h.OnFailure)
	case h.Retries < 0 || h.Retries > maxRetries:
		why = fmt.Sprintf("retries: %d, but 0 to %d are possible", h.Retries, maxRetries)
	case time.Duration(h.Timeout) > MaxTimeout:
		why = fmt.Sprintf("timeout: %v, but up to 24h is possible", time.Duration(h.Timeout))
	}
	if why != "" {
		return fmt.Errorf("hook: %s: %w", why, fault.Invalid)
	}
	return nil
}

// Event is what a hook is told: TIDEMARK_POLICY and so on in its environment.
type Event struct {
	Policy string
	Job    string // its number
	Result string // after a backup: "completed", "warnings" or "failed"
	Point  string // ID of the new point, if there is one
	Error  string
}

func (e *Event) environment(when string) []string {
	return append(os.Environ(), "TIDEMARK_HOOK="+when, "TIDEMARK_POLICY="+e.Policy, "TIDEMARK_JOB="+e.Job,
		"TIDEMARK_RESULT="+e.Result, "TIDEMARK_POINT="+e.Point, "TIDEMARK_ERROR="+e.Error)
}

// Wants says whether a hook runs after a backup that failed or did not.
func (h *Hook) Wants(failed bool) bool {
	switch h.If {
	case Success:
		return !failed
	case Failure:
		return failed
	}
	return true
}

// Run runs the hook, again if it fails and may, and returns what its last try
// printed. The error names the program; it wraps fault.Denied for one that is
// not safe to run.
func (h *Hook) Run(ctx context.Context, e Event) (output string, err error) {
	if err := Safe(h.Command[0]); err != nil {
		return "", fmt.Errorf("run hook %s: %w", h.Command[0], err)
	}
	for try := 0; ; try++ {
		output, err = h.once(ctx, e)
		if err == nil || try >= h.Retries || ctx.Err() != nil {
			return output, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return output, err
		}
	}
}

func (h *Hook) once(ctx context.Context, e Event) (string, error) {
	timeout := time.Duration(h.Timeout)
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	limited, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	cmd := command(limited, h.Command, e.environment(h.When))
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	text := out.String()
	if err != nil {
		err = fmt.Errorf("run hook %s: %w", h.Command[0], why(ctx, limited, err, timeout, text))
	}
	return text, err
}

// command prepares a program that is killed with all that it starts when ctx
// is done.
func command(ctx context.Context, argv, environment []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = environment
	cmd.Dir = "/"
	if volume := filepath.VolumeName(argv[0]); volume != "" {
		cmd.Dir = volume + string(filepath.Separator)
	}
	cmd.WaitDelay = grace
	process.KillGroup(cmd)
	return cmd
}

// why says for what reason a program failed, and what it said last.
func why(ctx, limited context.Context, err error, timeout time.Duration, text string) error {
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case limited.Err() != nil:
		err = fmt.Errorf("took longer than %v and was killed: %w", timeout, fault.Unavailable)
	}
	if last := lastLine(text); last != "" {
		err = fmt.Errorf("%w: %s", err, last)
	}
	return err
}

// Safe fails with fault.Denied if others than root and this user may change the
// program.
func Safe(program string) error {
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%w", fault.IsDir)
	}
	return process.Trusted(program, info)
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// tail keeps the beginning and the end of what is written.
type tail struct {
	head, end bytes.Buffer
	lost      int
}

var _ io.Writer = (*tail)(nil)

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if room := maxOutput/2 - t.head.Len(); room > 0 {
		part := p[:min(room, len(p))]
		t.head.Write(part)
		p = p[len(part):]
	}
	t.end.Write(p)
	if over := t.end.Len() - maxOutput/2; over > 0 {
		t.lost += over
		t.end.Next(over)
	}
	return n, nil
}

func (t *tail) String() string {
	if t.lost == 0 {
		return t.head.String() + t.end.String()
	}
	return fmt.Sprintf("%s\n… %d bytes left out …\n%s", t.head.String(), t.lost, t.end.String())
}

// RunAll runs the hooks of one time, in order. A failure of one that says
// "warn" is told by warn; any other ends it.
func RunAll(ctx context.Context, hooks []Hook, when string, e Event, warn func(error)) error {
	failed := e.Error != ""
	var errs []error
	for i := range hooks {
		h := &hooks[i]
		if h.When != when || when == After && !h.Wants(failed) {
			continue
		}
		_, err := h.Run(ctx, e)
		switch {
		case err == nil:
		case h.OnFailure == Warn:
			warn(err)
		case when == Before:
			return err
		default: // what one has begun another may have to end
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
