package page

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/integration/chromium"
	"github.com/tidemark-backup/tidemark/platform/durable"
)

// axe-core finds what keeps people with a screen reader, or with weak eyes, out
// of a page. It is not ours and not small, so that it is fetched: by npm, or
// without that from the registry that npm's own setting names.
const (
	axeVersion = "4.14.1"
	axeSum     = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
	axeLimit   = 16 << 20
)

// axe returns the script.
func axe(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	path := filepath.Join(cache, "tidemark-tests", "axe-core-"+axeVersion+".tgz")
	pack, err := os.ReadFile(path)
	if err != nil || sum(pack) != axeSum {
		if pack, err = fetchAxe(t); err != nil {
			t.Fatal(err)
		}
		if sum(pack) != axeSum {
			t.Fatalf("what was fetched as axe-core %s is something else: %s", axeVersion, sum(pack))
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), durable.WriteFile(path, pack, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	z, err := gzip.NewReader(bytes.NewReader(pack))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("axe-core without its script: %v", err)
		}
		if h.Name == "package/axe.min.js" {
			b, err := io.ReadAll(io.LimitReader(r, axeLimit))
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
	}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// fetchAxe skips the test where nobody says where npm's packages come from.
func fetchAxe(t *testing.T) ([]byte, error) {
	t.Helper()
	if npm, err := exec.LookPath("npm"); err == nil {
		dir := t.TempDir()
		if out, err := exec.CommandContext(t.Context(), npm, "pack", "axe-core@"+axeVersion, "--pack-destination", dir).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("npm pack: %w: %s", err, out)
		}
		return os.ReadFile(filepath.Join(dir, "axe-core-"+axeVersion+".tgz"))
	}
	registry := os.Getenv("NPM_CONFIG_REGISTRY")
	if registry == "" {
		registry = os.Getenv("npm_config_registry")
	}
	if registry == "" {
		t.Skip("axe-core cannot be had: there is no npm, and NPM_CONFIG_REGISTRY is not set")
	}
	r, err := http.Get(strings.TrimSuffix(registry, "/") + "/axe-core/-/axe-core-" + axeVersion + ".tgz")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch axe-core: %s", r.Status)
	}
	return io.ReadAll(io.LimitReader(r.Body, axeLimit))
}

// violation is what axe-core complains of.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML           string
		FailureSummary string
	}
}

// audit has axe-core look at the page: at all, or at the rules named. The
// script goes in past the page's own policy, as an extension would.
func audit(t *testing.T, b *chromium.Browser, script, name string, rules ...string) {
	t.Helper()
	b.Ask(script)
	options := map[string]any{"resultTypes": []string{"violations"}}
	if len(rules) > 0 {
		options["runOnly"] = rules
	}
	o, _ := json.Marshal(options)
	text := b.Ask("axe.run(document, " + string(o) + ").then(r => JSON.stringify(r.violations))")
	var found []violation
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		t.Fatalf("%s: %v: %.300s", name, err, text)
	}
	for _, v := range found {
		for _, n := range v.Nodes {
			t.Errorf("%s: %s (%s): %s: %.200s %s", name, v.ID, v.Impact, v.Help, n.HTML, n.FailureSummary)
		}
	}
}
