//go:build !windows

package walk

import (
	"fmt"
	"path"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// separator parts the names in a path of this host.
const separator = "/"

// hostPath turns a path of the walk into one of this host.
func hostPath(p string) string { return p }

// treePath turns a path of this host into one of the walk.
func treePath(p string) (string, error) {
	if !strings.HasPrefix(p, "/") {
		return "", fmt.Errorf("root %s: not an absolute path: %w", p, fault.Invalid)
	}
	return path.Clean(p), nil
}
