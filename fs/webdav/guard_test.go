package webdav

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs/access"
	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// guarded is a share with the accounts ann (uid 1000) and boss.
func guarded(t *testing.T, log io.Writer, files ...fsconform.File) *share {
	t.Helper()
	s := newShare(t, files...)
	uid := uint32(1000)
	hash := access.Hash([]byte("right"))
	all := access.Accounts{"ann": {Name: "ann", Password: hash, UID: &uid}, "boss": {Name: "boss", Password: hash, Admin: true}}
	g := &Guard{Tree: s.tree, Logins: access.NewLogins(func(n string) *access.Account { return all[n] }, time.Now)}
	if log != nil {
		g.Log = slog.New(slog.NewJSONHandler(log, nil))
	}
	s.h = g.Around(New(g.View, Options{}))
	return s
}

func owned(path string, mode, uid uint32, content string) fsconform.File {
	f := text(path, content)
	f.Entry.Mode, f.Entry.UID = mode, uid
	return f
}

// basic is the header of user and password "right".
func basic(user string) string {
	r, _ := http.NewRequest("GET", "/", nil)
	r.SetBasicAuth(user, "right")
	return "Authorization: " + r.Header.Get("Authorization")
}

func TestG1AChallengeSaysThatThisIsWebDAV(t *testing.T) {
	s := guarded(t, nil, text("/f", "x"))
	s.status(200, "OPTIONS", "/", windowsAgent, "")
	for _, agent := range []string{windowsAgent, macAgent, gvfsAgent} {
		r := s.status(401, "PROPFIND", "/", agent, "", "Depth: 0")
		if r.Header.Get("DAV") == "" || len(r.Header.Values("WWW-Authenticate")) != 1 {
			t.Errorf("%s: %v", agent, r.Header)
		}
	}
}

func TestEverybodySeesHisOwn(t *testing.T) {
	private := fsconform.File{Path: "/home/bob", Entry: table.Entry{Kind: table.Folder, Mode: 0o700, UID: 1001}}
	s := guarded(t, nil, owned("/home/ann.txt", 0o600, 1000, "ann's"), owned("/home/bob.txt", 0o600, 1001, "bob's"),
		private, owned("/home/bob/secret-name", 0o644, 1001, "secret"), link("/home/way", "bob/secret-name"))
	for path, want := range map[string]map[string]int{
		"/home/ann.txt":                         {"ann": 200, "boss": 200},
		"/home/bob.txt":                         {"ann": 403, "boss": 200},
		"/home/bob/secret-name":                 {"ann": 403, "boss": 200},
		"/home/bob/no-such-name":                {"ann": 403, "boss": 404},
		"/home/way":                             {"ann": 403, "boss": 200},
		"/home/bob/?zip":                        {"ann": 200, "boss": 200},
		"/home/?zip&name=bob.txt":               {"ann": 200, "boss": 200},
		"/home/@more-9/../bob/secret-name":      {"ann": 404, "boss": 404},
		"/home/bob%2fsecret-name":               {"ann": 404, "boss": 404},
		"/home/ann.txt/../bob/secret-name?zip=": {"ann": 404, "boss": 404},
	} {
		for user, status := range want {
			r := s.status(status, "GET", top+path, gvfsAgent, "", basic(user))
			if body := read(t, r); user == "ann" && (strings.Contains(body, "secret-name") || strings.Contains(body, "bob's")) {
				t.Errorf("%s: ann gets %q", path, body)
			}
		}
	}
	r := s.status(207, "PROPFIND", top+"/home", gvfsAgent, "", "Depth: 1", basic("ann"))
	body := read(t, r)
	if !strings.Contains(body, "bob.txt") || strings.Contains(body, "secret-name") || strings.Count(body, "getetag") != 2 {
		t.Errorf("ann's listing: %s", body)
	}
	s.status(403, "PROPFIND", top+"/home/bob/", gvfsAgent, "", "Depth: 1", basic("ann"))
	s.status(401, "GET", top+"/home/ann.txt", gvfsAgent, "", "Authorization: Basic eDp5")
}

func TestAccessLog(t *testing.T) {
	var log bytes.Buffer
	s := guarded(t, &log, text("/f", "hello"))
	s.status(200, "GET", top+"/f", gvfsAgent, "", basic("ann"))
	s.status(404, "GET", top+"/%1b[31m%0a", gvfsAgent, "", basic("ann"))
	s.status(401, "GET", top+"/f", gvfsAgent, "")
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines: %s", len(lines), log.String())
	}
	for i, want := range []struct {
		user   string
		status float64
	}{{"ann", 200}, {"ann", 404}, {"", 401}} {
		var line map[string]any
		if err := json.Unmarshal([]byte(lines[i]), &line); err != nil || line["user"] != want.user || line["status"] != want.status || line["from"] == "" {
			t.Errorf("%s", lines[i])
		}
	}
	if strings.Contains(log.String(), "\x1b") {
		t.Error("the log can command a terminal")
	}
}

func TestServeOverTLS(t *testing.T) {
	s := guarded(t, nil, text("/f", strings.Repeat("hello", 100_000)))
	path := filepath.Join(t.TempDir(), "serve.pem")
	c, err := Certificate(path, []string{"localhost", "127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	again, err := Certificate(path, nil, time.Now())
	if err != nil || Fingerprint(&again) != Fingerprint(&c) || len(Fingerprint(&c)) != 95 {
		t.Fatalf("the second start has another certificate: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		done <- Serve(ctx, l, s.h, &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12}, slog.New(slog.DiscardHandler))
	}()
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(leaf)
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+l.Addr().String()+top+"/f", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("ann", "right")
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if body := read(t, answer); answer.ProtoMajor != 2 || len(body) != 500_000 {
		t.Errorf("%s, %d bytes", answer.Proto, len(body))
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
