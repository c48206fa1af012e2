package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/mountpoint"
)

// fakes puts programs of these names first on the PATH. They write what they
// are asked into a log, and do what a line of shell says.
func fakes(t *testing.T, programs map[string]string) (asked func() []string) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	for name, line := range programs {
		text := fmt.Sprintf("#!/bin/sh\necho \"%s $*\" >>%s\n%s\n", name, log, line)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	random := regexp.MustCompile(`[a-z2-7]{16}-`)
	return func() []string {
		b, _ := os.ReadFile(log)
		_ = os.Remove(log)
		return strings.Split(strings.TrimSpace(random.ReplaceAllString(string(b), "ID-")), "\n")
	}
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("asked:\n%s\nwant:\n%s", g, w)
	}
}

// take is Take with a table of mounts.
func take(t *testing.T, o Options, mounts ...mountpoint.Mount) (*Set, error) {
	t.Helper()
	o.Dir = filepath.Join(t.TempDir(), "state")
	p, err := planOf(t.Context(), &o, append([]mountpoint.Mount{{ID: 1, Root: "/", Path: "/", Type: "overlay", Source: "overlay"}}, mounts...))
	if err != nil {
		return nil, err
	}
	return takePlan(t.Context(), &o, p)
}

// TestZFS: datasets of one pool are frozen at one moment.
func TestZFS(t *testing.T) {
	asked := fakes(t, map[string]string{"zfs": "true"})
	dir := t.TempDir()
	for _, name := range []string{"tank/home/ann", "other"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mounts := []mountpoint.Mount{
		{ID: 2, Parent: 1, Root: "/", Path: filepath.Join(dir, "tank"), Type: "zfs", Source: "tank"},
		{ID: 3, Parent: 2, Root: "/", Path: filepath.Join(dir, "tank/home"), Type: "zfs", Source: "tank/home"},
		{ID: 4, Parent: 1, Root: "/", Path: filepath.Join(dir, "other"), Type: "zfs", Source: "pool2/data"},
	}
	s, err := take(t, Options{Paths: []string{filepath.Join(dir, "tank"), filepath.Join(dir, "other")}, Require: true}, mounts...)
	if err != nil {
		t.Fatal(err)
	}
	same(t, asked(), "zfs snapshot tank@"+Prefix+"ID-0 tank/home@"+Prefix+"ID-1", "zfs snapshot pool2/data@"+Prefix+"ID-2")
	if at := s.Elsewhere[filepath.Join(dir, "tank/home")]; !strings.HasPrefix(at, filepath.Join(dir, "tank/home/.zfs/snapshot/"+Prefix)) {
		t.Errorf("%q", at)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	same(t, asked(),
		"zfs list -H -t snapshot -o name pool2/data@"+Prefix+"ID-2", "zfs destroy pool2/data@"+Prefix+"ID-2",
		"zfs list -H -t snapshot -o name tank/home@"+Prefix+"ID-1", "zfs destroy tank/home@"+Prefix+"ID-1",
		"zfs list -H -t snapshot -o name tank@"+Prefix+"ID-0", "zfs destroy tank@"+Prefix+"ID-0")

	// A folder of a dataset, and one snapshot that fails.
	fakes(t, map[string]string{"zfs": "[ $1 != snapshot ] || { echo cannot create snapshot: out of space >&2; exit 1; }"})
	s, err = take(t, Options{Paths: []string{filepath.Join(dir, "tank/home/ann")}}, mounts...)
	if err != nil || len(s.Live) != 1 || !strings.Contains(s.Live[0].Why, "out of space") || s.Elsewhere != nil {
		t.Errorf("%+v, %v", s, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := take(t, Options{Paths: []string{filepath.Join(dir, "tank/home/ann")}, Require: true}, mounts...); !errors.Is(err, fault.Unsupported) {
		t.Error(err)
	}
}

const lvs = `case "$*" in
*--reportformat*vg0-data*) echo '{"report":[{"lv":[{"vg_name":"vg0","lv_name":"data","pool_lv":"POOL"}]}]}' ;;
*--reportformat*) echo "Failed to find device" >&2; exit 5 ;;
*) echo '  there' ;;
esac`

func TestLVM(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "srv/www"), 0o755); err != nil {
		t.Fatal(err)
	}
	data := mountpoint.Mount{ID: 2, Parent: 1, Root: "/", Path: filepath.Join(dir, "srv"), Type: "ext4", Source: "/dev/mapper/vg0-data"}
	for pool, how := range map[string]string{"": "--extents 10%ORIGIN", "thin": "--setactivationskip n"} {
		asked := fakes(t, map[string]string{"lvs": strings.Replace(lvs, "POOL", pool, 1), "lvcreate": "true", "lvremove": "true", "mount": "true", "umount": "false"})
		s, err := take(t, Options{Paths: []string{filepath.Join(dir, "srv/www")}, Require: true}, data)
		if err != nil {
			t.Fatal(err)
		}
		mount := s.volumes[0].Mount
		if at := s.Elsewhere[filepath.Join(dir, "srv/www")]; at != mount+"/www" || s.Dirty {
			t.Errorf("%q, %v", at, s.Dirty)
		}
		name := strings.TrimPrefix(Prefix, ".") + "ID-0"
		got := asked()
		same(t, got[1:len(got)-1],
			"lvs --reportformat json -o vg_name,lv_name,pool_lv /dev/mapper/vg0-data",
			"lvcreate --yes --snapshot --name "+name+" "+how+" vg0/data")
		if last := got[len(got)-1]; !strings.HasPrefix(last, "mount -t ext4 -o ro,nosuid,nodev,noexec /dev/vg0/"+name+" /") {
			t.Error(last)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		same(t, asked(), "lvs --noheadings -o lv_name vg0/"+name, "lvremove --yes vg0/"+name)
	}
	// A journal that cannot be replayed: as after a loss of power.
	fakes(t, map[string]string{"lvs": lvs, "lvcreate": "true", "lvremove": "true", "mount": `case "$*" in *noload*) ;; *) exit 32 ;; esac`})
	s, err := take(t, Options{Paths: []string{filepath.Join(dir, "srv")}, Require: true}, data)
	if err != nil || !s.Dirty {
		t.Fatalf("%+v, %v", s, err)
	}
	// What cannot be removed stays in the register.
	fakes(t, map[string]string{"lvremove": "echo in use >&2; exit 5"})
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Error(err)
	}
	asked := fakes(t, map[string]string{"lvremove": "true"})
	if n, err := Sweep(t.Context(), s.register.dir); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	same(t, asked(), "lvremove --yes vg0/"+strings.TrimPrefix(Prefix, ".")+"ID-0")

	data.Source = "/dev/sda1"
	s, err = take(t, Options{Paths: []string{filepath.Join(dir, "srv")}}, data)
	if err != nil || len(s.Live) != 1 || s.Live[0].Why != "ext4 on /dev/sda1, which is no logical volume" {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestVSS: the contract with PowerShell, which is the same on each system.
func TestVSS(t *testing.T) {
	const id = "{3F2A9C01-77B0-4A2E-9C01-0123456789AB}"
	asked := fakes(t, map[string]string{"powershell.exe": `case "$*" in *Create*) printf '%s\n' '` + id + `' '\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy7' ;; esac`})
	o := Options{Dir: filepath.Join(t.TempDir(), "state")}
	v := &volume{Driver: vssDriver, Path: `C:\`}
	s, err := takePlan(t.Context(), &o, &plan{volumes: []*volume{v}, wants: []want{{path: `C:\`, volume: v}}})
	if err != nil || v.at != `\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy7` || v.Source != id {
		t.Fatalf("%+v, %v", v, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	got := asked()
	if len(got) != 2 || !strings.Contains(got[0], `@{Volume='C:\'; Context='ClientAccessible'}`) || !strings.HasSuffix(got[1], "Where-Object ID -eq '"+id+"' | Remove-CimInstance") {
		t.Errorf("%q", got)
	}
	for _, answer := range []string{"", "nonsense", "{1} x", id, id + " /etc"} {
		fakes(t, map[string]string{"powershell.exe": "echo '" + answer + "'"})
		v := &volume{Driver: vssDriver, Path: `C:\`}
		s, err := takePlan(t.Context(), &o, &plan{volumes: []*volume{v}, wants: []want{{path: `C:\`, volume: v}}})
		if err != nil || len(s.Live) != 1 {
			t.Errorf("%q: %+v, %v", answer, s, err)
			continue
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	bad := &volume{Driver: vssDriver, Path: `C:\'; rm`}
	if err := s.freeze(t.Context(), []*volume{bad}); !errors.Is(err, fault.Invalid) {
		t.Error(err)
	}
	bad.Source = id + "'; rm"
	if err := bad.remove(t.Context()); !errors.Is(err, fault.Corrupt) {
		t.Error(err)
	}
}

// FuzzRegister: nothing in a register makes a snapshot go that is not ours.
func FuzzRegister(f *testing.F) {
	f.Add([]byte(`[{"driver":"none","path":"/","name":".tidemark-snapshot-x-0"}]`))
	f.Add([]byte(`[{"driver":"btrfs","path":"/","name":"home"}]`))
	f.Add([]byte(`[null]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if strings.Contains(strings.ToLower(string(b)), "driver") && !strings.Contains(string(b), `"none"`) && !strings.Contains(string(b), `"home"`) {
			t.Skip("it could name a driver that runs programs")
		}
		dir := t.TempDir()
		for name, content := range map[string][]byte{"x.json": b, "x.lock": nil} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		n, err := Sweep(t.Context(), dir)
		if n > 0 && err == nil {
			t.Errorf("%q: %d swept", b, n)
		}
	})
}
