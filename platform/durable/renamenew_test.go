package durable

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func TestRenameNew(t *testing.T) {
	dir := t.TempDir()
	temp, path := filepath.Join(dir, "temp"), filepath.Join(dir, "path")
	for i, want := range []error{nil, fault.Exist} {
		if err := os.WriteFile(temp, []byte{byte(i)}, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := RenameNew(temp, path); !errors.Is(err, want) {
			t.Errorf("RenameNew: %v, want %v", err, want)
		}
	}
	checkFile(t, path, []byte{0}, 0o600)
	checkFile(t, temp, []byte{1}, 0o600)
	if err := RenameNew(filepath.Join(dir, "none"), filepath.Join(dir, "x")); fault.KindOf(err) != fault.NotExist {
		t.Errorf("RenameNew of nothing: %v", err)
	}
}
