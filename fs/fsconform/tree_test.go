package fsconform_test

import (
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/fsconform"
)

func TestTree(t *testing.T) {
	files := fsconform.Sample()
	s := fsconform.NewSource()
	p, err := s.Add(t.Context(), time.Now(), files)
	if err != nil {
		t.Fatal(err)
	}
	for _, alone := range []bool{false, true} {
		name, opt := "all points", fs.Options{}
		if alone {
			name, opt.Point = "one point", p
		}
		t.Run(name, func(t *testing.T) {
			tree := fs.New(s, opt)
			defer tree.Close()
			root, err := tree.PointRoot(t.Context(), p.ID)
			if err != nil {
				t.Fatal(err)
			}
			fsconform.Check(t, &fsconform.TreeView{Tree: tree, Root: root}, files)
			if alone {
				return
			}
			byToken, err := tree.Lookup(t.Context(), fs.Root, p.Started.UTC().Format("@GMT-2006.01.02-15.04.05"))
			if err != nil {
				t.Fatal(err)
			}
			t.Run("by token", func(t *testing.T) {
				fsconform.Check(t, &fsconform.TreeView{Tree: tree, Root: byToken.Node}, files)
			})
		})
	}
}
