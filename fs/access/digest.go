package access

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	hashes "hash"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Digest authentication, RFC 7616 with qop="auth" alone, is for clients that
// send no password over a connection without TLS: Windows to a loopback address.
// It needs a hash that is as good as the password to who has it, so that an
// account has one only if asked for. Nonces are made without state and hold
// for some minutes; a request can be repeated as long by who reads along, which
// on loopback or inside TLS is nobody.

// Digest holds what Digest authentication needs of a password: the hash of
// name, realm and password.
type Digest struct {
	SHA256 string `toml:"sha256"`
	MD5    string `toml:"md5"` // for old clients, Windows among them
}

// Realm is what accounts are for, and part of what Digest hashes.
const Realm = "Recovery points"

// nonceHolds is how long a client may use a nonce.
const nonceHolds = 5 * time.Minute

// NewDigest returns what Digest authentication needs.
func NewDigest(name string, password []byte) *Digest {
	text := name + ":" + Realm + ":" + string(password)
	return &Digest{SHA256: sum(sha256.New, text), MD5: sum(md5.New, text)}
}

func sum(h func() hashes.Hash, parts ...string) string {
	s := h()
	s.Write([]byte(strings.Join(parts, ":")))
	return hex.EncodeToString(s.Sum(nil))
}

func (d *Digest) valid() bool {
	a, err1 := hex.DecodeString(d.SHA256)
	b, err2 := hex.DecodeString(d.MD5)
	return err1 == nil && err2 == nil && len(a) == sha256.Size && len(b) == md5.Size
}

// DigestChallenges returns the values of WWW-Authenticate headers, the better
// algorithm first. stale says that only the nonce was too old.
func (l *Logins) DigestChallenges(stale bool) []string {
	at := binary.BigEndian.AppendUint64(nil, uint64(l.now().Unix()))
	nonce := base64.RawURLEncoding.EncodeToString(append(at, l.nonceMAC(at)...))
	var all []string
	for _, algorithm := range []string{"SHA-256", "MD5"} {
		c := fmt.Sprintf(`Digest realm="%s", qop="auth", algorithm=%s, nonce="%s", charset=UTF-8`, Realm, algorithm, nonce)
		if stale {
			c += ", stale=true"
		}
		all = append(all, c)
	}
	return all
}

func (l *Logins) nonceMAC(at []byte) []byte {
	mac := hmac.New(sha256.New, l.nonces[:])
	mac.Write(at)
	return mac.Sum(nil)[:16]
}

// nonce says whether this process made a nonce, and whether it still holds.
func (l *Logins) nonce(s string) (ours, fresh bool) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != 24 || !hmac.Equal(b[8:], l.nonceMAC(b[:8])) {
		return false, false
	}
	age := l.now().Sub(time.Unix(int64(binary.BigEndian.Uint64(b)), 0))
	return true, age <= nonceHolds && age >= -time.Minute
}

// Stale is the error of a nonce that is too old: the client answers a new one
// without asking its user.
type Stale struct{}

// Error implements error.
func (Stale) Error() string { return "the nonce is too old" }

// Unwrap makes it fault.Denied.
func (Stale) Unwrap() error { return fault.Denied }

// CheckDigest returns who answers a challenge in an Authorization header, for a
// request of a method and URI. Wrong answers are fault.Denied, and slowed as
// those of Check are.
func (l *Logins) CheckDigest(header, method, uri, address string) (*User, error) {
	f := parseDigest(header)
	name := f["username"]
	keys := []string{accountKey + name, "address " + address}
	if err := l.mayTry(keys); err != nil {
		return nil, err
	}
	ours, fresh := l.nonce(f["nonce"])
	if ours && !fresh {
		return nil, Stale{}
	}
	a := l.account(name)
	known := a != nil && a.Digest != nil
	d := &Digest{SHA256: strings.Repeat("0", 64), MD5: strings.Repeat("0", 32)} // so that it takes as long
	if known {
		d = a.Digest
	}
	good := d.answers(f, method) && known && ours && f["realm"] == Realm && f["qop"] == "auth" && sameURI(f["uri"], uri)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !good {
		l.failed(keys)
		return nil, fmt.Errorf("log in %q: %w", name, fault.Denied)
	}
	for _, k := range keys {
		delete(l.failures, k)
	}
	return a.User(), nil
}

// answers says whether the response is that of the account.
func (d *Digest) answers(f map[string]string, method string) bool {
	h, secret := md5.New, d.MD5
	if strings.EqualFold(f["algorithm"], "SHA-256") {
		h, secret = sha256.New, d.SHA256
	} else if f["algorithm"] != "" && !strings.EqualFold(f["algorithm"], "MD5") {
		return false
	}
	want := sum(h, secret, f["nonce"], f["nc"], f["cnonce"], f["qop"], sum(h, method, f["uri"]))
	return subtle.ConstantTimeCompare([]byte(strings.ToLower(f["response"])), []byte(want)) == 1
}

// sameURI compares what a client hashed with what it asked for. G11: some leave
// out the last slash of one of them, or give the whole URL.
func sameURI(hashed, asked string) bool {
	if i := strings.Index(hashed, "://"); i > 0 {
		if j := strings.IndexByte(hashed[i+3:], '/'); j >= 0 {
			hashed = hashed[i+3+j:]
		}
	}
	return strings.TrimSuffix(hashed, "/") == strings.TrimSuffix(asked, "/")
}

// maxDigestFields bounds a header: the RFC has twelve.
const maxDigestFields = 20

// parseDigest reads the fields of a header that begins with "Digest ". What is
// wrong in it is left out, and so the answer is wrong.
func parseDigest(header string) map[string]string {
	f := map[string]string{}
	_, rest, _ := strings.Cut(header, " ")
	for len(rest) > 0 && len(f) < maxDigestFields {
		name, value, ok := strings.Cut(rest, "=")
		if !ok {
			break
		}
		name = strings.ToLower(strings.Trim(name, " ,\t"))
		value = strings.TrimLeft(value, " ")
		if strings.HasPrefix(value, `"`) {
			value, rest = unquote(value[1:])
		} else {
			value, rest, _ = strings.Cut(value, ",")
			value = strings.TrimSpace(value)
		}
		if _, twice := f[name]; !twice {
			f[name] = value
		}
	}
	return f
}

// unquote reads a quoted string behind its first quote, and returns what
// follows.
func unquote(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			return b.String(), s[i+1:]
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}
