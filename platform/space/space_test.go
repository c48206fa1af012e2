package space

import (
	"path/filepath"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func TestOf(t *testing.T) {
	total, free, err := Of(t.TempDir())
	if err != nil || total < 1<<20 || free < 0 || free > total {
		t.Errorf("total %d, free %d, %v", total, free, err)
	}
	_, _, err = Of(filepath.Join(t.TempDir(), "none"))
	if fault.KindOf(err) != fault.NotExist {
		t.Errorf("an absent folder: %v", err)
	}
}
