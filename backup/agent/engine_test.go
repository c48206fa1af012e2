package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/exclude"
	"github.com/tidemark-backup/tidemark/backup/hook"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store/limit"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

// site is a repository, a folder to be backed up, and an engine.
type site struct {
	t      *testing.T
	dir    string
	engine *Engine
	policy config.Policy
	warned []string
}

var passphrase = []byte("correct horse battery staple")

func newSite(t *testing.T) *site {
	dir := t.TempDir()
	s := &site{t: t, dir: dir, policy: config.Policy{Name: "p", Repository: filepath.Join(dir, "r"), Paths: []string{filepath.Join(dir, "src")}}}
	place, err := local.Create(s.policy.Repository)
	if err != nil {
		t.Fatal(err)
	}
	defer place.Close()
	cost := seal.Cost{Passes: 1, MemoryKiB: 8 << 10, Lanes: 1}
	if _, err := repo.Create(t.Context(), place, repo.CreateOptions{Passphrase: passphrase, Cost: cost, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	s.engine = &Engine{
		Dir: filepath.Join(dir, "state"), Now: time.Now,
		Passphrase: func(context.Context) ([]byte, error) { return passphrase, nil },
		New: func(paths []string, m *exclude.Matcher) backup.Job {
			return backup.Job{Paths: paths, Exclude: m, Now: time.Now, Host: "h"}
		},
	}
	s.write("file", []byte("hello"))
	return s
}

func (s *site) write(name string, content []byte) {
	s.t.Helper()
	path := filepath.Join(s.dir, "src", name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) task() *Task {
	s.warned = nil
	return &Task{
		Policy: s.policy, Job: 1, Progress: &backup.Progress{}, All: limit.NewRate(0, time.Now), Own: limit.NewRate(0, time.Now), Waits: &atomic.Bool{},
		Warn: func(what string, err error) { s.warned = append(s.warned, what+": "+err.Error()) },
	}
}

func (s *site) run() *backup.Summary {
	s.t.Helper()
	summary, err := s.engine.Run(s.t.Context(), s.task())
	if err != nil {
		s.t.Fatal(err)
	}
	return summary
}

// TestRetention: the configuration's becomes the vault's, and one that would
// cut points does not.
func TestRetention(t *testing.T) {
	s := newSite(t)
	policy := func(text string) *retain.Policy {
		p, err := retain.ParsePolicy([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	s.policy.Retention = policy(`{"zone":"UTC","daily":{"keep":30}}`)
	for range 2 {
		if tags := s.run().Receipt.Tags; len(s.warned) > 0 {
			t.Errorf("%v, %v", tags, s.warned)
		}
	}
	if tags := s.run().Receipt.Tags; len(tags) != 1 {
		t.Errorf("tags %v", tags)
	}
	s.policy.Retention = policy(`{"zone":"UTC","daily":{"keep":30},"keep_last":10}`)
	if s.run(); len(s.warned) > 0 {
		t.Error(s.warned)
	}
}

func TestLocked(t *testing.T) {
	s := newSite(t)
	s.engine.Passphrase = nil
	if _, err := s.engine.Run(t.Context(), s.task()); !errors.Is(err, fault.Locked) || !strings.Contains(err.Error(), "keeps no keys") {
		t.Error(err)
	}
	s.policy.Repository = filepath.Join(s.dir, "nowhere")
	if _, err := s.engine.Run(t.Context(), s.task()); err == nil {
		t.Error("there is no repository")
	}
}

// TestExclusions: patterns of the policy and of its files, and what is ours.
func TestExclusions(t *testing.T) {
	s := newSite(t)
	for _, name := range []string{"a.tmp", "b.bak", "sub/c.tmp", "sub/d"} {
		s.write(name, []byte("x"))
	}
	list := filepath.Join(s.dir, "patterns")
	if err := os.WriteFile(list, []byte("*.bak\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.policy.Paths, s.policy.Exclude, s.policy.ExcludeFiles = []string{s.dir}, []string{"*.tmp"}, []string{list}
	if n := s.run().Statistics.Files; n != 3 { // file, sub/d, patterns
		t.Errorf("%d files", n)
	}
}

// TestThrottle measures: 8 MiB at 4 MiB a second, of which a second's worth goes
// at once; and then at a rate that changes in the middle.
func TestThrottle(t *testing.T) {
	s := newSite(t)
	random := rand.NewChaCha8([32]byte{7})
	fill := func(name string) {
		content := make([]byte, 8<<20)
		if _, err := random.Read(content); err != nil {
			t.Fatal(err)
		}
		s.write(name, content)
	}
	took := func(task *Task) time.Duration {
		t.Helper()
		began := time.Now()
		summary, err := s.engine.Run(t.Context(), task)
		if err != nil || summary.BytesStored < 8<<20 {
			t.Fatalf("%+v, %v", summary, err)
		}
		return time.Since(began)
	}
	s.run()
	for i, which := range []string{"all", "own"} {
		fill(fmt.Sprint("r", i))
		task := s.task()
		if which == "all" {
			task.All.Set(4 << 20)
		} else {
			task.Own.Set(4 << 20)
		}
		if d := took(task); d < 900*time.Millisecond || d > 20*time.Second {
			t.Errorf("%s: %v", which, d)
		}
	}
	fill("changing")
	task := s.task()
	task.Own.Set(256 << 10) // 31 s
	changed := make(chan time.Time, 1)
	go func() {
		for task.Own.Paid() < 512<<10 {
			time.Sleep(10 * time.Millisecond)
		}
		task.Own.Set(4 << 20)
		changed <- time.Now()
	}()
	took(task)
	if d := time.Since(<-changed); d < 1500*time.Millisecond || d > 20*time.Second { // 7.5 MiB
		t.Errorf("after the change it took %v", d)
	}
}

// TestHooksThaw: after hooks run when a hook before, or the backup, failed, and
// when somebody cancelled it.
func TestHooksThaw(t *testing.T) {
	s := newSite(t)
	log := filepath.Join(s.dir, "log")
	say := func(text string) []string { return []string{"/bin/sh", "-c", "echo " + text + " >>" + log} }
	s.policy.Hooks = []hook.Hook{
		{When: hook.Before, Command: say("freeze")},
		{When: hook.After, Command: say("thaw $TIDEMARK_RESULT")},
	}
	s.run()
	ctx, stop := context.WithCancel(t.Context())
	task := s.task()
	task.Own.Pause()
	s.write("new", []byte("something new"))
	time.AfterFunc(300*time.Millisecond, stop)
	if _, err := s.engine.Run(ctx, task); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	s.policy.Hooks = append(s.policy.Hooks, hook.Hook{When: hook.Before, Command: []string{"/bin/false"}})
	if _, err := s.engine.Run(t.Context(), s.task()); err == nil || !strings.Contains(err.Error(), "run hook /bin/false") {
		t.Errorf("a hook that fails: %v", err)
	}
	b, err := os.ReadFile(log)
	if got := strings.Join(strings.Fields(string(b)), " "); err != nil || got != "freeze thaw completed freeze thaw failed freeze thaw failed" {
		t.Errorf("%q, %v", got, err)
	}
}
