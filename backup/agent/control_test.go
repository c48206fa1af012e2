package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// TestSocket asks an agent for everything, through its socket.
func TestSocket(t *testing.T) {
	dir := t.TempDir()
	lock, err := Hold(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Hold(dir); !errors.Is(err, fault.Exist) {
		t.Errorf("a second agent: %v", err)
	}
	j, err := journal.Open(JournalPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	conf, err := config.Parse([]byte(daily), "test.toml", "")
	if err != nil {
		t.Fatal(err)
	}
	path := SocketPath(dir, &conf)
	if err := os.WriteFile(path, nil, 0o600); err != nil { // of a dead agent
		t.Fatal(err)
	}
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	release := make(chan struct{})
	run := func(ctx context.Context, _ *Task) (*backup.Summary, error) {
		select {
		case <-release:
			return &backup.Summary{}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	a, err := New(conf, Options{Journal: j, Run: run, Now: time.Now, Zone: time.UTC, Log: slog.New(slog.DiscardHandler), Version: "v"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 2)
	go func() { over <- a.Run(ctx) }()
	go func() {
		over <- Serve(ctx, l, a, func() (config.Config, error) { return config.Config{}, errors.New("unreadable") })
	}()
	k := NewClient(path)
	defer func() {
		stop()
		if err := errors.Join(<-over, <-over, j.Close(), lock.Unlock()); err != nil {
			t.Error(err)
		}
		if _, err := k.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
			t.Errorf("of a dead agent: %v", err)
		}
	}()
	askAll(t, k, release)
}

func askAll(t *testing.T, k *Client, release chan struct{}) {
	ctx := t.Context()
	if s, err := k.Status(ctx); err != nil || s.Version != "v" || s.PID != os.Getpid() || len(s.Policies) != 1 || s.Policies[0].Next.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := k.Start(ctx, "nobody", time.Time{}); !errors.Is(err, fault.NotExist) || !strings.Contains(err.Error(), `"nobody"`) {
		t.Error(err)
	}
	job, err := k.Start(ctx, "a", time.Time{})
	if err != nil || job.ID != 1 {
		t.Fatal(job, err)
	}
	if s, err := k.Job(ctx, 1); err != nil || s.State != journal.InProgress {
		t.Errorf("%+v, %v", s, err)
	}
	if j, err := k.Cancel(ctx, 1); err != nil || j.State != journal.Cancelling {
		t.Errorf("%+v, %v", j, err)
	}
	wait := func(id uint64, want journal.State) {
		t.Helper()
		for range 500 {
			if s, err := k.Job(ctx, id); err != nil || s.State == want {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("job %d does not get %s", id, want)
	}
	wait(1, journal.Cancelled)
	if err := errors.Join(k.Pause(ctx, time.Time{}), k.Resume(ctx)); err != nil {
		t.Error(err)
	}
	close(release)
	if job, err = k.Start(ctx, "a", time.Time{}); err != nil {
		t.Fatal(err)
	}
	wait(2, journal.Completed)
	for f, want := range map[Filter]int{{}: 2, {State: journal.Completed}: 1, {Policy: "b"}: 0, {Max: 1}: 1, {Since: time.Now().Add(time.Hour)}: 0} {
		if list, err := k.Jobs(ctx, f); err != nil || len(list) != want {
			t.Errorf("%+v: %+v, %v", f, list, err)
		}
	}
	if _, err := k.Jobs(ctx, Filter{State: "odd"}); !errors.Is(err, fault.Invalid) {
		t.Error(err)
	}
	if err := k.Reload(ctx); err == nil || !strings.Contains(err.Error(), "unreadable") {
		t.Errorf("reload: %v", err)
	}
	list, err := k.Alerts(ctx, false)
	if err != nil || len(list) != 1 || list[0].Kind != journal.Configuration {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := k.CloseAlert(ctx, list[0].ID, "mended"); err != nil {
		t.Error(err)
	}
	if list, err = k.Alerts(ctx, true); err != nil || list[0].Note != "mended" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := k.Job(ctx, 77); !errors.Is(err, fault.NotExist) {
		t.Error(err)
	}
}

func TestLongSocketPath(t *testing.T) {
	if _, err := Listen(t.Context(), filepath.Join(t.TempDir(), strings.Repeat("x", 120))); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "set socket below [agent]") {
		t.Error(err)
	}
}

// FuzzFilter reads what a client may send.
func FuzzFilter(f *testing.F) {
	f.Add("since=2026-01-01T00:00:00Z&policy=a&state=failed&max=3")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		got, err := parseFilter(q)
		if err != nil {
			if !errors.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		again, err := parseFilter(got.query())
		if err != nil || again.Policy != got.Policy || again.State != got.State || !again.Since.Equal(got.Since) || again.Max != got.Max {
			t.Fatalf("%+v is read back as %+v, %v", got, again, err)
		}
	})
}
