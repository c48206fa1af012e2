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
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// What shows points for the agent is a process of this program: one that dies
// takes nobody with it. It gets its orders as a line of JSON on its standard
// input, answers with a line on its standard output, and ends when its input
// does, which is when it is told to, or when the agent has died.

// keptFlag is hidden; no user has a reason to give it.
const keptFlag = "kept-by-agent"

// keptOrders is the line that it gets.
type keptOrders struct {
	Passphrase []byte `json:"passphrase,omitempty"`
}

// keptAnswer is the line that it answers with.
type keptAnswer struct {
	Error string     `json:"error,omitempty"`
	Kind  fault.Kind `json:"kind,omitempty"`
	Where string     `json:"where,omitempty"`
}

// keptGrace is how long such a process may take to end before it is killed.
const keptGrace = patience + 10*time.Second

// beKept is that process. serve calls ready once it answers.
func beKept(ctx context.Context, app *cli.App, serve func(context.Context, *slog.Logger, func(where string) error) error) error {
	signal.Ignore(os.Interrupt, syscall.SIGHUP) // of the agent's terminal
	in := bufio.NewReader(io.LimitReader(app.Stdin, maxAnswer))
	line, err := in.ReadBytes('\n')
	var orders keptOrders
	if err == nil {
		err = json.Unmarshal(line, &orders)
	}
	if err != nil {
		return fmt.Errorf("read what the agent wants: %w", err)
	}
	if len(orders.Passphrase) > 0 {
		app.Given = orders.Passphrase
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // ends with its input, or with this process
		_, _ = io.Copy(io.Discard, in)
		stop()
	}()
	said := false
	say := func(a keptAnswer) error {
		said = true
		return app.JSON(a)
	}
	log := slog.New(slog.NewTextHandler(app.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	err = serve(ctx, log, func(where string) error { return say(keptAnswer{Where: where}) })
	if err != nil && !said {
		return errors.Join(err, say(keptAnswer{Error: err.Error(), Kind: fault.KindOf(err)}))
	}
	return err
}

// keeper starts such processes.
type keeper struct {
	app *cli.App
	log *slog.Logger
}

// keep implements agent.Keep.
func (k *keeper) keep(ctx context.Context, s *agent.Show, passphrase []byte) (*agent.Kept, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("show points: %w", err)
	}
	if s.Mount != nil && len(s.Mount.Dir) > 2 {
		if err := os.MkdirAll(s.Mount.Dir, 0o755); err != nil && !deadMount(err) {
			return nil, fmt.Errorf("show points: %w", err)
		}
	}
	// Not CommandContext: it is asked to end, so that it unmounts.
	cmd := exec.Command(program, k.args(s)...)
	cmd.Args[0] = os.Args[0]
	cmd.Stderr = &logLines{log: k.log.With("name", s.Name())}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("show points: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("show points: %w", err)
	}
	orders, err := json.Marshal(keptOrders{passphrase})
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("show points: %w", err)
	}
	_, _ = in.Write(append(orders, '\n')) // one that has died does not answer, either
	line := make(chan []byte, 1)
	done := make(chan error, 1)
	go func() {
		r := bufio.NewReader(io.LimitReader(out, maxAnswer))
		b, _ := r.ReadBytes('\n')
		line <- b
		_, _ = io.Copy(io.Discard, r)
		done <- cmd.Wait()
	}()
	stop := sync.OnceFunc(func() {
		_ = in.Close()
		time.AfterFunc(keptGrace, func() { _ = cmd.Process.Kill() }) // of one that has ended: nothing
	})
	select {
	case b := <-line:
		var a keptAnswer
		if err := json.Unmarshal(b, &a); err != nil {
			a = keptAnswer{Error: "its process ended without an answer", Kind: fault.Internal}
		}
		if a.Error != "" {
			stop()
			k.log.Debug("it has ended", "name", s.Name(), "error", <-done)
			return nil, told{answer{Error: a.Error, Kind: a.Kind}}
		}
		return &agent.Kept{Where: a.Where, PID: cmd.Process.Pid, Done: done, Stop: stop}, nil
	case <-ctx.Done():
		stop()
		k.log.Debug("it has ended", "name", s.Name(), "error", <-done)
		return nil, ctx.Err()
	}
}

// deadMount says whether a folder cannot be made since a mount there has died:
// mounting clears it.
func deadMount(err error) bool {
	return errors.Is(err, syscall.ENOTCONN) || errors.Is(err, os.ErrExist)
}

func (k *keeper) args(s *agent.Show) []string {
	g := &k.app.Globals
	args := []string{"--repository", s.Repository(), "--cache-dir", g.CacheDir}
	if g.ConfigPath != "" {
		args = append(args, "--config", g.ConfigPath)
	}
	for name, value := range map[string]string{"passphrase-file": g.PassphraseFile, "passphrase-command": g.PassphraseCommand, "passphrase-keystore": g.PassphraseKeystore} {
		if value != "" {
			args = append(args, "--"+name, value)
		}
	}
	text := func(flag, value string) {
		if value != "" {
			args = append(args, "--"+flag, value)
		}
	}
	yes := func(flag string, value bool) {
		if value {
			args = append(args, "--"+flag)
		}
	}
	if m := s.Mount; m != nil {
		args = append([]string{"mount", "--" + keptFlag, "--replace"}, args...)
		text("door", m.Door)
		text("point", m.Point)
		text("owner", m.Owner)
		yes("open", m.Open)
		yes("allow-other", m.AllowOther)
		yes("list-time", m.ListTime)
		yes("deleted", m.Deleted)
		if m.Wait != 0 {
			text("wait", time.Duration(m.Wait).String())
		}
		return append(args, "--", m.Dir)
	}
	h := s.Share
	args = append([]string{"serve", "--" + keptFlag, "--listen", h.Listen}, args...)
	text("users", h.Users)
	text("ldap", h.LDAP)
	text("ldap-dn", h.LDAPDN)
	text("ldap-ca", h.LDAPCA)
	text("certificate", h.Certificate)
	text("access-log", h.AccessLog)
	text("point", h.Point)
	yes("anonymous", h.Anonymous)
	yes("no-tls", h.NoTLS)
	yes("list-time", h.ListTime)
	yes("deleted", h.Deleted)
	for _, host := range h.Hosts {
		text("host", host)
	}
	return args
}

// logLines writes what a process says into the log, line by line.
type logLines struct {
	log  *slog.Logger
	rest []byte
}

// maxLine bounds a line of it, in bytes.
const maxLine = 8 << 10

// Write implements io.Writer.
func (l *logLines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 && len(l.rest) > maxLine {
			i = maxLine
		}
		if i < 0 {
			return len(p), nil
		}
		l.log.Warn("it says", "line", strings.TrimSpace(string(l.rest[:i])))
		l.rest = append([]byte{}, l.rest[min(i+1, len(l.rest)):]...)
	}
}
