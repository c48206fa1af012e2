//go:build unix

package durable

import (
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestLinkNewIsAsGoodAsRename(t *testing.T) {
	dir := t.TempDir()
	temp, path := filepath.Join(dir, "temp"), filepath.Join(dir, "path")
	for i, want := range []error{nil, iofs.ErrExist} {
		if err := os.WriteFile(temp, []byte{byte(i)}, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := linkNew(temp, path); !errors.Is(err, want) {
			t.Errorf("linkNew: %v, want %v", err, want)
		}
	}
	checkFile(t, path, []byte{0}, 0o600)
}
