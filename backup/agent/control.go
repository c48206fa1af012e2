package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// What of the agent lies in its folder, which is agent/ below the one for what
// this machine keeps.
const (
	journalName = "journal.db"
	socketName  = "agent.sock"
	lockName    = "lock"
)

// Dir returns the agent's folder below the one for what this machine keeps.
func Dir(cacheDir string) string { return filepath.Join(cacheDir, "agent") }

// JournalPath returns where the journal of an agent is.
func JournalPath(cacheDir string) string { return filepath.Join(Dir(cacheDir), journalName) }

// SocketPath returns where an agent listens.
func SocketPath(cacheDir string, conf *config.Config) string {
	if conf.Agent.Socket != "" {
		return conf.Agent.Socket
	}
	return filepath.Join(Dir(cacheDir), socketName)
}

// control answers on the agent's socket: HTTP with JSON, for this user and root.
type control struct {
	agent  *Agent
	reload func() (config.Config, error)
}

// Hold makes the agent's folder, and keeps other agents out of it.
func Hold(cacheDir string) (*durable.Lock, error) {
	dir := Dir(cacheDir)
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := durable.TryLock(filepath.Join(dir, lockName))
	if errors.Is(err, fault.Unavailable) {
		return nil, fmt.Errorf("start agent: another one runs in %s: %w", dir, fault.Exist)
	}
	return lock, err
}

// maxSocketPath is how long the name of a socket may be on every system.
const maxSocketPath = 103

// Listen opens the socket. Whoever calls it has Hold of the folder, so that a
// socket that is there is of a dead agent.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen on %s: the name has %d bytes, but sockets may have %d; set socket below [agent]: %w", path, len(path), maxSocketPath, fault.Invalid)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("remove the socket of a dead agent: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// Until then the folder, mode 0700, keeps others out.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen: %w", err), l.Close())
	}
	return l, nil
}

// Serve answers on a listener until ctx is done. reload reads the configuration
// anew.
func Serve(ctx context.Context, l net.Listener, a *Agent, reload func() (config.Config, error)) error {
	c := &control{agent: a, reload: reload}
	server := &http.Server{Handler: c.routes(), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // nothing is left to be told
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the agent's socket: %w", err)
	}
	return nil
}

// maxRequest bounds what a client sends, in bytes.
const maxRequest = 64 << 10

func (c *control) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, do func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
			answer(w, r, do)
		})
	}
	a := c.agent
	handle("GET /status", func(*http.Request) (any, error) { return a.Status() })
	handle("GET /jobs", func(r *http.Request) (any, error) {
		f, err := parseFilter(r.URL.Query())
		if err != nil {
			return nil, err
		}
		return a.Jobs(f)
	})
	handle("GET /jobs/{id}", withID(func(id uint64, _ *http.Request) (any, error) { return a.Job(id) }))
	handle("POST /jobs/{id}/cancel", withID(func(id uint64, _ *http.Request) (any, error) { return a.Cancel(id) }))
	handle("POST /jobs", func(r *http.Request) (any, error) {
		var q startRequest
		if err := read(r, &q); err != nil {
			return nil, err
		}
		return a.Start(q.Policy, q.Until)
	})
	handle("GET /alerts", func(r *http.Request) (any, error) { return Alerts(a.o.Journal, r.URL.Query().Get("all") != "") })
	handle("POST /alerts/{id}/close", withID(func(id uint64, r *http.Request) (any, error) {
		var q closeRequest
		if err := read(r, &q); err != nil {
			return nil, err
		}
		return struct{}{}, a.CloseAlert(id, q.Note)
	}))
	mux.HandleFunc("GET /metrics", a.answerMetrics)
	handle("GET /places", func(*http.Request) (any, error) { return a.Places() })
	handle("GET /report", func(r *http.Request) (any, error) {
		since, err := time.Parse(time.RFC3339Nano, r.URL.Query().Get("since"))
		if err != nil {
			return nil, fmt.Errorf("since: %w: %w", err, fault.Invalid)
		}
		return a.Gather(since)
	})
	handle("GET /notify", func(*http.Request) (any, error) { return a.Notified() })
	handle("POST /pause", func(r *http.Request) (any, error) {
		var q pauseRequest
		if err := read(r, &q); err != nil {
			return nil, err
		}
		return struct{}{}, a.Pause(q.Until)
	})
	handle("POST /resume", func(*http.Request) (any, error) { return struct{}{}, a.Resume() })
	handle("POST /page", func(*http.Request) (any, error) { return a.link() })
	handle("POST /unlock", func(r *http.Request) (any, error) {
		var q unlockRequest
		if err := read(r, &q); err != nil {
			return nil, err
		}
		return a.Unlock(r.Context(), q.Repository, q.Passphrase)
	})
	handle("POST /lock", func(*http.Request) (any, error) { a.Lock(); return struct{}{}, nil })
	handle("POST /reload", func(*http.Request) (any, error) { return struct{}{}, a.Reload(c.reload()) })
	return mux
}

type (
	startRequest struct {
		Policy string    `json:"policy"`
		Until  time.Time `json:"until,omitzero"`
	}
	closeRequest struct {
		Note string `json:"note"`
	}
	pauseRequest struct {
		Until time.Time `json:"until,omitzero"`
	}
	unlockRequest struct {
		Repository string `json:"repository,omitempty"`
		Passphrase []byte `json:"passphrase"`
	}
	// failure is what is sent instead of an answer.
	failure struct {
		Error string     `json:"error"`
		Kind  fault.Kind `json:"kind"`
	}
)

func withID(do func(uint64, *http.Request) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no number: %w", r.PathValue("id"), fault.Invalid)
		}
		return do(id, r)
	}
}

func read(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("read the request: %w: %w", err, fault.Invalid)
	}
	return nil
}

func answer(w http.ResponseWriter, r *http.Request, do func(*http.Request) (any, error)) {
	v, err := do(r)
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusConflict)
		v = failure{err.Error(), fault.KindOf(err)}
	}
	_ = json.NewEncoder(w).Encode(v) // who hung up is not told
}
