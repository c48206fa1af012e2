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

// MaxSessionKey bounds a sealed session key in bytes.
const MaxSessionKey = 2048

// Epoch is a public key of the repository, as stored in keys/epoch-….
type Epoch struct {
	Repository     RepositoryID
	Number         uint32
	KEM, KDF, AEAD uint16
	Created        int64 // Unix seconds by the client's clock
	Public         []byte
}

// Private is the private half of an epoch.
type Private struct {
	Epoch uint32
	KEM   uint16
	Key   []byte
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
	return &Epoch{Repository: id, Number: number, KEM: kemX25519, KDF: kdfSHA256, AEAD: aeadAES256, Created: created, Public: private.PublicKey().Bytes()},
		&Private{Epoch: number, KEM: kemX25519, Key: raw}, nil
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
		KEM: binary.LittleEndian.Uint16(b[28:]), KDF: binary.LittleEndian.Uint16(b[30:]), AEAD: binary.LittleEndian.Uint16(b[32:]),
		Created: int64(binary.LittleEndian.Uint64(b[34:])), Public: b[fixed : fixed+p : fixed+p],
	}
	if _, err := e.public(); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Epoch) public() (hpke.PublicKey, error) {
	if e.KDF != kdfSHA256 || e.AEAD != aeadAES256 {
		return nil, fmt.Errorf("epoch %d: HPKE suite %#x/%#x/%#x: %w", e.Number, e.KEM, e.KDF, e.AEAD, fault.Unsupported)
	}
	kem, err := hpke.NewKEM(e.KEM)
	if err != nil {
		return nil, fmt.Errorf("epoch %d: HPKE KEM %#x: %w", e.Number, e.KEM, fault.Unsupported)
	}
	public, err := kem.NewPublicKey(e.Public)
	if err != nil {
		return nil, fmt.Errorf("epoch %d: public key: %v: %w", e.Number, err, fault.Corrupt)
	}
	return public, nil
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
	kem, err := hpke.NewKEM(p.KEM)
	if err != nil {
		return Key{}, fmt.Errorf("open session key: HPKE KEM %#x: %w", p.KEM, fault.Unsupported)
	}
	private, err := kem.NewPrivateKey(p.Key)
	if err != nil {
		return Key{}, fmt.Errorf("open session key: private key of epoch %d: %w", p.Epoch, fault.Corrupt)
	}
	session, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), sessionInfo(id, p.Epoch), sealed)
	if err != nil || len(session) != len(Key{}) {
		return Key{}, fmt.Errorf("open session key of epoch %d: damaged or forged: %w", p.Epoch, fault.Corrupt)
	}
	return Key(session), nil
}
