package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/backup"
)

// What a slow run reads long after the walk's stat counts from the run's
// beginning: a second change within the tick of the first one would be missed.
func TestSlowRunsReadFreshFilesAgain(t *testing.T) {
	m := newMachine(t)
	m.write("file", noise(1, 700))
	if err := os.Symlink("file", filepath.Join(m.src, "link")); err != nil {
		t.Fatal(err)
	}
	run := func() *backup.Summary {
		calls := 0
		r := m.open()
		s, err := backup.Run(context.Background(), r, r.Local(m.state), backup.Job{Paths: []string{m.src}, Now: func() time.Time {
			if calls++; calls == 1 {
				return time.Now()
			}
			return later()
		}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	run()
	if s := run(); s.Changed < 2 || s.BytesRead != 700 {
		t.Errorf("taken over without a look: %+v", s.Statistics)
	}
}

// An entry whose attributes could not be read is named by each run until they
// can, and never taken over without them.
func TestLackingAttributesAreToldAgain(t *testing.T) {
	src, err := os.MkdirTemp("/dev/shm", "tidemark-review-")
	if err != nil {
		t.Skip("needs a tmpfs, which takes more than 1 MiB of attributes: ", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(src) })
	m := newMachine(t)
	m.src = src
	m.write("file", noise(1, 700))
	path := filepath.Join(src, "file")
	for i := range 17 {
		err := unix.Setxattr(path, "user."+string(rune('a'+i)), bytes.Repeat([]byte{1}, 64<<10), 0)
		if errors.Is(err, unix.EOPNOTSUPP) {
			t.Skip("this kernel's tmpfs takes no attributes of users")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		s, err := m.try()
		if err != nil || s.Statistics.Warnings != 1 {
			t.Fatalf("%v, %+v", err, s)
		}
	}
	for _, attr := range []string{"user.b", "user.c"} {
		if err := unix.Removexattr(path, attr); err != nil {
			t.Fatal(err)
		}
	}
	m.backup()
	s := m.backup()
	for try := 0; s.Changed != 0 && try < 20; try++ { // others make files in /dev/shm, too
		s = m.backup()
	}
	if s.Changed != 0 {
		t.Errorf("%+v", s.Statistics)
	}
	// Just as much as fits, but for the lengths that a table keeps, too: the
	// file is saved, with or without the last attribute.
	last := 1<<20 - 15*64<<10 - 16*len("user.b")
	if err := unix.Setxattr(path, "user.b", make([]byte, last), 0); err != nil {
		t.Fatal(err)
	}
	if s, err := m.try(); err != nil || s.Files != 1 {
		t.Errorf("%v, %+v", err, s)
	}
}

// A machine whose disk is full, which is when people want their backup, still
// gets its point, and its next run is not misled.
func TestFullLocalDisk(t *testing.T) {
	m := newMachine(t)
	for i := range 400 {
		m.write(fmt.Sprint("many/", i), noise(uint64(1000+i), 512))
	}
	if err := unix.Mount("tidemark-review", m.state, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip("needs a small file system of its own: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(m.state, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	m.backup()
	fill := filepath.Join(m.state, "fill")
	f, err := os.Create(fill)
	if err != nil {
		t.Fatal(err)
	}
	for ; err == nil; _, err = f.Write(make([]byte, 4096)) {
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range 2500 { // their pages are more than 1 MiB
		m.write(fmt.Sprint("new/", i), noise(uint64(5000+i), 512))
	}
	s, err := m.try()
	if err != nil {
		t.Fatal(err)
	}
	if s.Statistics.Warnings == 0 || len(m.points()) != 2 {
		t.Errorf("%+v, %d points", s.Statistics, len(m.points()))
	}
	m.whole()
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	m.write("new/after", noise(1, 100))
	if _, err = m.try(); err != nil {
		t.Fatal(err)
	}
	m.whole()
}
