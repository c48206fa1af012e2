package service

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnit: systemd itself finds nothing wrong with the unit, where it is
// installed, and odd names come through.
func TestUnit(t *testing.T) {
	program := filepath.Join(t.TempDir(), "odd $name 50%")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, user := range []bool{false, true} {
		s := &Service{Name: "tidemark", Title: "Tidemark backup agent", Program: program, Args: []string{"agent", "run", "--config", `/etc/a "$b"`}, User: user, Writable: []string{"/var/lib/tidemark", "/srv/a b"}}
		unit := s.Unit()
		for _, want := range []string{
			`ExecStart="` + strings.ReplaceAll(program, "%", "%%") + `" agent run --config "/etc/a \"$$b\""` + "\n",
			"\nRestart=on-failure\n", "\nNoNewPrivileges=yes\n", "\n[Install]\nWantedBy=",
		} {
			if !strings.Contains(unit, want) {
				t.Errorf("the unit has no %q:\n%s", want, unit)
			}
		}
		if strings.Contains(unit, "CapabilityBoundingSet") == user || strings.Contains(unit, `ReadWritePaths=-"/srv/a b"`) == user {
			t.Errorf("user %v:\n%s", user, unit)
		}
		verify(t, s, unit)
	}
}

// verify asks systemd.
func verify(t *testing.T, s *Service, unit string) {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return
	}
	path := filepath.Join(t.TempDir(), s.Name+".service")
	if err := os.WriteFile(path, []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, s.Name+".service") {
			t.Errorf("systemd: %s", line)
		}
	}
	if err != nil && len(out) == 0 {
		t.Error(err)
	}
}
