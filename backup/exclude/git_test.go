package exclude

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The names in the generated tree and the pieces that patterns are made of
// share a small alphabet, so that many patterns match something.
var (
	treeNames   = []string{"a", "b", "ab", "abc", "a.o", "b.o", "x-y", "A", "[a]", "a b", "a*", "!a", "#a", "b ", "d]", "-", `b\`}
	patternBits = []string{
		"a", "b", "c", "ab", ".o", "*", "*", "**", "?", "/", "/", "/", "[ab]", "[!a]", "[^b]", "[a-c]", "[]d]", "[a-]",
		"[[:alpha:]]", "[[:upper:]x]", "[[:punct:]]", `\*`, `\[`, "-", ".", " ", `\ `, `\a`, "x", "#", "!", "]", "[!-a]", `[\]]`, "[c-a]", "[a/b]", `\/`,
	}
)

// TestAgainstGit compares with git itself, case by case.
func TestAgainstGit(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("git, the oracle of this test, is not installed")
	}
	tree := newGitTree(t, git)
	rng := rand.New(rand.NewPCG(1, 2))
	cases, excluded := 0, 0
	sets := 600
	if testing.Short() {
		sets = 60
	}
	for n := range sets {
		lines := make([]string, 1+rng.IntN(4))
		for i := range lines {
			lines[i] = randomPattern(rng)
		}
		want := tree.ignored(t, strings.Join(lines, "\n")+"\n")
		got := tree.excluded(t, lines)
		for _, e := range tree.entries {
			cases++
			if got[e.path] {
				excluded++
			}
			if got[e.path] != want[e.path] {
				t.Fatalf("set %d, patterns %q, path %q: excluded %v, git says %v", n, lines, e.path, got[e.path], want[e.path])
			}
		}
	}
	t.Logf("%d cases, %d excluded", cases, excluded)
	if excluded < cases/50 {
		t.Errorf("only %d of %d cases are excluded: the patterns test nothing", excluded, cases)
	}
}

// misread finds the patterns that git 2.39 matches against its own manual:
// it cuts the text before the first wildcard off and takes the stars after
// it for stars that stand alone, so that a**/b matches ax/y/b. And an
// escaped slash after two stars asks for at least one folder.
var misread = regexp.MustCompile(`^!?/?[^*?\[\\]*[^*?\[\\/]\*\*+(/|\\/|$)|\*\*\\/`)

func randomPattern(rng *rand.Rand) string {
	for {
		if p := anyPattern(rng); !misread.MatchString(strings.TrimRight(p, " /")) && !misread.MatchString(p) {
			return p
		}
	}
}

func anyPattern(rng *rand.Rand) string {
	var b strings.Builder
	if rng.IntN(4) == 0 {
		b.WriteByte('!')
	}
	if rng.IntN(4) == 0 {
		b.WriteByte('/')
	}
	if rng.IntN(6) == 0 {
		b.WriteString("**/")
	}
	for range 1 + rng.IntN(5) {
		b.WriteString(patternBits[rng.IntN(len(patternBits))])
	}
	switch rng.IntN(8) {
	case 0, 1:
		b.WriteByte('/')
	case 2:
		b.WriteString("/**")
	case 3:
		b.WriteByte(' ')
	}
	return b.String()
}

type treeEntry struct {
	path  string
	isDir bool
}

type gitTree struct {
	git, top string
	entries  []treeEntry // parents first
}

func newGitTree(t *testing.T, git string) *gitTree {
	tree := &gitTree{git: git, top: t.TempDir()}
	tree.run(t, nil, "init", "-q")
	rng := rand.New(rand.NewPCG(3, 4))
	var fill func(dir string, depth int)
	fill = func(dir string, depth int) {
		for _, i := range rng.Perm(len(treeNames))[:6] {
			path := filepath.Join(dir, treeNames[i])
			isDir := depth < 3 && rng.IntN(2) == 0
			tree.entries = append(tree.entries, treeEntry{path, isDir})
			var err error
			if isDir {
				err = os.Mkdir(filepath.Join(tree.top, path), 0o755)
			} else {
				err = os.WriteFile(filepath.Join(tree.top, path), nil, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			if isDir {
				fill(path, depth+1)
			}
		}
	}
	fill("", 0)
	return tree
}

func (g *gitTree) run(t *testing.T, stdin []byte, args ...string) []byte {
	cmd := exec.Command(g.git, append([]string{"-C", g.top, "-c", "core.ignorecase=false", "-c", "core.excludesfile="}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+g.top)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	// check-ignore exits with 1 when nothing is ignored.
	if exit, ok := err.(*exec.ExitError); err != nil && (!ok || exit.ExitCode() != 1) {
		t.Fatalf("git %v: %v: %s", args, err, &stderr)
	}
	return out
}

func (g *gitTree) ignored(t *testing.T, gitignore string) map[string]bool {
	if err := os.WriteFile(filepath.Join(g.top, ".git", "info", "exclude"), []byte(gitignore), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdin bytes.Buffer
	for _, e := range g.entries {
		fmt.Fprintf(&stdin, "./%s\x00", e.path)
	}
	ignored := map[string]bool{}
	for path := range strings.SplitSeq(string(g.run(t, stdin.Bytes(), "check-ignore", "--no-index", "--stdin", "-z")), "\x00") {
		ignored[strings.TrimPrefix(path, "./")] = true
	}
	return ignored
}

// excluded walks the tree as a backup does, parents first.
func (g *gitTree) excluded(t *testing.T, lines []string) map[string]bool {
	patterns, err := Read(strings.NewReader(strings.Join(lines, "\n")+"\n"), "test")
	if err != nil {
		t.Fatal(err)
	}
	// Git takes a pattern that can never match in silence.
	patterns = deleteInvalid(patterns)
	m, err := Compile([]string{"/top/dir"}, patterns)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, e := range g.entries {
		out[e.path] = out[filepath.Dir(e.path)] || m.Excluded("/top/dir/"+e.path, e.isDir)
	}
	return out
}

func deleteInvalid(patterns []Pattern) []Pattern {
	var good []Pattern
	for _, p := range patterns {
		if _, err := parse(p.Text, nil); err == nil {
			good = append(good, p)
		}
	}
	return good
}
