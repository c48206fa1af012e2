package house

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rules is every rule of the house.
var rules = []Rule{
	{"map", checkMap},
	{"keyless", checkKeyless},
	{"homes", checkHomes},
	{"iofs", checkIOFS},
	{"init", checkInit},
	{"clock", checkClock},
	{"host", checkHost},
	{"vars", checkVars},
	{"top", checkTop},
	{"names", checkNames},
	{"length", checkLength},
	{"package comment", checkPackageComment},
	{"docs", checkDocs},
}

// TestHouse holds the tree to the rules.
func TestHouse(t *testing.T) {
	tree, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	// A loader that finds nothing would pass every rule.
	if !slices.ContainsFunc(tree.Packages, func(p *Package) bool { return p.Dir == "repo/vault/store/local" }) ||
		!slices.Contains(tree.Top, "go.mod") {
		t.Fatalf("the tree was not found: %d packages, top %q", len(tree.Packages), tree.Top)
	}
	for _, r := range rules {
		t.Run(r.Name, func(t *testing.T) {
			for _, found := range r.Check(tree) {
				t.Error(found)
			}
		})
	}
}

// TestExceptionsExist fails for an exception whose file is gone.
func TestExceptionsExist(t *testing.T) {
	tree, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, f := range tree.files {
		there[f.Path] = true
	}
	for _, table := range []map[string]string{clocks, longFiles} {
		for path, reason := range table {
			if !there[path] || reason == "" {
				t.Errorf("exception for %s (%q): no such file or no reason", path, reason)
			}
		}
	}
}

const m = `"` + Module + `/`

// broken has for each rule trees that break it, with a part of what must be
// found, or that only seem to ("").
var broken = map[string][]struct {
	files map[string]string
	top   []string
	want  string
}{
	"map": {
		{files: map[string]string{"platform/walk/a.go": `package walk; import ` + m + `repo"`}, want: "platform/walk imports repo"},
		{files: map[string]string{"repo/a.go": `package repo; import _ ` + m + `fs/fuse"`}, want: "repo imports fs/fuse"},
		{files: map[string]string{"fs/a_test.go": `package fs; import ` + m + `backup"`}, want: "fs imports backup"},
		{files: map[string]string{"backup/a_windows.go": `package backup; import ` + m + `cmd/x"`}, want: "backup imports cmd/x"},
		{files: map[string]string{"cmd/x/a.go": `package main; import ` + m + `integration/x"`}, want: "cmd/x imports integration/x"},
		{files: map[string]string{"repo/a.go": `package repo; import ` + m + `other"`}, want: "repo imports other"},
		{files: map[string]string{"backup/a.go": `package backup; import (` + m + `backup/x"; ` + m + `fs"; ` + m + `platform/fault"; "os")`}},
		{files: map[string]string{"platform/a.go": `package a; import "` + Module + `x/cmd"`}},
	},
	"keyless": {
		{files: map[string]string{"repo/vault/keep/a.go": `package keep; import ` + m + `repo/seal"`}, want: "repo/vault/keep is keyless and imports repo/seal"},
		{files: map[string]string{"repo/vault/keep/a_test.go": `package keep; import ` + m + `repo"`}, want: "imports repo"},
		{files: map[string]string{
			"cmd/tidemark-vault/a.go": `package main; import ` + m + `cmd/internal/cli"`,
			"cmd/internal/cli/a.go":   `package cli; import ` + m + `fs"`,
			"fs/a.go":                 `package fs; import ` + m + `repo/table"`,
			"repo/table/a.go":         `package table`,
		}, want: "cmd/tidemark-vault → cmd/internal/cli → fs → repo/table"},
		{files: map[string]string{
			"cmd/tidemark-vault/a.go": `package main; import ` + m + `repo/vault/keep"`,
			"cmd/tidemark/a.go":       `package main; import ` + m + `repo"`,
			"repo/vault/keep/a.go":    `package keep; import ` + m + `repo/vault/store"`,
			"repo/a.go":               `package repo; import ` + m + `repo/vault/store"`,
		}},
	},
	"homes": {
		{files: map[string]string{"repo/a.go": `package repo; import "github.com/minio/minio-go/v7"`}, want: "repo imports github.com/minio/minio-go/v7"},
		{files: map[string]string{"repo/vault/store/a.go": `package store; import "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"`}, want: "Azure"},
		{files: map[string]string{"backup/a.go": `package backup; import "github.com/pkg/sftp"`}, want: "sftp"},
		{files: map[string]string{"fs/a.go": `package fs; import "github.com/hanwen/go-fuse/v2/fuse"`}, want: "go-fuse"},
		{files: map[string]string{"fs/fuse/a.go": `package fuse; import "github.com/winfsp/cgofuse/fuse"`}, want: "cgofuse"},
		{files: map[string]string{"backup/a.go": `package backup; import "golang.org/x/net/webdav"`}, want: "webdav"},
		{files: map[string]string{"backup/a.go": `package backup; import "github.com/spf13/cobra"`}, want: "cobra"},
		{files: map[string]string{
			"repo/vault/store/s3/a.go":  `package s3; import "github.com/minio/minio-go/v7"`,
			"fs/fuse/a.go":              `package fuse; import "github.com/hanwen/go-fuse/v2/fuse"`,
			"fs/a_test.go":              `package fs; import "github.com/hanwen/go-fuse/v2/fuse"`,
			"integration/bench/a.go":    `package bench; import "github.com/hanwen/go-fuse/v2/fuse"`,
			"cmd/internal/cli/a.go":     `package cli; import "github.com/spf13/cobra"`,
			"repo/vault/store/mem/b.go": `package mem; import "golang.org/x/crypto/argon2"`,
		}},
	},
	"iofs": {
		{files: map[string]string{"repo/a.go": `package repo; import "io/fs"`}, want: "repo/a.go:1: io/fs is imported as iofs"},
		{files: map[string]string{"repo/a_test.go": `package repo; import stdfs "io/fs"`}, want: "iofs"},
		{files: map[string]string{"repo/a.go": `package repo; import iofs "io/fs"`}},
	},
	"init": {
		{files: map[string]string{"repo/a.go": "package repo\nfunc init() {}"}, want: "repo/a.go:2: func init"},
		{files: map[string]string{"repo/a.go": "package repo\ntype t int\nfunc (t) init() {}\nfunc f() { init := 1; _ = init }"}},
	},
	"clock": {
		{files: map[string]string{"repo/a.go": `package repo; import "time"; func f() { time.Now() }`}, want: "time.Now"},
		{files: map[string]string{"fs/x/a.go": `package x; import clock "time"; var f = clock.Since`}, want: "time.Since"},
		{files: map[string]string{
			"repo/a.go":      `package repo; import "time"; const d = time.Second`,
			"repo/a_test.go": `package repo; import "time"; var x = time.Now()`,
			"repo/b.go":      `package repo; func f(time struct{ Now int }) int { return time.Now }`,
			"backup/a.go":    `package backup; import "time"; var x = time.Now()`,
		}},
	},
	"host": {
		{files: map[string]string{"repo/a.go": `package repo; import "runtime"; const x = runtime.GOOS`}, want: "runtime.GOOS"},
		{files: map[string]string{"cmd/x/a_linux.go": `package main`}, want: "cmd/x/a_linux.go:1: built for some"},
		{files: map[string]string{"repo/a.go": "//go:build !windows\n\npackage repo"}, want: "built for some"},
		{files: map[string]string{
			"platform/walk/a_linux.go": "//go:build linux\n\npackage walk; import \"runtime\"; const x = runtime.GOOS",
			"fs/fuse/a.go":             "//go:build linux\n\npackage fuse",
			"repo/a_linux_test.go":     "package repo",
			"repo/linux.go":            "package repo; import \"runtime\"; var n = runtime.NumCPU()",
			"repo/b.go":                "package repo\n\n//go:build is only a comment here\n",
		}},
	},
	"vars": {
		{files: map[string]string{"repo/a.go": `package repo; var n int`}, want: "package variable n: no value"},
		{files: map[string]string{"repo/a.go": `package repo; import "sync"; var mu = sync.Mutex{}`}, want: "mu: sync.Mutex"},
		{files: map[string]string{"repo/a.go": `package repo; import "sync/atomic"; var n = &atomic.Int64{}`}, want: "n: atomic.Int64"},
		{files: map[string]string{"repo/a.go": `package repo; var seen = make(map[string]bool)`}, want: "seen: make"},
		{files: map[string]string{"repo/a.go": `package repo; var n = 1; func f() { n = 2 }`}, want: "changes package variable n"},
		{files: map[string]string{"repo/a.go": `package repo; var n = 1`, "repo/b.go": `package repo; func f() { n++ }`}, want: "repo/b.go:1: changes package variable n"},
		{files: map[string]string{"repo/a.go": `package repo; var m = map[int]int{}; func f() { m[1] += 2 }`}, want: "changes package variable m"},
		{files: map[string]string{"repo/a.go": `package repo; var m = map[int]int{}; func f() { delete(m, 1) }`}, want: "changes package variable m"},
		{files: map[string]string{"repo/a.go": `package repo; var s = struct{ a []int }{}; func f() { s.a[0] = 1 }`}, want: "changes package variable s"},
		{files: map[string]string{"repo/a.go": `package repo; var n = 1; func f() *int { return &n }`}, want: "changes package variable n"},
		{files: map[string]string{"repo/a.go": `package repo; var n = 1; func f() { for n = range 3 {} }`}, want: "changes package variable n"},
		{files: map[string]string{"repo/a.go": `package repo; var now = f; func f() {}`, "repo/a_test.go": `package repo; func g() { now = nil }`}, want: "repo/a_test.go:1: changes package variable now"},
		{files: map[string]string{"fs/a.go": `package fs; import ` + m + `repo"; func f() { repo.Limit = 1 }`}, want: "changes repo.Limit of another package"},
		{files: map[string]string{
			"repo/a.go": `package repo
				import ("errors"; "regexp"; "sync"; _ "embed")
				var errX = errors.New("x")
				var re = regexp.MustCompile("x")
				var table = [...]string{"a", "b"}
				var pool = sync.Pool{New: func() any { return 1 }}
				var once = sync.OnceValue(func() int { return 1 })
				var n = 1
				var a, b = two()
				var _ error = errX
				//go:embed x.txt
				var text string
				func two() (int, int) { n := 1; n = 2; return n, table[n][0] }
				func g() *string { return &table[0] }
				func f(table []int) { table[0] = 1; x := repo{}; x.n = 3 }
				type repo struct{ n int }`,
			"repo/a_test.go":     `package repo; var update bool; func g() { update = true }`,
			"repo/other_test.go": `package repo_test; var n = 2; func h() { n = 3 }`,
		}},
	},
	"top": {
		{top: []string{"cmd", "docs", "go.mod"}, want: "docs: the top"},
		{top: topNames},
	},
	"names": {
		{files: map[string]string{"platform/util/a.go": "package util"}, want: "a package named util"},
		{files: map[string]string{"platform/common/x/a.go": "package x"}, want: "common"},
		{files: map[string]string{"repo/a.go": "package manager"}, want: "manager"},
		{files: map[string]string{"repo/a.go": "package repo", "repo/basement/a.go": "package basement"}},
	},
	"length": {
		{files: map[string]string{"repo/a.go": "package repo\n" + strings.Repeat("\n", 500)}, want: "repo/a.go: 501 lines"},
		{files: map[string]string{"repo/a.go": "package repo\n" + strings.Repeat("\n", 499)}},
	},
	"package comment": {
		{files: map[string]string{"repo/a.go": "package repo"}, want: "repo: no package comment"},
		{files: map[string]string{"repo/a.go": "// detached\n\npackage repo"}, want: "repo: no package comment"},
		{files: map[string]string{"repo/a.go": "// Package repo x.\npackage repo", "repo/b.go": "// Package repo y.\npackage repo"}, want: "comments in a.go, b.go"},
		{files: map[string]string{"repo/a.go": "// Repo is.\npackage repo"}, want: `begins with "Package repo "`},
		{files: map[string]string{
			"repo/a.go":      "// Package repo x.\npackage repo",
			"repo/b.go":      "package repo",
			"repo/a_test.go": "// Tests of repo.\npackage repo_test",
			"cmd/x/a.go":     "// Command x does.\npackage main",
		}},
	},
	"docs": {
		{files: map[string]string{"repo/a.go": "package repo\nfunc F() {}"}, want: "repo/a.go:2: F has no comment"},
		{files: map[string]string{"repo/a.go": "package repo\ntype T[P any] int\n// M.\nfunc (*T[P]) M() {}\nfunc (T[P]) N() {}"}, want: "T has no comment\nrepo/a.go:5: N has no comment"},
		{files: map[string]string{"repo/a.go": "package repo\nconst (\n\tA = 1\n\tb = 2\n)"}, want: "A has no comment"},
		{files: map[string]string{"repo/a.go": "package repo\nvar a, B = 1, 2"}, want: "B has no comment"},
		{files: map[string]string{"repo/a.go": "package repo\n// Types.\ntype (\n\tT int\n)"}, want: "T has no comment"},
		{files: map[string]string{
			"repo/a.go": `package repo
				// F does.
				func F() {}
				func g() {}
				type t int
				func (t) Error() string { return "" }
				// The kinds.
				const ( A = 1; B = 2 )
				const ( C = 1 // is C
				)
				// T is.
				type T int`,
			"repo/a_test.go": "package repo\nfunc TestX() {}",
		}},
	},
}

// TestRulesCanFail shows for each rule that it finds what it is there for, and
// not what only looks like it.
func TestRulesCanFail(t *testing.T) {
	for _, r := range rules {
		t.Run(r.Name, func(t *testing.T) {
			fails := 0
			for i, c := range broken[r.Name] {
				tree, err := Parse(c.files, c.top)
				if err != nil {
					t.Fatal(err)
				}
				found := strings.Join(r.Check(tree), "\n")
				if c.want != "" {
					fails++
				}
				if !strings.Contains(found, c.want) || c.want == "" && found != "" {
					t.Errorf("tree %d: found %q, want %q", i, found, c.want)
				}
			}
			if fails == 0 || fails == len(broken[r.Name]) {
				t.Errorf("the rule needs trees that break it, and one that does not")
			}
		})
	}
	if len(broken) != len(rules) {
		t.Errorf("%d rules, trees for %d", len(rules), len(broken))
	}
}

// TestLoadLeavesOut reads a tree from disk.
func TestLoadLeavesOut(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		".gitignore": "/built/\n*.tmp\n", "README.md": "read me", "built/x.go": "not Go", "repo/a.go": "package repo",
		"repo/a_windows.go": "package repo", "repo/testdata/x.go": "not Go", ".hidden/x.go": "not Go", "repo/.x.go": "not Go",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, f := range tree.files {
		files = append(files, f.Path)
	}
	if want := []string{"repo/a.go", "repo/a_windows.go"}; !slices.Equal(files, want) {
		t.Errorf("files %q, want %q", files, want)
	}
	if want := []string{"README.md", "repo"}; !slices.Equal(tree.Top, want) {
		t.Errorf("top %q, want %q", tree.Top, want)
	}
}
