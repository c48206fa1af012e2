package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// The marks between which the README holds what Markdown returns.
const (
	MarkdownBegin = "<!-- commands:begin -->"
	MarkdownEnd   = "<!-- commands:end -->"
)

// Markdown describes all commands and the exit codes for the README, from the
// same texts as --help.
func Markdown(root *cobra.Command) string {
	var b strings.Builder
	var list func(c *cobra.Command)
	list = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			if sub.Hidden || sub.Name() == "help" || sub.Name() == "completion" {
				continue
			}
			// Those that only hold others have no example.
			if sub.Example != "" {
				fmt.Fprintf(&b, "| `%s` | %s |\n", strings.ReplaceAll(usage(root, sub), "|", `\|`), sub.Short)
			}
			list(sub)
		}
	}
	b.WriteString("| command | what it does |\n|---|---|\n")
	list(root)
	b.WriteString("\nFlags of every command:\n\n```\n")
	b.WriteString(root.PersistentFlags().FlagUsages())
	b.WriteString("```\n\nEach command tells more with `--help`. ")
	b.WriteString("POINT is `latest`, `latest-clean` (the newest that does not look as if somebody had encrypted its files), the first digits of a point's ID, its folder's name in a mount, or a time: `2026-11-22`, `2026-11-22T10:00`, `yesterday`, `\"3d ago\"`; a time means the newest point that is not younger.\n\n")
	b.WriteString("| exit code | meaning |\n|---|---|\n")
	for code, text := range exitTexts {
		fmt.Fprintf(&b, "| %d | %s |\n", code, text)
	}
	return b.String()
}

// usage is the command with its arguments and without the program's name.
func usage(root, c *cobra.Command) string {
	line := strings.TrimPrefix(c.CommandPath(), root.Name()+" ")
	if _, args, ok := strings.Cut(c.Use, " "); ok {
		line += " " + args
	}
	return line
}
