package fsconform_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/platform/fault"
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
		})
	}
}

func TestTime(t *testing.T) {
	s := fsconform.NewSource()
	points, err := fsconform.AddTime(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, listed := range []bool{false, true} {
		tree := fs.New(s, fs.Options{Location: time.UTC, ListTime: listed, Keeper: &fs.Owner{}})
		defer tree.Close()
		fsconform.CheckTime(t, &fsconform.TreeView{Tree: tree, Root: fs.Root}, listed)
	}
	tree := fs.New(s, fs.Options{Point: points[2], ListTime: true})
	defer tree.Close()
	if a, err := tree.Lookup(t.Context(), fs.Root, fs.VersionsName); !errors.Is(err, fault.NotExist) {
		t.Errorf("in a single point: %+v, %v", a, err)
	}
}
