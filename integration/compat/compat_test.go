package compat

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const (
	golden         = "testdata/v1"
	passphraseFile = "testdata/v1.passphrase"
	python         = "/usr/bin/python3"
)

// runPython runs one of the scripts of this folder.
func runPython(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import argon2, cryptography, zstandard").CombinedOutput(); err != nil {
		t.Skipf("the independent reader cannot run here: %s with python3-argon2, python3-cryptography and python3-zstandard is missing: %v\n%s", python, err, out)
	}
	cmd := exec.Command(python, append([]string{"-B"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, tail(out.String()), tail(errs.String()))
	}
	return out.String()
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

func splitLines(s string) []string { return strings.Split(strings.TrimSuffix(s, "\n"), "\n") }

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestReader runs the Python reader's own tests: its hashes and ciphers
// against published vectors, its parsers on good and hostile repositories.
func TestReader(t *testing.T) {
	runPython(t, "-m", "unittest", "-q", "sealing_test", "reader_test")
}

// TestGoldenByReader reads the stored repository with the Python reader.
func TestGoldenByReader(t *testing.T) {
	out := runPython(t, "reader.py", golden, "--passphrase-file", passphraseFile, "check")
	if n := strings.Count(out, ": good\n"); n != 2 {
		t.Errorf("%d good points, want 2:\n%s", n, out)
	}
	ids := pointIDs(t, golden)
	if len(ids) != 2 {
		t.Fatalf("points %v, want 2", ids)
	}
	for i, id := range ids {
		got := splitLines(runPython(t, "reader.py", golden, "--passphrase-file", passphraseFile, "ls", "--content", id))
		want := goldenManifest(t, i+1)
		if d := differences(within(got, goldenRoot), want); d != "" {
			t.Errorf("point %d differs (- source, + read):\n%s", i+1, d)
		}
	}
}

// goldenRoot is what the golden points hold.
const goldenRoot = "/srv/golden"

// goldenManifest is that of the tree of which point n was made.
func goldenManifest(t *testing.T, n int) []string {
	return splitLines(readFile(t, golden+"-"+strconv.Itoa(n)+".manifest"))
}

// pointIDs asks the Python reader for the points, in their order.
func pointIDs(t *testing.T, dir string) []string {
	var ids []string
	for _, l := range splitLines(runPython(t, "reader.py", dir, "--passphrase-file", passphraseFile, "points")) {
		ids = append(ids, strings.Fields(l)[0])
	}
	return ids
}

// copyGolden gives a copy that a test may open for writing.
func copyGolden(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "v1")
	if err := os.CopyFS(dir, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestGoldenByCode reads the stored repository with the code under test.
func TestGoldenByCode(t *testing.T) {
	r := openRepository(t, copyGolden(t))
	points, err := r.Points(t.Context())
	if err != nil || len(points) != 2 {
		t.Fatalf("%d points, want 2, %v", len(points), err)
	}
	for i, p := range points {
		lines, err := readTree(t.Context(), r, p)
		if err != nil {
			t.Fatal(err)
		}
		if uint64(len(lines)) != p.Entries {
			t.Errorf("point %d: %d entries, it says %d", i+1, len(lines), p.Entries)
		}
		if d := differences(manifest(lines, goldenRoot, goldenRoot), goldenManifest(t, i+1)); d != "" {
			t.Errorf("point %d differs (- source, + read):\n%s", i+1, d)
		}
		if p.Host != "golden" || len(p.Paths) != 1 || p.Paths[0] != goldenRoot {
			t.Errorf("point %d: host %q, paths %q", i+1, p.Host, p.Paths)
		}
	}
}

// formatSection is the part of FORMAT.md that dumps.py printed.
func formatSection(t *testing.T) string {
	page := readFile(t, "../../repo/FORMAT.md")
	i := strings.Index(page, "## 20. ")
	if i < 0 {
		t.Fatal("FORMAT.md has no section 20")
	}
	return page[i:]
}

// TestDumpsAreCurrent holds the dumps against what the Python reader makes of
// the stored repository, decrypted parts and all.
func TestDumpsAreCurrent(t *testing.T) {
	want := runPython(t, "dumps.py", golden, "--passphrase-file", passphraseFile)
	if got := formatSection(t); got != want {
		t.Errorf("section 20 of FORMAT.md is not what dumps.py prints:\n%s", firstDifference(got, want))
	}
}

func firstDifference(got, want string) string {
	g, w := splitLines(got), splitLines(want)
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "line " + strconv.Itoa(i+1) + ":\n" + g[i] + "\n" + w[i]
		}
	}
	return strconv.Itoa(len(g)) + " lines, want " + strconv.Itoa(len(w))
}

var (
	dumpTitle = regexp.MustCompile("^### `([^`]+)`$") // others are of decrypted parts
	dumpRow   = regexp.MustCompile(`^ {4}([0-9a-f]{4,})  ((?:[0-9a-f]{2} ?)+?)(?: {2,}.*)?$`)
)

// TestDumps holds every dumped byte of an object against the stored file. It
// needs nothing but the page and the files.
func TestDumps(t *testing.T) {
	var title, data string
	rows, titles, end := 0, 0, 0
	for _, l := range splitLines(formatSection(t)) {
		if strings.HasPrefix(l, "### ") {
			title, end = "", 0
			if m := dumpTitle.FindStringSubmatch(l); m != nil {
				title, data = m[1], readFile(t, filepath.Join(golden, m[1]))
				titles++
			}
		}
		m := dumpRow.FindStringSubmatch(l)
		if m == nil || title == "" {
			continue
		}
		rows++
		at, err := strconv.ParseUint(m[1], 16, 32)
		if err != nil || int(at) != end {
			t.Fatalf("%s: row at %s does not follow %04x, %v", title, m[1], end, err)
		}
		row := strings.ReplaceAll(m[2], " ", "")
		end += len(row) / 2
		if end > len(data) || hexOf(data[at:end]) != row {
			t.Errorf("%s at %s: %s is not what is stored", title, m[1], m[2])
		}
	}
	if titles < 6 || rows < 60 {
		t.Errorf("only %d objects and %d rows were found", titles, rows)
	}
}

func hexOf(s string) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 2*len(s))
	for i := range len(s) {
		out = append(out, digits[s[i]>>4], digits[s[i]&15])
	}
	return string(out)
}
