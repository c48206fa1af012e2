package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/backup/notify"
	"github.com/tidemark-backup/tidemark/backup/report"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// ErrNotRunning says that no agent listens.
var ErrNotRunning = fmt.Errorf("the agent does not run: %w", fault.Unavailable)

// Client asks an agent through its socket.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client for the agent that listens at path.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// told is an error of the agent.
type told struct{ failure }

// Error implements error.
func (t told) Error() string { return t.failure.Error }

// Unwrap returns the kind of failure.
func (t told) Unwrap() error { return t.Kind }

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 256 << 20

func (c *Client) ask(ctx context.Context, method, path string, request, result any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	reply, err := c.do(r)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	d := json.NewDecoder(io.LimitReader(reply.Body, maxAnswer))
	if reply.StatusCode != http.StatusOK {
		var f failure
		if err := d.Decode(&f); err != nil || f.Error == "" {
			return fmt.Errorf("ask the agent: it answers %s to %s: %w", reply.Status, path, fault.Unsupported)
		}
		return told{f}
	}
	if err := d.Decode(result); err != nil {
		return fmt.Errorf("read the agent's answer: %w", err)
	}
	return nil
}

// do sends a request, and says in words why nobody answers.
func (c *Client) do(r *http.Request) (*http.Response, error) {
	reply, err := c.http.Do(r)
	switch {
	case errors.Is(err, iofs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNotRunning
	case errors.Is(err, iofs.ErrPermission):
		return nil, fmt.Errorf("ask the agent at %s: only the user that it runs as, and root, may: %w", c.path, fault.Denied)
	case err != nil:
		return nil, fmt.Errorf("ask the agent: %w", err)
	}
	return reply, nil
}

// Status asks how the agent stands.
func (c *Client) Status(ctx context.Context) (s *Status, err error) {
	err = c.ask(ctx, http.MethodGet, "/status", nil, &s)
	return s, err
}

// Jobs asks for jobs, the newest first.
func (c *Client) Jobs(ctx context.Context, f Filter) (list []journal.Job, err error) {
	err = c.ask(ctx, http.MethodGet, "/jobs?"+f.query().Encode(), nil, &list)
	return list, err
}

// Job asks for one job.
func (c *Client) Job(ctx context.Context, id uint64) (s *JobStatus, err error) {
	err = c.ask(ctx, http.MethodGet, "/jobs/"+strconv.FormatUint(id, 10), nil, &s)
	return s, err
}

// Start begins a job now.
func (c *Client) Start(ctx context.Context, policy string, until time.Time) (j journal.Job, err error) {
	err = c.ask(ctx, http.MethodPost, "/jobs", startRequest{policy, until}, &j)
	return j, err
}

// Cancel stops a job.
func (c *Client) Cancel(ctx context.Context, id uint64) (j journal.Job, err error) {
	err = c.ask(ctx, http.MethodPost, "/jobs/"+strconv.FormatUint(id, 10)+"/cancel", nil, &j)
	return j, err
}

// Pause has jobs wait until a moment; the zero Time is until Resume.
func (c *Client) Pause(ctx context.Context, until time.Time) error {
	return c.ask(ctx, http.MethodPost, "/pause", pauseRequest{until}, &struct{}{})
}

// Resume ends a pause.
func (c *Client) Resume(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, "/resume", nil, &struct{}{})
}

// Unlock tells the agent a passphrase, and returns the repositories that it opens.
func (c *Client) Unlock(ctx context.Context, repository string, passphrase []byte) (list []string, err error) {
	err = c.ask(ctx, http.MethodPost, "/unlock", unlockRequest{repository, passphrase}, &list)
	return list, err
}

// Lock has the agent forget passphrases.
func (c *Client) Lock(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, "/lock", nil, &struct{}{})
}

// Reload has the agent read its configuration.
func (c *Client) Reload(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, "/reload", nil, &struct{}{})
}

// Alerts asks for the active alerts, or for all.
func (c *Client) Alerts(ctx context.Context, ended bool) (list []journal.Alert, err error) {
	path := "/alerts"
	if ended {
		path += "?all=1"
	}
	err = c.ask(ctx, http.MethodGet, path, nil, &list)
	return list, err
}

// CloseAlert ends an alert with a note.
func (c *Client) CloseAlert(ctx context.Context, id uint64, note string) error {
	return c.ask(ctx, http.MethodPost, "/alerts/"+strconv.FormatUint(id, 10)+"/close", closeRequest{note}, &struct{}{})
}

// Page asks for an address that lets its reader into the web page, once.
func (c *Client) Page(ctx context.Context) (string, error) {
	var l pageLink
	err := c.ask(ctx, http.MethodPost, "/page", nil, &l)
	return l.URL, err
}

// Notified asks how it goes with those who are told.
func (c *Client) Notified(ctx context.Context) (list []notify.Status, err error) {
	err = c.ask(ctx, http.MethodGet, "/notify", nil, &list)
	return list, err
}

// Metrics asks how the agent stands, as Prometheus reads it.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("ask the agent: %w", err)
	}
	reply, err := c.do(r)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	b, err := io.ReadAll(io.LimitReader(reply.Body, maxAnswer))
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("it answers %s: %w", reply.Status, fault.Unavailable)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the agent for metrics: %w", err)
	}
	return b, nil
}

// Places asks what is known of the repositories.
func (c *Client) Places(ctx context.Context) (list []Place, err error) {
	err = c.ask(ctx, http.MethodGet, "/places", nil, &list)
	return list, err
}

// Gather asks for what a report of the time since a moment is made of. What the
// configuration says of the policies is left out.
func (c *Client) Gather(ctx context.Context, since time.Time) (in *report.Input, err error) {
	err = c.ask(ctx, http.MethodGet, "/report?since="+url.QueryEscape(since.Format(time.RFC3339Nano)), nil, &in)
	return in, err
}
