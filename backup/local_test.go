package backup_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
)

// local files of the copy whose names begin with prefix, of all sets of roots.
func (m *machine) copyFiles(prefix string) []string {
	m.t.Helper()
	paths, err := filepath.Glob(filepath.Join(m.local().Dir, "copies", "*", prefix+"*"))
	if err != nil {
		m.t.Fatal(err)
	}
	return paths
}

// A side file that is damaged in any place, cut short or another run's costs a
// pass, and neither the backup nor a file that has changed.
func TestDamagedSideFile(t *testing.T) {
	m := newMachine(t)
	for i := range 5000 { // more than a block
		m.write(fmt.Sprintf("many/%04d", i), fmt.Appendf(nil, "file %d", i))
	}
	m.write("file", noise(1, 3000))
	m.backup()
	stale, err := os.ReadFile(m.copyFiles("side-")[0])
	if err != nil {
		t.Fatal(err)
	}
	m.write("file", noise(2, 3000))
	m.backup()
	for name, damage := range map[string]func(b []byte) []byte{
		"first bit":  func(b []byte) []byte { b[0] ^= 1; return b },
		"read again": func(b []byte) []byte { b[11] ^= 0x80; return b },
		"checksum":   func(b []byte) []byte { b[4096*24] ^= 4; return b },
		"last bit":   func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b },
		"late":       func(b []byte) []byte { b[len(b)-30] ^= 2; return b },
		"short":      func(b []byte) []byte { return b[:len(b)-24] },
		"swapped":    func([]byte) []byte { return stale },
	} {
		paths := m.copyFiles("side-")
		if len(paths) != 1 {
			t.Fatal(paths)
		}
		b, err := os.ReadFile(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(paths[0], damage(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if s := m.backup(); s.Unchanged != 0 || s.BytesNew != 0 {
			t.Errorf("%s: %d entries taken over, %d bytes new", name, s.Unchanged, s.BytesNew)
		}
		if s := m.backup(); s.BytesRead != 0 {
			t.Errorf("%s: the run after read %d bytes", name, s.BytesRead)
		}
	}
	m.whole()
}

// Copies of roots that nobody backs up any more go, those in use stay.
func TestCopiesNotUsedAnyMore(t *testing.T) {
	m := newMachine(t)
	m.write("f", noise(1, 3000))
	m.backup()
	run := func(src string, now time.Time) {
		t.Helper()
		r := m.open()
		if err := os.MkdirAll(src, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := backup.Run(t.Context(), r, r.Local(m.state), backup.Job{Paths: []string{src}, Now: func() time.Time { return now }}); err != nil {
			t.Fatal(err)
		}
	}
	top := t.TempDir()
	for i := range 70 {
		run(filepath.Join(top, fmt.Sprint(i)), time.Now())
	}
	if n := len(m.copyFiles("state")); n != 64 {
		t.Errorf("%d copies are kept", n)
	}
	if s := m.backup(); s.Unchanged != 0 {
		t.Error("the oldest copy was not among those removed")
	}
	run(top, time.Now().Add(399*24*time.Hour))
	if n := len(m.copyFiles("state")); n != 64 {
		t.Errorf("%d copies are kept after a year", n)
	}
	run(top, time.Now().Add(401*24*time.Hour))
	if paths := m.copyFiles(""); len(paths) != 5 { // lock, state, history, and two of the copy
		t.Errorf("left: %v", paths)
	}
	left, err := filepath.Glob(filepath.Join(m.local().Dir, "needed", "*"))
	if err != nil || len(left) != 1 || !strings.Contains(m.copyFiles("state")[0], filepath.Base(left[0])) {
		t.Errorf("left: %v", left)
	}
	m.backup()
	m.whole()
}
