// Package ledger keeps the vault's own log of a repository: a chain of signed
// entries that says which points there are, what became of the others, and
// how long each lives. It needs no key of the repository and decides nothing:
// what records mean is package retain's.
//
//	ledger/0000000000000001 ◄─ SHA-256 ─ …0002 ◄─ SHA-256 ─ …0003
//	└──────────── 256 of them: ledger/roll-… ───────────┘
//
// Nouns: an Entry is an object of Records. A Ledger is the chain as far as it
// was read. A machine's memory is a file of all entries that it ever verified:
// it makes the next start fast, and a vault that lacks one of them went back
// in time.
//
// Entries are created only if absent, so that writers need no lock: whoever
// loses a race reads on, plans anew and takes the next number. The bytes are
// those of FORMAT.md, section 11.
package ledger

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/signed"
)

// Prefix is where the ledger is in a store.
const Prefix = "ledger/"

const (
	magic    = "tidmLED\x01"
	fixed    = 108 // bytes before the records
	rollName = Prefix + "roll-"

	// MaxEntry bounds an entry in bytes, MaxRecords its records.
	MaxEntry   = 16 << 20
	MaxRecords = 65536 // see MaxEntry
	// RollSize is how many entries a roll holds.
	RollSize = 256
	// MaxRoll bounds a roll in bytes.
	MaxRoll = 64 << 20
)

// Hash is the SHA-256 of an entry.
type Hash [32]byte

// String returns the hash as 64 hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Signer is the public key of who signed an entry.
type Signer [ed25519.PublicKeySize]byte

// String returns the first 16 hexadecimal digits, which tell signers apart.
func (s Signer) String() string { return hex.EncodeToString(s[:8]) }

// Entry is one link of the chain.
type Entry struct {
	Repository [16]byte
	Number     uint64 // from 1
	Previous   Hash   // of the entry before; zero for the first
	Time       int64  // vault's time, Unix seconds
	Signer     Signer
	Records    []Record
	Hash       Hash // of the entry's bytes

	raw []byte
}

// Name returns the name of the object of an entry.
func Name(number uint64) string { return fmt.Sprintf("%s%016x", Prefix, number) }

// RollName returns the name of the roll that ends with an entry.
func RollName(last uint64) string { return fmt.Sprintf("%s%016x", rollName, last) }

// ParseName returns the number in the name of an entry, or of the last entry
// of a roll.
func ParseName(name string) (number uint64, roll bool, err error) {
	digits, roll := strings.CutPrefix(name, rollName)
	if !roll {
		digits = strings.TrimPrefix(name, Prefix)
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	if err != nil || n == 0 || Name(n) != name && (!roll || RollName(n) != name || n%RollSize != 0) {
		return 0, false, fmt.Errorf("parse name of a ledger's object %q: %w", name, fault.Invalid)
	}
	return n, roll, nil
}

// Bytes returns the entry as it is stored. It must not be changed.
func (e *Entry) Bytes() []byte { return e.raw }

// Sign makes the entry's bytes, signed with key. It fails if there are no
// records or too many.
func (e *Entry) Sign(key ed25519.PrivateKey) error {
	if len(e.Records) == 0 || len(e.Records) > MaxRecords {
		return fmt.Errorf("ledger entry of %d records: %w", len(e.Records), fault.Invalid)
	}
	e.Signer = Signer(key.Public().(ed25519.PublicKey))
	b := append([]byte(magic), e.Repository[:]...)
	b = binary.LittleEndian.AppendUint64(b, e.Number)
	b = append(b, e.Previous[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Time))
	b = append(b, e.Signer[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Records)))
	for _, r := range e.Records {
		b = appendRecord(b, r)
	}
	b = append(b, ed25519.Sign(key, b)...)
	if len(b) > MaxEntry {
		return fmt.Errorf("ledger entry of %d bytes: %w", len(b), fault.TooLarge)
	}
	e.raw, e.Hash = b, sha256.Sum256(b)
	return nil
}

// Parse reads an entry. It keeps b. Bounds and form are checked, the signature
// is not: see Verify.
func Parse(b []byte) (*Entry, error) {
	bad := func(why string) (*Entry, error) { return nil, fmt.Errorf("ledger entry: %s: %w", why, fault.Corrupt) }
	n := len(b) - ed25519.SignatureSize
	if n < fixed+2 || string(b[:8]) != magic {
		return bad("not of version 1")
	}
	if len(b) > MaxEntry {
		return nil, fmt.Errorf("ledger entry of %d bytes: %w", len(b), fault.TooLarge)
	}
	e := &Entry{
		Repository: [16]byte(b[8:24]), Number: binary.LittleEndian.Uint64(b[24:]), Previous: Hash(b[32:64]),
		Time: int64(binary.LittleEndian.Uint64(b[64:])), Signer: Signer(b[72:104]), raw: b[:len(b):len(b)], Hash: sha256.Sum256(b),
	}
	count := binary.LittleEndian.Uint32(b[104:])
	rest := b[fixed:n]
	if e.Number == 0 || e.Time < 0 || e.Time > maxTime || count == 0 || count > MaxRecords || int(count) > len(rest)/2 {
		return bad("impossible number, time or count")
	}
	e.Records = make([]Record, 0, count)
	for range count {
		r, after, err := parseRecord(rest)
		if err != nil {
			return nil, fmt.Errorf("ledger entry %d: %w", e.Number, err)
		}
		e.Records, rest = append(e.Records, r), after
	}
	if len(rest) != 0 {
		return bad("bytes behind the records")
	}
	return e, nil
}

// Verify checks the signature.
func (e *Entry) Verify() error {
	n := len(e.raw) - ed25519.SignatureSize
	if !signed.Verify(e.Signer[:], e.raw[:n], e.raw[n:]) {
		return fmt.Errorf("ledger entry %d: wrong signature: damaged or forged: %w", e.Number, fault.Corrupt)
	}
	return nil
}

// follows fails unless e is what comes after head in a repository's chain.
func (e *Entry) follows(head Head, repository [16]byte) error {
	var why string
	switch {
	case e.Repository != repository:
		why = "of another repository"
	case e.Number != head.Number+1:
		why = fmt.Sprintf("stands where number %d belongs", head.Number+1)
	case e.Previous != head.Hash:
		why = "does not follow the entry before"
	case e.Time < head.Time && !SetsClock(e.Records):
		why = "is older than the entry before"
	default:
		return nil
	}
	return fmt.Errorf("ledger entry %d: %s: %w", e.Number, why, fault.Corrupt)
}

// SetsClock says whether records hold the operator's word for the place's clock:
// only then an entry's time may be before that of the entry before.
func SetsClock(records []Record) bool {
	return slices.ContainsFunc(records, func(r Record) bool { return r.Kind() == KindClock })
}

// Head is where a chain ends. The zero Head is that of an empty one.
type Head struct {
	Number uint64
	Hash   Hash
	Time   int64 // vault's time of the last entry
}

// Head returns the head of a chain that ends with the entry.
func (e *Entry) Head() Head { return Head{e.Number, e.Hash, e.Time} }
