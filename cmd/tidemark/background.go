package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/fs/mount"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// A mount in the background is a second process of this program. It gets the
// passphrase, if one is needed, through its standard input, and answers on
// its standard output with one line: that the mount is there, or why not.
// After that it has no tie to the terminal but the process group, whose
// signals for a lost terminal and for Ctrl-C it ignores.

const (
	backgroundFlag = "background-child"
	maxAnswer      = 64 << 10
)

// answer is that line.
type answer struct {
	Error string     `json:"error,omitempty"` // empty: mounted
	Kind  fault.Kind `json:"kind,omitempty"`
	Where where      `json:"where"`
}

// startInBackground starts the process and returns when its mount answers:
// where, and the process.
func (o *mountOptions) startInBackground(ctx context.Context, app *cli.App, dir string) (where, int, error) {
	passphrase, err := o.passphraseForChild(ctx, app)
	if err != nil {
		return where{}, 0, err
	}
	program, err := os.Executable()
	if err != nil {
		return where{}, 0, fmt.Errorf("start a mount in the background: %w", err)
	}
	// Not CommandContext: the process outlives this one.
	cmd := exec.Command(program, o.childArgs(app, dir)...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin = bytes.NewReader(passphrase)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return where{}, 0, fmt.Errorf("start a mount in the background: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return where{}, 0, fmt.Errorf("start a mount in the background: %w", err)
	}
	line := make(chan []byte, 1)
	go func() {
		b, _ := bufio.NewReader(io.LimitReader(out, maxAnswer)).ReadBytes('\n')
		line <- b
	}()
	select {
	case b := <-line:
		w, err := readAnswer(b)
		return w, cmd.Process.Pid, err
	case <-ctx.Done():
		return where{}, 0, errors.Join(fmt.Errorf("wait for the mount: %w", ctx.Err()), cmd.Process.Kill())
	}
}

func readAnswer(line []byte) (where, error) {
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return where{}, fmt.Errorf("the process in the background ended without an answer: %w", fault.Internal)
	}
	if a.Error == "" {
		return a.Where, nil
	}
	return where{}, told{a}
}

// told is an error of the other process.
type told struct{ answer }

func (t told) Error() string { return t.answer.Error }
func (t told) Unwrap() error { return t.Kind }

// passphraseForChild asks for the passphrase here, where the terminal is, and
// checks it: an error then is told at once. It is nil if none is needed.
func (o *mountOptions) passphraseForChild(ctx context.Context, app *cli.App) ([]byte, error) {
	r, err := openBeside(ctx, app)
	if err != nil {
		return nil, err
	}
	_, err = r.Grant(ctx, r.local)
	var passphrase []byte
	if err == nil && !r.CanRead() {
		passphrase, err = app.Passphrase(ctx)
	}
	return passphrase, errors.Join(err, r.close())
}

func (o *mountOptions) childArgs(app *cli.App, dir string) []string {
	args := []string{
		"mount", "--" + backgroundFlag, "--repository", app.Globals.Repository, "--cache-dir", app.Globals.CacheDir,
		"--point", o.point, "--owner", o.owner, "--door", o.door, "--wait", o.wait.String(),
		fmt.Sprintf("--replace=%t", o.replace), fmt.Sprintf("--list-time=%t", o.listTime), fmt.Sprintf("--open-browser=%t", o.browser),
		fmt.Sprintf("--open=%t", o.open), fmt.Sprintf("--allow-other=%t", o.allowOther),
		fmt.Sprintf("--deleted=%t", o.deleted), fmt.Sprintf("--accept-rollback=%t", app.Globals.AcceptRollback),
	}
	if o.rate != "" {
		args = append(args, "--limit-rate", o.rate)
	}
	for _, address := range app.Globals.Replicas {
		args = append(args, "--replica", address)
	}
	if app.Globals.ConfigPath != "" {
		args = append(args, "--config", app.Globals.ConfigPath)
	}
	if dir != "" {
		args = append(args, "--", dir)
	}
	return args
}

// serveInBackground is that process.
func (o *mountOptions) serveInBackground(ctx context.Context, app *cli.App, dir string) error {
	signal.Ignore(os.Interrupt, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGTERM)
	defer stop()
	passphrase, err := io.ReadAll(io.LimitReader(app.Stdin, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the passphrase: %w", err)
	}
	if len(passphrase) > 0 {
		app.Given = passphrase
	}
	said := false
	say := func(a answer) error {
		said = true
		if err := app.JSON(a); err != nil {
			return err
		}
		if c, ok := app.Stdout.(io.Closer); ok {
			return c.Close()
		}
		return nil
	}
	err = o.serve(ctx, app, dir, slog.New(slog.DiscardHandler), func(m *mount.Mounted) error { return say(answer{Where: whereOf(m)}) })
	if err != nil && !said {
		return errors.Join(err, say(answer{Error: err.Error(), Kind: fault.KindOf(err)}))
	}
	return err
}
