// Package ldap asks an LDAP server whether a password is right, by binding as
// the user. It reads nothing else there: which files he may see is for the
// recovery points to say, which know his number and groups by his name.
//
// The connection is always encrypted: LDAPS, or STARTTLS before anything else.
package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tidemark-backup/tidemark/fs/access"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// patience is how long a server may take for an answer.
const patience = 10 * time.Second

// maxName bounds what is sent to the server.
const maxName = 128

// Directory is an LDAP server.
type Directory struct {
	url *url.URL
	dn  string // with nameMark in it
	tls *tls.Config
}

var _ access.Directory = (*Directory)(nil)

// nameMark stands in a DN for the user's name.
const nameMark = "{name}"

// New returns the server at ldaps://HOST or ldap://HOST, where the user named
// ann has the DN that comes of dn with ann for {name}. roots are who may vouch
// for its certificate; nil: those of the host.
func New(address, dn string, roots *x509.CertPool) (*Directory, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "ldaps" && u.Scheme != "ldap" {
		return nil, fmt.Errorf("LDAP server %q is not ldaps://HOST or ldap://HOST: %w", address, fault.Invalid)
	}
	if _, err := ldap.ParseDN(strings.ReplaceAll(dn, nameMark, "x")); err != nil || strings.Count(dn, nameMark) != 1 {
		return nil, fmt.Errorf("DN %q: give one with %s in it, as in uid=%s,ou=people,dc=example,dc=org: %w", dn, nameMark, nameMark, fault.Invalid)
	}
	return &Directory{url: u, dn: dn, tls: &tls.Config{RootCAs: roots, ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}}, nil
}

// Check implements access.Directory.
func (d *Directory) Check(ctx context.Context, name, password string) error {
	// A bind without a password is one as nobody, which servers let succeed.
	if name == "" || len(name) > maxName || password == "" || strings.ContainsRune(name+password, 0) {
		return fault.Denied
	}
	c, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // it has said what there was to say
	err = c.Bind(strings.ReplaceAll(d.dn, nameMark, ldap.EscapeDN(name)), password)
	var said *ldap.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said) && denies(said.ResultCode):
		return fault.Denied
	}
	return fmt.Errorf("ask %s: %w: %w", d.url, fault.Unavailable, err)
}

// connect opens an encrypted connection that ends with ctx.
func (d *Directory) connect(ctx context.Context) (*ldap.Conn, error) {
	c, err := ldap.DialURL(d.url.String(), ldap.DialWithDialer(&net.Dialer{Timeout: patience}), ldap.DialWithTLSConfig(d.tls))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w: %w", d.url, fault.Unavailable, err)
	}
	c.SetTimeout(patience)
	if d.url.Scheme == "ldap" {
		if err := c.StartTLS(d.tls); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("encrypt the connection to %s: %w: %w", d.url, fault.Unavailable, err)
		}
	}
	if err := ctx.Err(); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// denies says whether a result is about who asks, and not about the server.
func denies(code uint16) bool {
	switch code {
	case ldap.LDAPResultInvalidCredentials, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax,
		ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultInsufficientAccessRights,
		ldap.LDAPResultConstraintViolation:
		return true
	}
	return false
}
