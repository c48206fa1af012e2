package hook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Item is a command whose output becomes a file of the point: a dump of a
// database, mostly. It is whole, or there is none: one that fails, or is killed
// after its time, never leaves half a file.
type Item struct {
	Name      string        `toml:"name"`       // of the file, at the top of the point
	Command   []string      `toml:"command"`    // program and arguments
	Timeout   schedule.Span `toml:"timeout"`    // 0: MaxTimeout
	OnFailure string        `toml:"on_failure"` // "fail" ("": there is no point) or "warn" (there is one without it)
}

// Validate checks what a configuration says; errors are fault.Invalid.
func (i *Item) Validate() error {
	why := ""
	switch {
	case i.Name == "":
		why = "it has no name"
	case i.Name == "." || i.Name == ".." || len(i.Name) > 255 || strings.ContainsAny(i.Name, "/\x00"):
		why = fmt.Sprintf("name: %q cannot be the name of a file", i.Name)
	case len(i.Command) == 0 || i.Command[0] == "":
		why = "command is empty"
	case len(i.Command) > maxArguments:
		why = "command has too many arguments"
	case !filepath.IsAbs(i.Command[0]):
		why = fmt.Sprintf("command: %q is not an absolute path", i.Command[0])
	case i.OnFailure != "" && i.OnFailure != Fail && i.OnFailure != Warn:
		why = fmt.Sprintf("on_failure is %q, not fail or warn", i.OnFailure)
	case time.Duration(i.Timeout) > MaxTimeout:
		why = fmt.Sprintf("timeout: %v, but up to 24h is possible", time.Duration(i.Timeout))
	}
	if why != "" {
		return fmt.Errorf("item: %s: %w", why, fault.Invalid)
	}
	return nil
}

// Open starts the command. What it prints is read from what Open returns, whose
// end comes only if the command succeeded; else Read fails and says why. Close
// kills the command if it still runs. A program that is not safe to run is
// fault.Denied.
func (i *Item) Open(ctx context.Context, e Event) (io.ReadCloser, error) {
	if err := Safe(i.Command[0]); err != nil {
		return nil, fmt.Errorf("run %s: %w", i.Command[0], err)
	}
	o := &output{item: i, outer: ctx, said: &tail{}, timeout: time.Duration(i.Timeout)}
	if o.timeout == 0 {
		o.timeout = MaxTimeout
	}
	o.limited, o.stop = context.WithTimeout(ctx, o.timeout)
	o.cmd = command(o.limited, i.Command, append(e.environment("item"), "TIDEMARK_ITEM="+i.Name))
	o.cmd.Stderr = o.said
	var err error
	if o.out, err = o.cmd.StdoutPipe(); err == nil {
		err = o.cmd.Start()
	}
	if err != nil {
		o.stop()
		return nil, fmt.Errorf("run %s: %w", i.Command[0], err)
	}
	return o, nil
}

// output is what a command prints.
type output struct {
	item           *Item
	cmd            *exec.Cmd
	out            io.ReadCloser
	said           *tail // on standard error
	outer, limited context.Context
	stop           context.CancelFunc
	timeout        time.Duration
	once           sync.Once
	err            error // once the command has ended
}

// Read implements io.Reader.
func (o *output) Read(p []byte) (int, error) {
	n, err := o.out.Read(p)
	if err == nil || n > 0 {
		return n, nil
	}
	o.once.Do(func() { o.end(err) })
	return 0, o.err
}

// end waits for the command, whose output has ended with an error.
func (o *output) end(reading error) {
	defer o.stop()
	err := o.cmd.Wait()
	if err == nil && !errors.Is(reading, io.EOF) {
		err = reading
	}
	o.err = io.EOF
	if err != nil {
		o.err = fmt.Errorf("run %s: %w", o.item.Command[0], why(o.outer, o.limited, err, o.timeout, o.said.String()))
	}
}

// Close implements io.Closer.
func (o *output) Close() error {
	o.once.Do(func() {
		o.stop()
		o.end(context.Canceled)
	})
	return nil
}
