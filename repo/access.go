package repo

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/seal"
)

// Use is what a machine may do without a passphrase.
type Use uint8

// The uses.
const (
	Nothing    Use = iota
	Sealed         // write, and open nothing
	Unattended     // write and read
)

// String names the use as `init` and `doctor` show it.
func (u Use) String() string { return [...]string{"passphrase", "sealed", "unattended"}[u] }

// Device is a machine's own identity: what its points are signed with.
type Device struct {
	Server [16]byte
	Key    ed25519.PrivateKey
}

// Local is a folder in which a machine keeps what belongs to one repository:
// keys (access, device), the index, the copies of the last tables. All but
// device can be lost without harm.
type Local struct {
	Dir string

	// Place is the address of the place that is used, if there may be several
	// with this repository: each has a ledger of its own, and the machine
	// remembers each. "" is the only one.
	Place string
}

// LocalOf returns what a machine whose folder for such things is dir keeps of a
// repository at an address.
func LocalOf(dir string, id [16]byte, address string) Local {
	address = strings.TrimPrefix(address, "file://")
	if path, err := filepath.Abs(address); err == nil && !scheme.MatchString(address) {
		address = path
	}
	return Local{Dir: filepath.Join(dir, fmt.Sprintf("%x", id)), Place: address}
}

// scheme begins an address that is no folder.
var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]+:`)

// Memory returns the file in which the machine remembers the place's ledger.
func (l Local) Memory() string {
	if l.Place == "" {
		return filepath.Join(l.Dir, "ledger")
	}
	sum := sha256.Sum256([]byte(l.Place))
	return filepath.Join(l.Dir, fmt.Sprintf("ledger-%x", sum[:8]))
}

// Scrub returns the file in which the machine remembers what it scrubbed there.
func (l Local) Scrub() string {
	return filepath.Join(l.Dir, "scrub"+strings.TrimPrefix(filepath.Base(l.Memory()), "ledger"))
}

// Local returns the repository's folder below dir; nothing is made.
func (r *Repository) Local(dir string) Local {
	return Local{Dir: filepath.Join(dir, fmt.Sprintf("%x", r.ID[:]))}
}

// Names returns the file in which the machine remembers the names in pages.
func (l Local) Names() string { return filepath.Join(l.Dir, "names") }

// Proofs returns the folder in which the machine keeps its reports of proofs of
// restore.
func (l Local) Proofs() string { return filepath.Join(l.Dir, "proofs") }

const (
	magicAccess = "tidmACC\x01"
	magicDevice = "tidmDEV\x01"
)

// Grant gives the repository the keys that Keep left in the folder. It
// returns Nothing, and no error, if there are none.
func (r *Repository) Grant(ctx context.Context, l Local) (Use, error) {
	path := filepath.Join(l.Dir, "access")
	b, err := readPrivate(path)
	if errors.Is(err, iofs.ErrNotExist) {
		return Nothing, nil
	}
	if err != nil {
		return Nothing, fmt.Errorf("read this machine's keys: %w", err)
	}
	a, err := parseAccess(b)
	if err == nil {
		err = r.prove(ctx, func(id *Identity) error {
			if a.keys.Repository != id.ID || a.identity != sha256.Sum256(id.raw) {
				return fmt.Errorf("of another repository: %w", fault.Corrupt)
			}
			return nil
		})
	}
	if err != nil {
		return Nothing, fmt.Errorf("this machine's keys in %s: %w", path, err)
	}
	r.take(a.keys, a.epoch, a.private)
	r.mendIdentity(ctx)
	if len(a.private) > 0 {
		return Unattended, nil
	}
	return Sealed, nil
}

// Keep leaves keys in the folder, mode 0600, for Grant. The repository must be
// unlocked.
func (r *Repository) Keep(l Local, use Use) error {
	if r.keys == nil || use == Unattended && !r.CanRead() {
		return fmt.Errorf("keep keys on this machine: %w", fault.Locked)
	}
	if use == Nothing {
		if err := os.Remove(filepath.Join(l.Dir, "access")); err != nil && !errors.Is(err, iofs.ErrNotExist) {
			return fmt.Errorf("remove this machine's keys: %w", err)
		}
		return nil
	}
	private := r.private
	if use == Sealed {
		private = nil
	}
	a := &access{identity: sha256.Sum256(r.raw), keys: r.keys, epoch: r.epoch, private: private}
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return fmt.Errorf("keep keys on this machine: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(l.Dir, "access"), a.marshal(), 0o600); err != nil {
		return fmt.Errorf("keep keys on this machine: %w", err)
	}
	return nil
}

// Device returns the machine's identity, and makes one if there is none.
func (l Local) Device() (*Device, error) {
	path := filepath.Join(l.Dir, "device")
	b, err := readPrivate(path)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		if err := os.MkdirAll(l.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("make this machine's signing key: %w", err)
		}
		b = append([]byte(magicDevice), make([]byte, 48)...)
		_, _ = rand.Read(b[8:])
		sum := sha256.Sum256(b)
		b = append(b, sum[:]...)
		err := durable.Create(path, b, 0o600)
		if errors.Is(err, fault.Exist) { // another run was faster
			b, err = readPrivate(path)
		}
		if err != nil {
			return nil, fmt.Errorf("make this machine's signing key: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("read this machine's signing key: %w", err)
	}
	if len(b) != 8+48+32 || string(b[:8]) != magicDevice || sha256.Sum256(b[:56]) != [32]byte(b[56:]) {
		return nil, fmt.Errorf("this machine's signing key in %s is damaged; remove it to get a new one: %w", path, fault.Corrupt)
	}
	return &Device{Server: [16]byte(b[8:24]), Key: ed25519.NewKeyFromSeed(b[24:56])}, nil
}

// readPrivate reads a small file of secrets, and refuses one that others may
// read: ssh does so too, for the same reason.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > 1<<20 {
		return nil, fmt.Errorf("%s: %d bytes: %w", path, info.Size(), fault.TooLarge)
	}
	if err := durable.Private(info); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	b := make([]byte, info.Size())
	_, err = f.ReadAt(b, 0)
	return b, err
}

// access is what a machine in sealed or unattended use keeps: the derived keys
// save that of the repository's MACs, a hash of the object `repository` in its
// place, and the public key, so that the vault cannot name another one.
type access struct {
	identity [32]byte
	keys     *seal.Keys
	epoch    *seal.Epoch
	private  []seal.Private
}

func (a *access) marshal() []byte {
	keys := *a.keys
	keys.RepMAC = seal.Key{}
	b := append([]byte(magicAccess), a.identity[:]...)
	// The epoch's MAC is made with a key of zeros: here it is a checksum only.
	for _, part := range [][]byte{keys.Marshal(), a.epoch.Marshal(seal.Key{}), (&seal.Secrets{Private: a.private}).Marshal()} {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func parseAccess(b []byte) (*access, error) {
	bad := fmt.Errorf("damaged; remove the file and run `tidemark key keep`: %w", fault.Corrupt)
	n := len(b) - 32
	if n < 40 || string(b[:8]) != magicAccess || sha256.Sum256(b[:n]) != [32]byte(b[n:]) {
		return nil, bad
	}
	a := &access{identity: [32]byte(b[8:40])}
	var parts [3][]byte
	rest := b[40:n]
	for i := range parts {
		if len(rest) < 4 || uint64(binary.LittleEndian.Uint32(rest)) > uint64(len(rest)-4) {
			return nil, bad
		}
		l := binary.LittleEndian.Uint32(rest)
		parts[i], rest = rest[4:4+l], rest[4+l:]
	}
	var err error
	if a.keys, err = seal.ParseKeys(parts[0]); err != nil {
		return nil, bad
	}
	if a.epoch, err = seal.ParseEpoch(parts[1], seal.Key{}); err != nil {
		return nil, bad
	}
	s, err := seal.ParseSecrets(parts[2])
	if err != nil || len(rest) != 0 {
		return nil, bad
	}
	a.private = s.Private
	return a, nil
}
