package local

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/storetest"
)

// The test runs itself again below strace with this variable set: to put one
// object, testName with testData, into the store named there.
const childEnv = "LOCAL_TEST_CHILD"

const testName = "packs/3f/3fab"

func testData() []byte { return storetest.Data(1, 10_000) }

func TestMain(m *testing.M) {
	path, child := os.LookupEnv(childEnv)
	if !child {
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // strace counts the calls of each thread on its own
	d, err := Open(path)
	if err == nil {
		err = d.Put(context.Background(), testName, testData())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(10 + int(fault.KindOf(err)))
	}
}

// trace puts the object in a process of its own and returns the system calls
// that change something or make it durable, and how the process ended: 0, 10
// more than the kind of the failure, or -1 if it was killed.
func trace(t *testing.T, d *Dir, inject ...string) (calls []string, code int) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace to see and to fail system calls")
	}
	log := filepath.Join(t.TempDir(), "log")
	args := []string{"-f", "-y", "-o", log, "-e", "trace=openat,write,fsync,renameat2,linkat,unlinkat,mkdirat"}
	for _, i := range inject {
		args = append(args, "-e", "inject="+i)
	}
	cmd := exec.Command(strace, append(args, os.Args[0])...)
	cmd.Env = append(os.Environ(), childEnv+"="+d.Root())
	out, err := cmd.CombinedOutput()
	code = cmd.ProcessState.ExitCode()
	if err != nil && code < 10 && code != -1 {
		t.Fatalf("strace: %v\n%s", err, out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	call := regexp.MustCompile(`^\d+\s+(\w+)\((.*)$`)
	path := regexp.MustCompile(regexp.QuoteMeta(d.Root()) + `[\w/-]*`)
	for line := range strings.SplitSeq(string(text), "\n") {
		m := call.FindStringSubmatch(line)
		if m == nil || m[1] == "openat" && !strings.Contains(line, "O_CREAT") {
			continue
		}
		on := path.FindAllString(m[2], -1)
		if len(on) == 0 {
			continue
		}
		for i := range on {
			on[i] = "F" + strings.TrimPrefix(on[i], d.Root())
			if strings.HasPrefix(on[i], "F/tmp/") {
				on[i] = "TMP"
			}
		}
		calls = append(calls, m[1]+" "+on[len(on)-1])
	}
	return calls, code
}

// TestSystemCalls holds the order in which a Put makes things durable against
// what the package comment says.
func TestSystemCalls(t *testing.T) {
	d := newDir(t)
	got, _ := trace(t, d)
	want := []string{
		"mkdirat F/packs", "fsync F",
		"mkdirat F/packs/3f", "fsync F/packs",
		"openat TMP", "mkdirat F/tmp", "openat TMP", "write TMP", "fsync TMP",
		"renameat2 F/packs/3f/3fab", "fsync F/packs/3f",
	}
	if !slices.Equal(got, want) {
		t.Errorf("first Put:\n%q, want\n%q", got, want)
	}
	// The same bytes again: nothing is written, but the names are made
	// durable, since whoever put them may have died before he did.
	got, _ = trace(t, d)
	want = []string{
		"mkdirat F/packs", "fsync F", "mkdirat F/packs/3f", "fsync F/packs", "fsync F/packs/3f",
	}
	if !slices.Equal(got, want) {
		t.Errorf("second Put:\n%q, want\n%q", got, want)
	}
}

// TestEachStepFails fails each system call of a Put in turn, and kills the
// process at each. The object is whole or absent, and the next Put succeeds.
// (A write that fails: TestFullDisk.)
func TestEachStepFails(t *testing.T) {
	for _, c := range []struct {
		call  string
		times int
	}{{"mkdirat", 3}, {"fsync", 4}, {"renameat2", 1}} {
		for when := 1; when <= c.times; when++ {
			for _, how := range []string{"error=EIO", "error=ENOSPC", "signal=KILL"} {
				t.Run(fmt.Sprintf("%s/%d/%s", c.call, when, how), func(t *testing.T) {
					d := newDir(t)
					inject := fmt.Sprintf("%s:%s:when=%d", c.call, how, when)
					calls, code := trace(t, d, inject)
					want := map[string]int{
						"error=EIO": 10 + int(fault.Internal), "error=ENOSPC": 10 + int(fault.NoSpace), "signal=KILL": -1,
					}[how]
					if code != want {
						t.Fatalf("the process ended with %d, want %d, after %q", code, want, calls)
					}
					checkRecovers(t, d, how)
				})
			}
		}
	}
}

// checkRecovers looks at a store in which a Put failed, and repeats it.
func checkRecovers(t *testing.T, d *Dir, how string) {
	t.Helper()
	again, err := Open(d.Root())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for o, err := range again.List(t.Context(), "") {
		if err != nil || o.Name != testName || o.Size != int64(len(testData())) {
			t.Errorf("listed %+v, %v", o, err)
		}
	}
	left, err := os.ReadDir(filepath.Join(d.Root(), store.Scratch))
	if how != "signal=KILL" && len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	put(t, again, testName, testData())
	got, err := store.ReadAll(t.Context(), again, testName, 1<<20)
	if err != nil || !bytes.Equal(got, testData()) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}
