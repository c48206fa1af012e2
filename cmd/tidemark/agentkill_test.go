package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// kills is how often the agent is killed.
const (
	kills     = 20
	killsLong = 100
)

// TestKilledAgent kills agents with SIGKILL at random moments of a job, starts
// them again, and then looks: every job that was ever told of is there and is
// over, each point that a job names is in the repository, and the repository is
// whole.
func TestKilledAgent(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("pass", "correct horse battery staple")
	write("config.toml", fmt.Sprintf("repository = %q\ncache_dir = %q\npassphrase_file = %q\n[[policy]]\nname = \"p\"\npaths = [%q]\n",
		in("r"), in("s"), in("pass"), in("src")))
	if err := os.Mkdir(in("src"), 0o700); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) []byte {
		t.Helper()
		var failed *exec.ExitError
		out, err := exec.Command("tidemark", append([]string{"--config", in("config.toml")}, args...)...).Output()
		if errors.As(err, &failed) {
			t.Fatalf("tidemark %v: %v\n%s", args, err, failed.Stderr)
		} else if err != nil {
			t.Fatal(err)
		}
		return out
	}
	run("init", "-q")
	random := rand.New(rand.NewPCG(3, 4))
	n := kills
	if os.Getenv("TIDEMARK_LONG") != "" {
		n = killsLong
	}
	told := map[uint64]bool{}
	for i := range n {
		content := make([]byte, random.IntN(3<<20))
		for i := range content {
			content[i] = byte(random.Uint32())
		}
		write(filepath.Join("src", fmt.Sprint("file", i)), string(content))
		for _, id := range killed(t, in("config.toml"), in("s"), time.Duration(random.IntN(300))*time.Millisecond) {
			told[id] = true
		}
	}
	j, err := journal.Open(agent.JournalPath(in("s")))
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	// One more agent settles what the last one left, and writes a point.
	stop, k := startAgent(t, in("config.toml"), in("s"))
	wantIdle(t, k)
	run("backup", "now", "--wait")
	stop(os.Interrupt)

	var jobs []journal.Job
	if err := json.Unmarshal(run("jobs", "--json"), &jobs); err != nil {
		t.Fatal(err)
	}
	points := map[string]bool{}
	var list []struct{ ID string }
	if err := json.Unmarshal(run("points", "--json"), &list); err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		points[p.ID] = true
	}
	states := map[journal.State]int{}
	for i, job := range jobs {
		states[job.State]++
		delete(told, job.ID)
		switch {
		case job.ID != uint64(len(jobs)-i):
			t.Errorf("job %d stands where %d should", job.ID, len(jobs)-i)
		case !job.State.Over() || job.Ended.IsZero():
			t.Errorf("job %d is half shown: %+v", job.ID, job)
		case job.State == journal.Completed && !points[job.Point]:
			t.Errorf("job %d wrote point %q, which is not there", job.ID, job.Point)
		}
	}
	if len(told) > 0 || jobs[0].State != journal.Completed {
		t.Errorf("lost: %v; the last: %+v", told, jobs[0])
	}
	t.Logf("%d jobs: %v; %d points", len(jobs), states, len(points))
	run("check", "--read-data")
}

// killed starts an agent, asks for a job, and kills the agent a while after
// that. It returns the jobs that the agent told of.
func killed(t *testing.T, conf, state string, after time.Duration) (told []uint64) {
	stop, k := startAgent(t, conf, state)
	defer stop(os.Kill)
	timer := time.NewTimer(after)
	job, err := k.Start(t.Context(), "p", time.Time{})
	switch fault.KindOf(err) {
	case fault.Exist: // the one that the agent before left is run again
	default:
		if err != nil {
			t.Error(err)
		}
		told = append(told, job.ID)
	}
	<-timer.C
	list, err := k.Jobs(t.Context(), agent.Filter{})
	if err != nil {
		t.Error(err)
	}
	for _, j := range list {
		told = append(told, j.ID)
	}
	return told
}

// startAgent starts an agent and returns when it answers.
func startAgent(t *testing.T, conf, state string) (stop func(os.Signal), k *agent.Client) {
	t.Helper()
	cmd := exec.Command("tidemark", "--config", conf, "agent", "run", "--quiet")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	k = agent.NewClient(filepath.Join(agent.Dir(state), "agent.sock"))
	stop = func(s os.Signal) {
		if err := cmd.Process.Signal(s); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		_, err := k.Status(ctx)
		if err == nil {
			return stop, k
		}
		if !errors.Is(err, agent.ErrNotRunning) {
			stop(os.Kill)
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// wantIdle waits until no job runs, or will at once: one that was cut short many
// times waits for long.
func wantIdle(t *testing.T, k *agent.Client) {
	t.Helper()
	for range 600 {
		s, err := k.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p := &s.Policies[0]
		if p.Running == nil && (p.RetryAt.IsZero() || time.Until(p.RetryAt) > 10*time.Second) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("a job runs for a minute")
}
