//go:build linux || darwin || freebsd

// Package fuse shows a tree of recovery points through FUSE. It is a thin
// front end: it translates between the kernel's raw protocol and package fs,
// and decides nothing but how long the kernel may remember what it was told.
//
//   - What is part of a point never changes, so the kernel may keep names,
//     attributes and content for ever. Only the list of points does; it is
//     kept for a second.
//   - Nodes are numbers that cost no memory, so FORGET does nothing.
//   - Files and folders need no state when open, so OPEN, OPENDIR and FLUSH
//     are answered with ENOSYS once, and the kernel never asks again. It then
//     also keeps pages and listings between opens.
//   - An NFS server may export the mount (with fsid=): nodes hold as long as the
//     mount does, and are stale in the next one.
//   - The kernel enforces modes and access control lists
//     (default_permissions); writing ends there too (ro).
//
// Requests are not cut short when the process that made them gets a signal:
// few programs expect EINTR from a file. Whoever is killed does not wait for
// the answer. All requests end when the mount does.
package fuse

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Name is how mounts are called: the source, and behind "fuse." the type.
const Name = "tidemark"

// Options of a mount.
type Options struct {
	// AllowOther lets other users in, as far as modes and access control
	// lists let them. For root it is always on.
	AllowOther bool

	// Log hears of what users see as an I/O error. nil: nobody does.
	Log *slog.Logger

	// Debug logs every request.
	Debug bool
}

// Mount is a mounted tree.
type Mount struct {
	server *gofuse.Server
	ops    *operations
	served chan struct{} // closed when the last request is answered
	stop   context.CancelFunc
	scan   sync.WaitGroup
}

// New mounts tree on dir, an existing folder, and serves it until Unmount, or
// until somebody else unmounts it. ctx bounds the mounting only.
func New(ctx context.Context, dir string, tree *fs.Tree, o Options) (*Mount, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("mount %s: %w", dir, err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	var generation [4]byte
	if _, err := rand.Read(generation[:]); err != nil {
		return nil, fmt.Errorf("mount %s: %w", dir, err)
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	ops := &operations{RawFileSystem: gofuse.NewDefaultRawFileSystem(), tree: tree, ctx: life, log: o.Log,
		generation: 1 + uint64(binary.LittleEndian.Uint32(generation[:]))>>1}
	options := mountOptions(o)
	options.Logger = slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug)
	server, err := gofuse.NewServer(ops, dir, options)
	if err != nil {
		stop()
		return nil, fmt.Errorf("mount %s: %w", dir, explain(err))
	}
	m := &Mount{server: server, ops: ops, served: make(chan struct{}), stop: stop}
	go func() {
		defer close(m.served)
		server.Serve()
	}()
	if err := server.WaitMount(); err != nil {
		_ = m.Unmount()
		return nil, fmt.Errorf("mount %s: %w", dir, explain(err))
	}
	tune(dir, o.Log)
	m.scan.Go(func() {
		if err := tree.ScanXattrs(life); err != nil && life.Err() == nil {
			o.Log.Debug("extended attributes stay in use", "error", err)
		}
	})
	return m, nil
}

// Wait returns when the tree is no longer mounted and all requests are done.
func (m *Mount) Wait() {
	<-m.served
	m.stop()
	m.scan.Wait()
}

// Unmount ends the mount. If it is in use it stays, and the error is
// fault.Unavailable.
func (m *Mount) Unmount() error {
	if err := m.server.Unmount(); err != nil {
		return fmt.Errorf("unmount: %w: %w", fault.Unavailable, err)
	}
	m.Wait()
	return nil
}

// How long the kernel may keep what it was told.
const (
	always  = 10 * 365 * 24 * time.Hour // what is part of a point
	briefly = time.Second               // the list of points
)

// hold returns how long an answer about attributes holds.
func hold(fixed bool) time.Duration {
	if fixed {
		return always
	}
	return briefly
}
