package house

import (
	"go/ast"
	"go/build/constraint"
	"go/token"
	"path"
	"slices"
	"strings"
)

// hosts are the folders that may know which system they run on: the platform,
// the front ends, and what chooses between those.
var hosts = []string{"platform", "fs/fuse", "fs/winfsp", "fs/webdav", "fs/mount", "integration"}

// clocks are the files below repo/ and fs/ that may ask for the time, with the
// reason. All others get the time as an argument.
var clocks = map[string]string{
	"fs/fs.go":                           "the default of Options.Now",
	"fs/webdav/webdav.go":                "the default of Options.Now, for deadlines of connections",
	"repo/vault/store/local/local.go":    "how old a leftover is; nothing is promised on it",
	"repo/vault/store/mem/mem.go":        "the clock of a place, unless a test sets another",
	"repo/vault/store/storetest/list.go": "compares with the clock of the place",
}

// checkInit finds init functions: what is done at start-up is done by main.
func checkInit(t *Tree) []string {
	var found []string
	for _, f := range t.files {
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				found = append(found, t.at(fn.Pos(), "func init"))
			}
		}
	}
	return found
}

// checkClock finds where repo/ and fs/ read the clock.
func checkClock(t *Tree) []string {
	var found []string
	for p, f := range t.files {
		if f.Test || !inside(p.Dir, "repo", "fs") || clocks[f.Path] != "" {
			continue
		}
		for pos, name := range f.uses("time", "Now", "Since", "Until") {
			found = append(found, t.at(pos, "time.%s: time is an argument here", name))
		}
	}
	return found
}

// checkHost finds code outside the platform that asks which system it runs on,
// or is built for some systems only. Tests may: some need Linux.
func checkHost(t *Tree) []string {
	var found []string
	for p, f := range t.files {
		if f.Test || inside(p.Dir, hosts...) {
			continue
		}
		for pos, name := range f.uses("runtime", "GOOS", "GOARCH") {
			found = append(found, t.at(pos, "runtime.%s outside %q", name, hosts))
		}
		if tagged(f) {
			found = append(found, t.at(f.AST.Package, "built for some systems only, outside %q", hosts))
		}
	}
	return found
}

// systems are the endings of file names that go build takes for a system.
var systems = []string{"linux", "darwin", "windows", "freebsd", "unix", "amd64", "arm64"}

// tagged reports whether a file is built under conditions only.
func tagged(f *File) bool {
	stem := strings.TrimSuffix(path.Base(f.Path), ".go")
	if _, ending, ok := cutLast(stem, "_"); ok && slices.Contains(systems, ending) {
		return true
	}
	for _, group := range f.AST.Comments {
		for _, c := range group.List {
			if c.Pos() < f.AST.Package && constraint.IsGoBuild(c.Text) {
				return true
			}
		}
	}
	return false
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// checkVars finds variables of packages that can change: declared without a
// value, or changed somewhere, tests included. Errors, compiled expressions
// and tables, which only look like variables since Go has no constants of
// such types, pass; and so do sync.Pool and sync.OnceValue, whose changes
// nobody can observe.
func checkVars(t *Tree) []string {
	var found []string
	for _, p := range t.Packages {
		vars := p.vars()
		for name, v := range vars {
			if why := badValue(v.value, v.spec); why != "" {
				found = append(found, t.at(v.pos, "package variable %s: %s", name, why))
			}
		}
		for _, f := range p.Files {
			f.changes(func(x ast.Expr, pos token.Pos) {
				if name, ok := f.changesOwn(x, vars); ok {
					found = append(found, t.at(pos, "changes package variable %s", name))
				}
				if name, ok := f.changesOther(x); ok {
					found = append(found, t.at(pos, "changes %s of another package", name))
				}
			})
		}
	}
	slices.Sort(found)
	return found
}

type packageVar struct {
	pos   token.Pos
	spec  *ast.ValueSpec
	value ast.Expr // nil without one of its own
}

// vars returns the variables that the package's own files declare, those of
// tests excepted.
func (p *Package) vars() map[string]packageVar {
	vars := map[string]packageVar{}
	for _, f := range p.Files {
		for _, d := range f.AST.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR || f.Test {
				continue
			}
			for _, s := range gen.Specs {
				spec := s.(*ast.ValueSpec)
				for i, name := range spec.Names {
					if name.Name == "_" || embedded(gen.Doc) || embedded(spec.Doc) {
						continue
					}
					v := packageVar{pos: name.Pos(), spec: spec}
					if i < len(spec.Values) {
						v.value = spec.Values[i]
					}
					vars[name.Name] = v
				}
			}
		}
	}
	return vars
}

// embedded reports whether the declaration is filled by go build.
func embedded(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed ")
	})
}

// badValue tells in words why a variable with that value is there to change,
// "" if it may be a constant.
func badValue(value ast.Expr, spec *ast.ValueSpec) string {
	if value == nil && len(spec.Values) == 0 {
		return "no value: it can only be there to change"
	}
	if lit, ok := unparen(value).(*ast.UnaryExpr); ok && lit.Op == token.AND {
		value = lit.X
	}
	switch v := unparen(value).(type) {
	case *ast.CallExpr:
		if id, ok := v.Fun.(*ast.Ident); ok && (id.Name == "make" || id.Name == "new") {
			return id.Name + ": it can only be there to change"
		}
	case *ast.CompositeLit:
		sel, ok := v.Type.(*ast.SelectorExpr)
		if !ok {
			return ""
		}
		if x, ok := sel.X.(*ast.Ident); ok && (x.Name == "atomic" || x.Name == "sync" && sel.Sel.Name != "Pool") {
			return x.Name + "." + sel.Sel.Name + " is there to change"
		}
	}
	return ""
}

func unparen(x ast.Expr) ast.Expr {
	if x == nil {
		return nil
	}
	return ast.Unparen(x)
}

// changes calls report with each expression that the file assigns to, takes
// the address of, deletes from or clears.
func (f *File) changes(report func(x ast.Expr, pos token.Pos)) {
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, x := range n.Lhs {
					report(x, x.Pos())
				}
			}
		case *ast.IncDecStmt:
			report(n.X, n.Pos())
		case *ast.RangeStmt:
			if n.Tok == token.ASSIGN {
				for _, x := range []ast.Expr{n.Key, n.Value} {
					if x != nil {
						report(x, x.Pos())
					}
				}
			}
		case *ast.UnaryExpr:
			// The address of a table's row is mostly taken to spare copying
			// it; that of a whole variable to change it.
			if _, whole := ast.Unparen(n.X).(*ast.Ident); n.Op == token.AND && whole {
				report(n.X, n.Pos())
			}
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && (id.Name == "delete" || id.Name == "clear" || id.Name == "copy") {
				report(n.Args[0], n.Pos())
			}
		}
		return true
	})
}

// changesOwn tells which of the package's variables x is a part of.
func (f *File) changesOwn(x ast.Expr, vars map[string]packageVar) (string, bool) {
	id, ok := rootOf(x).(*ast.Ident)
	if !ok || strings.HasSuffix(f.AST.Name.Name, "_test") {
		return "", false
	}
	v, ok := vars[id.Name]
	// A name that the parser resolved within the file to something else is a
	// local variable that only shadows it.
	return id.Name, ok && (id.Obj == nil || id.Obj.Decl == v.spec)
}

// changesOther tells which variable of another package of this module x is a
// part of.
func (f *File) changesOther(x ast.Expr) (string, bool) {
	sel := memberOf(x)
	if sel == nil {
		return "", false
	}
	id, ok := sel.X.(*ast.Ident)
	if !ok || id.Obj != nil {
		return "", false
	}
	for _, i := range f.imports() {
		if _, ok := ours(i.path); ok && (i.name == id.Name || i.name == "" && path.Base(i.path) == id.Name) {
			return id.Name + "." + sel.Sel.Name, true
		}
	}
	return "", false
}

// rootOf returns what x is a part of: of a[i].b that is a. A pointer followed
// on the way is not seen as one.
func rootOf(x ast.Expr) ast.Expr {
	for {
		switch e := x.(type) {
		case *ast.ParenExpr:
			x = e.X
		case *ast.IndexExpr:
			x = e.X
		case *ast.SliceExpr:
			x = e.X
		case *ast.SelectorExpr:
			x = e.X
		case *ast.StarExpr:
			x = e.X
		default:
			return x
		}
	}
}

// memberOf returns the innermost a.b of x, nil if there is none.
func memberOf(x ast.Expr) *ast.SelectorExpr {
	var inner *ast.SelectorExpr
	for {
		switch e := x.(type) {
		case *ast.ParenExpr:
			x = e.X
		case *ast.IndexExpr:
			x = e.X
		case *ast.SliceExpr:
			x = e.X
		case *ast.StarExpr:
			x = e.X
		case *ast.SelectorExpr:
			inner, x = e, e.X
		default:
			return inner
		}
	}
}
