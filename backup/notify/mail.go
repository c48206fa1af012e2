package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Mail is a server for mail, and who gets it.
type Mail struct {
	Wishes
	Server       string   `toml:"server"` // "host:port"
	TLS          string   `toml:"tls"`    // "starttls" (""), "tls", or "none", which is for this machine only
	CAFile       string   `toml:"ca_file"`
	User         string   `toml:"user"` // "": no login
	PasswordFile string   `toml:"password_file"`
	From         string   `toml:"from"`
	To           []string `toml:"to"`
}

// The words of Mail.TLS.
const (
	startTLS = "starttls"
	onlyTLS  = "tls"
	noTLS    = "none"
)

const maxRecipients = 100

func (m *Mail) wrong() *Wrong {
	host, _, err := net.SplitHostPort(m.Server)
	switch {
	case err != nil || host == "":
		return wrong("server", "%q is not like \"mail.example.com:587\"", m.Server)
	case m.TLS != "" && m.TLS != startTLS && m.TLS != onlyTLS && m.TLS != noTLS:
		return wrong("tls", "%q is not starttls, tls or none", m.TLS)
	case m.TLS == noTLS && !isLocal(host):
		return wrong("tls", "without TLS mail goes to a server on this machine only")
	case (m.User == "") != (m.PasswordFile == ""):
		return wrong("user", "user and password_file belong together")
	case len(m.To) == 0:
		return wrong("to", "nobody gets the mail")
	case len(m.To) > maxRecipients:
		return wrong("to", "%d addresses, but %d are possible", len(m.To), maxRecipients)
	}
	if _, err := mail.ParseAddress(m.From); err != nil {
		return wrong("from", "%q is no address", m.From)
	}
	for _, a := range m.To {
		if _, err := mail.ParseAddress(a); err != nil {
			return wrong("to", "%q is no address", a)
		}
	}
	return notAbsolute([2]string{"password_file", m.PasswordFile}, [2]string{"ca_file", m.CAFile})
}

// send hands the message to the server. That it has taken it is all that is
// known.
func (m *Mail) send(ctx context.Context, msg *Message) error {
	password := ""
	if m.PasswordFile != "" {
		var err error
		if password, err = secret(m.PasswordFile); err != nil {
			return err
		}
	}
	c, closing, err := m.dial(ctx, msg.Host)
	if err != nil {
		return err
	}
	defer closing()
	if m.User != "" {
		if err := m.login(c, password); err != nil {
			return err
		}
	}
	return m.deliver(c, msg)
}

// dial reaches the server, and encrypts the way to it.
func (m *Mail) dial(ctx context.Context, self string) (*smtp.Client, func(), error) {
	host, _, err := net.SplitHostPort(m.Server)
	if err != nil {
		return nil, nil, fmt.Errorf("mail server %q: %w: %w", m.Server, err, fault.Invalid)
	}
	conf, err := trust(m.CAFile)
	if err != nil {
		return nil, nil, err
	}
	conf.ServerName = host
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.Server)
	if err != nil {
		return nil, nil, fmt.Errorf("reach the mail server %s: %w", m.Server, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	fail := func(what string, err error) (*smtp.Client, func(), error) {
		stop()
		if ctx.Err() != nil {
			err = fmt.Errorf("it did not answer in time: %w", fault.Unavailable)
		}
		return nil, nil, errors.Join(fmt.Errorf("%s %s: %w", what, m.Server, err), ignoreClosed(conn.Close()))
	}
	if m.TLS == onlyTLS {
		secure := tls.Client(conn, conf)
		if err := secure.HandshakeContext(ctx); err != nil {
			if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
				err = fmt.Errorf("it does not speak TLS from the start; tls = \"starttls\" is for port 587: %w", err)
			}
			return fail("encrypt the way to the mail server", err)
		}
		conn = secure
	}
	c, err := smtp.NewClient(conn, host)
	if err == nil {
		err = c.Hello(self)
	}
	if err != nil {
		return fail("greet the mail server", err)
	}
	if m.TLS == "" || m.TLS == startTLS {
		err := fmt.Errorf("it offers no STARTTLS; tls = \"tls\" is for port 465: %w", fault.Unsupported)
		if ok, _ := c.Extension("STARTTLS"); ok {
			err = c.StartTLS(conf)
		}
		if err != nil {
			return fail("encrypt the way to the mail server", err)
		}
	}
	return c, func() { stop(); _ = c.Close() }, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (m *Mail) login(c *smtp.Client, password string) error {
	_, offered := c.Extension("AUTH")
	host, _, _ := net.SplitHostPort(m.Server) // it was reached
	var err error
	switch methods := strings.Fields(strings.ToUpper(offered)); {
	case has(methods, "PLAIN"):
		err = c.Auth(smtp.PlainAuth("", m.User, password, host))
	case has(methods, "LOGIN"):
		err = c.Auth(&loginAuth{user: m.User, password: password})
	default:
		err = fmt.Errorf("of PLAIN and LOGIN it offers neither, but %q: %w", offered, fault.Unsupported)
	}
	if err != nil {
		return fmt.Errorf("log in to the mail server %s as %s: %w", m.Server, m.User, err)
	}
	return nil
}

func has(list []string, word string) bool {
	for _, w := range list {
		if w == word {
			return true
		}
	}
	return false
}

// loginAuth is the way to log in that was never standardized, and is the only
// one of some servers.
type loginAuth struct{ user, password string }

var _ smtp.Auth = (*loginAuth)(nil)

// Start implements smtp.Auth.
func (a *loginAuth) Start(server *smtp.ServerInfo) (string, []byte, error) {
	if !server.TLS && !isLocal(server.Name) {
		return "", nil, fmt.Errorf("the way is not encrypted: %w", fault.Denied)
	}
	return "LOGIN", nil, nil
}

// Next implements smtp.Auth: the server asks for the name, then for the
// password, in words of its own.
func (a *loginAuth) Next(asks []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	if strings.Contains(strings.ToLower(string(asks)), "user") {
		return []byte(a.user), nil
	}
	return []byte(a.password), nil
}

func (m *Mail) deliver(c *smtp.Client, msg *Message) error {
	if err := c.Mail(address(m.From)); err != nil {
		return fmt.Errorf("send mail from %s: %w", address(m.From), err)
	}
	var refused []error
	for _, to := range m.To {
		if err := c.Rcpt(address(to)); err != nil {
			refused = append(refused, fmt.Errorf("send mail to %s: %w", address(to), err))
		}
	}
	// One address that is gone must not keep it from the others.
	if len(refused) == len(m.To) || anyTemporary(refused) {
		return errors.Join(refused...)
	}
	w, err := c.Data()
	if err != nil {
		return fmt.Errorf("send mail: %w", err)
	}
	_, err = w.Write(m.text(msg))
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("send mail: %w", err)
	}
	// It has been taken: what goes wrong now must not have it sent again.
	_ = c.Quit()
	if msg.test {
		return errors.Join(refused...) // the others got it; who tests wants to know
	}
	return nil
}

// anyTemporary says whether one is worth another try, as a greylist's is.
func anyTemporary(list []error) bool {
	for _, err := range list {
		if reply, ok := errors.AsType[*textproto.Error](err); !ok || reply.Code < 500 {
			return true
		}
	}
	return false
}

// text returns the mail.
func (m *Mail) text(msg *Message) []byte {
	var b strings.Builder
	header := func(name, value string) {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	to := make([]string, len(m.To))
	for i, a := range m.To {
		to[i] = header7(a)
	}
	header("From", header7(m.From))
	header("To", strings.Join(to, ",\r\n "))
	header("Subject", encodeWords("[tidemark] "+msg.Subject))
	header("Date", msg.Time.Format(time.RFC1123Z))
	header("Message-ID", "<"+msg.ID+"."+m.Name+"@"+msg.Host+">")
	header("Auto-Submitted", "auto-generated") // so that no robot answers
	header("X-Tidemark-Event", msg.What)
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	quotePrintable(&b, msg.Text)
	return []byte(b.String())
}

func address(full string) string {
	a, err := mail.ParseAddress(full)
	if err != nil {
		return full // the configuration was checked
	}
	return a.Address
}

// header7 writes an address in ASCII.
func header7(full string) string {
	a, err := mail.ParseAddress(full)
	if err != nil {
		return encodeWords(full)
	}
	return a.String()
}
