// Package service installs a program as a service of the host, and starts and
// stops it: under systemd, launchd, and Windows' service control manager, and
// under the older init systems that github.com/kardianos/service knows.
//
// The unit for systemd is this package's own, as hardened as a program may be
// that reads every file and runs commands of its administrator.
package service

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/kardianos/service"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Service is a program and how it is to run.
type Service struct {
	Name, Title string
	Program     string   // absolute
	Args        []string // of the program
	User        bool     // of this user alone, where the host can do that
	Writable    []string // folders that it must be able to write to
	Mounts      bool     // it shows folders to others
}

// Status is how a service stands.
type Status string

// How a service may stand.
const (
	NotInstalled Status = "not installed"
	Stopped      Status = "stopped"
	Running      Status = "running"
	Unknown      Status = "unknown"
)

// System names what runs services here, "" for nothing known.
func System() string { return service.Platform() }

// nothing is a program that the manager never starts: this process only talks
// with the manager.
type nothing struct{}

func (nothing) Start(service.Service) error { return nil }
func (nothing) Stop(service.Service) error  { return nil }

func (s *Service) open() (service.Service, error) {
	options := service.KeyValue{"UserService": s.User, "RunAtLoad": true, "OnFailure": "restart"}
	switch System() {
	case "linux-systemd":
		options["SystemdScript"] = s.Unit()
	case "darwin-launchd":
		options["LaunchdConfig"] = s.Plist()
	}
	v, err := service.New(nothing{}, &service.Config{
		Name: s.Name, DisplayName: s.Title, Description: s.Title, Executable: s.Program, Arguments: s.Args, Option: options,
	})
	if errors.Is(err, service.ErrNoServiceSystemDetected) {
		return nil, fmt.Errorf("nothing that runs services is known here: %w", fault.Unsupported)
	}
	return v, err
}

// do has the manager do something.
func (s *Service) do(what string, act func(service.Service) error) error {
	v, err := s.open()
	if err == nil {
		err = act(v)
	}
	switch {
	case errors.Is(err, service.ErrNotInstalled), err != nil && strings.Contains(err.Error(), "is not installed"):
		err = fmt.Errorf("it is not installed: %w", fault.NotExist)
	case err != nil && strings.Contains(err.Error(), "already exists"):
		err = fmt.Errorf("%w: %w", err, fault.Exist)
	}
	if err != nil {
		return fmt.Errorf("%s service %s: %w", what, s.Name, err)
	}
	return nil
}

// Install has the host start the service at each boot. It is not started now.
func (s *Service) Install() error { return s.do("install", service.Service.Install) }

// Uninstall undoes Install.
func (s *Service) Uninstall() error { return s.do("uninstall", service.Service.Uninstall) }

// Start starts the service.
func (s *Service) Start() error { return s.do("start", service.Service.Start) }

// Stop stops the service.
func (s *Service) Stop() error { return s.do("stop", service.Service.Stop) }

// Status asks how the service stands.
func (s *Service) Status() (Status, error) {
	v, err := s.open()
	if err != nil {
		return Unknown, fmt.Errorf("ask for service %s: %w", s.Name, err)
	}
	status, err := v.Status()
	switch {
	case errors.Is(err, service.ErrNotInstalled):
		return NotInstalled, nil
	case err != nil:
		return Unknown, fmt.Errorf("ask for service %s: %w", s.Name, err)
	case status == service.StatusRunning:
		return Running, nil
	case status == service.StatusStopped:
		return Stopped, nil
	}
	return Unknown, nil
}

// Unit returns the unit for systemd.
func (s *Service) Unit() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Unit]\nDescription=%s\nDocumentation=man:tidemark(1)\nAfter=local-fs.target network-online.target time-sync.target\nWants=network-online.target\n\n", s.Title)
	words := make([]string, 0, len(s.Args)+1)
	words = append(words, quote(s.Program)) // of which systemd expands no variables
	for _, w := range s.Args {
		words = append(words, strings.ReplaceAll(quote(w), "$", "$$"))
	}
	fmt.Fprintf(&b, "[Service]\nType=exec\nExecStart=%s\nExecReload=/bin/kill -HUP $MAINPID\n", strings.Join(words, " "))
	b.WriteString(`Restart=on-failure
RestartSec=30
# A job that runs is told to stop, and goes on at the next start.
KillMode=mixed
TimeoutStopSec=5min
UMask=0077

# Others go before a backup.
Nice=10
IOSchedulingClass=best-effort
IOSchedulingPriority=7

`)
	wanted := "multi-user.target"
	if s.User {
		wanted = "default.target"
		if !s.Mounts { // fusermount3 has the rights of its owner, which any of these takes from it
			b.WriteString("NoNewPrivileges=yes\nLockPersonality=yes\nRestrictRealtime=yes\nSystemCallArchitectures=native\n")
		}
	} else {
		b.WriteString(hardened)
		if !s.Mounts {
			b.WriteString(apart)
			for _, folder := range s.Writable {
				fmt.Fprintf(&b, "ReadWritePaths=-%s\n", quote(folder))
			}
		}
	}
	fmt.Fprintf(&b, "\n[Install]\nWantedBy=%s\n", wanted)
	return b.String()
}

// hardened is what a service of root gives up. What would hide or change files
// (PrivateTmp, PrivateDevices, ProtectHome, ProtectKernelModules) is left out on
// purpose: a backup must see what is there. Identities may be changed, for hooks
// such as "runuser -u postgres". ProtectClock, which the list of capabilities and
// the filter stand for, would take devices away, of snapshots and of FUSE.
const hardened = `NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=~@clock @cpu-emulation @debug @module @obsolete @reboot @swap
CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETUID CAP_SETGID CAP_SYS_ADMIN CAP_SYS_NICE CAP_SYS_RESOURCE
`

// apart is what gives a service a view of its own on the file systems: what it
// mounts there nobody else would see.
const apart = `ProtectSystem=full
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
`

// quote writes a word as systemd reads it back.
func quote(word string) string {
	word = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "\n", `\n`, "{{", `{\x7b`).Replace(word) // {{ is for who takes it for a template
	if strings.ContainsAny(word, " \t'\"\\;") || word == "" {
		return `"` + word + `"`
	}
	return word
}

// Program returns this program's own file.
func Program() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return path, nil
}
