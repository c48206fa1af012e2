package store

import (
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func TestValidName(t *testing.T) {
	for _, name := range []string{
		"repository", "keys/epoch-00000001", "keys/slot-00112233445566aa", "packs/3f/" + strings.Repeat("3f", 16),
		"moved/" + strings.Repeat("3f", 16) + "/1", "live/" + strings.Repeat("ab", 32), "points/00000000000000000001",
		"intents/18446744073709551615-4", "gc/1", "ledger/1",
	} {
		if err := ValidName(name); err != nil {
			t.Errorf("a name of the format: %v", err)
		}
	}
	for _, name := range []string{"", "..", "a/../b", "tmp/x", "A", "a b", "nul.txt", "lpt9", strings.Repeat("a", 513)} {
		if err := ValidName(name); fault.KindOf(err) != fault.Invalid {
			t.Errorf("ValidName(%q) = %v", name, err)
		}
	}
}

// FuzzValidName holds every accepted name against what stores rely on.
func FuzzValidName(f *testing.F) {
	for _, seed := range []string{"", "a", "a/b", "../a", "a//b", "tmp/a", "A", "nul", "com1.x", ".a", "a.", "é", "a\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := ValidName(name)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		switch {
		case len(name) == 0 || len(name) > MaxName:
			t.Fatalf("accepted %d bytes", len(name))
		case path.Clean(name) != name || !filepath.IsLocal(filepath.FromSlash(name)):
			t.Fatalf("accepted %q, which is not a clean local path", name)
		case strings.ToLower(name) != name || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }):
			t.Fatalf("accepted %q, which is not lower-case ASCII", name)
		case strings.ContainsAny(name, `\:*?"<>|%`):
			t.Fatalf("accepted %q", name)
		case strings.HasPrefix(name+"/", Scratch+"/"):
			t.Fatalf("accepted %q, which is the store's own", name)
		}
	})
}
