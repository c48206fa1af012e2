// Package mount shows a tree of recovery points as a folder or a drive, with
// the front end that this host has.
//
// Nouns:
//
//   - A Door is a front end: FUSE, WinFsp, or WebDAV on a loopback address,
//     which needs no driver and is what remains where there is none.
//   - A Host is what a machine has. Which door it has, how its client is told
//     to map a share, and what is missing (Findings) follow from that alone.
//   - A share is the WebDAV door.
//
// A mount that was left behind by a killed process is cleared first. One of
// another Tidemark that lives is taken over with Options.Replace: what is open
// in it stays with its process, which ends with the last of it. Anything else
// that is at the folder is left alone, and named.
package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/mountpoint"
)

// Options of a mount.
type Options struct {
	// AllowOther lets other users in, as far as modes and access control
	// lists let them. For root it is always on.
	AllowOther bool

	// KeepOwners shows the tree's owners on Windows, too, where else
	// everything belongs to who mounts.
	KeepOwners bool

	// Log hears of what users see as an I/O error. nil: nobody does.
	Log *slog.Logger

	// Door is the front end; "" is Auto.
	Door Door

	// Replace takes a folder over at which another Tidemark is mounted.
	Replace bool

	// Ready, if not nil, is called once when the mount answers.
	Ready func()

	host *Host  // of tests; nil: this one
	run  runner // of tests; nil: programs run
}

// server is what a front end gives.
type server interface {
	Wait()
	Unmount() error
}

// Mounted is a tree that is shown somewhere.
type Mounted struct {
	door   Door
	dir    string // "": nowhere but at the URL
	server server
	host   Host
	run    runner
	log    *slog.Logger
}

// Door returns the front end.
func (m *Mounted) Door() Door { return m.door }

// Dir returns the folder or drive, "" if a share is not mapped anywhere.
func (m *Mounted) Dir() string { return m.dir }

// URL returns where a share is, "" for other doors.
func (m *Mounted) URL() string {
	if s, ok := m.server.(*share); ok {
		return s.url
	}
	return ""
}

// Hint returns the command that maps the share, "" for other doors.
func (m *Mounted) Hint() string {
	if s, ok := m.server.(*share); ok {
		return s.mapped.Hint
	}
	return ""
}

// Show opens the user's file manager.
func (m *Mounted) Show(ctx context.Context) error {
	if err := m.run(ctx, m.host.opener(m.dir, m.URL())); err != nil {
		return fmt.Errorf("open the file manager: %w", err)
	}
	return nil
}

// Mount shows tree at dir: an empty folder, on Windows a free drive or a name
// that is not there; a share may be nowhere (""). Errors: fault.NotExist and
// fault.NotDir for dir, fault.Exist if it is in use, fault.Unsupported where
// there is no such door, fault.Denied where it is not allowed; their texts say
// what helps. With Auto a host whose own door does not open has a share.
func Mount(ctx context.Context, dir string, tree *fs.Tree, o Options) (*Mounted, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := &Mounted{dir: dir, run: o.run, log: o.Log}
	if m.run == nil {
		m.run = runProgram
	}
	if o.host != nil {
		m.host = *o.host
	} else {
		m.host = Probe()
	}
	var err error
	if m.door, err = m.host.Choose(o.Door); err != nil {
		return nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	if dir == "" {
		m.door = WebDAV
	}
	if err := m.open(ctx, tree, o); err != nil {
		return nil, err
	}
	if o.Ready != nil {
		o.Ready()
	}
	return m, nil
}

// open opens the door, or, if nobody insists on it, the one that is always
// there.
func (m *Mounted) open(ctx context.Context, tree *fs.Tree, o Options) error {
	if m.door != WebDAV {
		if err := prepare(ctx, m.dir, o); err != nil {
			return fmt.Errorf("mount on %s: %w", m.dir, err)
		}
		s, err := start(ctx, m.door, m.dir, tree, o)
		if err == nil {
			m.server = s
			return nil
		}
		if kind := fault.KindOf(err); o.Door != Auto && o.Door != "" || kind != fault.Unsupported && kind != fault.Denied {
			return err
		}
		o.Log.Warn("no mount is possible here, so the points are shared through WebDAV", "reason", err)
		m.door = WebDAV
	}
	s, err := newShare(ctx, m.host, m.dir, tree, o)
	if err != nil {
		return err
	}
	m.server, m.dir = s, ""
	if s.mapped.Undo != nil {
		m.dir = s.mapped.At
	}
	return nil
}

// prepare makes sure that dir can be mounted on.
func prepare(ctx context.Context, dir string, o Options) error {
	if drive(dir) != "" {
		return nil // WinFsp says if it is taken
	}
	log := o.Log
	cleared, err := mountpoint.ClearDead(ctx, dir)
	if err != nil && fault.KindOf(err) != fault.Unsupported {
		return err
	}
	if cleared {
		log.Info("cleared a mount that a killed process had left behind", "folder", dir)
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, iofs.ErrNotExist) && makesFolder:
		return nil
	case errors.Is(err, iofs.ErrNotExist):
		return fmt.Errorf("make the folder first: %w", fault.NotExist)
	case err != nil:
		return err
	case !info.IsDir():
		return fault.NotDir
	}
	if m, mounted, err := mountpoint.At(dir); err == nil && mounted && m.IsOurs() {
		if !o.Replace {
			return fmt.Errorf("something of Tidemark's is mounted there already (--replace takes its place): %w", fault.Exist)
		}
		if err := mountpoint.Detach(ctx, dir); err != nil {
			return err
		}
		log.Info("took the place of another mount, whose process ends when nothing of it is open", "folder", dir)
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Readdirnames(1); err == nil {
		return fmt.Errorf("the folder is not empty, and a mount would hide what is in it: %w", fault.Exist)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// Wait returns when the tree is no longer mounted, whoever unmounted it, and
// no request is under way.
func (m *Mounted) Wait() { m.server.Wait() }

// Unmount ends the mount. While it is in use it tries again until ctx ends,
// and then the mount stays and the error is fault.Unavailable.
func (m *Mounted) Unmount(ctx context.Context) error {
	for {
		err := m.server.Unmount()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("unmount %s: a program still uses it (fuser -vm %s): %w", m.dir, m.dir, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Detach takes the mount out of the tree of folders at once, also if it is in
// use. Programs that have files of it open keep them until Close; Wait
// returns when the last one has closed.
func (m *Mounted) Detach(ctx context.Context) error {
	if err := mountpoint.Detach(ctx, m.dir); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	return nil
}

// Serve waits until the tree is unmounted or ctx ends, which unmounts it: for
// patience at most it waits for programs to leave, then it detaches the mount
// and returns. What programs still read of it then fails.
func (m *Mounted) Serve(ctx context.Context, patience time.Duration) error {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		m.Wait()
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := m.Unmount(late)
	if err == nil {
		return nil
	}
	m.log.Warn("the mount is still in use and is taken away", "folder", m.dir)
	return m.Detach(context.WithoutCancel(ctx))
}
