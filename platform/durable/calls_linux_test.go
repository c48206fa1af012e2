package durable

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// The test runs itself again with this variable set to do one thing below
// strace.
const childEnv = "DURABLE_TEST_CHILD"

func TestMain(m *testing.M) {
	what, path, child := strings.Cut(os.Getenv(childEnv), " ")
	if !child {
		os.Exit(m.Run())
	}
	var err error
	switch what {
	case "write":
		err = WriteFile(path, []byte("bytes"), 0o640)
	case "create":
		err = Create(path, []byte("bytes"), 0o640)
	case "mkdir":
		err = MkdirAll(path, 0o700)
	}
	if err != nil {
		os.Stdout.WriteString(err.Error())
		os.Exit(10 + int(fault.KindOf(err)))
	}
}

// trace runs one call below strace and returns the system calls that matter,
// each as its name and the base name of what it worked on, and the exit code.
func trace(t *testing.T, what, path string, options ...string) ([]string, int) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace to see the system calls")
	}
	log := filepath.Join(t.TempDir(), "log")
	args := []string{"-f", "-y", "-o", log, "-e", "trace=openat,write,fchmod,fsync,rename,renameat,renameat2,linkat,unlinkat,mkdirat"}
	args = append(args, options...)
	cmd := exec.Command(strace, append(args, os.Args[0])...)
	cmd.Env = append(os.Environ(), childEnv+"="+what+" "+path)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState.ExitCode() < 10 {
		t.Fatalf("strace: %v\n%s", err, out)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return calls(string(b), filepath.Dir(path)), cmd.ProcessState.ExitCode()
}

// calls picks the calls on things below dir out of a log.
func calls(log, dir string) []string {
	call := regexp.MustCompile(`^\d+\s+(?:<\.\.\. )?(\w+)\((.*)$`)
	temp := regexp.MustCompile(regexp.QuoteMeta(TempPrefix) + `\d+`)
	var all []string
	for line := range strings.SplitSeq(log, "\n") {
		m := call.FindStringSubmatch(line)
		if m == nil || !strings.Contains(m[2], dir) || strings.Contains(m[2], "O_PATH") {
			continue
		}
		args, _, _ := strings.Cut(m[2], ") = ")
		args = temp.ReplaceAllString(args, "TEMP")
		args = strings.ReplaceAll(args, dir, "DIR")
		on := regexp.MustCompile(`DIR[\w/]*`).FindAllString(args, -1)
		all = append(all, m[1]+" "+strings.Join(on, " "))
	}
	return all
}

func TestSystemCalls(t *testing.T) {
	for _, c := range []struct {
		what string
		want []string
	}{
		{"write", []string{
			"openat DIR/TEMP", "write DIR/TEMP", "fchmod DIR/TEMP", "fsync DIR/TEMP",
			"renameat DIR/TEMP DIR/name", "openat DIR", "fsync DIR"}},
		{"create", []string{
			"openat DIR/TEMP", "write DIR/TEMP", "fchmod DIR/TEMP", "fsync DIR/TEMP",
			"renameat2 DIR/TEMP DIR/name", "openat DIR", "fsync DIR"}},
		{"mkdir", []string{"mkdirat DIR/name", "openat DIR", "fsync DIR"}},
	} {
		got, code := trace(t, c.what, filepath.Join(t.TempDir(), "name"))
		if code != 0 || !slices.Equal(got, c.want) {
			t.Errorf("%s: exit %d, calls\n%s\nwant\n%s", c.what, code, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

func TestMkdirAllSyncsEachParent(t *testing.T) {
	dir := t.TempDir()
	// calls names everything relative to the folder above the last step.
	got, code := trace(t, "mkdir", dir+"/a/b")
	want := []string{"mkdirat DIR/b", "openat DIR", "fsync DIR"}
	if code != 0 || len(got) < 3 || !slices.Equal(got[len(got)-3:], want) {
		t.Errorf("exit %d, calls %q, want at the end %q", code, got, want)
	}
	if fi, err := os.Stat(dir + "/a/b"); err != nil || !fi.IsDir() {
		t.Error(err)
	}
}

func TestFsyncFails(t *testing.T) {
	for _, what := range []string{"write", "create"} {
		for _, there := range []bool{false, true} { // the file is in place though the call failed
			path := filepath.Join(t.TempDir(), "name")
			options := []string{"-e", "inject=fsync:error=EIO"}
			if there { // only the folder's
				options = append(options, "-P", filepath.Dir(path))
			}
			_, code := trace(t, what, path, options...)
			if code == 0 {
				t.Errorf("%s: fsync failed, the call did not", what)
			}
			if _, err := os.Lstat(path); (err == nil) != there {
				t.Errorf("%s: afterwards %v, want there %v", what, err, there)
			}
			checkNoTemp(t, filepath.Dir(path))
		}
	}
}

func TestCreateWhereRenameat2IsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "name")
	got, code := trace(t, "create", path, "-e", "inject=renameat2:error=EINVAL")
	if code != 0 || !slices.Contains(got, "linkat DIR/TEMP DIR/name") {
		t.Errorf("exit %d, calls %q", code, got)
	}
	checkFile(t, path, []byte("bytes"), 0o640)
	if _, code := trace(t, "create", path, "-e", "inject=renameat2:error=EINVAL"); code != 10+int(fault.Exist) {
		t.Errorf("second create: exit %d, want fault.Exist", code)
	}
	checkNoTemp(t, filepath.Dir(path))
}

func TestKilledWriterLeavesTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "name")
	if err := WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace to kill at a system call")
	}
	cmd := exec.Command(strace, "-f", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:signal=KILL:when=1", os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=write "+path)
	if err := cmd.Run(); err == nil {
		t.Fatal("the child was not killed")
	}
	checkFile(t, path, []byte("old"), 0o600)
	if err := Sweep(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	checkNoTemp(t, filepath.Dir(path))
}
