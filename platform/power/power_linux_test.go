package power

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"
)

func TestBattery(t *testing.T) {
	for name, c := range map[string]struct {
		supplies map[string]string // name → file=content
		want     Answer
	}{
		"nothing":            {nil, No},
		"a desktop":          {map[string]string{"AC": "type=Mains online=1"}, No},
		"plugged in":         {map[string]string{"AC": "type=Mains online=1", "BAT0": "type=Battery status=Charging"}, No},
		"unplugged":          {map[string]string{"AC": "type=Mains online=0", "BAT0": "type=Battery status=Discharging"}, Yes},
		"no adapter is told": {map[string]string{"BAT0": "type=Battery status=Discharging"}, Yes},
		"full, and plugged":  {map[string]string{"BAT0": "type=Battery status=Full"}, No},
		"by USB":             {map[string]string{"ucsi": "type=USB online=1", "AC": "type=Mains online=0", "BAT0": "type=Battery status=Charging"}, No},
		"a mouse":            {map[string]string{"hid": "type=Battery scope=Device status=Discharging"}, No},
		"one of two":         {map[string]string{"AC": "type=Mains online=0", "BAT0": "type=Battery status=Full", "BAT1": "type=Battery status=Discharging"}, Yes},
	} {
		root := t.TempDir()
		for supply, files := range c.supplies {
			for _, f := range strings.Fields(files) {
				file, content, _ := strings.Cut(f, "=")
				path := filepath.Join(root, supply, file)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content+"\n"), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := batteryOf(root); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := batteryOf(filepath.Join(t.TempDir(), "none")); got != Unknown {
		t.Error(got)
	}
}

// TestMetered asks a NetworkManager of our own, on a bus of our own.
func TestMetered(t *testing.T) {
	bus := startBus(t)
	connect := func() (*dbus.Conn, error) { return dbus.Connect(bus) }
	if got := meteredOn(t.Context(), connect); got != Unknown {
		t.Errorf("with no NetworkManager: %v", got)
	}
	if got := meteredOn(t.Context(), func() (*dbus.Conn, error) { return nil, errors.New("no bus") }); got != Unknown {
		t.Errorf("with no bus: %v", got)
	}
	conn, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p, err := prop.Export(conn, networksP, prop.Map{networks: {"Metered": {Value: uint32(0), Writable: true}}})
	if err != nil {
		t.Fatal(err)
	}
	if reply, err := conn.RequestName(networks, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
	for value, want := range []Answer{Unknown, Yes, No, Yes, No, Unknown} {
		p.SetMust(networks, "Metered", uint32(value))
		if got := meteredOn(t.Context(), connect); got != want {
			t.Errorf("%d: %v, want %v", value, got, want)
		}
	}
}

// startBus starts a message bus and returns its address.
func startBus(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("dbus-daemon", "--session", "--nofork", "--print-address=1", "--address=unix:dir="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func TestText(t *testing.T) {
	for _, a := range []Answer{Unknown, No, Yes} {
		text, err := a.MarshalText()
		var got Answer
		if err := errors.Join(err, got.UnmarshalText(text)); err != nil || got != a {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	_ = Read(context.Background()) // whatever this machine says
}
