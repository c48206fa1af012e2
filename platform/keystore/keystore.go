// Package keystore keeps secrets in the keystore of the host: the Secret Service
// of a Linux desktop (GNOME Keyring, KWallet), the Credential Manager of Windows,
// the keychain of macOS.
//
// They belong to a user: what one puts there, a service of another does not find.
package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zalando/go-keyring"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// service is under whose name the secrets are.
const service = "tidemark"

// patience is how long the host may take, which may ask its user something.
const patience = time.Minute

// Get returns the secret of a name; fault.NotExist if there is none.
func Get(ctx context.Context, name string) ([]byte, error) {
	var secret string
	err := do(ctx, "read", name, func() (err error) {
		secret, err = keyring.Get(service, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return []byte(secret), nil
}

// Put keeps a secret under a name, over the one before.
func Put(ctx context.Context, name string, secret []byte) error {
	return do(ctx, "write", name, func() error { return keyring.Set(service, name, string(secret)) })
}

// Remove forgets the secret of a name; fault.NotExist if there is none.
func Remove(ctx context.Context, name string) error {
	return do(ctx, "remove", name, func() error { return keyring.Delete(service, name) })
}

// do calls the host. A call that hangs cannot be ended, only left alone: it then
// ends with the process.
func do(ctx context.Context, what, name string, call func() error) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- call() }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = fmt.Errorf("the keystore does not answer: %w", fault.Unavailable)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keyring.ErrNotFound):
		err = fault.NotExist
	case errors.Is(err, keyring.ErrSetDataTooBig):
		err = fault.TooLarge
	case errors.Is(err, keyring.ErrUnsupportedPlatform):
		err = fmt.Errorf("none is known for this system: %w", fault.Unsupported)
	case fault.KindOf(err) != fault.Unavailable:
		// No %w: that a bus has no socket is not that a secret is not there.
		err = fmt.Errorf("%v: %w", err, fault.Unavailable)
	}
	return fmt.Errorf("%s secret %q in the keystore of the host: %w", what, name, err)
}
