package notify

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// certificate makes one for this machine, which is its own authority.
func certificate(t *testing.T, dir string, until time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	err = errors.Join(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// received is a mail as the server has it.
type received struct {
	From, User, Helo string
	To               []string
	TLS              bool
	Data             []byte
}

// read takes the mail apart.
func (r *received) read(t *testing.T) (m *mail.Message, subject, text string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(string(r.Data)))
	if err != nil {
		t.Fatal(err)
	}
	subject, err = (&mime.WordDecoder{}).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	return m, subject, strings.ReplaceAll(string(b), "\r\n", "\n")
}

// server is a real mail server.
type server struct {
	t       *testing.T
	address string
	lines   *bufio.Scanner
}

type serverOptions struct {
	TLS   string   `json:"tls"`
	Cert  string   `json:"cert"`
	Key   string   `json:"key"`
	Hide  []string `json:"hide"`
	Login bool     `json:"login"`
}

func startServer(t *testing.T, o serverOptions) *server {
	t.Helper()
	if o.Hide == nil {
		o.Hide = []string{}
	}
	conf, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/bin/python3", "-W", "ignore", filepath.Join("testdata", "smtpd.py"), string(conf))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: the mail server of these tests is Debian's python3-aiosmtpd", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	})
	s := &server{t: t, lines: bufio.NewScanner(out)}
	s.lines.Buffer(nil, 10<<20)
	if !s.lines.Scan() {
		t.Fatal("the mail server does not start")
	}
	s.address = "127.0.0.1:" + s.lines.Text()
	return s
}

// next waits for a mail.
func (s *server) next() *received {
	s.t.Helper()
	if !s.lines.Scan() {
		s.t.Fatal("no mail came")
	}
	r := &received{}
	if err := json.Unmarshal(s.lines.Bytes(), r); err != nil {
		s.t.Fatal(err)
	}
	return r
}

func password(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func when(hour int) time.Time { return time.Date(2026, 11, 26, hour, 0, 0, 0, time.UTC) }

func sender() *Sender { return &Sender{Host: "fileserver", Seed: "seed", Zone: time.UTC} }

func raised(id uint64, kind journal.Kind, policy, text string) *journal.Event {
	a := &journal.Alert{ID: id, Kind: kind, Severity: kind.Severity(), Policy: policy, Text: text, First: when(3), Last: when(3), Count: 1, Active: true}
	return &journal.Event{ID: id, Happening: journal.Raised, Time: when(3), Alert: a}
}

// TestMail sends one mail each way to a real server, and looks at what came.
func TestMail(t *testing.T) {
	cert, key := certificate(t, t.TempDir(), time.Now().Add(time.Hour))
	text := "job 12 failed: read /srv/Übergabe\r\nBcc: eve@example.com\n.\n" + strings.Repeat("a long line ", 200)
	for _, c := range []struct {
		name   string
		server serverOptions
		mail   Mail
	}{
		{"starttls", serverOptions{TLS: "starttls", Login: true}, Mail{}},
		{"only the login of old servers", serverOptions{TLS: "starttls", Login: true, Hide: []string{"PLAIN"}}, Mail{TLS: startTLS}},
		{"tls", serverOptions{TLS: "tls", Login: true}, Mail{TLS: onlyTLS}},
		{"none", serverOptions{TLS: "none"}, Mail{TLS: noTLS}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.server.Cert, c.server.Key = cert, key
			s := startServer(t, c.server)
			c.mail.Wishes, c.mail.Server, c.mail.CAFile = Wishes{Name: "admins"}, s.address, cert
			c.mail.From, c.mail.To = "Bäckup <backup@example.com>", []string{"ann@example.com", "Bob <bob@example.com>"}
			if c.server.Login {
				c.mail.User, c.mail.PasswordFile = "ann", password(t, "right horse")
			}
			if bad := c.mail.wrong(); bad != nil {
				t.Fatal(bad)
			}
			m := sender().Message([]*journal.Event{raised(7, journal.BackupFailed, "dökumente", text)})
			if err := c.mail.send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			r := s.next()
			if r.From != "backup@example.com" || !slices.Equal(r.To, []string{"ann@example.com", "bob@example.com"}) || r.Helo != "fileserver" ||
				(r.User == "ann") != c.server.Login || r.TLS == (c.server.TLS == "none") {
				t.Errorf("%+v", r)
			}
			got, subject, body := r.read(t)
			if subject != "[tidemark] CRITICAL: Backup failed (dökumente on fileserver)" {
				t.Errorf("subject %q", subject)
			}
			if !strings.Contains(body, strings.ReplaceAll(text, "\r", "?")) || got.Header.Get("Bcc") != "" || len(got.Header) != 10 {
				t.Errorf("%v\n%s", got.Header, body)
			}
			for line := range strings.Lines(string(r.Data)) {
				if len(line) > 200 {
					t.Errorf("a line of %d bytes", len(line))
				}
			}
		})
	}
}

// TestMailSaysWhatGoesWrong: each thing that a configuration can have wrong is
// told so that whoever reads it knows what to change.
func TestMailSaysWhatGoesWrong(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir, time.Now().Add(time.Hour))
	start := startServer(t, serverOptions{TLS: "starttls", Cert: cert, Key: key, Login: true})
	plain := startServer(t, serverOptions{TLS: "none", Cert: cert, Key: key})
	odd := startServer(t, serverOptions{TLS: "starttls", Cert: cert, Key: key, Login: true, Hide: []string{"PLAIN", "LOGIN"}})
	open := filepath.Join(dir, "open")
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err := errors.Join(err, os.WriteFile(open, []byte("x"), 0o644), os.Chmod(open, 0o644), closed.Close()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		edit func(*Mail)
		want string
	}{
		{"password", func(m *Mail) { m.PasswordFile = password(t, "wrong") }, "log in to the mail server " + start.address + " as ann: 535"},
		{"password that others read", func(m *Mail) { m.PasswordFile = open }, "others may read (mode 0644); chmod 600"},
		{"no password", func(m *Mail) { m.PasswordFile = filepath.Join(dir, "none") }, "no such file"},
		{"authority", func(m *Mail) { m.CAFile = "" }, "certificate signed by unknown authority"},
		{"not a certificate", func(m *Mail) { m.CAFile = open }, "there is none in PEM"},
		{"tls on the wrong port", func(m *Mail) { m.TLS = onlyTLS }, `tls = "starttls" is for port 587`},
		{"no starttls", func(m *Mail) { m.Server = plain.address }, `it offers no STARTTLS; tls = "tls" is for port 465`},
		{"nobody listens", func(m *Mail) { m.Server = closed.Addr().String() }, "reach the mail server " + closed.Addr().String() + ": dial tcp"},
		{"ways to log in", func(m *Mail) { m.Server = odd.address }, "of PLAIN and LOGIN it offers neither"},
		{"nobody takes it", func(m *Mail) { m.To = []string{"gone@example.com"} }, "send mail to gone@example.com: 550 \"5.1.1 no such mailbox\""},
		{"later", func(m *Mail) { m.To = []string{"later@example.com", "ann@example.com"} }, "451 \"4.7.1 greylisted\""},
	} {
		m := Mail{Server: start.address, CAFile: cert, User: "ann", PasswordFile: password(t, "right horse"), From: "a@example.com", To: []string{"b@example.com"}}
		c.edit(&m)
		if err := m.send(t.Context(), sender().Test(when(1), "v1")); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// One of two that is gone keeps it from nobody; a test tells of it.
	m := Mail{Server: start.address, CAFile: cert, User: "ann", PasswordFile: password(t, "right horse"), From: "a@example.com", To: []string{"gone@example.com", "b@example.com"}}
	if err := m.send(t.Context(), sender().Message([]*journal.Event{raised(1, journal.Silent, "p", "x")})); err != nil {
		t.Error(err)
	}
	if r := start.next(); !slices.Equal(r.To, []string{"b@example.com"}) {
		t.Errorf("%+v", r)
	}
	if err := m.send(t.Context(), sender().Test(when(1), "v1")); err == nil || !strings.Contains(err.Error(), "gone@example.com") {
		t.Error(err)
	}
}

// TestServerThatHangs: nobody waits longer than the context says.
func TestServerThatHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	release := make(chan struct{})
	defer close(release)
	for _, tls := range []string{startTLS, onlyTLS} {
		m := Mail{Server: l.Addr().String(), TLS: tls, From: "a@example.com", To: []string{"b@example.com"}}
		target := Target{Wishes: Wishes{Name: "x"}, send: m.send}
		ctx, stop := contextOf(t, 100*time.Millisecond)
		err := target.Send(ctx, sender().Test(when(1), "v1"))
		stop()
		if !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "did not answer in time") {
			t.Errorf("%s: %v", tls, err)
		}
	}
}

// TestHeaders: nothing that a name holds begins a header, or a mail.
func TestHeaders(t *testing.T) {
	for _, bad := range []string{"a\nBcc: x", "a\r\nBcc: x", "a\r\n\r\nbody", "\x00", "ü\nx", "\xff\n", strings.Repeat("ü ", 300)} {
		m := Mail{From: "a@example.com", To: []string{"b@example.com"}, Wishes: Wishes{Name: "n"}}
		raw := m.text(sender().Message([]*journal.Event{raised(1, journal.Silent, bad, bad)}))
		got, err := mail.ReadMessage(strings.NewReader(string(raw)))
		if err != nil || len(got.Header) != 10 {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
		for line := range strings.Lines(string(raw)) {
			if !strings.HasSuffix(line, "\r\n") || len(line) > 200 {
				t.Errorf("%q: a line %q", bad, line)
			}
		}
		for _, b := range raw {
			if b > 0x7e {
				t.Errorf("%q: byte %#x", bad, b)
				break
			}
		}
	}
	if got := fmt.Sprint(address("nobody")); got != "nobody" {
		t.Error(got)
	}
}
