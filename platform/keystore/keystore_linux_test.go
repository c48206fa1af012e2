package keystore

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// TestGNOMEKeyring keeps a secret in a real GNOME Keyring, on a bus and in a home
// of its own.
func TestGNOMEKeyring(t *testing.T) {
	if os.Getenv("KEYSTORE_CHILD") == "" {
		// The library connects to the bus of its process once.
		inChild(t)
		return
	}
	ctx := t.Context()
	if _, err := Get(ctx, "a"); !errors.Is(err, fault.NotExist) {
		t.Fatal(err)
	}
	for _, secret := range []string{"correct horse", "another, with ü and \"signs\""} {
		if err := Put(ctx, "a", []byte(secret)); err != nil {
			t.Fatal(err)
		}
		if got, err := Get(ctx, "a"); err != nil || string(got) != secret {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if _, err := Get(ctx, "b"); !errors.Is(err, fault.NotExist) {
		t.Error(err)
	}
	if err := Remove(ctx, "a"); err != nil {
		t.Error(err)
	}
	if err := Remove(ctx, "a"); !errors.Is(err, fault.NotExist) {
		t.Error(err)
	}
	t.Log("a secret was kept")
}

func inChild(t *testing.T) {
	home := t.TempDir()
	env := append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+home, "XDG_DATA_HOME="+home, "KEYSTORE_CHILD=1")
	bus := exec.Command("dbus-daemon", "--session", "--nofork", "--print-address=1", "--address=unix:dir="+home)
	out, err := bus.StdoutPipe()
	if err == nil {
		err = bus.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = bus.Process.Kill() // its clients end with it
		_ = bus.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	env = append(env, "DBUS_SESSION_BUS_ADDRESS="+strings.TrimSpace(line))
	// Its password makes the collection in which secrets are kept.
	daemon := exec.Command("gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets")
	daemon.Env, daemon.Stdin = env, strings.NewReader("password")
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
	}()
	wait := exec.Command("gdbus", "wait", "--session", "--timeout", "60", "org.freedesktop.secrets")
	wait.Env = env
	if out, err := wait.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestGNOMEKeyring$", "-test.v")
	child.Env = env
	if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "a secret was kept") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestNoKeystore: on a machine without one the error says so.
func TestNoKeystore(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+t.TempDir()+"/none")
	if _, err := Get(t.Context(), "a"); !errors.Is(err, fault.Unavailable) {
		t.Errorf("%v is %v", err, fault.KindOf(err))
	}
}
