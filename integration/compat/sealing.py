"""Keys and sealed things of a Tidemark repository: FORMAT.md, sections 1 and 3.

HKDF (RFC 5869) and the base mode of HPKE (RFC 9180) are written out here;
AES-GCM, X25519 and Ed25519 come from Debian's python3-cryptography, Argon2id
from python3-argon2, Zstandard from python3-zstandard.
"""

import hashlib
import hmac

import argon2.low_level
import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import blake3

DATA, PAGE, BODY, GEOMETRY, LIST = 1, 2, 3, 16, 17
WINDOW = 8 << 20


class Damaged(Exception):
    """Bytes that FORMAT.md does not allow."""


class Refused(Exception):
    """A wrong passphrase, or something that a version 1 reader does not know."""


class Cursor:
    """Reads the fields of a byte string from its front, and never past its end."""

    def __init__(self, data, what):
        self.data, self.at, self.what = data, 0, what

    def left(self):
        return len(self.data) - self.at

    def take(self, n):
        if n > self.left():
            raise Damaged(f"{self.what}: {n} bytes wanted at {self.at}, {self.left()} left")
        self.at += n
        return self.data[self.at - n:self.at]

    def fixed(self, n):
        return int.from_bytes(self.take(n), "little")

    def u8(self):
        return self.fixed(1)

    def u16(self):
        return self.fixed(2)

    def u32(self):
        return self.fixed(4)

    def u64(self):
        return self.fixed(8)

    def i64(self):
        return int.from_bytes(self.take(8), "little", signed=True)

    def uvarint(self, limit=(1 << 64) - 1):
        value, shift = 0, 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise Damaged(f"{self.what}: a varint of more than 10 bytes")
        if value > limit or (byte == 0 and shift):
            raise Damaged(f"{self.what}: varint {value} is too large or not in its shortest form")
        return value

    def svarint(self):
        value = self.uvarint()
        return value >> 1 ^ -(value & 1)

    def string(self, limit):
        return self.take(self.uvarint(limit))

    def count(self, limit):
        """A number of things that take a byte each at least."""
        return self.uvarint(min(limit, self.left()))

    def end(self):
        if self.left():
            raise Damaged(f"{self.what}: {self.left()} bytes too many")


def magic(cursor, letters):
    found = cursor.take(8)
    if found[:7] != b"tidm" + letters:
        raise Damaged(f"{cursor.what}: magic {found!r}")
    if found[7] != 1:
        raise Refused(f"{cursor.what}: version {found[7]} is not known here")


def must(equal, text):
    if not equal:
        raise Damaged(text)


# --- HKDF and HPKE -----------------------------------------------------------

def extract(salt, ikm):
    return hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()


def expand(prk, info, length):
    out, block, number = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([number]), hashlib.sha256).digest()
        out, number = out + block, number + 1
    return out[:length]


def hkdf(ikm, salt, info, length):
    return expand(extract(salt, ikm), info, length)


def _labeled_extract(suite, salt, label, ikm):
    return extract(salt, b"HPKE-v1" + suite + label + ikm)


def _labeled_expand(suite, prk, label, info, length):
    return expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def x25519_public(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def hpke_open(private, enc, info, aad, sealed):
    """Opens one message: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, base mode."""
    dh = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(enc))
    key, nonce = hpke_schedule(dh, enc, x25519_public(private), info)
    return gcm_open(key, nonce, sealed, aad, "a sealed session key")


def hpke_schedule(dh, enc, public, info):
    """Key and first nonce from what both sides know (RFC 9180, 4.1 and 5.1)."""
    kem = b"KEM" + bytes((0x00, 0x20))
    prk = _labeled_extract(kem, b"", b"eae_prk", dh)
    shared = _labeled_expand(kem, prk, b"shared_secret", enc + public, 32)
    suite = b"HPKE" + bytes((0x00, 0x20, 0x00, 0x01, 0x00, 0x02))
    context = b"\0" + _labeled_extract(suite, b"", b"psk_id_hash", b"")
    context += _labeled_extract(suite, b"", b"info_hash", info)
    secret = _labeled_extract(suite, shared, b"secret", b"")
    return _labeled_expand(suite, secret, b"key", context, 32), _labeled_expand(suite, secret, b"base_nonce", context, 12)


def gcm_open(key, nonce, sealed, ad, what):
    try:
        return AESGCM(key).decrypt(nonce, sealed, ad)
    except InvalidTag:
        raise Damaged(f"{what}: does not open: its tag is wrong") from None


def ed25519_verify(public, signature, message, what):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Damaged(f"{what}: wrong signature") from None


def argon2id(passphrase, salt, t, m, p):
    return argon2.low_level.hash_secret_raw(
        secret=passphrase, salt=salt, time_cost=t, memory_cost=m, parallelism=p,
        hash_len=32, type=argon2.low_level.Type.ID, version=0x13)


# --- what is sealed ----------------------------------------------------------

def padme(n):
    """n rounded up so that few lengths are told apart; n is 2 at least."""
    e = n.bit_length() - 1
    step = 1 << (e - e.bit_length())
    return (n + step - 1) // step * step


def open_sealed(keys, pack_id, number, kind, raw, sealed, what):
    """Undoes section 3.6 and gives the plain text; keys are (frame key, nonce key)."""
    ad = pack_id + number.to_bytes(4, "little") + bytes([kind]) + raw.to_bytes(4, "little")
    must(len(sealed) >= 28, f"{what}: {len(sealed)} bytes are too few")
    plain = gcm_open(keys[0], sealed[:12], sealed[12:], ad, what)
    nonce = blake3.keyed(keys[1], ad + plain)[:12]
    must(nonce == sealed[:12], f"{what}: the nonce is not that of its content")
    return plain


def payload(plain, raw, unpadded, what):
    """The payload in a plain text, decoded.

    raw bounds it; unpadded is the length of the payload that is stored without padding with codec 0.
    """
    c = Cursor(plain, what)
    codec, stored = c.u8(), c.u32()
    data = c.take(stored)
    size = 5 + stored
    wanted = size if codec == 0 and stored == unpadded else padme(size)
    must(len(plain) == wanted, f"{what}: {len(plain)} bytes, padded they would be {wanted}")
    must(not any(plain[size:]), f"{what}: padding that is not zero")
    if codec == 1:
        data = _decompress(data, raw, what)
    elif codec != 0:
        raise Damaged(f"{what}: codec {codec}")
    must(len(data) <= raw, f"{what}: {len(data)} bytes where {raw} are told")
    return data


def _decompress(data, limit, what):
    try:
        params = zstandard.get_frame_parameters(data)
        if params.dict_id or params.window_size > WINDOW:
            raise Damaged(f"{what}: a dictionary, or a window of {params.window_size} bytes")
        stream = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()
        out, at = bytearray(), 0
        while at < len(data) and len(out) <= limit and not stream.eof:
            out += stream.decompress(data[at:at + 256])
            at += 256
    except zstandard.ZstdError as err:
        raise Damaged(f"{what}: {err}") from None
    must(len(out) <= limit, f"{what}: decodes to more than {limit} bytes")
    must(stream.eof and not stream.unused_data and at >= len(data), f"{what}: not one whole zstd frame")
    return bytes(out)
