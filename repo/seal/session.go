package seal

import (
	"crypto/hpke"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// HPKE numbers (RFC 9180) of a new epoch.
const (
	kemX25519  = 0x0020
	kdfSHA256  = 0x0001
	aeadAES256 = 0x0002
)

// Suite names the three parts of HPKE by their numbers in RFC 9180.
type Suite struct {
	KEM, KDF, AEAD uint16
}

// Epoch is a public key of the repository, as stored in keys/epoch-….
type Epoch struct {
	Repository RepositoryID
	Number     uint32
	Suite
	Created int64 // Unix seconds by the client's clock
	Public  []byte
}

// Private is the private half of an epoch.
type Private struct {
	Epoch uint32
	Suite
	Key []byte

	ready hpke.PrivateKey // what Ready made of it; nil
}

// kem checks that the suite is known and returns its KEM.
func (s Suite) kem() (hpke.KEM, error) {
	kem, err := hpke.NewKEM(s.KEM)
	if err != nil || s.KDF != kdfSHA256 || s.AEAD != aeadAES256 {
		return nil, fmt.Errorf("HPKE suite %#x/%#x/%#x: %w", s.KEM, s.KDF, s.AEAD, fault.Unsupported)
	}
	return kem, nil
}

const magicEpoch = "tidmEPO\x01"

// NewEpoch draws a key pair.
func NewEpoch(id RepositoryID, number uint32, created int64) (*Epoch, *Private, error) {
	kem, err := hpke.NewKEM(kemX25519)
	if err != nil {
		return nil, nil, fmt.Errorf("make key pair: %w", err)
	}
	private, err := kem.GenerateKey()
	if err != nil {
		return nil, nil, fmt.Errorf("make key pair: %w", err)
	}
	raw, err := private.Bytes()
	if err != nil {
		return nil, nil, fmt.Errorf("make key pair: %w", err)
	}
	suite := Suite{KEM: kemX25519, KDF: kdfSHA256, AEAD: aeadAES256}
	return &Epoch{Repository: id, Number: number, Suite: suite, Created: created, Public: private.PublicKey().Bytes()},
		&Private{Epoch: number, Suite: suite, Key: raw}, nil
}

// Marshal returns the object, with its MAC.
func (e *Epoch) Marshal(macKey Key) []byte {
	b := append([]byte(magicEpoch), e.Repository[:]...)
	b = binary.LittleEndian.AppendUint32(b, e.Number)
	b = binary.LittleEndian.AppendUint16(b, e.KEM)
	b = binary.LittleEndian.AppendUint16(b, e.KDF)
	b = binary.LittleEndian.AppendUint16(b, e.AEAD)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Created))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(e.Public)))
	b = append(b, e.Public...)
	mac := MAC(macKey, b)
	return append(b, mac[:]...)
}

// ParseEpoch reads an object and checks its MAC and that its suite is known.
func ParseEpoch(b []byte, macKey Key) (*Epoch, error) {
	const fixed = 44
	if len(b) < fixed+32 || string(b[:8]) != magicEpoch {
		return nil, fmt.Errorf("parse epoch: not an epoch of version 1: %w", fault.Corrupt)
	}
	p := int(binary.LittleEndian.Uint16(b[42:]))
	if len(b) != fixed+p+32 {
		return nil, fmt.Errorf("parse epoch: %d bytes: %w", len(b), fault.Corrupt)
	}
	if mac := MAC(macKey, b[:fixed+p]); !Equal(mac[:], b[fixed+p:]) {
		return nil, fmt.Errorf("parse epoch: wrong MAC, damaged or forged: %w", fault.Corrupt)
	}
	e := &Epoch{
		Repository: RepositoryID(b[8:24]), Number: binary.LittleEndian.Uint32(b[24:]),
		Suite:   Suite{KEM: binary.LittleEndian.Uint16(b[28:]), KDF: binary.LittleEndian.Uint16(b[30:]), AEAD: binary.LittleEndian.Uint16(b[32:])},
		Created: int64(binary.LittleEndian.Uint64(b[34:])), Public: b[fixed : fixed+p : fixed+p],
	}
	if _, err := e.public(); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Epoch) public() (hpke.PublicKey, error) {
	kem, err := e.kem()
	if err != nil {
		return nil, fmt.Errorf("epoch %d: %w", e.Number, err)
	}
	public, err := kem.NewPublicKey(e.Public)
	if err != nil {
		return nil, fmt.Errorf("epoch %d: public key: %v: %w", e.Number, err, fault.Corrupt)
	}
	return public, nil
}

// EpochOf returns the epoch that belongs to a private key. This, and never
// the object in the vault, is where a writer has its public key from: a vault
// that could name another one could read what is written from then on.
func EpochOf(id RepositoryID, p *Private) (*Epoch, error) {
	private, err := p.parse()
	if err != nil {
		return nil, err
	}
	return &Epoch{Repository: id, Number: p.Epoch, Suite: p.Suite, Public: private.PublicKey().Bytes()}, nil
}

// Ready makes of the key what opening a session needs, once for all of them. A
// key of which nothing can be made says so at its use.
func (p *Private) Ready() {
	if ready, err := p.parse(); err == nil {
		p.ready = ready
	}
}

func (p *Private) parse() (hpke.PrivateKey, error) {
	if p.ready != nil {
		return p.ready, nil
	}
	kem, err := p.kem()
	if err != nil {
		return nil, fmt.Errorf("private key of epoch %d: %w", p.Epoch, err)
	}
	private, err := kem.NewPrivateKey(p.Key)
	if err != nil {
		return nil, fmt.Errorf("private key of epoch %d: %v: %w", p.Epoch, err, fault.Corrupt)
	}
	return private, nil
}

func sessionInfo(id RepositoryID, epoch uint32) []byte {
	info := append([]byte("tidemark v1 session"), id[:]...)
	return binary.LittleEndian.AppendUint32(info, epoch)
}

// NewSession draws a run's session key and seals it to the epoch.
func (e *Epoch) NewSession() (session Key, sealed []byte, err error) {
	_, _ = rand.Read(session[:]) // never fails
	public, err := e.public()
	if err != nil {
		return Key{}, nil, err
	}
	sealed, err = hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), sessionInfo(e.Repository, e.Number), session[:])
	if err != nil {
		return Key{}, nil, fmt.Errorf("seal session key: %w", err)
	}
	return session, sealed, nil
}

// OpenSession opens a sealed session key of the private key's epoch.
func (p *Private) OpenSession(id RepositoryID, sealed []byte) (Key, error) {
	private, err := p.parse()
	if err != nil {
		return Key{}, err
	}
	session, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), sessionInfo(id, p.Epoch), sealed)
	if err != nil || len(session) != len(Key{}) {
		return Key{}, fmt.Errorf("open session key of epoch %d: damaged or forged: %w", p.Epoch, fault.Corrupt)
	}
	return Key(session), nil
}
