package meta

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

var _ io.WriterAt = (*Made)(nil)

// renameFree renames where the system cannot refuse to replace: it looks
// before.
func renameFree(root *os.Root, old, name string) error {
	if _, err := root.Lstat(name); err == nil {
		return taken(name)
	}
	return root.Rename(old, name)
}

func taken(name string) error {
	return fmt.Errorf("rename to %q: something took the name: %w", name, fault.Exist)
}

// isSingle says whether a name leads to something in its folder, and nowhere
// else.
func isSingle(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}
