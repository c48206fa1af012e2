package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/backup/hook"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/process"
)

// Webhook is an address that gets a POST with the Message as JSON. With a
// secret the header X-Tidemark-Signature-256 has "sha256=" and the HMAC-SHA-256
// of the body in hexadecimal, as GitHub's hooks do it.
type Webhook struct {
	Wishes
	URL        string `toml:"url"`      // one of both
	URLFile    string `toml:"url_file"` // for an address that is a secret
	SecretFile string `toml:"secret_file"`
	CAFile     string `toml:"ca_file"`
}

// Ping is the address of a dead man's switch, as healthchecks.io has them: with
// /start when a job begins, as it is when it wrote a point, and with /fail when
// a failure is an alert.
type Ping struct {
	Name     string   `toml:"name"`
	Policies []string `toml:"policies"`
	URL      string   `toml:"url"` // one of both
	URLFile  string   `toml:"url_file"`
	CAFile   string   `toml:"ca_file"`
}

// Command is a program that gets the Message as JSON on its standard input, and
// its parts in the environment.
type Command struct {
	Wishes
	Command []string `toml:"command"` // program and arguments, with no shell
}

func wrongAddress(address, file, ca string) *Wrong {
	switch why := wrongURL(address); {
	case (address == "") == (file == ""):
		return wrong("url", "give one of url and url_file")
	case address != "" && why != "":
		return wrong("url", "%s", why)
	}
	return notAbsolute([2]string{"url_file", file}, [2]string{"ca_file", ca})
}

func (w *Webhook) wrong() *Wrong {
	if bad := wrongAddress(w.URL, w.URLFile, w.CAFile); bad != nil {
		return bad
	}
	return notAbsolute([2]string{"secret_file", w.SecretFile})
}

func (p *Ping) wrong() *Wrong { return wrongAddress(p.URL, p.URLFile, p.CAFile) }

func (c *Command) wrong() *Wrong {
	switch {
	case len(c.Command) == 0 || c.Command[0] == "":
		return wrong("command", "it is empty")
	case !filepath.IsAbs(c.Command[0]):
		return wrong("command", "%q is not an absolute path", c.Command[0])
	}
	return nil
}

// address returns the URL, from its file if it has one. Errors do not name it.
func target(given, file string) (string, error) {
	if given != "" {
		return given, nil
	}
	address, err := secret(file)
	if err != nil {
		return "", err
	}
	if why := wrongURL(address); why != "" {
		return "", fmt.Errorf("the address in %s: %s: %w", file, why, fault.Invalid)
	}
	return address, nil
}

func (w *Webhook) send(ctx context.Context, m *Message) error {
	address, err := target(w.URL, w.URLFile)
	if err != nil {
		return err
	}
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	header := http.Header{"Content-Type": {"application/json"}, "X-Tidemark-Event": {m.What}, "Idempotency-Key": {m.ID}}
	if w.SecretFile != "" {
		key, err := secret(w.SecretFile)
		if err != nil {
			return err
		}
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(body)
		header.Set("X-Tidemark-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	return call(ctx, address, w.CAFile, header, body)
}

func (p *Ping) send(ctx context.Context, m *Message) error {
	address, err := target(p.URL, p.URLFile)
	if err != nil {
		return err
	}
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("its address is wrong: %w", fault.Invalid)
	}
	suffix, run := "", ""
	for _, e := range m.Events {
		switch e.Happening {
		case journal.Began:
			suffix = "start"
		case journal.Failure:
			suffix = "fail"
		}
		if e.Job != nil {
			run = m.run(e.Job.ID)
		}
	}
	if suffix != "" {
		u = u.JoinPath(suffix)
	}
	if run != "" { // so that the watch knows which end is of which start
		q := u.Query()
		q.Set("rid", run)
		u.RawQuery = q.Encode()
	}
	return call(ctx, u.String(), p.CAFile, http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, []byte(m.Text))
}

const maxAnswer = 64 << 10 // bytes that are read of an answer

// call sends a POST. The address may be a secret, so that errors do not name
// it.
func call(ctx context.Context, address, caFile string, header http.Header, body []byte) error {
	conf, err := trust(caFile)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("its address is wrong: %w", fault.Invalid)
	}
	r.Header = header
	r.Header.Set("User-Agent", "tidemark")
	client := &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, DisableKeepAlives: true},
		// A POST that is sent on becomes a GET, and arrives without its body.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	reply, err := client.Do(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		if ctx.Err() != nil {
			err = fmt.Errorf("it did not answer in time: %w", fault.Unavailable)
		}
		return fmt.Errorf("call %s: %w", r.URL.Host, err)
	}
	defer reply.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(reply.Body, maxAnswer))
	switch {
	case reply.StatusCode/100 == 3:
		return fmt.Errorf("call %s: it answers %s and sends on to another address; give that: %w", r.URL.Host, reply.Status, fault.Unavailable)
	case reply.StatusCode/100 != 2:
		return fmt.Errorf("call %s: it answers %s%s: %w", r.URL.Host, reply.Status, excerpt(answer), fault.Unavailable)
	case err != nil:
		return fmt.Errorf("call %s: read its answer: %w", r.URL.Host, err)
	}
	return nil
}

// excerpt returns the beginning of what somebody answers, for an error.
func excerpt(answer []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(answer), "?")), " ")
	if text == "" || strings.HasPrefix(text, "<") { // a page says nothing here
		return ""
	}
	if r := []rune(text); len(r) > 200 {
		text = string(r[:200]) + "…"
	}
	return fmt.Sprintf(" and says %q", text)
}

func (c *Command) send(ctx context.Context, m *Message) error {
	if err := hook.Safe(c.Command[0]); err != nil {
		return fmt.Errorf("run %s: %w", c.Command[0], err)
	}
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, c.Command[0], c.Command[1:]...)
	cmd.Env = append(os.Environ(), "TIDEMARK_EVENT="+m.What, "TIDEMARK_SUBJECT="+m.Subject, "TIDEMARK_ID="+m.ID, "TIDEMARK_HOST="+m.Host)
	cmd.Dir = string(filepath.Separator)
	if volume := filepath.VolumeName(c.Command[0]); volume != "" {
		cmd.Dir = volume + cmd.Dir
	}
	cmd.Stdin = bytes.NewReader(body)
	var out head
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	process.KillGroup(cmd)
	err = cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("it did not end in time and was killed: %w", fault.Unavailable)
	}
	if err != nil {
		return fmt.Errorf("run %s: %w%s", c.Command[0], err, excerpt(out.b))
	}
	return nil
}

// head keeps the beginning of what is written.
type head struct{ b []byte }

var _ io.Writer = (*head)(nil)

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), maxAnswer-len(h.b))]...)
	return len(p), nil
}
