package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/process"
)

// The drivers.
const (
	btrfsDriver = "btrfs"
	lvmDriver   = "lvm"
	zfsDriver   = "zfs"
	vssDriver   = "vss"
)

// patience is how long one of the programs may take.
const patience = 2 * time.Minute

// run runs a program, and returns what it prints. An error has its last words.
func run(ctx context.Context, name string, args ...string) (string, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.WaitDelay = time.Second
	process.KillGroup(cmd)
	err := cmd.Run()
	if err != nil {
		text := strings.TrimSpace(said.String())
		text = text[strings.LastIndexByte(text, '\n')+1:]
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if text != "" {
			err = fmt.Errorf("%w: %s", err, text[:min(len(text), 500)])
		}
		return "", fmt.Errorf("%s %s: %w", filepath.Base(name), strings.Join(args, " "), err)
	}
	return out.String(), nil
}

// freeze takes the snapshots of volumes that belong together.
func (s *Set) freeze(ctx context.Context, group []*volume) error {
	v := group[0]
	switch v.Driver {
	case btrfsDriver:
		v.at = filepath.Join(v.Path, v.Name)
		_, err := run(ctx, "btrfs", "subvolume", "snapshot", "-r", v.Path, v.at)
		return err
	case zfsDriver:
		args := []string{"snapshot"}
		for _, v := range group {
			v.at = filepath.Join(v.Path, ".zfs", "snapshot", v.Name)
			args = append(args, v.Source+"@"+v.Name)
		}
		_, err := run(ctx, "zfs", args...)
		return err
	case lvmDriver:
		return s.freezeLVM(ctx, v)
	case vssDriver:
		return s.freezeVSS(ctx, v)
	}
	return fmt.Errorf("driver %q: %w", v.Driver, fault.Unsupported)
}

// remove removes a snapshot; one that is not there is none that failed.
func (v *volume) remove(ctx context.Context) error {
	switch v.Driver {
	case btrfsDriver:
		at := filepath.Join(v.Path, v.Name)
		if _, err := os.Lstat(at); errors.Is(err, iofs.ErrNotExist) {
			return nil
		}
		_, err := run(ctx, "btrfs", "subvolume", "delete", at)
		return err
	case zfsDriver:
		if _, err := run(ctx, "zfs", "list", "-H", "-t", "snapshot", "-o", "name", v.Source+"@"+v.Name); err != nil {
			if strings.Contains(err.Error(), "does not exist") {
				return nil
			}
			return err
		}
		_, err := run(ctx, "zfs", "destroy", v.Source+"@"+v.Name)
		return err
	case lvmDriver:
		return v.removeLVM(ctx)
	case vssDriver:
		return v.removeVSS(ctx)
	}
	return fmt.Errorf("driver %q: %w", v.Driver, fault.Unsupported)
}

// logical is a logical volume as lvs tells it.
type logical struct {
	Group string `json:"vg_name"`
	Name  string `json:"lv_name"`
	Pool  string `json:"pool_lv"`
}

// logicalVolume asks what logical volume a device is; fault.NotExist: none.
func logicalVolume(ctx context.Context, device string) (logical, error) {
	out, err := run(ctx, "lvs", "--reportformat", "json", "-o", "vg_name,lv_name,pool_lv", device)
	if err != nil {
		return logical{}, err
	}
	var answer struct {
		Report []struct {
			LV []logical `json:"lv"`
		} `json:"report"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return logical{}, fmt.Errorf("lvs: %w: %w", err, fault.Corrupt)
	}
	if len(answer.Report) != 1 || len(answer.Report[0].LV) != 1 {
		return logical{}, fmt.Errorf("lvs: %s: %w", device, fault.NotExist)
	}
	l := answer.Report[0].LV[0]
	if !lvmName.MatchString(l.Group) || !lvmName.MatchString(l.Name) {
		return logical{}, fmt.Errorf("lvs: %q/%q: %w", l.Group, l.Name, fault.Corrupt)
	}
	return l, nil
}

var lvmName = regexp.MustCompile(`^[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]*$`)

// lvmSnapshot is the name of an LVM snapshot, whose names do not begin with a
// dot.
func (v *volume) lvmSnapshot() string {
	group, _, _ := strings.Cut(v.Source, "/")
	return group + "/" + strings.TrimPrefix(v.Name, ".")
}

// freezeLVM takes a snapshot of a logical volume and mounts it. The kernel
// freezes the mounted file system for that moment, so that its journal has
// little to say; what it has, the mount replays into the snapshot.
func (s *Set) freezeLVM(ctx context.Context, v *volume) error {
	l, err := logicalVolume(ctx, v.Source)
	if err != nil {
		return err
	}
	v.Source = l.Group + "/" + l.Name
	v.Mount = filepath.Join(s.register.path(""), v.Name)
	if err := s.register.write(); err != nil {
		return err
	}
	args := []string{"--yes", "--snapshot", "--name", strings.TrimPrefix(v.Name, ".")}
	if l.Pool != "" {
		args = append(args, "--setactivationskip", "n")
	} else {
		args = append(args, "--extents", "10%ORIGIN")
	}
	if _, err := run(ctx, "lvcreate", append(args, v.Source)...); err != nil {
		return err
	}
	if err := os.MkdirAll(v.Mount, 0o700); err != nil {
		return err
	}
	options := "ro,nosuid,nodev,noexec"
	if v.Type == "xfs" {
		options += ",nouuid"
	}
	device := "/dev/" + v.lvmSnapshot()
	_, err = run(ctx, "mount", "-t", v.Type, "-o", options, device, v.Mount)
	if skip := map[string]string{"ext4": ",noload", "ext3": ",noload", "xfs": ",norecovery"}[v.Type]; err != nil && skip != "" {
		if _, err = run(ctx, "mount", "-t", v.Type, "-o", options+skip, device, v.Mount); err == nil {
			s.Dirty = true
		}
	}
	if err != nil {
		// Not to be read, so not to be kept: it slows the volume down.
		return errors.Join(err, v.removeLVM(ctx))
	}
	v.at = v.Mount
	return nil
}

func (v *volume) removeLVM(ctx context.Context) error {
	if mounted(v.Mount) {
		if _, err := run(ctx, "umount", v.Mount); err != nil {
			return err
		}
	}
	if v.Mount == "" { // nothing was taken yet
		return nil
	}
	out, err := run(ctx, "lvs", "--noheadings", "-o", "lv_name", v.lvmSnapshot())
	if err != nil && strings.Contains(err.Error(), "Failed to find") || err == nil && strings.TrimSpace(out) == "" {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = run(ctx, "lvremove", "--yes", v.lvmSnapshot())
	return err
}

// Windows has no names for shadow copies: they are known by the number that
// Create gives, which goes into the register at once. That it takes a moment is
// the one gap in the promise; `vssadmin list shadows` shows what fell into it.
var (
	shadowID = regexp.MustCompile(`^\{[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}$`)
	drive    = regexp.MustCompile(`^[A-Za-z]:\\$`)
)

func powershell(ctx context.Context, script string) (string, error) {
	return run(ctx, "powershell.exe", "-NoProfile", "-NonInteractive", "-Command", "$ErrorActionPreference='Stop'; "+script)
}

// freezeVSS takes a shadow copy. It has no writers: file systems are flushed,
// programs are not asked.
func (s *Set) freezeVSS(ctx context.Context, v *volume) error {
	if !drive.MatchString(v.Path) {
		return fmt.Errorf("volume %q: %w", v.Path, fault.Invalid)
	}
	out, err := powershell(ctx, "$r = Invoke-CimMethod -ClassName Win32_ShadowCopy -MethodName Create -Arguments @{Volume='"+v.Path+"'; Context='ClientAccessible'}; "+
		"if ($r.ReturnValue -ne 0) { throw ('Win32_ShadowCopy.Create: ' + $r.ReturnValue) }; $r.ShadowID; "+
		"(Get-CimInstance Win32_ShadowCopy | Where-Object ID -eq $r.ShadowID).DeviceObject")
	if err != nil {
		return err
	}
	lines := strings.Fields(out)
	if len(lines) != 2 || !shadowID.MatchString(lines[0]) || !strings.HasPrefix(lines[1], `\\?\GLOBALROOT\Device\`) {
		return fmt.Errorf("powershell: shadow copy %s: %w", strconv.Quote(out[:min(len(out), 200)]), fault.Corrupt)
	}
	v.Source, v.at = lines[0], lines[1]
	return s.register.write()
}

func (v *volume) removeVSS(ctx context.Context) error {
	if v.Source == "" { // none was taken
		return nil
	}
	if !shadowID.MatchString(v.Source) {
		return fmt.Errorf("shadow copy %q: %w", v.Source, fault.Corrupt)
	}
	_, err := powershell(ctx, "Get-CimInstance Win32_ShadowCopy | Where-Object ID -eq '"+v.Source+"' | Remove-CimInstance")
	return err
}
