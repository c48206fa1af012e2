package service

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	for i := range 4 {
		user, mounts := i&1 != 0, i&2 != 0
		s := &Service{Mounts: mounts, Name: "tidemark", Title: "Tidemark backup agent", Program: program, Args: []string{"agent", "run", "--config", `/etc/a "$b"`}, User: user, Writable: []string{"/var/lib/tidemark", "/srv/a b"}}
		unit := s.Unit()
		for _, want := range []string{
			`ExecStart="` + strings.ReplaceAll(program, "%", "%%") + `" agent run --config "/etc/a \"$$b\""` + "\n",
			"\nRestart=on-failure\n", "\n[Install]\nWantedBy=",
		} {
			if !strings.Contains(unit, want) {
				t.Errorf("the unit has no %q:\n%s", want, unit)
			}
		}
		if strings.Contains(unit, "CapabilityBoundingSet") == user || strings.Contains(unit, `ReadWritePaths=-"/srv/a b"`) == (user || mounts) ||
			strings.Contains(unit, "\nNoNewPrivileges=yes\n") == (user && mounts) {
			t.Errorf("user %v, mounts %v:\n%s", user, mounts, unit)
		}
		if mounts && strings.Contains(unit, "Protect") {
			t.Errorf("nobody would see its mounts:\n%s", unit)
		}
		verify(t, s, unit)
	}
}

// verify asks systemd, which needs no machine that runs it for that: whether the
// unit is right, and how far a service is that it would harm.
func verify(t *testing.T, s *Service, unit string) {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here")
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
	if s.User {
		return // a user's service has no more rights than its user
	}
	// In tenths: 100 is a service with all rights, 96 is "UNSAFE".
	threshold := "60"
	if s.Mounts {
		threshold = "75"
	}
	out, err = exec.Command(analyze, "security", "--offline=true", "--threshold="+threshold, "--no-pager", path).CombinedOutput()
	if err != nil {
		t.Errorf("more exposed than a program that reads every file need be: %v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Log(lines[len(lines)-1])
}

// TestPlist has Python, which knows the format, read the property list.
func TestPlist(t *testing.T) {
	for _, user := range []bool{false, true} {
		s := &Service{Name: "tidemark", Title: "Tidemark backup agent", Program: "/Applications/a & b/tidemark", Args: []string{"agent", "run", "--config", "/Users/ü/<c> {{x}}.toml"}, User: user}
		cmd := exec.Command("python3", "-c", "import json, plistlib, sys; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))")
		cmd.Stdin = strings.NewReader(s.Plist())
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, s.Plist())
		}
		var list struct {
			Label             string
			ProgramArguments  []string
			RunAtLoad         bool
			KeepAlive         struct{ SuccessfulExit *bool }
			ExitTimeOut, Nice int
			Umask             int
			StandardErrorPath string
		}
		if err := json.Unmarshal(out, &list); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(list.ProgramArguments, append([]string{s.Program}, s.Args...)) || list.Label != "tidemark" || !list.RunAtLoad ||
			list.KeepAlive.SuccessfulExit == nil || *list.KeepAlive.SuccessfulExit || list.Umask != 0o077 || list.Nice != 10 || list.ExitTimeOut < 60 ||
			(list.StandardErrorPath == "") != user {
			t.Errorf("user %v: %s", user, out)
		}
	}
}
