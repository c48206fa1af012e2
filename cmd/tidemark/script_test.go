package main

import (
	"errors"
	"io"
	iofs "io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
)

// TestMain lets scripts run this program by its name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tidemark": main})
}

// TestScripts runs the scripts in testdata, each in a folder of its own, with
// these files and settings:
//
//	pass, other     two passphrases
//	$R              where a repository can be made
//	$M              an empty folder to mount on; unmounted at the end
//
// and these commands beside the usual ones:
//
//	exits CODE PROGRAM ARG…   runs it and compares the exit code; 0|3 is either
//	fetch URL TEXT            gets the URL and compares its content
//	capture NAME REGEXP       sets $NAME to the first group in the last stdout
//	unmount DIR               unmounts
//	wait-for FILE             waits until it is there, 15 s at most
//	socket FILE               makes a socket
//	expand FILE               puts the values of $NAMEs into it
//	damage DIR                flips a byte in the middle of each file below
//	nonutf8 DIR               makes a file in DIR whose name is not UTF-8
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "capture": capture, "unmount": unmount, "wait-for": waitFor, "nonutf8": nonUTF8, "expand": expand, "damage": damage, "socket": socket, "fetch": fetch,
		},
	})
}

func setup(env *testscript.Env) error {
	in := func(name string) string { return filepath.Join(env.WorkDir, name) }
	for _, dir := range []string{"m", "home", "state"} {
		if err := os.Mkdir(in(dir), 0o700); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"pass": "correct horse battery staple\n", "other": "another passphrase altogether\n", "short": "too short\n",
		"config.toml": "passphrase_file = '" + in("pass") + "'\ncache_dir = '" + in("state") + "'\n",
	} {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	env.Setenv("R", in("repository"))
	env.Setenv("M", in("m"))
	env.Setenv("HOME", in("home"))
	env.Setenv("XDG_DATA_HOME", in("home/data"))
	env.Setenv("TZ", "UTC")
	env.Setenv("C", "--config="+in("config.toml"))
	env.Setenv("TIDEMARK_REPOSITORY", in("repository"))
	env.Defer(func() {
		for _, dir := range []string{"m", "home/data/tidemark/try/mount"} {
			_ = exec.Command("umount", "-l", in(dir)).Run() // mostly nothing is mounted there
		}
	})
	return nil
}

func condition(name string) (bool, error) {
	switch name {
	case "fuse":
		f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
		if err != nil {
			return false, nil
		}
		return true, f.Close()
	}
	return false, errors.New("unknown condition " + name)
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if !slices.Contains(strings.Split(args[0], "|"), strconv.Itoa(got)) {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME REGEXP")
	}
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) < 2 {
		ts.Fatalf("the output has no match for %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

func unmount(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: unmount DIR")
	}
	ts.Check(ts.Exec("umount", args[0]))
}

func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: wait-for FILE")
	}
	for range 150 {
		if _, err := os.Lstat(ts.MkAbs(args[0])); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	ts.Fatalf("%s has not come", args[0])
}

func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: fetch URL TEXT")
	}
	r, err := http.Get(args[0])
	if err != nil {
		if !neg {
			ts.Fatalf("%v", err)
		}
		return
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	ts.Check(err)
	if got := strings.TrimSpace(string(b)) == args[1] && r.StatusCode == http.StatusOK; got == neg {
		ts.Fatalf("%s: %.200q", r.Status, b)
	}
}

func nonUTF8(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: nonutf8 DIR")
	}
	ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), "bad\xff\n\x1b[2J"), []byte("x"), 0o600))
}

func socket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: socket FILE")
	}
	l, err := net.Listen("unix", ts.MkAbs(args[0]))
	ts.Check(err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	ts.Check(l.Close())
}

func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: damage DIR")
	}
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d iofs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[len(b)-len(b)/8] ^= 1 // in the frames, which come last
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.WriteFile(path, b, 0o600)
	}))
}

func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: expand FILE")
	}
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// TestEveryCommandExplainsItself: a summary, a description, an example and a
// description of each flag.
func TestEveryCommandExplainsItself(t *testing.T) {
	app := cli.New()
	root := newRoot(app)
	for _, c := range allCommands(root) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || len(c.Long) < 40 {
			t.Errorf("%s: no description, or none of this form", c.CommandPath())
		}
		if c.HasParent() && !c.HasSubCommands() && !strings.HasPrefix(c.Example, "  tidemark ") {
			t.Errorf("%s: no example", c.CommandPath())
		}
		if usage := c.LocalFlags().FlagUsages(); strings.Contains(usage, "   \n") {
			t.Errorf("%s: a flag without description:\n%s", c.CommandPath(), usage)
		}
		for line := range strings.SplitSeq(c.Long+"\n"+c.Example, "\n") {
			if len([]rune(line)) > 80 {
				t.Errorf("%s: a line of %d characters: %s", c.CommandPath(), len([]rune(line)), line)
			}
		}
	}
}
