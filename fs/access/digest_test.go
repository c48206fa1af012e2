package access

import (
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	hashes "hash"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// The example of RFC 7616, section 3.9.1.
func TestDigestOfTheRFC(t *testing.T) {
	f := parseDigest(`Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=SHA-256, ` +
		`nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", ` +
		`qop=auth, response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`)
	text := "Mufasa:http-auth@example.org:Circle of Life"
	d := &Digest{SHA256: sum(sha256.New, text), MD5: sum(md5.New, text)}
	if !d.answers(f, "GET") {
		t.Error("SHA-256")
	}
	f["algorithm"], f["response"] = "MD5", "8ca523f5e9506fed4657c9700eebdbec"
	if !d.answers(f, "GET") {
		t.Error("MD5")
	}
	if d.answers(f, "PUT") {
		t.Error("another method")
	}
}

// respond answers a challenge as a client does.
func respond(challenge, user, password, method, uri string) string {
	f := parseDigest(challenge)
	h := func() hashes.Hash { return md5.New() }
	if f["algorithm"] == "SHA-256" {
		h = sha256.New
	}
	secret := sum(h, user, f["realm"], password)
	response := sum(h, secret, f["nonce"], "00000001", "c", "auth", sum(h, method, uri))
	return fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", algorithm=%s, qop=auth, nc=00000001, cnonce="c"`,
		user, f["realm"], f["nonce"], uri, response, f["algorithm"])
}

func TestDigest(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	uid := uint32(1000)
	all := Accounts{"ann": {Name: "ann", UID: &uid, Digest: NewDigest("ann", []byte("right"))}, "bob": {Name: "bob", UID: &uid}}
	l := NewLogins(func(name string) *Account { return all[name] }, func() time.Time { return now })
	challenges := l.DigestChallenges(false)
	if len(challenges) != 2 || strings.Contains(challenges[0], "stale") || !strings.Contains(challenges[0], "SHA-256") {
		t.Fatal(challenges)
	}
	for i, c := range challenges {
		if u, err := l.CheckDigest(respond(c, "ann", "right", "GET", "/a/"), "GET", "/a", "1.1.1.1"); err != nil || u.UID != uid {
			t.Errorf("%d: %v", i, err)
		}
	}
	c := challenges[0]
	for name, header := range map[string]string{
		"wrong password":  respond(c, "ann", "wrong", "GET", "/a"),
		"no digest":       respond(c, "bob", "right", "GET", "/a"),
		"nobody":          respond(c, "eve", "", "GET", "/a"),
		"other URI":       respond(c, "ann", "right", "GET", "/b"),
		"other method":    respond(c, "ann", "right", "HEAD", "/a"),
		"nonce of others": respond(NewLogins(nil, func() time.Time { return now }).DigestChallenges(false)[0], "ann", "right", "GET", "/a"),
		"qop missing":     strings.Replace(respond(c, "ann", "right", "GET", "/a"), "qop=auth", "qop=auth-int", 1),
		"algorithm":       strings.Replace(respond(c, "ann", "right", "GET", "/a"), "SHA-256", "SHA-512", 1),
		"empty":           "Digest ",
	} {
		if u, err := l.CheckDigest(header, "GET", "/a", name); !errors.Is(err, fault.Denied) || u != nil {
			t.Errorf("%s: %v %v", name, u, err)
		}
		now = now.Add(31 * time.Second) // an account waits no longer
		c = l.DigestChallenges(false)[0]
	}
	old := respond(c, "ann", "right", "GET", "/a")
	now = now.Add(nonceHolds + time.Second)
	if _, err := l.CheckDigest(old, "GET", "/a", "1.1.1.1"); !errors.As(err, &Stale{}) {
		t.Errorf("an old nonce: %v", err)
	}
	if s := l.DigestChallenges(true)[0]; !strings.Contains(s, "stale=true") {
		t.Error(s)
	}
	for range 10 {
		_, _ = l.CheckDigest(respond(l.DigestChallenges(false)[0], "ann", "guess", "GET", "/a"), "GET", "/a", "6.6.6.6")
	}
	if _, err := l.CheckDigest(respond(l.DigestChallenges(false)[0], "ann", "right", "GET", "/a"), "GET", "/a", "6.6.6.6"); !errors.As(err, new(*Wait)) {
		t.Errorf("after ten guesses: %v", err)
	}
}

func FuzzDigest(f *testing.F) {
	f.Add(`Digest username="a\"b", nonce=x, uri="/", qop=auth`)
	f.Add(`Digest =,==",\`)
	l := NewLogins(func(string) *Account { return nil }, func() time.Time { return time.Unix(1_800_000_000, 0) })
	f.Fuzz(func(t *testing.T, header string) {
		if u, _ := l.CheckDigest(header, "GET", "/", header); u != nil {
			t.Error("let in")
		}
		if n := len(parseDigest(header)); n > maxDigestFields {
			t.Errorf("%d fields", n)
		}
	})
}
