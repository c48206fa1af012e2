package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/all"
	"github.com/tidemark-backup/tidemark/repo/vault/store/limit"
	"github.com/tidemark-backup/tidemark/repo/vault/store/patient"
)

// settleTime is how long a command waits for damaged objects to be put back.
const settleTime = 2 * time.Minute

// openBeside opens the repository without keys, with its replicas beside it. It
// may be away then: the replicas stand in for it.
func openBeside(ctx context.Context, app *cli.App) (*opened, error) {
	if len(app.Globals.Replicas) == 0 {
		return openLocked(ctx, app)
	}
	address, err := app.NeedRepository()
	if err != nil {
		return nil, err
	}
	var places []*patient.Store
	at := func(address string) store.Store {
		p := patient.New(address, func(ctx context.Context) (store.Store, error) { return all.Open(ctx, address) }, patient.Options{})
		places = append(places, p)
		if app.Reads != nil {
			return limit.New(p, app.Reads)
		}
		return p
	}
	told := &notices{app: app, address: address}
	own := at(address)
	options := repo.Options{Notice: told.add}
	for _, r := range app.Globals.Replicas {
		options.Replicas = append(options.Replicas, repo.Replica{Name: r, Store: at(r)})
	}
	o := &opened{told: told}
	o.close = func() error {
		var errs []error
		if o.Repository != nil {
			errs = append(errs, o.settle(ctx))
		}
		for _, p := range places {
			errs = append(errs, p.Close())
		}
		return errors.Join(errs...)
	}
	if o.Repository, err = repo.Open(ctx, own, options); err != nil {
		return nil, errors.Join(err, o.close())
	}
	o.local = localOf(app, o.ID, address)
	told.keep(o.local)
	return o, nil
}

// settle waits until what was found damaged is put back.
func (o *opened) settle(ctx context.Context) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer stop()
	return o.Repository.Close(ctx)
}

// notices tells what came from a replica: on standard error, and in a file of
// this machine's, since nobody reads what a mount in the background says.
type notices struct {
	app     *cli.App
	address string

	mu             sync.Mutex
	file           string
	healed, served int // objects
}

// maxNotices bounds the file; there is one older one.
const maxNotices = 256 << 10

func noticesFile(l repo.Local) string { return filepath.Join(l.Dir, "notices") }

func (n *notices) keep(l repo.Local) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.file = noticesFile(l)
}

// noticeJSON is a notice in JSON, on standard error and in the file.
type noticeJSON struct {
	Time    string `json:"time"`
	Notice  string `json:"notice"`
	Object  string `json:"object,omitempty"`
	Frame   *int   `json:"frame,omitempty"` // the first damaged one
	Frames  int    `json:"frames,omitempty"`
	Replica string `json:"replica,omitempty"`
	Cause   string `json:"cause,omitempty"`
	Error   string `json:"error,omitempty"`
}

func (n *notices) add(m repo.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch m.Outcome {
	case repo.Healed:
		n.healed++
	case repo.Served:
		n.served++
	}
	j := noticeJSON{Time: cli.JSONTime(n.app.Now()), Notice: m.Outcome.String(), Object: m.Object, Frames: m.Frames, Replica: m.Replica}
	if m.Frame >= 0 {
		j.Frame = &m.Frame
	}
	if m.Cause != nil {
		j.Cause = m.Cause.Error()
	}
	if m.Err != nil {
		j.Error = m.Err.Error()
	}
	line, _ := json.Marshal(j)
	n.write(line)
	switch text := n.text(m); {
	case n.app.Globals.JSON:
		fmt.Fprintf(n.app.Stderr, "%s\n", line)
	case text != "":
		fmt.Fprintf(n.app.Stderr, "tidemark: %s\n", cli.Quote(text))
	}
}

// text is a notice for people, "" if they need not know.
func (n *notices) text(m repo.Notice) string {
	what := m.Object
	switch {
	case m.Frames == 1:
		what += fmt.Sprintf(" (frame %d)", m.Frame)
	case m.Frames > 1:
		what += fmt.Sprintf(" (frame %d and %d more)", m.Frame, m.Frames-1)
	}
	switch m.Outcome {
	case repo.Away:
		return fmt.Sprintf("warning: the repository in %s cannot be reached; all is read from the replica %s (%v)", n.address, m.Replica, m.Err)
	case repo.Back:
		return fmt.Sprintf("the repository in %s is there again", n.address)
	case repo.Healed:
		return fmt.Sprintf("healed: %s was damaged or missing, and is put back from the replica %s", what, m.Replica)
	case repo.Served:
		return fmt.Sprintf("warning: damaged: %s; read from the replica %s, and not put back: %v", what, m.Replica, m.Err)
	}
	if n.app.Globals.Verbose {
		return fmt.Sprintf("%s could not be read, and was right when it was read again (%v)", what, m.Cause)
	}
	return ""
}

// write appends to the file. It is for people to look at: nothing depends on
// it, so that a full disk is no reason to fail.
func (n *notices) write(line []byte) {
	if n.file == "" {
		return
	}
	if info, err := os.Stat(n.file); err == nil && info.Size() > maxNotices {
		_ = os.Rename(n.file, n.file+".old")
	}
	f, err := os.OpenFile(n.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	_, _ = f.Write(append(line, '\n'))
	_ = f.Close()
}

// after waits for healings and says what they mean to a command that found no
// other damage.
func (o *opened) after(ctx context.Context) error {
	if o.told == nil {
		return nil
	}
	err := o.settle(ctx)
	o.told.mu.Lock()
	defer o.told.mu.Unlock()
	switch {
	case err != nil:
		return err
	case o.told.served > 0:
		return cli.Hint(fmt.Errorf("%s damaged and could not be put back: %w", cli.Counted(uint64(o.told.served), "object is", "objects are"), fault.Corrupt),
			"all of them can be read from the replica; standard error says why they could not be put back")
	case o.told.healed > 0:
		return cli.ErrWarnings
	}
	return nil
}

// recent reads the notices of this machine, the oldest first.
func recent(l repo.Local) (list []noticeJSON) {
	for _, path := range []string{noticesFile(l) + ".old", noticesFile(l)} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		d := json.NewDecoder(io.LimitReader(f, 2*maxNotices))
		for {
			var j noticeJSON
			if d.Decode(&j) != nil {
				break
			}
			list = append(list, j)
		}
		_ = f.Close()
	}
	return list
}
