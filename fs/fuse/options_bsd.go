//go:build darwin || freebsd

package fuse

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

const (
	seekData = unix.SEEK_DATA
	seekHole = unix.SEEK_HOLE
)

func mountOptions(o Options) *gofuse.MountOptions {
	return &gofuse.MountOptions{
		AllowOther:    o.AllowOther || os.Geteuid() == 0,
		Options:       []string{"ro", "nosuid", "nodev", "default_permissions"},
		FsName:        Name,
		Name:          Name,
		MaxWrite:      1 << 20,
		MaxBackground: 16,
		DisableSplice: true,
		Debug:         o.Debug,
	}
}

func tune(string, *slog.Logger) {}

// explain says what helps when a mount fails.
func explain(err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("FUSE is missing (macOS: macFUSE; FreeBSD: kldload fusefs): %w: %w", fault.Unsupported, err)
	}
	return err
}
