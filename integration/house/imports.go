package house

import (
	"fmt"
	"slices"
	"strings"
)

// order is the map: a package imports its own folder and those to its left.
var order = []string{"platform", "repo", "fs", "backup", "cmd", "integration"}

// keyless is the folder whose packages need no key, and keylessCommand the
// program that must not be able to open anything.
const (
	keyless        = "repo/vault"
	keylessCommand = "cmd/tidemark-vault"
)

// homes says which folders alone may import what comes from outside. Tests and
// integration are excepted: they compare with the real thing.
var homes = []struct {
	prefix string
	dirs   []string
}{
	{"github.com/minio/minio-go", []string{"repo/vault/store/s3"}},
	{"github.com/aws/aws-sdk-go", []string{"repo/vault/store/s3"}},
	{"github.com/aws/aws-sdk-go-v2", []string{"repo/vault/store/s3"}},
	{"github.com/Azure", []string{"repo/vault/store/azure"}},
	{"github.com/pkg/sftp", []string{"repo/vault/store/sftp"}},
	{"golang.org/x/crypto/ssh", []string{"repo/vault/store/sftp"}},
	{"cloud.google.com", nil},
	{"gocloud.dev", nil},
	{"github.com/hanwen/go-fuse", []string{"fs/fuse"}},
	{"github.com/winfsp/cgofuse", []string{"fs/winfsp"}},
	{"golang.org/x/net/webdav", []string{"fs/webdav"}},
	{"github.com/spf13/cobra", []string{"cmd"}},
	{"github.com/spf13/pflag", []string{"cmd"}},
}

// checkMap finds imports to the right of the map.
func checkMap(t *Tree) []string {
	var found []string
	for p, f := range t.files {
		here := slices.Index(order, topOf(p.Dir))
		for _, i := range f.imports() {
			dir, ok := ours(i.path)
			if !ok {
				continue
			}
			if there := slices.Index(order, topOf(dir)); there < 0 || there > here {
				found = append(found, t.at(i.pos, "%s imports %s: only its own folder and those to its left in %s",
					p.Dir, dir, strings.Join(order, " · ")))
			}
		}
	}
	return found
}

// topOf returns the first folder of a path.
func topOf(dir string) string {
	top, _, _ := strings.Cut(dir, "/")
	return top
}

// keyed reports whether the folder holds code that seals and opens.
func keyed(dir string) bool { return inside(dir, "repo") && !inside(dir, keyless) }

// checkKeyless finds keyed packages that keyless code imports, tests included,
// and those that the vault server would link by whatever way.
func checkKeyless(t *Tree) []string {
	var found []string
	for p, f := range t.files {
		if !inside(p.Dir, keyless) {
			continue
		}
		for _, i := range f.imports() {
			if dir, ok := ours(i.path); ok && keyed(dir) {
				found = append(found, t.at(i.pos, "%s is keyless and imports %s", p.Dir, dir))
			}
		}
	}
	for dir, way := range t.linked(keylessCommand) {
		if keyed(dir) {
			found = append(found, fmt.Sprintf("%s links keyed code: %s", keylessCommand, way))
		}
	}
	slices.Sort(found)
	return found
}

// linked returns the packages of this module that the program in dir links on
// some system, each with a way of imports that leads there.
func (t *Tree) linked(dir string) map[string]string {
	packages := map[string]*Package{}
	for _, p := range t.Packages {
		packages[p.Dir] = p
	}
	ways := map[string]string{}
	var visit func(dir, way string)
	visit = func(dir, way string) {
		p := packages[dir]
		if p == nil || ways[dir] != "" {
			return
		}
		ways[dir] = way
		for _, f := range p.Files {
			if f.Test {
				continue
			}
			for _, i := range f.imports() {
				if next, ok := ours(i.path); ok {
					visit(next, way+" → "+next)
				}
			}
		}
	}
	visit(dir, dir)
	return ways
}

// checkHomes finds outside packages imported away from their one place.
func checkHomes(t *Tree) []string {
	var found []string
	for p, f := range t.files {
		if f.Test || inside(p.Dir, "integration") {
			continue
		}
		for _, i := range f.imports() {
			for _, h := range homes {
				if inside(i.path, h.prefix) && !inside(p.Dir, h.dirs...) {
					found = append(found, t.at(i.pos, "%s imports %s, which belongs in %q only", p.Dir, i.path, h.dirs))
				}
			}
		}
	}
	return found
}

// checkIOFS finds io/fs under another name than iofs: fs is a folder here.
func checkIOFS(t *Tree) []string {
	var found []string
	for _, f := range t.files {
		for _, i := range f.imports() {
			if i.path == "io/fs" && i.name != "iofs" {
				found = append(found, t.at(i.pos, "io/fs is imported as iofs"))
			}
		}
	}
	return found
}
