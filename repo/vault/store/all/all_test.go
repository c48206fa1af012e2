package all

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

func TestOpenAndCreate(t *testing.T) {
	dir := t.TempDir()
	for _, address := range []string{
		filepath.Join(dir, "plain"),
		filepath.Join(dir, "a", "b", "c"),
		"file://" + filepath.ToSlash(filepath.Join(dir, "url")),
		"file://" + filepath.ToSlash(filepath.Join(dir, "with%20space%3F")),
		"file://localhost" + filepath.ToSlash(filepath.Join(dir, "host")),
		filepath.Join(dir, "s3:bucket"), // a path, since it begins with one
	} {
		if _, err := Open(t.Context(), address); fault.KindOf(err) != fault.NotExist {
			t.Errorf("Open %s before it is made: %v", address, err)
		}
		if s, err := Create(t.Context(), address); err != nil || s == nil {
			t.Errorf("Create %s: %v", address, err)
		}
		if s, err := Open(t.Context(), address); err != nil || s == nil {
			t.Errorf("Open %s: %v", address, err)
		}
	}
	for _, made := range []string{"plain", "a/b/c", "url", "with space?", "host", "s3:bucket"} {
		if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(made))); err != nil {
			t.Error(err)
		}
	}
}

func TestRelativeAddressStaysWhereItWas(t *testing.T) {
	t.Chdir(t.TempDir())
	s, err := Create(t.Context(), "rel:ative") // no kind of place, no //
	if err != nil {
		t.Fatal(err)
	}
	want, err := filepath.Abs("rel:ative")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if got := s.(*local.Dir).Root(); got != want {
		t.Errorf("root %s, want %s", got, want)
	}
	if err := s.Put(t.Context(), "a", nil); err != nil {
		t.Error(err)
	}
}

func TestRefusedAddresses(t *testing.T) {
	t.Chdir(t.TempDir())
	for address, want := range map[string]fault.Kind{
		"":                      fault.Invalid,
		"a\x00b":                fault.Invalid,
		"s3:bucket/x":           fault.Unsupported,
		"s3://bucket":           fault.Unsupported,
		"S3:bucket":             fault.Unsupported,
		"azure:x":               fault.Unsupported,
		"sftp:me@host:/x":       fault.Unsupported,
		"sftp://me:pw@host/x":   fault.Unsupported,
		"https://vault.example": fault.Unsupported,
		"http://vault.example":  fault.Unsupported,
		"ftp://x/y":             fault.Invalid,
		"file:relative":         fault.Invalid,
		"file://host/share":     fault.Invalid,
		"file:///a?b":           fault.Invalid,
		"file:///a#b":           fault.Invalid,
		"file:///%zz":           fault.Invalid,
		"file:///a%00b":         fault.Invalid,
	} {
		if s, err := Open(t.Context(), address); s != nil || fault.KindOf(err) != want {
			t.Errorf("Open %q: %v, %v; want %q", address, s, err, want)
		}
		if s, err := Create(t.Context(), address); s != nil || fault.KindOf(err) != want {
			t.Errorf("Create %q: %v, %v; want %q", address, s, err, want)
		}
	}
	if left, err := os.ReadDir("."); err != nil || len(left) != 0 {
		t.Errorf("refused addresses made %v, %v", left, err)
	}
}
