// Package config reads Tidemark's configuration: one TOML file.
//
// It is read strictly. A key that is not known is an error, with its line and
// the known key that looks most like it: a misspelt "exlude" must not mean a
// backup of what somebody wanted left out. Paths are absolute (or begin with
// "~/"), since nobody knows in which folder a timer starts a backup.
//
// There is no key for a passphrase itself, on purpose: configurations are
// copied, shown and checked in.
package config

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/tidemark-backup/tidemark/backup/notify"
	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/snapshot"
)

// maxSize bounds the file, in bytes.
const maxSize = 1 << 20

// Config is the content of a configuration file. The zero Config says
// nothing.
type Config struct {
	Repository         string  `toml:"repository"`          // address: a folder, or a URL
	PassphraseFile     string  `toml:"passphrase_file"`     // absolute
	PassphraseCommand  string  `toml:"passphrase_command"`  // words as a shell would split them
	PassphraseKeystore string  `toml:"passphrase_keystore"` // name of the secret in the keystore of the host
	CacheDir           string  `toml:"cache_dir"`           // absolute
	Backup             Backup  `toml:"backup"`
	Vault              Vault   `toml:"vault"`
	Restore            Restore `toml:"restore"`

	Agent       Agent         `toml:"agent"`
	Notify      notify.Config `toml:"notify"`
	Policies    []Policy      `toml:"policy"`
	Maintenance []Maintenance `toml:"maintenance"`
	Mounts      []Mount       `toml:"mount"`
	Shares      []Share       `toml:"share"`
	Report      Report        `toml:"report"`
}

// Report is what reports need to know beside what happened.
type Report struct {
	Prices Prices `toml:"prices"`
}

// Prices are what a month costs, in whatever currency; zero: nothing.
type Prices struct {
	Currency      string  `toml:"currency"`       // as it is to be written, such as "EUR"
	SmallInstance float64 `toml:"small_instance"` // a policy that backs up 50 GiB or less
	Instance      float64 `toml:"instance"`       // one of up to 500 GiB, and each further 500
	Storage       float64 `toml:"storage_gib"`    // a GiB that is stored
}

// resolveReport checks the prices. On an error it says where.
func (c *Config) resolveReport(string) (place, error) {
	p := &c.Report.Prices
	for key, v := range map[string]float64{"small_instance": p.SmallInstance, "instance": p.Instance, "storage_gib": p.Storage} {
		if v < 0 || v > maxPrice {
			return place{"report", "prices", key}, fmt.Errorf("%v is no price", v)
		}
	}
	if len(p.Currency) > maxCurrency {
		return place{"report", "prices", "currency"}, fmt.Errorf("it has %d bytes, but %d are possible", len(p.Currency), maxCurrency)
	}
	return nil, nil
}

const (
	maxPrice    = 1e9
	maxCurrency = 10
)

// Vault is what is known of the place where the points are.
type Vault struct {
	Replica []string `toml:"replica"` // addresses of other places with the same repository
}

// Restore is how fast data is read again.
type Restore struct {
	Throttle []schedule.Window `toml:"throttle"` // of restores; none: no bound
	Mounts   bool              `toml:"mounts"`   // of mounts and shares, too
}

// Backup is what "tidemark backup" does where its flags say nothing else.
type Backup struct {
	Paths         []string `toml:"paths"`         // absolute
	Exclude       []string `toml:"exclude"`       // patterns, see package exclude
	ExcludeFiles  []string `toml:"exclude_files"` // absolute; files of patterns
	ExcludeCaches bool     `toml:"exclude_caches"`
	OneFileSystem bool     `toml:"one_file_system"`
	Tags          []string `toml:"tags"`

	Snapshot snapshot.Mode `toml:"snapshot"` // "off" (""), "auto" or "require"
}

//go:embed example.toml
var example string

// Example returns a configuration in which every key stands with its
// explanation, all of them commented out.
func Example() string { return example }

// DefaultPath returns where the configuration lies if nobody says: in
// /etc/tidemark for root (uid 0), in the user's configuration folder for
// everybody else. It returns "" for a user who has no such folder.
func DefaultPath(uid int, getenv func(string) string) string {
	if uid == 0 {
		return "/etc/tidemark/config.toml"
	}
	dir := getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		var err error
		if dir, err = os.UserConfigDir(); err != nil {
			return ""
		}
	}
	return filepath.Join(dir, "tidemark", "config.toml")
}

// Load reads the file at path. A file that is not there is fault.NotExist;
// whatever is wrong in it is fault.Invalid and names file and line.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return Config{}, fmt.Errorf("read configuration %s: %w", path, err)
	}
	home, _ := os.UserHomeDir() // without one, "~/" stays and is refused as not absolute
	return Parse(data, path, home)
}

// LoadDefault is Load, but a file that is not there is an empty
// configuration; so is an empty path.
func LoadDefault(path string) (Config, error) {
	if path == "" {
		return Config{}, nil
	}
	c, err := Load(path)
	if errors.Is(err, iofs.ErrNotExist) {
		return Config{}, nil
	}
	return c, err
}

// Parse reads a configuration. The name is used in messages only; home stands
// for "~" and may be empty.
func Parse(data []byte, name, home string) (Config, error) {
	var c Config
	fail := func(line int, format string, args ...any) (Config, error) {
		where := name
		if line > 0 {
			where = fmt.Sprintf("%s, line %d", name, line)
		}
		return Config{}, fmt.Errorf("read configuration %s: %s: %w", where, fmt.Sprintf(format, args...), fault.Invalid)
	}
	if len(data) > maxSize {
		return fail(0, "larger than %d bytes", maxSize)
	}
	md, err := toml.Decode(string(data), &c)
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		return fail(parse.Position.Line, "%s", parse.Message)
	}
	if err != nil {
		return fail(0, "%s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	if unknown := md.Undecoded(); len(unknown) > 0 {
		key := unknown[0]
		return fail(lineOf(data, placeOf(key)), "unknown key %q%s", key.String(), advice(key))
	}
	if key, err := c.resolve(home); err != nil {
		return fail(lineOf(data, placeOf(key)), "%s: %v", key, err)
	}
	if _, err := schedule.NewTable(c.Restore.Throttle, time.UTC); err != nil {
		return fail(lineOf(data, place{"restore", "throttle"}), "restore: %s", strings.TrimSuffix(err.Error(), ": "+fault.Invalid.Error()))
	}
	for _, resolve := range []func(string) (place, error){c.resolvePolicies, c.resolveMaintenance, c.resolveShows, c.resolveNotify, c.resolveReport} {
		if where, err := resolve(home); err != nil {
			return fail(lineOf(data, where), "%s: %s", where, strings.TrimSuffix(err.Error(), ": "+fault.Invalid.Error()))
		}
	}
	return c, nil
}

// resolve checks what the types do not, and puts home in place of "~". On an
// error it names the key.
func (c *Config) resolve(home string) (toml.Key, error) {
	if c.PassphraseFile != "" && c.PassphraseCommand != "" {
		return toml.Key{"passphrase_command"}, errors.New("there is a passphrase_file already; keep one of them")
	}
	if c.PassphraseKeystore != "" && c.PassphraseFile+c.PassphraseCommand != "" {
		return toml.Key{"passphrase_keystore"}, errors.New("there is a passphrase_file or passphrase_command already; keep one of them")
	}
	if err := c.Backup.Snapshot.Validate(); err != nil {
		return toml.Key{"backup", "snapshot"}, err
	}
	if !hasScheme(c.Repository) {
		if err := absolute(&c.Repository, home); err != nil {
			return toml.Key{"repository"}, err
		}
	}
	for i := range c.Vault.Replica {
		at := &c.Vault.Replica[i]
		if *at == "" {
			return toml.Key{"vault", "replica"}, errors.New("an empty address")
		}
		if !hasScheme(*at) {
			if err := absolute(at, home); err != nil {
				return toml.Key{"vault", "replica"}, err
			}
		}
	}
	for _, p := range []struct {
		key  toml.Key
		path *string
	}{
		{toml.Key{"passphrase_file"}, &c.PassphraseFile},
		{toml.Key{"cache_dir"}, &c.CacheDir},
	} {
		if err := absolute(p.path, home); err != nil {
			return p.key, err
		}
	}
	for _, l := range []struct {
		key  toml.Key
		list []string
	}{
		{toml.Key{"backup", "paths"}, c.Backup.Paths},
		{toml.Key{"backup", "exclude_files"}, c.Backup.ExcludeFiles},
	} {
		for i := range l.list {
			if l.list[i] == "" {
				return l.key, errors.New("an empty path")
			}
			if err := absolute(&l.list[i], home); err != nil {
				return l.key, err
			}
		}
	}
	return nil, nil
}

// absolute expands "~/" and refuses a relative path. Empty means not given.
func absolute(path *string, home string) error {
	if rest, ok := strings.CutPrefix(*path, "~/"); ok && home != "" {
		*path = filepath.Join(home, rest)
	}
	if *path != "" && !filepath.IsAbs(*path) {
		return fmt.Errorf("%q is not an absolute path", *path)
	}
	return nil
}

// scheme is what tells an address from a path; one letter is a drive.
var scheme = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]+:`)

func hasScheme(address string) bool { return scheme.MatchString(address) }
