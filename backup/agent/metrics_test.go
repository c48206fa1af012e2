package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/health"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// TestMetrics: what Prometheus is told is right, and promtool accepts it.
func TestMetrics(t *testing.T) {
	var text string
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, 0, strings.Replace(daily, `"/r"`, `"/r \"q\"\\"`, 1)+"[[notify.mail]]\nname = \"admins\"\nserver = \"127.0.0.1:1\"\ntls = \"none\"\nfrom = \"a@b.example\"\nto = [\"a@b.example\"]\n")
		w.pass(26*time.Hour + 2*time.Minute)
		w.does(func(ctx context.Context, _ *Task) (*backup.Summary, error) { return work(ctx, 0, fault.Denied) })
		w.pass(24 * time.Hour)
		b, err := w.agent.Metrics()
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	})
	for _, line := range []string{
		`tidemark_policy_last_point_timestamp_seconds{policy="a"} 9.46`, `tidemark_last_job_success{policy="a"} 0`, `tidemark_alerts{severity="critical"} 1`,
		`tidemark_repository_free_bytes{repository="/r \"q\"\\"} 1.099511627776e+12`, `tidemark_repository_points{repository="/r \"q\"\\"} 7`,
		`tidemark_agent_paused 0`, `tidemark_notifications_waiting{target="admins"} 0`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is not in\n%s", line, text)
		}
	}
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool (of Debian's prometheus): %v\n%s\n%s", err, out, text)
	}
}

// TestServeMetrics asks a real listener.
func TestServeMetrics(t *testing.T) {
	w := newWorld(t, daily)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- ServeMetrics(ctx, l, w.agent) }()
	reply, err := http.Get("http://" + l.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if got := reply.Header.Get("Content-Type"); reply.StatusCode != http.StatusOK || !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Error(reply.Status, got)
	}
	if err := reply.Body.Close(); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// TestLook: what a look at a real repository finds.
func TestLook(t *testing.T) {
	s := newSite(t)
	s.run()
	f, err := s.engine.Look(t.Context(), s.policy.Repository, Question{Count: true, Deleted: []uint64{1}})
	if err != nil || f.Points != 1 || f.Space == nil || f.Space.Stored <= 0 || f.Space.Free <= 0 || f.Entries == 0 || len(f.Purged) != 0 || f.Suspended != "" {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := s.engine.Look(t.Context(), filepath.Join(s.dir, "nowhere"), Question{}); !errors.Is(err, fault.NotExist) {
		t.Error(err)
	}
}

// place is a repository of a world: what looks at it find.
func (w *world) place(do func(*health.Facts)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do(&w.facts)
}

// TestSecurityIsTold: within 20 minutes of a look's finding, to everybody,
// whatever he wanted to be told; and not again by the next look.
func TestSecurityIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, 0, daily+"[[notify.mail]]\nname = \"admins\"\nserver = \"127.0.0.1:1\"\ntls = \"none\"\nfrom = \"a@b.example\"\nto = [\"a@b.example\"]\nevents = [\"success\"]\npolicies = [\"a\"]\ndigest = \"1h\"\n")
		w.pass(time.Hour)
		w.told()
		w.place(func(f *health.Facts) {
			f.Deleted = []health.Deleted{{Sequence: 3, GoneAfter: w.now().Add(14 * 24 * time.Hour)}}
		})
		w.pass(20 * time.Minute)
		w.told("admins: CRITICAL: Recovery points were deleted (/r on h)")
		w.pass(20 * time.Minute)
		w.told()
		w.place(func(f *health.Facts) { f.Deleted = nil })
		w.pass(20 * time.Minute)
		w.told("admins: resolved: Recovery points were deleted (/r on h)")
		if err := w.agent.Reload(w.config(), nil); err != nil {
			t.Error(err)
		}
		w.pass(2 * time.Hour)
		w.told("admins: backup done (a on h)")
	})
}
