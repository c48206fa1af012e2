package main

import (
	"crypto/x509"
	"fmt"
	"os"

	"github.com/tidemark-backup/tidemark/fs/access/ldap"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// ldapOptions say which directory answers for names without an account.
type ldapOptions struct{ server, dn, ca string }

func (o *ldapOptions) directory() (*ldap.Directory, error) {
	var roots *x509.CertPool
	if o.ca != "" {
		b, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, fmt.Errorf("read --ldap-ca: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("read --ldap-ca %s: no certificate in it: %w", o.ca, fault.Invalid)
		}
	}
	return ldap.New(o.server, o.dn, roots)
}
