package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Environment variables. None holds a secret.
const (
	EnvRepository     = "TIDEMARK_REPOSITORY"
	EnvPassphraseFile = "TIDEMARK_PASSPHRASE_FILE"
)

// Globals are the flags of every command. Resolve completes them: a flag goes
// before the environment, and that before the configuration.
type Globals struct {
	Repository         string
	PassphraseFile     string
	PassphraseCommand  string
	PassphraseKeystore string
	CacheDir           string // absolute once resolved
	ConfigPath         string
	Replicas           []string // addresses of other places with the same repository
	JSON               bool
	Quiet              bool
	Verbose            bool
	AcceptRollback     bool // go on with a vault that went back in time

	Config config.Config // as it was read
}

// Flags declares the flags on the root command.
func (g *Globals) Flags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVarP(&g.Repository, "repository", "r", "", "where the recovery points are kept: a folder ($"+EnvRepository+")")
	f.StringVar(&g.PassphraseFile, "passphrase-file", "", "read the passphrase from this file ($"+EnvPassphraseFile+")")
	f.StringVar(&g.PassphraseCommand, "passphrase-command", "", "run this command, which prints the passphrase")
	f.StringVar(&g.PassphraseKeystore, "passphrase-keystore", "", "take the passphrase from this secret of the host's keystore")
	f.StringVar(&g.CacheDir, "cache-dir", "", "keep this machine's keys and index in this folder")
	f.StringVar(&g.ConfigPath, "config", "", "read this configuration file")
	f.StringArrayVar(&g.Replicas, "replica", nil, "another place with the same points, for what cannot be read")
	f.BoolVar(&g.AcceptRollback, "accept-rollback", false, "go on with a vault that lacks what this machine remembers, and forget that")
	f.BoolVar(&g.JSON, "json", false, "print results and errors as JSON")
	f.BoolVarP(&g.Quiet, "quiet", "q", false, "print nothing but results and errors")
	f.BoolVarP(&g.Verbose, "verbose", "v", false, "tell more of what is done")
}

// Resolve reads the configuration and fills in what no flag said.
func (a *App) Resolve() error {
	g := &a.Globals
	var err error
	if g.ConfigPath != "" {
		g.Config, err = config.Load(g.ConfigPath)
	} else {
		g.Config, err = config.LoadDefault(config.DefaultPath(os.Geteuid(), a.Getenv))
	}
	if err != nil {
		return err
	}
	g.Repository = first(g.Repository, a.Getenv(EnvRepository), g.Config.Repository)
	if len(g.Replicas) == 0 {
		g.Replicas = g.Config.Vault.Replica
	}
	given := 0
	for _, source := range []string{g.PassphraseFile, g.PassphraseCommand, g.PassphraseKeystore} {
		if source != "" {
			given++
		}
	}
	if given > 1 {
		return Usage("give one of --passphrase-file, --passphrase-command and --passphrase-keystore")
	}
	if given == 0 {
		g.PassphraseFile = a.Getenv(EnvPassphraseFile)
	}
	if given == 0 && g.PassphraseFile == "" {
		g.PassphraseFile, g.PassphraseCommand, g.PassphraseKeystore = g.Config.PassphraseFile, g.Config.PassphraseCommand, g.Config.PassphraseKeystore
	}
	if g.CacheDir, err = a.stateDir(first(g.CacheDir, g.Config.CacheDir)); err != nil {
		return err
	}
	return nil
}

// stateDir returns the folder for what this machine keeps, absolute: where
// somebody said, or where such things lie.
func (a *App) stateDir(said string) (string, error) {
	if said != "" {
		dir, err := filepath.Abs(said)
		if err != nil {
			return "", fmt.Errorf("find the folder %s: %w", said, err)
		}
		return dir, nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/tidemark", nil
	}
	if dir := a.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "tidemark"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", Hint(fmt.Errorf("find the user's home folder: %w: %w", err, fault.Invalid), "give --cache-dir")
	}
	return filepath.Join(home, ".local", "state", "tidemark"), nil
}

// DataDir returns the user's folder for data of the program: $XDG_DATA_HOME,
// or ~/.local/share.
func (a *App) DataDir() (string, error) {
	if dir := a.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "tidemark"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", Hint(fmt.Errorf("find the user's home folder: %w: %w", err, fault.Invalid), "set XDG_DATA_HOME")
	}
	return filepath.Join(home, ".local", "share", "tidemark"), nil
}

// HasPassphrase says whether a passphrase can be had with nobody to ask.
func (g *Globals) HasPassphrase() bool {
	return g.PassphraseFile != "" || g.PassphraseCommand != "" || g.PassphraseKeystore != ""
}

// NeedRepository fails if nobody said where the repository is.
func (a *App) NeedRepository() (string, error) {
	if a.Globals.Repository == "" {
		return "", Hint(Usage("no repository is named"),
			"give -r ADDRESS, set %s, or write \"repository\" into %s", EnvRepository, config.DefaultPath(os.Geteuid(), a.Getenv))
	}
	return a.Globals.Repository, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
