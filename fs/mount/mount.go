// Package mount shows a tree of recovery points as a folder, with the front
// end that this host has: FUSE on Linux, macOS and FreeBSD. Elsewhere it says
// so.
//
// A mount that was left behind by a killed process is cleared first; anything
// else that is at the folder is left alone, and named.
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

	// Log hears of what users see as an I/O error. nil: nobody does.
	Log *slog.Logger

	// Ready, if not nil, is called once when the mount answers.
	Ready func()
}

// server is what a front end gives.
type server interface {
	Wait()
	Unmount() error
}

// Mounted is a tree that is mounted.
type Mounted struct {
	dir    string
	server server
	log    *slog.Logger
}

// Dir returns the folder.
func (m *Mounted) Dir() string { return m.dir }

// Mount shows tree at dir, an empty folder. Errors: fault.NotExist and
// fault.NotDir for dir, fault.Exist if it is in use, fault.Unsupported where
// there is no front end, fault.Denied where it is not allowed; their texts
// say what helps.
func Mount(ctx context.Context, dir string, tree *fs.Tree, o Options) (*Mounted, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := prepare(ctx, dir, o.Log); err != nil {
		return nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	s, err := start(ctx, dir, tree, o)
	if err != nil {
		return nil, err
	}
	if o.Ready != nil {
		o.Ready()
	}
	return &Mounted{dir: dir, server: s, log: o.Log}, nil
}

// prepare makes sure that dir can be mounted on.
func prepare(ctx context.Context, dir string, log *slog.Logger) error {
	cleared, err := mountpoint.ClearDead(ctx, dir)
	if err != nil && fault.KindOf(err) != fault.Unsupported {
		return err
	}
	if cleared {
		log.Info("cleared a mount that a killed process had left behind", "folder", dir)
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return fmt.Errorf("make the folder first: %w", fault.NotExist)
	case err != nil:
		return err
	case !info.IsDir():
		return fault.NotDir
	}
	if m, mounted, err := mountpoint.At(dir); err == nil && mounted && m.IsOurs() {
		return fmt.Errorf("something of Tidemark's is mounted there already: %w", fault.Exist)
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
