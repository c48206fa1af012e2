package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

// together is a vault in a folder on which programs work side by side: this
// very program, so that with -race all of them have the race detector.
type together struct {
	t   *testing.T
	dir string

	mu    sync.Mutex
	acked map[string]map[string][32]byte // points to the files that they must have
	freed int64                          // bytes, by programs
	moved int                            // packs and containers that were compacted before they ran
	runs  map[string]int
}

func newTogether(t *testing.T) *together {
	v := &together{t: t, dir: t.TempDir(), acked: map[string]map[string][32]byte{}, runs: map[string]int{}}
	if err := os.WriteFile(v.in("pass"), []byte("correct horse battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	v.must(v.run("one", "init", "--unattended", "-q"))
	v.must(v.run("two", "init", "--existing", "--unattended", "-q"))
	return v
}

func (v *together) in(name string) string { return filepath.Join(v.dir, name) }

// run runs the program as a machine, which has a memory of its own.
func (v *together) run(machine string, args ...string) (stdout []byte, err error) {
	out, report, err := v.runBoth(machine, args...)
	if err != nil {
		err = fmt.Errorf("%s: tidemark %s: %w\n%s%s", machine, strings.Join(args, " "), err, out, report)
	}
	return out, err
}

func (v *together) runBoth(machine string, args ...string) (stdout []byte, stderr string, err error) {
	args = append([]string{"-r", v.in("vault"), "--cache-dir", v.in("state-" + machine), "--passphrase-file", v.in("pass")}, args...)
	c := exec.CommandContext(v.t.Context(), "tidemark", args...)
	var out, report bytes.Buffer
	c.Stdout, c.Stderr = &out, &report
	c.Env = append(os.Environ(), "HOME="+v.dir, "XDG_CONFIG_HOME="+v.dir, "TIDEMARK_REPOSITORY=", "TZ=UTC", "GORACE=halt_on_error=1")
	err = c.Run()
	return out.Bytes(), report.String(), err
}

func (v *together) must(_ []byte, err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

// tree is a machine's: files that are written anew one after the other.
type tree struct {
	random *rand.ChaCha8
	next   int
}

// files of a tree, and the greatest size of one. A frame holds a few.
const (
	treeFiles = 48
	treeFile  = 100 << 10
)

// change writes some files of a machine's tree anew, and returns what is there.
func (v *together) change(machine string, src *tree, files int) (map[string][32]byte, error) {
	top := v.in("src-" + machine)
	for range files {
		b := make([]byte, treeFile/2+src.random.Uint64()%(treeFile/2))
		_, _ = src.random.Read(b)
		name := filepath.Join(top, fmt.Sprint(src.next/8), fmt.Sprint(src.next%8))
		src.next = (src.next + 1) % treeFiles
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, b, 0o600)); err != nil {
			return nil, err
		}
	}
	return sums(top)
}

// sums returns the SHA-256 of each file below a folder.
func sums(top string) (map[string][32]byte, error) {
	out := map[string][32]byte{}
	err := filepath.WalkDir(top, func(path string, d iofs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, top)] = sha256.Sum256(b)
		return err
	})
	return out, err
}

// backup is one run of a machine, and what was acknowledged by it.
func (v *together) backup(machine string, src *tree, files int) error {
	want, err := v.change(machine, src, files)
	if err != nil {
		return err
	}
	out, err := v.run(machine, "backup", "--json", v.in("src-"+machine))
	if err != nil {
		return err
	}
	var sum struct {
		Point string `json:"point"`
	}
	if err := json.Unmarshal(out, &sum); err != nil || sum.Point == "" {
		return fmt.Errorf("%s: %w", out, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.acked[sum.Point] = want
	return nil
}

// prune notes what was freed.
func (v *together) prune(machine string) error {
	out, err := v.run(machine, "prune", "--json")
	if err != nil {
		return err
	}
	var plan struct {
		Freed int64 `json:"freed"`
	}
	err = json.Unmarshal(out, &plan)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.freed += plan.Freed
	return err
}

// then shows a place as it was, or would have been, at another time.
type then struct {
	*local.Dir
	at time.Time
}

// Now implements store.Clock.
func (s *then) Now(context.Context) (time.Time, error) { return s.at, nil }

var _ store.Clock = (*then)(nil)

// age makes a month pass in which points were deleted, a collection has found
// them garbage, and another one has compacted what is left of their packs: what
// programs would do a month later they do now.
func (v *together) age(points int) {
	t := v.t
	t.Helper()
	dir, err := local.Open(v.in("vault"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	r, err := repo.Open(t.Context(), dir, repo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	device, err := repo.Local{Dir: v.in("state-one/" + fmt.Sprintf("%x", r.ID[:]))}.Device()
	if err != nil {
		t.Fatal(err)
	}
	place := &then{Dir: dir}
	book, err := retain.Open(t.Context(), place, retain.Options{Repository: r.ID})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, days := range []int{30, 15, 10, 0} {
		at := now.AddDate(0, 0, -days)
		place.at = at
		reading := retain.Reading{Place: at.Unix(), Machine: at.Unix()}
		say := func(plan func(s *retain.State, verdict retain.Verdict) ([]ledger.Record, error)) {
			t.Helper()
			if _, err := book.Append(t.Context(), device.Key, reading, plan); err != nil {
				t.Fatal(err)
			}
		}
		say(func(s *retain.State, _ retain.Verdict) ([]ledger.Record, error) { return s.Confirm(reading) })
		switch days {
		case 30:
			say(func(s *retain.State, verdict retain.Verdict) (records []ledger.Record, err error) {
				for _, p := range s.Shown()[:points] {
					some, err := s.Delete(verdict, p.Sequence)
					if err != nil {
						return nil, err
					}
					records = append(records, some...)
					delete(v.acked, p.ID.String())
				}
				return records, nil
			})
		case 15, 10: // what one has condemned the next drops, and it compacts
			p, err := keep.Prune(t.Context(), place, book, keep.Options{Repository: r.ID, Key: device.Key, Machine: func() time.Time { return at }})
			if err != nil || days == 15 && (len(p.Expired) != points || p.Condemn.Bytes == 0) {
				t.Fatalf("%+v, %v", p, err)
			}
			v.moved += len(p.Compact)
		}
	}
}

// beside runs each of the works again and again, all side by side.
func (v *together) beside(d time.Duration, works map[string]func() error) {
	end := time.Now().Add(d)
	var wait sync.WaitGroup
	for name, work := range works {
		wait.Go(func() {
			for {
				if err := work(); err != nil {
					v.t.Error(err)
					return
				}
				v.mu.Lock()
				v.runs[name]++
				v.mu.Unlock()
				if time.Now().After(end) {
					return
				}
			}
		})
	}
	wait.Wait()
}

// TestSideBySide runs backups of two machines, two prunes that drop, delete and
// compact, a replication, a scrub and a repair as programs side by side on one
// vault. Then everything must be whole: each point that was acknowledged, in the
// vault and in the replica, each object, and the ledger.
func TestSideBySide(t *testing.T) {
	v := newTogether(t)
	trees := map[string]*tree{"one": {random: rand.NewChaCha8([32]byte{1})}, "two": {random: rand.NewChaCha8([32]byte{2})}}
	replicate := func() error {
		_, err := v.run("one", "vault", "replicate", v.in("replica"))
		return err
	}
	does := func(machine string, args ...string) func() error {
		return func() error { _, err := v.run(machine, args...); return err }
	}
	// Where chunks come to lie is chance, and so is whether packs are worth moving:
	// it goes on until some were.
	few := func() bool { return v.freed < 1<<20 || v.moved == 0 }
	for phase := 0; phase < 2 || phase < 6 && few(); phase++ {
		for range 3 {
			for machine, src := range trees {
				if err := v.backup(machine, src, treeFiles-5); err != nil {
					t.Fatal(err)
				}
			}
		}
		if phase > 0 { // the replica has what the vault is about to lose
			if err := replicate(); err != nil {
				t.Fatal(err)
			}
		}
		v.age(4)
		v.beside(2500*time.Millisecond, map[string]func() error{
			"backup":        func() error { return v.backup("one", trees["one"], 4) },
			"other backup":  func() error { return v.backup("two", trees["two"], 4) },
			"prune":         func() error { return v.prune("one") },
			"another prune": func() error { return v.prune("three") },
			"replicate":     replicate,
			"scrub":         does("four", "vault", "scrub"),
			"repair":        does("five", "vault", "repair"),
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%v; %d points acknowledged, %d KiB freed", v.runs, len(v.acked), v.freed>>10)
	if few() {
		t.Errorf("only %d bytes were freed, and %d packs were compacted", v.freed, v.moved)
	}
	v.whole(replicate)
}

// whole checks everything that is left.
func (v *together) whole(replicate func() error) {
	for _, args := range [][]string{{"check", "--read-data"}, {"vault", "scrub"}, {"vault", "ledger", "verify"}} {
		v.must(v.run("one", args...))
	}
	if err := replicate(); err != nil {
		v.t.Fatal(err)
	}
	v.must(v.run("one", "-r", v.in("replica"), "check", "--read-data"))
	v.must(v.run("one", "-r", v.in("replica"), "vault", "scrub"))
	for id, want := range v.acked {
		to := v.in("restored")
		v.must(v.run("one", "restore", id, "--to", to))
		for _, machine := range []string{"one", "two"} {
			top := filepath.Join(to, v.in("src-"+machine))
			if _, err := os.Stat(top); err != nil {
				continue
			}
			got, err := sums(top)
			if err != nil {
				v.t.Fatal(err)
			}
			if len(got) != len(want) {
				v.t.Errorf("point %s has %d files, and %d were acknowledged", id, len(got), len(want))
			}
			for name, sum := range want {
				if got[name] != sum {
					v.t.Errorf("point %s: %s differs", id, name)
				}
			}
			want = nil
		}
		if want != nil {
			v.t.Errorf("point %s has no files", id)
		}
		if err := os.RemoveAll(to); err != nil {
			v.t.Fatal(err)
		}
	}
}
