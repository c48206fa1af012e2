// Command report reads what go test -json prints.
//
//	go test -json ./... | report    a line per package, and what failed, as it comes
//	report -total FILE…             what was skipped and failed, and a count
//
// It exits with 1 if anything failed, or if no test ran: an empty run is no
// success.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is one line of go test -json; see go doc test2json.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build output, in place of Package
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

// account is what a run came to.
type account struct {
	passed, failed, skipped int
	failures, skips         []string
	output                  map[string][]string // of tests and packages not yet done
}

func main() {
	total := flag.Bool("total", false, "sum up the files")
	flag.Parse()
	a := account{output: map[string][]string{}}
	var err error
	if *total {
		for _, name := range flag.Args() {
			err = a.readFile(name)
			if err != nil {
				break
			}
		}
		a.print()
	} else {
		err = a.read(os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
	if len(a.failures) > 0 || a.passed+a.failed == 0 {
		os.Exit(1)
	}
}

func (a *account) readFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return a.read(f, io.Discard)
}

// read takes in a run and writes what is worth reading of it to w.
func (a *account) read(r io.Reader, w io.Writer) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				fmt.Fprint(w, line) // of go itself: a download, an error
			} else {
				a.add(e, w)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (a *account) add(e event, w io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		a.output[key] = append(a.output[key], e.Output)
		return
	case "build-output":
		fmt.Fprint(w, e.Output)
		return
	case "build-fail":
		a.fail(e.ImportPath + " does not build")
		return
	case "pass", "fail", "skip":
	default:
		return
	}
	said := a.output[key]
	delete(a.output, key)
	if e.Test == "" {
		a.addPackage(e, said, w)
		return
	}
	name := short(e.Package) + " " + e.Test
	switch e.Action {
	case "pass":
		a.passed++
	case "fail":
		a.fail(name)
		fmt.Fprint(w, strings.Join(said, ""))
	case "skip":
		a.skipped++
		a.skips = append(a.skips, name+": "+reason(said))
	}
}

func (a *account) fail(what string) {
	a.failed++
	a.failures = append(a.failures, what)
}

// addPackage ends a package: with its own line, and all it said if it failed
// otherwise than by a test (a panic, a time-out, a data race at exit).
func (a *account) addPackage(e event, said []string, w io.Writer) {
	switch e.Action {
	case "pass":
		fmt.Fprintf(w, "ok    %-45s %7.1f s\n", short(e.Package), e.Elapsed)
	case "fail":
		if !slices.ContainsFunc(a.failures, func(f string) bool { return strings.HasPrefix(f, short(e.Package)+" ") }) {
			a.fail(short(e.Package) + " (the package)")
		}
		// Tests that a panic cut short never end: what they said is here.
		for key, lines := range a.output {
			if strings.HasPrefix(key, e.Package+" ") {
				fmt.Fprint(w, strings.Join(lines, ""))
				delete(a.output, key)
			}
		}
		fmt.Fprint(w, strings.Join(said, ""))
		fmt.Fprintf(w, "FAIL  %-45s %7.1f s\n", short(e.Package), e.Elapsed)
	}
}

// short leaves out the module, whose first three parts are the same for all.
func short(pkg string) string {
	if parts := strings.SplitN(pkg, "/", 4); len(parts) == 4 {
		return parts[3]
	}
	return pkg
}

// reason is what a test said before it was skipped.
func reason(said []string) string {
	var words []string
	for _, line := range said {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") && line != "" {
			words = append(words, line)
		}
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}

func (a *account) print() {
	for _, s := range a.skips {
		fmt.Println("skipped:", s)
	}
	for _, f := range a.failures {
		fmt.Println("failed:", f)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", a.passed, a.failed, a.skipped)
}
