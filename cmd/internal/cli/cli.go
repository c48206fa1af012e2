// Package cli holds what all commands share: flags and where their values
// come from, passphrases, what is printed and how, exit codes and hints.
//
// Nouns: an [App] is one call of the program with its streams; [Globals] are
// the flags that every command has, merged with the environment and the
// configuration; a POINT argument is what a user types to name a recovery
// point ([SelectPoint]).
//
// Rules: only this package knows exit codes and hints. What comes out of a
// repository (names, above all) is printed through [Quote] or as JSON, so
// that it cannot command a terminal. Progress goes to standard error and only
// to a terminal, results to standard output.
package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/tidemark-backup/tidemark/repo/vault/store/limit"
)

// App is one call of the program. Tests make their own.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Now            func() time.Time
	Zone           *time.Location // of times that users type and see
	Globals        Globals
	Given          []byte // the passphrase, if somebody has said it already

	// Reads bounds what is read out of places; nil: nothing does.
	Reads *limit.Rate
}

// New returns the App of this process.
func New() *App {
	return &App{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Now: time.Now, Zone: time.Local,
	}
}

// IsTerminal says whether somebody sits at the other end.
func IsTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Width returns the number of columns of the terminal that w is, and false if
// it is none.
func Width(w io.Writer) (int, bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil || columns <= 0 {
		columns = 80
	}
	return columns, true
}

// Printf prints a result to standard output.
func (a *App) Printf(format string, args ...any) { fmt.Fprintf(a.Stdout, format, args...) }

// Notef tells something that is no result, on standard error; --quiet
// silences it.
func (a *App) Notef(format string, args ...any) {
	if !a.Globals.Quiet {
		fmt.Fprintf(a.Stderr, format+"\n", args...)
	}
}

// JSON prints v as one line of JSON.
func (a *App) JSON(v any) error {
	e := json.NewEncoder(a.Stdout)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}
