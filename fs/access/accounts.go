package access

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"golang.org/x/crypto/argon2"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Account is somebody who may log in, as the file of accounts has him:
//
//	[[account]]
//	name = "ann"
//	password = "$argon2id$v=19$m=65536,t=3,p=4$…$…"
//	user = "ann"
//
//	[[account]]
//	name = "bob"
//	password = "…"
//	uid = 1001
//	groups = [1001, 27]
//
//	[[account]]
//	name = "root"
//	password = "…"
//	admin = true
type Account struct {
	Name     string   `toml:"name"`
	Password string   `toml:"password"` // a hash, see Hash
	Digest   *Digest  `toml:"digest,omitempty"`
	Server   string   `toml:"user,omitempty"` // his name on the server; each point says which numbers it had
	UID      *uint32  `toml:"uid,omitempty"`  // or his numbers there
	Groups   []uint32 `toml:"groups,omitempty"`
	Admin    bool     `toml:"admin,omitempty"`
}

// User returns who the account is on the server that was backed up.
func (a *Account) User() *User {
	u := &User{Name: a.Name, Groups: a.Groups, Admin: a.Admin, Server: a.Server}
	if a.UID != nil {
		u.UID = *a.UID
	}
	return u
}

// Accounts are those of a file, by name.
type Accounts map[string]*Account

// HaveDigest says whether there are accounts and all have what Digest needs. Only
// then it may be offered, as clients take it who are offered both.
func (all Accounts) HaveDigest() bool {
	for _, a := range all {
		if a.Digest == nil {
			return false
		}
	}
	return len(all) > 0
}

// maxAccounts bounds a file of accounts in bytes and entries.
const (
	maxFile     = 16 << 20
	maxAccounts = 100_000
	maxName     = 128
)

type accountsFile struct {
	Accounts []Account `toml:"account"`
}

// ReadAccounts reads a file of accounts, strictly. One that others than its
// owner may read or write is refused.
func ReadAccounts(path string) (Accounts, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("read accounts from %s: %d bytes: %w", path, info.Size(), fault.TooLarge)
	}
	if err := durable.Private(info); err != nil {
		return nil, fmt.Errorf("read accounts from %s (chmod 600 it): %w", path, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	all, err := parseAccounts(b)
	if err != nil {
		return nil, fmt.Errorf("read accounts from %s: %w", path, err)
	}
	return all, nil
}

func parseAccounts(b []byte) (Accounts, error) {
	var f accountsFile
	meta, err := toml.Decode(string(b), &f)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fault.Invalid, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return nil, fmt.Errorf("%s is not known: %w", unknown[0], fault.Invalid)
	}
	if len(f.Accounts) > maxAccounts {
		return nil, fmt.Errorf("%d accounts: %w", len(f.Accounts), fault.TooLarge)
	}
	all := Accounts{}
	for i := range f.Accounts {
		a := &f.Accounts[i]
		if err := a.validate(); err != nil {
			return nil, err
		}
		if all[a.Name] != nil {
			return nil, fmt.Errorf("account %q stands there twice: %w", a.Name, fault.Invalid)
		}
		all[a.Name] = a
	}
	return all, nil
}

func (a *Account) validate() error {
	switch {
	case a.Name == "" || len(a.Name) > maxName || strings.ContainsAny(a.Name, ":\r\n\x00"):
		return fmt.Errorf("account with the name %q: %w", a.Name, fault.Invalid)
	case a.UID == nil && a.Server == "" && !a.Admin:
		return fmt.Errorf("account %q has neither user nor uid, so nobody knows what it may see: %w", a.Name, fault.Invalid)
	case a.Server != "" && (a.UID != nil || a.Groups != nil || a.Admin):
		return fmt.Errorf("account %q has a user, and numbers or admin, too: %w", a.Name, fault.Invalid)
	case a.Digest != nil && !a.Digest.valid():
		return fmt.Errorf("account %q: digest: %w", a.Name, fault.Invalid)
	case len(a.Groups) > 65536:
		return fmt.Errorf("account %q is in %d groups: %w", a.Name, len(a.Groups), fault.Invalid)
	}
	if _, err := parseHash(a.Password); err != nil {
		return fmt.Errorf("account %q: password: %w", a.Name, err)
	}
	return nil
}

// Write stores accounts in a file of mode 0600, replacing it.
func (all Accounts) Write(path string) error {
	var f accountsFile
	for _, a := range all {
		f.Accounts = append(f.Accounts, *a)
	}
	slices.SortFunc(f.Accounts, func(a, b Account) int { return strings.Compare(a.Name, b.Name) })
	b, err := toml.Marshal(f)
	if err != nil {
		return fmt.Errorf("write accounts: %w", err)
	}
	if err := durable.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("write accounts: %w", err)
	}
	return nil
}

// hash is a password's: Argon2id, in the usual form
// $argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$SUM (base64 without padding).
type hash struct {
	memory, passes uint32
	lanes          uint8
	salt, sum      []byte
}

// Bounds of what a hash may cost whoever checks it.
const (
	maxMemory = 256 << 10 // KiB
	maxPasses = 16
)

// Hash returns what a file of accounts keeps of a password.
func Hash(password []byte) string {
	h := hash{memory: 64 << 10, passes: 3, lanes: 4, salt: make([]byte, 16)}
	_, _ = rand.Read(h.salt)
	h.sum = h.of(password)
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", h.memory, h.passes, h.lanes, enc.EncodeToString(h.salt), enc.EncodeToString(h.sum))
}

func (h *hash) of(password []byte) []byte {
	return argon2.IDKey(password, h.salt, h.passes, h.memory, h.lanes, 32)
}

func parseHash(s string) (*hash, error) {
	bad := fmt.Errorf("not of the form $argon2id$v=19$m=…,t=…,p=…$…$…: %w", fault.Invalid)
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v=19" {
		return nil, bad
	}
	h := &hash{}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.passes, &h.lanes); n != 3 || err != nil {
		return nil, bad
	}
	if h.memory < 8*uint32(h.lanes) || h.memory > maxMemory || h.passes < 1 || h.passes > maxPasses || h.lanes < 1 {
		return nil, fmt.Errorf("Argon2id with m=%d, t=%d, p=%d: %w", h.memory, h.passes, h.lanes, fault.Invalid)
	}
	var err, err2 error
	h.salt, err = base64.RawStdEncoding.DecodeString(parts[4])
	h.sum, err2 = base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.sum) != 32 {
		return nil, bad
	}
	return h, nil
}

// matches says whether a password is the one that was hashed.
func (h *hash) matches(password []byte) bool {
	return subtle.ConstantTimeCompare(h.of(password), h.sum) == 1
}
