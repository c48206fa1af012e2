package durable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func TestWriteFileReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for i, perm := range []iofs.FileMode{0o600, 0o644, 0o400} {
		want := bytes.Repeat([]byte{byte(i)}, i*100_000)
		if err := WriteFile(path, want, perm); err != nil {
			t.Fatal(err)
		}
		checkFile(t, path, want, perm)
	}
	checkNoTemp(t, dir)
}

func TestCreateKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := Create(path, []byte("one"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, []byte("two"), 0o600); !errors.Is(err, fault.Exist) {
		t.Errorf("second Create: %v, want fault.Exist", err)
	}
	checkFile(t, path, []byte("one"), 0o640)
	dangling := filepath.Join(dir, "link")
	if err := os.Symlink("nowhere", dangling); err != nil {
		t.Fatal(err)
	}
	if err := Create(dangling, nil, 0o600); !errors.Is(err, fault.Exist) {
		t.Errorf("Create on a dangling link: %v, want fault.Exist", err)
	}
	checkNoTemp(t, dir)
}

func TestCreateHasOneWinner(t *testing.T) {
	dir := t.TempDir()
	for round := range 20 {
		path := filepath.Join(dir, fmt.Sprint(round))
		var wins, losses atomic.Int32
		var winner atomic.Int32
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				err := Create(path, []byte{byte(i)}, 0o600)
				switch {
				case err == nil:
					wins.Add(1)
					winner.Store(int32(i))
				case errors.Is(err, fault.Exist):
					losses.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if wins.Load() != 1 || losses.Load() != 7 {
			t.Fatalf("%d winners, %d losers", wins.Load(), losses.Load())
		}
		checkFile(t, path, []byte{byte(winner.Load())}, 0o600)
	}
	checkNoTemp(t, dir)
}

func TestFailuresLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "no", "f")
	if err := WriteFile(missing, nil, 0o600); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("WriteFile into a missing folder: %v", err)
	}
	if err := WriteFile(dir, nil, 0o600); err == nil {
		t.Error("WriteFile replaced a folder")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a/b/c")
	for range 2 {
		if err := MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(path); err != nil || !fi.IsDir() || fi.Mode().Perm() != 0o700 {
			t.Fatalf("%v %v", fi, err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{file, filepath.Join(file, "below")} {
		if err := MkdirAll(p, 0o700); fault.KindOf(err) != fault.NotDir {
			t.Errorf("MkdirAll(%s) = %v, want fault.NotDir", p, err)
		}
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{TempPrefix + "1", TempPrefix + "2", "keep"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "keep" {
		t.Errorf("after Sweep: %v %v", entries, err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(path); !errors.Is(err, fault.Unavailable) {
		t.Errorf("second TryLock: %v, want fault.Unavailable", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := AcquireLock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("AcquireLock with a deadline: %v", err)
	}
	got := make(chan error)
	go func() {
		l, err := AcquireLock(context.Background(), path)
		if err == nil {
			err = l.Unlock()
		}
		got <- err
	}()
	if err := held.Unlock(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("AcquireLock after Unlock: %v", err)
	}
	if _, err := TryLock(filepath.Join(path, "below")); err == nil || errors.Is(err, fault.Unavailable) {
		t.Errorf("TryLock below a file: %v", err)
	}
}

func checkFile(t *testing.T, path string, want []byte, perm iofs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes, %v; want %d", path, len(got), err, len(want))
	}
	if fi, err := os.Lstat(path); err != nil || fi.Mode() != perm {
		t.Errorf("%s: %v %v, want mode %v", path, fi.Mode(), err, perm)
	}
}

func checkNoTemp(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), TempPrefix) {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}
