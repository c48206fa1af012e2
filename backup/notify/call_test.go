package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

func contextOf(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// asked is a request as a server has it.
type asked struct {
	method, path string
	header       http.Header
	body         []byte
}

// hookServer is an https server of its own authority, which answers with status.
func hookServer(t *testing.T, status int, answer string) (address, ca string, requests chan asked) {
	t.Helper()
	requests = make(chan asked, 100)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		requests <- asked{r.Method, r.URL.RequestURI(), r.Header, b}
		if status/100 == 3 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer) // the client may have gone
	}))
	t.Cleanup(s.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.URL, ca, requests
}

// TestWebhook: a POST of JSON over TLS, signed; its address in a file.
func TestWebhook(t *testing.T) {
	address, ca, requests := hookServer(t, http.StatusNoContent, "")
	w := Webhook{URLFile: password(t, address+"/hooks/T0KEN"), SecretFile: password(t, "s3cret"), CAFile: ca}
	if bad := w.wrong(); bad != nil {
		t.Fatal(bad)
	}
	e := raised(7, journal.BackupFailed, "documents", "job 12 failed")
	e.Told = []string{"somebody"}
	if err := w.send(t.Context(), sender().Message([]*journal.Event{e})); err != nil {
		t.Fatal(err)
	}
	r := <-requests
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write(r.body)
	if r.method != http.MethodPost || r.path != "/hooks/T0KEN" || r.header.Get("X-Tidemark-Signature-256") != "sha256="+hex.EncodeToString(mac.Sum(nil)) ||
		r.header.Get("Content-Type") != "application/json" || r.header.Get("X-Tidemark-Event") != "raised" {
		t.Errorf("%+v", r)
	}
	var got Message
	if err := json.Unmarshal(r.body, &got); err != nil {
		t.Fatal(err)
	}
	if got.Host != "fileserver" || got.What != "raised" || len(got.Events) != 1 || got.Events[0].Alert.Text != "job 12 failed" ||
		got.Events[0].Told != nil || got.ID == "" || got.ID != r.header.Get("Idempotency-Key") {
		t.Errorf("%+v", got)
	}
}

// TestCallSaysWhatGoesWrong, and never the address, which may be a secret.
func TestCallSaysWhatGoesWrong(t *testing.T) {
	for _, c := range []struct {
		status int
		answer string
		want   string
	}{
		{404, "no such\n hook", `it answers 404 Not Found and says "no such hook"`},
		{500, "<html>…", "it answers 500 Internal Server Error: "},
		{302, "", "sends on to another address"},
	} {
		address, ca, requests := hookServer(t, c.status, c.answer)
		w := Webhook{URL: address + "/T0KEN", CAFile: ca}
		err := w.send(t.Context(), sender().Test(when(1), "v1"))
		if !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "T0KEN") {
			t.Errorf("%d: %v", c.status, err)
		}
		if len(requests) != 1 {
			t.Errorf("%d: %d requests", c.status, len(requests))
		}
	}
	address, _, _ := hookServer(t, 200, "")
	w := Webhook{URL: address + "/T0KEN"}
	if err := w.send(t.Context(), sender().Test(when(1), "v1")); err == nil || !strings.Contains(err.Error(), "unknown authority") || strings.Contains(err.Error(), "T0KEN") {
		t.Error(err)
	}
	w = Webhook{URLFile: password(t, "ftp://x/T0KEN")}
	if err := w.send(t.Context(), sender().Test(when(1), "v1")); !errors.Is(err, fault.Invalid) || strings.Contains(err.Error(), "T0KEN") {
		t.Error(err)
	}
}

// TestPing: the suffixes that healthchecks.io knows, and one run ID for the
// start and the end of a job.
func TestPing(t *testing.T) {
	address, ca, requests := hookServer(t, http.StatusOK, "OK")
	p := Ping{URL: address + "/uuid?x=1", CAFile: ca}
	job := &journal.Job{ID: 5, Policy: "p", State: journal.Failed, Error: "the disk is full", Started: when(2), Ended: when(3)}
	for _, c := range []struct {
		happening journal.Happening
		path      string
	}{{journal.Began, "/uuid/start?rid="}, {journal.Success, "/uuid?rid="}, {journal.Failure, "/uuid/fail?rid="}} {
		if err := p.send(t.Context(), sender().Message([]*journal.Event{{ID: 1, Happening: c.happening, Time: when(3), Job: job}})); err != nil {
			t.Fatal(err)
		}
		r := <-requests
		id, x, ok := strings.Cut(strings.TrimPrefix(r.path, c.path), "&x=1")
		if !ok || x != "" || len(id) != 36 || id != sender().Test(when(1), "").run(5) {
			t.Errorf("%s: %s", c.happening, r.path)
		}
		if c.happening == journal.Failure && !strings.Contains(string(r.body), "the disk is full") {
			t.Errorf("%s", r.body)
		}
	}
	if err := p.send(t.Context(), sender().Test(when(1), "v1")); err != nil {
		t.Fatal(err)
	}
	if r := <-requests; r.path != "/uuid?x=1" {
		t.Errorf("a test: %s", r.path)
	}
}

// TestCommand: no shell, JSON on its input, its last words in the error; and
// one that others may change is not run.
func TestCommand(t *testing.T) {
	dir := t.TempDir()
	out, program := filepath.Join(dir, "out"), filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\ncat >\"$1\"\necho \"$TIDEMARK_EVENT: $TIDEMARK_SUBJECT\" >>\"$1\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	message := sender().Message([]*journal.Event{raised(7, journal.BackupFailed, "documents", "it; `fell`")})
	c := Command{Command: []string{program, out}}
	if err := c.send(t.Context(), message); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil || !strings.Contains(string(b), "it; `fell`") || !strings.HasSuffix(string(b), "raised: CRITICAL: Backup failed (documents on fileserver)\n") {
		t.Errorf("%s, %v", b, err)
	}
	c = Command{Command: []string{"/bin/sh", "-c", "echo no pager >&2; exit 3"}}
	if err := c.send(t.Context(), message); err == nil || !strings.Contains(err.Error(), `exit status 3 and says "no pager"`) {
		t.Error(err)
	}
	ctx, stop := contextOf(t, 100*time.Millisecond)
	defer stop()
	c = Command{Command: []string{"/bin/sh", "-c", "sleep 1000 & wait"}}
	if err := c.send(ctx, message); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "was killed") {
		t.Error(err)
	}
	if err := os.Chmod(program, 0o777); err != nil {
		t.Fatal(err)
	}
	c = Command{Command: []string{program, out}}
	if err := c.send(t.Context(), message); !errors.Is(err, fault.Denied) {
		t.Error(err)
	}
}
