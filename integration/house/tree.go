// Package house holds the rules of the house as tests: which package may
// import which, and how the code is cut, named and documented.
//
// Nouns: a Tree is the module's Go files, parsed; a Rule looks at it and
// returns findings, each a place and what is wrong there. The rules read
// source, not what one system compiles, so that a file for Windows is held to
// them on Linux too.
//
// Where a rule must be broken, the exception is named beside the rule with its
// reason. There is no other way to be excused.
package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	iofs "io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Module is the path of the module whose rules these are.
const Module = "github.com/tidemark-backup/tidemark"

// Tree is the source of the module.
type Tree struct {
	Top      []string   // names at the top of the tree, hidden and ignored ones left out
	Packages []*Package // sorted by Dir
	fset     *token.FileSet
}

// Package is the Go files of one folder, those of tests and of all systems
// included.
type Package struct {
	Dir   string // relative to the module, slash-separated, "." at the top
	Files []*File
}

// File is one Go file.
type File struct {
	Path  string // relative to the module, slash-separated
	Lines int
	Test  bool // its name ends with _test.go
	AST   *ast.File
}

// Rule is one rule of the house.
type Rule struct {
	Name  string
	Check func(*Tree) []string
}

// Load parses the Go files below root. Folders named testdata and those whose
// names begin with a dot are left out, as is what .gitignore names at the top.
func Load(root string) (*Tree, error) {
	ignored, err := ignoredAtTop(root)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	var top []string
	err = filepath.WalkDir(root, func(name string, e iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil || rel == "." {
			return err
		}
		rel = filepath.ToSlash(rel)
		skip := strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata" || slices.Contains(ignored, rel)
		if !skip && !strings.Contains(rel, "/") {
			top = append(top, rel)
		}
		switch {
		case e.IsDir() && skip:
			return filepath.SkipDir
		case !skip && e.Type().IsRegular() && strings.HasSuffix(rel, ".go"):
			source, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			files[rel] = string(source)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load the tree below %s: %w", root, err)
	}
	return Parse(files, top)
}

// ignoredAtTop returns what .gitignore names with a slash in front.
func ignoredAtTop(root string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "/"); ok {
			names = append(names, strings.TrimSuffix(name, "/"))
		}
	}
	return names, err
}

// Parse makes a tree of sources by path and the names at the top.
func Parse(files map[string]string, top []string) (*Tree, error) {
	t := &Tree{Top: top, fset: token.NewFileSet()}
	dirs := map[string]*Package{}
	for name, source := range files {
		// The parser's own resolution of names (Ident.Obj) is weak, but it
		// tells a local variable from one of the package, which is enough here.
		file, err := parser.ParseFile(t.fset, name, source, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		dir := path.Dir(name)
		if dirs[dir] == nil {
			dirs[dir] = &Package{Dir: dir}
			t.Packages = append(t.Packages, dirs[dir])
		}
		dirs[dir].Files = append(dirs[dir].Files, &File{
			Path:  name,
			Lines: strings.Count(source, "\n"),
			Test:  strings.HasSuffix(name, "_test.go"),
			AST:   file,
		})
	}
	slices.SortFunc(t.Packages, func(a, b *Package) int { return strings.Compare(a.Dir, b.Dir) })
	for _, p := range t.Packages {
		slices.SortFunc(p.Files, func(a, b *File) int { return strings.Compare(a.Path, b.Path) })
	}
	return t, nil
}

// at formats a finding at a place in a file.
func (t *Tree) at(pos token.Pos, format string, args ...any) string {
	p := t.fset.Position(pos)
	return fmt.Sprintf("%s:%d: ", p.Filename, p.Line) + fmt.Sprintf(format, args...)
}

// files yields every file with its package.
func (t *Tree) files(yield func(*Package, *File) bool) {
	for _, p := range t.Packages {
		for _, f := range p.Files {
			if !yield(p, f) {
				return
			}
		}
	}
}

// imported is one import of a file.
type imported struct {
	path string
	name string // as the file calls it; "" for the package's own name
	pos  token.Pos
}

func (f *File) imports() []imported {
	var all []imported
	for _, spec := range f.AST.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has checked it
		}
		i := imported{path: p, pos: spec.Pos()}
		if spec.Name != nil {
			i.name = spec.Name.Name
		}
		all = append(all, i)
	}
	return all
}

// calls reports what the file calls the package of that import path, "" if it
// does not import it.
func (f *File) calls(importPath string) string {
	for _, i := range f.imports() {
		if i.path == importPath {
			if i.name != "" {
				return i.name
			}
			return path.Base(importPath)
		}
	}
	return ""
}

// uses yields the places where the file names one of the package's members.
func (f *File) uses(importPath string, members ...string) func(func(token.Pos, string) bool) {
	return func(yield func(token.Pos, string) bool) {
		called := f.calls(importPath)
		if called == "" {
			return
		}
		done := false
		ast.Inspect(f.AST, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || done {
				return !done
			}
			x, ok := sel.X.(*ast.Ident)
			if ok && x.Name == called && x.Obj == nil && slices.Contains(members, sel.Sel.Name) {
				done = !yield(sel.Pos(), sel.Sel.Name)
			}
			return !done
		})
	}
}

// inside reports whether dir is one of the folders or below one.
func inside(dir string, folders ...string) bool {
	for _, f := range folders {
		if dir == f || strings.HasPrefix(dir, f+"/") {
			return true
		}
	}
	return false
}

// ours returns the folder of a package of this module, false for others.
func ours(importPath string) (dir string, ok bool) {
	if importPath == Module {
		return ".", true
	}
	return strings.CutPrefix(importPath, Module+"/")
}
