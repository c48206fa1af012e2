package walk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestElsewhere: folders are read where their content lies, under their own
// names, with the stat that they have there; a folder in one of them may be
// read somewhere else again, also where it belongs.
func TestElsewhere(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(name), mode)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"live/home/new", "live/home/ann/new", "live/home/inner/here", "live/home/tmp/covered", "live/beside",
		"snap/old", "snap/ann/old", "snap/inner/covered", "snap/tmp/empty", "other/deep/x", "other/y"} {
		put(name, 0o600)
	}
	if err := os.Chmod(filepath.Join(dir, "other"), 0o711); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	elsewhere := map[string]string{at("live/home"): at("snap"), at("live/home/inner"): at("live/home/inner"), at("live/home/tmp"): at("other")}
	for root, want := range map[string]string{
		"live":           "beside=live/beside home/ann/old=snap/ann/old home/inner/here=live/home/inner/here home/old=snap/old home/tmp/deep/x=other/deep/x home/tmp/y=other/y",
		"live/home":      "ann/old=snap/ann/old inner/here=live/home/inner/here old=snap/old tmp/deep/x=other/deep/x tmp/y=other/y",
		"live/home/tmp":  "deep/x=other/deep/x y=other/y",
		"live/home/ann":  "old=snap/ann/old",
		"live/home/gone": "",
	} {
		found := map[string]string{}
		for f, err := range Walk(t.Context(), Options{Roots: []string{at(root)}, Elsewhere: elsewhere}) {
			if err != nil && root != "live/home/gone" {
				t.Fatal(err)
			}
			if err != nil {
				continue
			}
			for _, e := range f.Entries {
				if f.Join(e.Name) == at("live/home/tmp") && e.Stat.Mode&0o777 != 0o711 {
					t.Errorf("%s has the mode %o of what is below it", e.Name, e.Stat.Mode)
				}
				if !e.Stat.IsFile() {
					continue
				}
				in, err := f.Open(e.Name)
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(in)
				if err := errors.Join(err, in.Close()); err != nil {
					t.Fatal(err)
				}
				found[strings.TrimPrefix(f.Join(e.Name), at(root)+"/")] = string(b)
				if again, err := os.ReadFile(f.HostPath(e.Name)); err != nil || string(again) != string(b) {
					t.Errorf("%s is %s: %q, %v", f.Join(e.Name), f.HostPath(e.Name), again, err)
				}
			}
		}
		got := strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(found), "map["), "]"), ":", "=")
		if got != want {
			t.Errorf("%s:\n got  %s\n want %s", root, got, want)
		}
	}
}
