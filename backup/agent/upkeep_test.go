package agent

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

const upkeep = `
repository = "/r"
[agent]
jobs = 1
[[policy]]
name = "a"
paths = ["/a"]
schedule = { at = ["02:00"] }
[[maintenance]]
task = "prune"
schedule = { at = ["02:00"] }
[[maintenance]]
task = "scrub"
schedule = { at = ["02:00"] }
`

// TestChores: they run beside a backup, one after the other; what they find is
// an alert until one finds nothing.
func TestChores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, upkeep)
		damaged := fmt.Errorf("1 damage was found: %w", fault.Corrupt)
		w.does(func(ctx context.Context, task *Task) (*backup.Summary, error) {
			if task.Chore == nil {
				return work(ctx, time.Minute, nil)
			}
			_, err := work(ctx, 10*time.Minute, nil)
			task.Tell("did " + string(task.Chore.Task))
			if task.Chore.Task == config.Scrub && damaged != nil {
				task.Warn("packs/1", errors.New("it is damaged"))
				return nil, damaged
			}
			return nil, err
		})
		w.pass(2*time.Hour + 30*time.Minute)
		w.ran("a 01-01 02:00", "prune 01-01 02:00", "scrub 01-01 02:10")
		list := w.alerts("critical damage scrub 1")
		if text := list[0].Text; !strings.Contains(text, "the first: packs/1: it is damaged; `tidemark repair`") {
			t.Error(text)
		}
		jobs := w.jobs()
		if i := slices.IndexFunc(jobs, func(j journal.Job) bool { return j.Policy == "prune" }); jobs[i].Task != "prune" || jobs[i].Result != "did prune" || jobs[i].State != journal.Completed {
			t.Errorf("%+v", jobs[i])
		}
		s, err := w.agent.Status()
		if err != nil || len(s.Policies) != 1 || len(s.Chores) != 2 || s.Chores[1].Task != "scrub" || s.Chores[0].LastPoint.IsZero() || !s.Chores[1].LastPoint.IsZero() {
			t.Errorf("%+v, %v", s, err)
		}
		damaged = nil
		if _, err := w.agent.Start("scrub", time.Time{}); err != nil {
			t.Fatal(err)
		}
		// A reload under another name is the same chore still.
		w.text = strings.Replace(upkeep, `task = "scrub"`, "task = \"scrub\"\nname = \"other\"", 1)
		if err := w.agent.Reload(w.config(), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := w.agent.Start("other", time.Time{}); !errors.Is(err, fault.Exist) {
			t.Error(err)
		}
		w.pass(20 * time.Minute)
		w.alerts()
	})
}

// TestSilentChore: that a chore is not done for too long is an alert, as with
// points.
func TestSilentChore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, strings.Replace(upkeep, `task = "prune"`, "task = \"prune\"\nretries = 0", 1))
		w.does(func(ctx context.Context, task *Task) (*backup.Summary, error) {
			if task.Chore != nil && task.Chore.Task == config.Prune {
				return work(ctx, time.Minute, fmt.Errorf("the place is away: %w", fault.Unavailable))
			}
			return work(ctx, time.Minute, nil)
		})
		w.pass(75 * time.Hour)
		list := w.alerts("critical silent prune 1", "warning maintenance_failed prune 4")
		if !strings.Contains(list[0].Text, "no prune was done since") {
			t.Error(list[0].Text)
		}
	})
}

// chore does one on the site's repository.
func (s *site) chore(m config.Maintenance) (string, error) {
	s.t.Helper()
	m.Name, m.Repository = string(m.Task), s.policy.Repository
	task, result := s.task(), ""
	task.Policy, task.Chore = m.AsPolicy(), &m
	task.Tell = func(text string) { result = text }
	_, err := s.engine.Run(s.t.Context(), task)
	return result, err
}

// TestChoresForReal does each on a repository, and again when a pack of it is
// damaged.
func TestChoresForReal(t *testing.T) {
	s := newSite(t)
	s.write("big", []byte(strings.Repeat("0123456789abcdef", 10_000))) // "file" stands in the table itself
	s.run()
	replica := filepath.Join(s.dir, "replica")
	wants := func(m config.Maintenance, want string, kind error) {
		t.Helper()
		result, err := s.chore(m)
		if !strings.Contains(result, want) || (kind == nil) != (err == nil) || kind != nil && !errors.Is(err, kind) {
			t.Errorf("%s: %q, %v; warned %q", m.Task, result, err, s.warned)
		}
	}
	wants(config.Maintenance{Task: config.Prune}, "0 points removed, 0 B freed", nil)
	wants(config.Maintenance{Task: config.Scrub}, " read, 0 left", nil)
	wants(config.Maintenance{Task: config.Check, Data: 100}, "1 points, ", nil)
	wants(config.Maintenance{Task: config.Replicate, To: []string{replica}}, "1 points, ", nil)
	wants(config.Maintenance{Task: config.Replicate, To: []string{replica}}, "0 points, ", nil)
	wants(config.Maintenance{Task: config.Proof, Files: 10}, "10 samples, ", nil)
	wants(config.Maintenance{Task: "sweep"}, "", fault.Unsupported)

	s.damage()
	wants(config.Maintenance{Task: config.Scrub}, " read, ", fault.Corrupt)
	if len(s.warned) == 0 || !strings.HasPrefix(s.warned[0], "packs/") {
		t.Errorf("warned %q", s.warned)
	}
	wants(config.Maintenance{Task: config.Check, Data: 100}, "1 points", fault.Corrupt)
	wants(config.Maintenance{Task: config.Proof, Files: 40}, "40 samples, ", fault.Corrupt)
	if !slices.ContainsFunc(s.warned, func(w string) bool {
		return strings.Contains(w, "/src/big: of point ") && strings.Contains(w, ": unread: ")
	}) {
		t.Errorf("warned %q", s.warned)
	}
	wants(config.Maintenance{Task: config.Replicate, To: []string{filepath.Join(s.dir, "new")}}, "0 points", fault.Corrupt)
	s.engine.Passphrase = nil
	wants(config.Maintenance{Task: config.Check}, "", fault.Locked)
}

// damage flips a bit in the middle of each pack.
func (s *site) damage() {
	s.t.Helper()
	n := 0
	err := filepath.WalkDir(filepath.Join(s.policy.Repository, "packs"), func(path string, d iofs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		b[len(b)-1-len(b)/20] ^= 1
		return errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, b, 0o600))
	})
	if err != nil || n == 0 {
		s.t.Fatal(n, err)
	}
}
