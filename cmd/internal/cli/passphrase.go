package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/keystore"
)

const (
	// MinPassphrase is the least number of characters of a new passphrase.
	MinPassphrase = 16
	maxPassphrase = 4096 // bytes
)

// Passphrase returns the passphrase of an existing repository: from the file,
// from the command, or from the user at the terminal. Without any of these
// the error is fault.Locked.
func (a *App) Passphrase(ctx context.Context) ([]byte, error) {
	if a.Given != nil {
		return a.Given, nil
	}
	p, err := a.configured(ctx)
	if p != nil || err != nil {
		return p, err
	}
	return a.prompt("Passphrase: ")
}

// NewPassphrase is Passphrase for a new one: at a terminal it is asked for
// twice, and one of less than MinPassphrase characters is refused.
func (a *App) NewPassphrase(ctx context.Context) ([]byte, error) {
	p, err := a.configured(ctx)
	if p == nil && err == nil {
		p, err = a.PromptNew()
	}
	if err != nil {
		return nil, err
	}
	return p, CheckNew(p)
}

// NewPassphraseFrom reads a new passphrase from the file, or asks for it if
// there is none. It is for commands whose global flags name another one.
func (a *App) NewPassphraseFrom(file string) ([]byte, error) {
	var p []byte
	var err error
	if file != "" {
		p, err = a.fromFile(file)
	} else {
		p, err = a.PromptNew()
	}
	if err != nil {
		return nil, err
	}
	return p, CheckNew(p)
}

// CheckNew refuses a new passphrase that is too short.
func CheckNew(p []byte) error {
	if n := utf8.RuneCount(p); n < MinPassphrase {
		return Hint(Usage("the passphrase has %s; a new one needs %d", Counted(uint64(n), "character", "characters"), MinPassphrase),
			"five or six words that have nothing to do with each other are easy to keep in mind")
	}
	return nil
}

// configured returns nil if neither a file nor a command nor a secret is named.
func (a *App) configured(ctx context.Context) ([]byte, error) {
	switch {
	case a.Globals.PassphraseFile != "":
		return a.fromFile(a.Globals.PassphraseFile)
	case a.Globals.PassphraseCommand != "":
		return a.fromCommand(ctx, a.Globals.PassphraseCommand)
	case a.Globals.PassphraseKeystore != "":
		p, err := keystore.Get(ctx, a.Globals.PassphraseKeystore)
		if errors.Is(err, fault.NotExist) {
			err = Hint(err, "`tidemark key keystore put %s` puts it there", Quote(a.Globals.PassphraseKeystore))
		}
		return p, err
	}
	return nil, nil
}

func (a *App) fromFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read passphrase: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		if err := durable.Private(info); err != nil {
			return nil, Hint(fmt.Errorf("read passphrase from file %s: it is %w", path, err), "whoever reads it can read the backups")
		}
	}
	return readPassphrase(f, "file "+path)
}

func (a *App) fromCommand(ctx context.Context, line string) ([]byte, error) {
	words, err := splitWords(line)
	if err == nil && len(words) == 0 {
		err = errEmptyCommand
	}
	if err != nil {
		return nil, Usage("read the passphrase command: %w", err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Stdin, cmd.Stderr, cmd.Stdout = a.Stdin, a.Stderr, &out
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run the passphrase command %s: %w", words[0], err)
	}
	return readPassphrase(&out, "command "+words[0])
}

// readPassphrase takes one newline off the end: editors and echo put it there.
func readPassphrase(r io.Reader, from string) ([]byte, error) {
	p, err := io.ReadAll(io.LimitReader(r, maxPassphrase+3))
	if err != nil {
		return nil, fmt.Errorf("read passphrase from %s: %w", from, err)
	}
	p = bytes.TrimSuffix(bytes.TrimSuffix(p, []byte("\n")), []byte("\r"))
	switch {
	case len(p) == 0:
		return nil, Usage("the passphrase from %s is empty", from)
	case len(p) > maxPassphrase:
		return nil, Usage("the passphrase from %s is longer than %d bytes", from, maxPassphrase)
	}
	return p, nil
}

// PromptNew asks twice for a new passphrase.
func (a *App) PromptNew() ([]byte, error) {
	p, err := a.prompt(fmt.Sprintf("New passphrase (%d characters or more): ", MinPassphrase))
	if err != nil {
		return nil, err
	}
	if err := CheckNew(p); err != nil {
		return nil, err
	}
	again, err := a.prompt("The same again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(p, again) {
		return nil, Usage("the two passphrases differ")
	}
	return p, nil
}

// minPassword is the least number of characters of the password of an account,
// which whoever guesses can try only now and then.
const minPassword = 8

// NewPassword asks for the new password of an account, twice at a terminal;
// else it is the first line of standard input.
func (a *App) NewPassword(who string) ([]byte, error) {
	var p []byte
	var err error
	if f, ok := a.Stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		var again []byte
		if p, err = a.prompt(fmt.Sprintf("New password of %s: ", Quote(who))); err == nil {
			again, err = a.prompt("The same again: ")
		}
		if err == nil && !bytes.Equal(p, again) {
			err = Usage("the two passwords differ")
		}
	} else {
		p, err = readPassphrase(a.Stdin, "standard input")
	}
	if err != nil {
		return nil, err
	}
	if n := utf8.RuneCount(p); n < minPassword {
		return nil, Usage("the password has %s; a new one needs %d", Counted(uint64(n), "character", "characters"), minPassword)
	}
	return p, nil
}

// prompt asks at the terminal, without showing what is typed.
func (a *App) prompt(question string) ([]byte, error) {
	f, ok := a.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, Hint(fmt.Errorf("there is no passphrase and nobody to ask: %w", fault.Locked),
			"give --passphrase-file or --passphrase-command, or set %s", EnvPassphraseFile)
	}
	fmt.Fprint(a.Stderr, question)
	p, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(a.Stderr)
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("ask for the passphrase: %w", fault.Canceled)
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the passphrase: %w", err)
	}
	return p, nil
}

// Confirm asks at the terminal whether to go on. fault.Canceled: no; a command
// that nobody can be asked about fails as misused.
func (a *App) Confirm(question string) error {
	f, ok := a.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return Hint(Usage("there is nobody to ask"), "--yes answers beforehand")
	}
	fmt.Fprintf(a.Stderr, "%sType yes to go on: ", question)
	var answer string
	if _, err := fmt.Fscanln(f, &answer); err != nil || answer != "yes" {
		return fmt.Errorf("nothing was done: %w", fault.Canceled)
	}
	return nil
}

// Choose asks at the terminal for one of several words.
func (a *App) Choose(question string, words ...string) (string, error) {
	f, ok := a.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", Usage("there is nobody to ask; say it: %s", strings.Join(words, ", "))
	}
	fmt.Fprintf(a.Stderr, "%s (%s) ", question, strings.Join(words, ", "))
	var answer string
	if _, err := fmt.Fscanln(f, &answer); err != nil || !slices.Contains(words, answer) {
		return "", fmt.Errorf("nothing was done: %w", fault.Canceled)
	}
	return answer, nil
}

var (
	errQuote        = errors.New("a quotation mark is not closed")
	errEmptyCommand = errors.New("it is empty")
)

// splitWords splits a command as a shell does: at spaces, save in '…' and
// "…"; a backslash outside of '…' takes the next character as it is. Nothing
// is expanded. On Windows, write paths with forward slashes.
func splitWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quote := false, byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(line):
			i++
			word.WriteByte(line[i])
			inWord = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t' || c == '\n':
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, errQuote
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
