package main

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
)

var update = flag.Bool("update", false, "write the README's list of commands anew")

const readme = "../../README.md"

// TestReadmeListsTheCommands compares the README with what --help says. To
// bring it up to date: go test ./cmd/tidemark -run Readme -update
func TestReadmeListsTheCommands(t *testing.T) {
	b, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), cli.MarkdownBegin)
	have, after, ok2 := strings.Cut(rest, cli.MarkdownEnd)
	if !ok || !ok2 {
		t.Fatalf("README.md has no part between %s and %s", cli.MarkdownBegin, cli.MarkdownEnd)
	}
	want := "\n\n" + cli.Markdown(newRoot(cli.New())) + "\n"
	if have == want {
		return
	}
	if !*update {
		t.Fatalf("README.md does not say what the commands say; run go test ./cmd/tidemark -run Readme -update\nhave:\n%s\nwant:\n%s", have, want)
	}
	text := before + cli.MarkdownBegin + want + cli.MarkdownEnd + after
	if err := os.WriteFile(readme, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// allCommands returns the root and all that is below it, hidden ones left out.
func allCommands(c *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
			list = append(list, allCommands(sub)...)
		}
	}
	return list
}
