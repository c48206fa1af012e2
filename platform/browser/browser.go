// Package browser opens the user's web browser.
package browser

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// patience is how long the host's opener may take: it hands on, and ends.
const patience = 10 * time.Second

// Open opens a file or an address. Whoever lists this machine's processes sees
// it, so that no secret is to be in it. fault.Unsupported: there is no opener.
func Open(ctx context.Context, what string) error {
	words := opener(runtime.GOOS, what)
	program, err := exec.LookPath(words[0])
	if err != nil {
		return fmt.Errorf("open a browser: there is no %s: %w", words[0], fault.Unsupported)
	}
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	if err := exec.CommandContext(ctx, program, words[1:]...).Run(); err != nil {
		return fmt.Errorf("open a browser with %s: %w", words[0], err)
	}
	return nil
}

// opener is the command of a system that opens something.
func opener(system, what string) []string {
	switch system {
	case "darwin":
		return []string{"open", what}
	case "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler", what}
	}
	return []string{"xdg-open", what}
}
