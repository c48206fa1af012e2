package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

// ordersVariable makes this program a backup.
const ordersVariable = "TIDEMARK_TEST_BACKUP"

// orders are what a child is to do, and when it is to die.
type orders struct {
	Vault, State, Source string

	Passphrase bool  // unlock with it; else use the keys kept in State
	KillBytes  int64 // die after the Put with which this many bytes are stored
	KillAt     int64 // die at this operation of the store, from 1
	Stored     bool  // after it, not before
}

func TestMain(m *testing.M) {
	if text := os.Getenv(ordersVariable); text != "" {
		if err := obey(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Small worlds are made and thrown away by the thousand. Each run of a backup
	// has buffers of 20 MiB, so without a limit that takes all of the machine.
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(2 << 30)
	code := m.Run()
	if path, err := program(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// buildProgram builds the program itself, with flags.
func buildProgram(flags ...string) (string, error) {
	dir, err := os.MkdirTemp("", "tidemark-program")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "tidemark")
	args := append(append([]string{"build"}, flags...), "-o", path, "github.com/tidemark-backup/tidemark/cmd/tidemark")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
}

// program builds the program once, for all tests.
var program = sync.OnceValues(func() (string, error) { return buildProgram() })

// obey backs up, and prints the summary.
func obey(text string) error {
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	ctx := context.Background()
	dir, err := local.Open(o.Vault)
	if err != nil {
		return err
	}
	defer dir.Close()
	s := &deadly{Dir: dir, o: o}
	r, err := repo.Open(ctx, s, repo.Options{})
	if err != nil {
		return err
	}
	l := r.Local(o.State)
	if o.Passphrase {
		_, err = r.Unlock(ctx, []byte(passphrase))
	} else {
		_, err = r.Grant(ctx, l)
	}
	if err != nil {
		return err
	}
	s.armed.Store(true)
	// Later than any change, so that no file is read again for having just changed.
	later := func() time.Time { return time.Now().Add(time.Hour) }
	sum, err := backup.Run(ctx, r, l, backup.Job{Paths: []string{o.Source}, Now: later})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(sum)
}

// deadly is a store in a folder that kills its process when told to.
type deadly struct {
	*local.Dir
	o     orders
	armed atomic.Bool
	ops   atomic.Int64
	bytes atomic.Int64
}

var _ store.Store = (*deadly)(nil)

func (d *deadly) Put(ctx context.Context, name string, data []byte) error {
	n := d.ops.Add(1)
	d.die(n == d.o.KillAt && !d.o.Stored)
	err := d.Dir.Put(ctx, name, data)
	sum := d.bytes.Add(int64(len(data)))
	d.die(n == d.o.KillAt && d.o.Stored || d.o.KillBytes > 0 && sum >= d.o.KillBytes)
	return err
}

func (d *deadly) Delete(ctx context.Context, name string) error {
	n := d.ops.Add(1)
	d.die(n == d.o.KillAt && !d.o.Stored)
	err := d.Dir.Delete(ctx, name)
	d.die(n == d.o.KillAt && d.o.Stored)
	return err
}

func (d *deadly) die(now bool) {
	if !now || !d.armed.Load() {
		return
	}
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Kill()
	}
	select {}
}

// start starts a child.
func start(t *testing.T, o orders, adjust ...func(*exec.Cmd)) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), ordersVariable+"="+string(text))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	for _, a := range adjust {
		a(cmd)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &out, &errs
}

// run runs a child to its end.
func run(t *testing.T, o orders, adjust ...func(*exec.Cmd)) *backup.Summary {
	t.Helper()
	cmd, out, errs := start(t, o, adjust...)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	s := &backup.Summary{}
	if err := json.Unmarshal(out.Bytes(), s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return s
}

// runToDeath runs a child that kills itself, and says whether it did.
func runToDeath(t *testing.T, o orders) bool {
	t.Helper()
	cmd, _, errs := start(t, o)
	err := cmd.Wait()
	if err != nil && errs.Len() > 0 {
		t.Fatalf("%v: %s", err, errs)
	}
	return err != nil
}
