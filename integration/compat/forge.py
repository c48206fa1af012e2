"""Makes small repositories by hand, good ones and hostile ones, to test readers with.

It seals with valid keys whatever it is given, as a compromised server could.
Nothing in it is fit for real data: keys and "random" bytes are constants.
"""

import hashlib
import itertools
import os

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
import zstandard

import blake3
import sealing

PASSPHRASE = b"correct horse battery staple"
ROOT, REPO, SLOT, SALT = b"R" * 32, b"repository id 16", b"slot id8", b"salt of 16 bytes"
PRIVATE, SESSION, DEVICE = b"P" * 32, b"S" * 32, b"D" * 32


def le(value, size):
    return value.to_bytes(size, "little")


def uvarint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def svarint(value):
    return uvarint(value << 1 if value >= 0 else (-value << 1) - 1)


def string(data):
    return uvarint(len(data)) + data


def key(label):
    return sealing.hkdf(ROOT, REPO, b"tidemark v1 " + label.encode(), 32)


def seal(keys, pack_id, number, kind, raw, plain):
    ad = pack_id + le(number, 4) + bytes([kind]) + le(raw, 4)
    nonce = blake3.keyed(keys[1], ad + plain)[:12]
    return nonce + AESGCM(keys[0]).encrypt(nonce, plain, ad)


def plain_text(data, unpadded=None):
    codec, stored = 0, data
    packed = zstandard.ZstdCompressor().compress(data)
    if len(packed) <= len(data) - len(data) // 32 - 1:
        codec, stored = 1, packed
    out = bytes([codec]) + le(len(stored), 4) + stored
    if codec == 0 and len(stored) == unpadded:
        return out
    return out + bytes(sealing.padme(len(out)) - len(out))


class Forge:
    """Writes objects below a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.index_keys = (key("index seal"), key("index nonce"))
        self.sealed_session = self._seal_session()
        self.packs, self.needs, self.bomb = 0, {}, False
        self._repository()
        self._epoch()
        self._slot()

    def put(self, name, data):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)

    def _repository(self):
        data = b"tidmREP\1" + REPO + le(0, 2) + le(1_700_000_000, 8)
        data += b"".join(le(n, 4) for n in (32768, 131072, 524288, 4096, 8192))
        self.put("repository", data + blake3.keyed(key("repository mac"), data))

    def _epoch(self):
        data = b"tidmEPO\1" + REPO + le(1, 4) + le(0x20, 2) + le(1, 2) + le(2, 2) + le(1_700_000_000, 8)
        data += le(32, 2) + sealing.x25519_public(PRIVATE)
        self.put("keys/epoch-00000001", data + blake3.keyed(key("repository mac"), data))

    def _slot(self):
        head = b"tidmSLT\1" + REPO + SLOT + b"\0" + le(1_700_000_000, 8) + b"\1" + le(1, 4) + le(8192, 4) + b"\1" + SALT + b"\0"
        k = sealing.argon2id(PASSPHRASE, SALT, 1, 8192, 1)
        head += sealing.hkdf(k, SLOT, b"tidemark v1 slot commitment", 32)
        secrets = ROOT + b"\1" + le(1, 4) + le(0x20, 2) + le(1, 2) + le(2, 2) + le(32, 2) + PRIVATE
        nonce = blake3.keyed(sealing.hkdf(k, SLOT, b"tidemark v1 slot nonce", 32), head + secrets)[:12]
        sealed = AESGCM(sealing.hkdf(k, SLOT, b"tidemark v1 slot seal", 32)).encrypt(nonce, secrets, head)
        self.put("keys/slot-" + SLOT.hex(), head + nonce + le(len(sealed), 4) + sealed)

    def _seal_session(self):
        """HPKE base mode, the sender's half; the ephemeral key is a constant."""
        ephemeral = X25519PrivateKey.from_private_bytes(b"E" * 32)
        enc = ephemeral.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        public = X25519PrivateKey.from_private_bytes(PRIVATE).public_key()
        shared = ephemeral.exchange(public)
        aead_key, nonce = sealing.hpke_schedule(shared, enc, sealing.x25519_public(PRIVATE),
                                                b"tidemark v1 session" + REPO + le(1, 4))
        return enc + AESGCM(aead_key).encrypt(nonce, SESSION, b"")

    def pack_keys(self, pack_id):
        keys = sealing.hkdf(SESSION + key("seal"), REPO, b"tidemark v1 pack" + pack_id, 96)
        return (keys[:32], keys[32:64]), keys[64:]

    def pack(self, kind, chunks, first=None, step=4096):
        """Stores chunks (kind 3: pages) and gives their addresses."""
        self.packs += 1
        pack_id = (1_700_000_000_000_000 + self.packs).to_bytes(8, "big") + b"randomXX"
        keys, commitment = self.pack_keys(pack_id)
        label = "page id" if kind == 3 else "chunk id"
        raw, listed, addresses = b"", uvarint(len(chunks)), []
        for chunk in chunks:
            room = -len(raw) % step
            gap = room if kind >= 2 and len(chunk) > room else 0
            addresses.append((pack_id, len(raw) + gap, len(chunk)))
            raw += bytes(gap) + chunk
            listed += uvarint(gap) + uvarint(len(chunk)) + blake3.keyed(key(label), chunk)[:16]
        first = min(step if first is None else first, len(raw))
        spans = [raw[:first]] + [raw[at:at + step] for at in range(first, len(raw), step)]
        plains = [plain_text(s * 1000 if self.bomb else s, step) for s in spans]
        frames = [seal(keys, pack_id, i, 2 if kind == 3 else 1, len(s), p) for i, (s, p) in enumerate(zip(spans, plains))]
        sealed_list = seal(self.index_keys, pack_id, 0, 17, len(listed), plain_text(listed))
        geometry = le(first, 4) + le(step, 4) + le(len(raw), 4) + le(len(listed), 4) + bytes([kind, 0, 0, 0])
        head = b"tidmPAK\1" + REPO + pack_id + le(1, 4) + le(len(frames), 4) + le(len(self.sealed_session), 2)
        head += le(len(sealed_list), 4) + commitment + seal(self.index_keys, pack_id, 0, 16, 20, geometry)
        rest = self.sealed_session + b"".join(le(len(f), 4) for f in frames)
        rest += b"".join(hashlib.sha256(f).digest() for f in frames) + sealed_list
        data = head + hashlib.sha256(head + rest).digest() + rest + b"".join(frames)
        self.put(f"packs/{pack_id.hex()[-2:]}/{pack_id.hex()}", data)
        self.needs[pack_id] = bytes([255]) * len(frames)  # whole frames: right only where all is used
        return addresses

    def live(self, per_page=100):
        """Stores the live set, with so many records a page; gives its root."""
        level, records = 0, []
        for pack_id in sorted(self.needs):
            runs = [(need, len(list(run))) for need, run in itertools.groupby(self.needs[pack_id])]
            record = pack_id + uvarint(len(self.needs[pack_id])) + uvarint(len(runs))
            records.append((pack_id, record + b"".join(bytes([need]) + uvarint(length) for need, length in runs), 1))
        while True:
            upper = []
            for at in range(0, max(len(records), 1), per_page):
                page = records[at:at + per_page]
                data = b"tidmLIV\1" + bytes([level]) + le(0, 2) + le(len(page), 4) + b"".join(r for _, r, _ in page)
                digest = hashlib.sha256(data).digest()
                self.put(f"live/{digest.hex()[:2]}/{digest.hex()}", data)
                count = sum(n for _, _, n in page)
                upper.append((page[0][0] if page else b"", page and page[0][0] + digest + uvarint(count), count))
            if len(upper) == 1:
                return digest
            level, records = level + 1, upper

    def point(self, root, count, level=0, sequence=1, previous=bytes(32), extra=b"", per_page=100):
        """Stores a point whose table has this root page; gives its ID."""
        sections = (b"\1" + string(le(1_700_000_000, 8) + le(5, 4) + le(1_700_000_009, 8) + le(6, 4))
                    + b"\2" + string(uvarint(count) + uvarint(level) + root)
                    + b"\3" + string(bytes(13))
                    + b"\4" + string(b"".join(string(s) for s in (b"host", b"user", b"linux", b"forge", b"1")))
                    + b"\x09" + string(uvarint(1) + le(7, 8)) + extra)
        body_id = (1_700_000_000_000_000 + 900 + sequence).to_bytes(8, "big") + b"body    "
        keys, commitment = self.pack_keys(body_id)
        body = seal(keys, body_id, 0, 3, len(sections), plain_text(sections))
        device = Ed25519PrivateKey.from_private_bytes(DEVICE)
        head = b"tidmPNT\1" + REPO + le(sequence, 8) + b"server id 16 byt" + previous + self.live(per_page) + le(0, 2) + le(1, 4)
        head += body_id + commitment + le(len(self.sealed_session), 2) + le(len(body), 4) + le(len(sections), 4)
        head += device.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        head += hashlib.sha256(body).digest() + self.sealed_session
        head += blake3.keyed(key("point mac"), head)
        head += device.sign(head)
        self.put(f"points/{sequence:016x}", head + body)
        return hashlib.sha256(head).digest()


class PageMaker:
    """Encodes one page; the caller gives the records in order."""

    def __init__(self, kind):
        self.kind, self.packs, self.ends, self.records = kind, [], [], []
        self.key, self.seconds, self.modes, self.owner = b"", 0, {}, None

    def address(self, address):
        pack_id, offset, length = address
        if pack_id not in self.packs:
            self.packs.append(pack_id)
            self.ends.append(0)
        i = self.packs.index(pack_id)
        out = uvarint(i) + svarint(offset - self.ends[i])
        self.ends[i] = offset + length
        return out

    def prefixed(self, name):
        shared = len(os.path.commonprefix([self.key, name]))
        self.key = name
        return uvarint(shared) + string(name[shared:])

    def entry(self, name, kind=0, mode=0o644, owner=(0, 0), seconds=0, nanoseconds=0, flags=0, more=b"", form=0, body=None):
        """more: link, attributes, extension as flags say; body: what follows them, encoded (None: an empty file)."""
        out = self.prefixed(name)
        flags |= 1 if self.modes.get(kind) != mode else 0
        flags |= 2 if self.owner != owner else 0
        out += bytes([kind | form << 4, flags]) + svarint((seconds - self.seconds + (1 << 63)) % (1 << 64) - (1 << 63)) + uvarint(nanoseconds)
        out += uvarint(mode) if flags & 1 else b""
        out += uvarint(owner[0]) + uvarint(owner[1]) if flags & 2 else b""
        self.modes[kind], self.owner, self.seconds = mode, owner, seconds
        if body is None:
            body = uvarint(0) if kind == 0 else b""
        self.records.append(out + more + body)

    def extent(self, length, address=None):
        return uvarint(length) + (b"\0" if address is None else b"\1" + self.address(address))

    def reference(self, separator, count, address, page, hint=(0, 0)):
        out = separator if separator == b"\0\0" else self.prefixed(separator)
        out += uvarint(count) + self.address(address) + uvarint(address[2]) + blake3.keyed(key("page id"), page)[:16]
        return out + uvarint(hint[0]) + uvarint(hint[1])

    def page(self):
        table = uvarint(len(self.packs)) + b"".join(self.packs)
        return bytes([self.kind]) + table + uvarint(len(self.records)) + b"".join(self.records)
