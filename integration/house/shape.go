package house

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

// topNames is all that may lie at the top, hidden files apart.
var topNames = []string{"cmd", "fs", "repo", "backup", "platform", "integration",
	"go.mod", "go.sum", "README.md", "LICENSE", "CHANGELOG.md"}

// maxLines is how long a file gets before one looks for the second thing in
// it. The excused ones have been looked through.
const maxLines = 500

// longFiles are the files excused from maxLines, with the reason.
var longFiles = map[string]string{}

// emptyWords are names of packages that say nothing of what is in them.
var emptyWords = []string{"common", "util", "utils", "helper", "helpers", "base", "manager", "managers", "misc", "lib"}

// checkTop finds what else lies at the top.
func checkTop(t *Tree) []string {
	var found []string
	for _, name := range t.Top {
		if !slices.Contains(topNames, name) {
			found = append(found, fmt.Sprintf("%s: the top of the tree holds only %s", name, strings.Join(topNames, " ")))
		}
	}
	return found
}

// checkNames finds packages and folders whose name says nothing.
func checkNames(t *Tree) []string {
	var found []string
	for p, f := range t.files {
		for _, name := range append(strings.Split(p.Dir, "/"), strings.TrimSuffix(f.AST.Name.Name, "_test")) {
			if slices.Contains(emptyWords, name) {
				found = append(found, t.at(f.AST.Package, "a package named %s says nothing of what it holds", name))
			}
		}
	}
	return slices.Compact(found)
}

// checkLength finds long files, and excuses that are no longer needed.
func checkLength(t *Tree) []string {
	var found []string
	for _, f := range t.files {
		switch excused := longFiles[f.Path] != ""; {
		case f.Lines > maxLines && !excused:
			found = append(found, fmt.Sprintf("%s: %d lines, over %d: look for the second thing in it", f.Path, f.Lines, maxLines))
		case f.Lines <= maxLines && excused:
			found = append(found, fmt.Sprintf("%s: %d lines need no excuse", f.Path, f.Lines))
		}
	}
	return found
}

// checkPackageComment finds packages with no comment, or with more than one.
func checkPackageComment(t *Tree) []string {
	var found []string
	for _, p := range t.Packages {
		var in []string
		for _, f := range p.Files {
			doc := f.AST.Doc
			if doc == nil || strings.HasSuffix(f.AST.Name.Name, "_test") {
				continue
			}
			in = append(in, path.Base(f.Path))
			name := f.AST.Name.Name
			if name != "main" && !strings.HasPrefix(doc.Text(), "Package "+name+" ") {
				found = append(found, t.at(doc.Pos(), "a package comment begins with \"Package %s \"", name))
			}
		}
		switch {
		case len(in) == 0:
			found = append(found, fmt.Sprintf("%s: no package comment", p.Dir))
		case len(in) > 1:
			found = append(found, fmt.Sprintf("%s: package comments in %s: only one has it", p.Dir, strings.Join(in, ", ")))
		}
	}
	return found
}

// checkDocs finds exported names without a comment. Methods of types that are
// not exported need none: whoever sees them sees an interface.
func checkDocs(t *Tree) []string {
	var found []string
	for _, f := range t.files {
		if f.Test {
			continue
		}
		for _, d := range f.AST.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc.Text() == "" && (d.Recv == nil || ast.IsExported(receiver(d))) {
					found = append(found, t.at(d.Pos(), "%s has no comment", d.Name.Name))
				}
			case *ast.GenDecl:
				for _, name := range undocumented(d) {
					found = append(found, t.at(name.Pos(), "%s has no comment", name.Name))
				}
			}
		}
	}
	return found
}

// receiver returns the name of the type whose method it is.
func receiver(fn *ast.FuncDecl) string {
	x := fn.Recv.List[0].Type
	for {
		switch e := x.(type) {
		case *ast.StarExpr:
			x = e.X
		case *ast.ParenExpr:
			x = e.X
		case *ast.IndexExpr:
			x = e.X
		case *ast.IndexListExpr:
			x = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}

// undocumented returns the exported names of a declaration that neither have
// a comment of their own, above or behind, nor one of their group.
func undocumented(d *ast.GenDecl) []*ast.Ident {
	var names []*ast.Ident
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			grouped := d.Lparen.IsValid()
			if s.Name.IsExported() && s.Doc.Text() == "" && (grouped || d.Doc.Text() == "") {
				names = append(names, s.Name)
			}
		case *ast.ValueSpec:
			if d.Tok != token.IMPORT && s.Doc.Text() == "" && s.Comment.Text() == "" && d.Doc.Text() == "" {
				names = append(names, slices.DeleteFunc(slices.Clone(s.Names), func(n *ast.Ident) bool { return !n.IsExported() })...)
			}
		}
	}
	return names
}
