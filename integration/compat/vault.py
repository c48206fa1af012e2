"""The objects of a repository in a folder: FORMAT.md, sections 2, 3, 4, 7 and 8."""

import base64
import hashlib
import os
import re
import stat
from collections import OrderedDict

import blake3
import moved
import sealing
from sealing import Cursor, Damaged, Refused, magic, must

LABELS = ("chunk id", "page id", "gear", "table", "seal", "index seal", "index nonce", "point mac", "repository mac")
SUITE = (0x0020, 0x0001, 0x0002)
MIB = 1 << 20


class Repository:
    """An opened repository: its secrets and its objects."""

    def __init__(self, folder, passphrase):
        self.folder = os.fsencode(folder)
        data = self.read("repository", 86)
        self.id = data[8:24]
        self._features()
        self.private = {}
        self._open_slot(passphrase)
        self.keys = {label: sealing.hkdf(self.root, self.id, b"tidemark v1 " + label.encode(), 32) for label in LABELS}
        self.index_keys = (self.keys["index seal"], self.keys["index nonce"])
        self._sessions, self._packs = {}, {}
        self._check_repository(data)
        for name in self.names("keys", "epoch-[0-9a-f]{8}"):
            self._check_epoch(name)

    # --- names and bytes

    def names(self, folder, pattern):
        """The names in a folder that match, sorted; none if there is no such folder."""
        path = os.path.join(self.folder, folder.encode())
        found = os.listdir(path) if os.path.isdir(path) else []
        return sorted(f"{folder}/{n.decode()}" for n in found if re.fullmatch(pattern.encode(), n))

    def open(self, name):
        file = open(os.path.join(self.folder, name.encode()), "rb")
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Damaged(f"{name}: is no file")
        return file

    def read(self, name, limit):
        with self.open(name) as file:
            data = file.read(limit + 1)
        must(len(data) <= limit, f"{name}: more than {limit} bytes")
        return data

    def own(self, cursor):
        must(cursor.take(16) == self.id, f"{cursor.what}: of another repository")

    def mac(self, key, data):
        return blake3.keyed(self.keys[key], data)

    # --- section 3

    def _features(self):
        for name in self.names("keys", "feature-[0-9a-f]{4}"):
            if name != "keys/feature-0001":
                raise Refused(f"{name}: this repository needs a later version")
            moved.feature(self, name)

    def _open_slot(self, passphrase):
        slots = self.names("keys", "slot-[0-9a-f]{16}")
        must(len(slots) <= 64, f"{len(slots)} key slots")
        damage = None
        for name in slots:
            try:
                secrets = self._slot_secrets(name, passphrase)
            except Damaged as err:
                damage = err  # told only if no other one opens
                continue
            if secrets is not None:
                self._take_secrets(Cursor(secrets, name))
                return
        raise damage or Refused("the passphrase opens none of the key slots")

    def _slot_secrets(self, name, passphrase):
        data = self.read(name, 200 + 64 * 1024)
        c = Cursor(data, name)
        magic(c, b"SLT")
        self.own(c)
        slot = c.take(8)
        # The ID is eight bytes, not a number: its hex digits are in the bytes' order.
        must(slot.hex() == name[-16:], f"{name}: holds slot {slot.hex()}")
        kind, _created, kdf = c.u8(), c.i64(), c.u8()
        if kind > 1 or kdf != 1:
            raise Refused(f"{name}: kind {kind}, KDF {kdf}")
        t, m, p = c.u32(), c.u32(), c.u8()
        must(1 <= t <= 64 and 8 * 1024 <= m <= 2 * MIB and 1 <= p <= 64 and t * m <= 32 * MIB, f"{name}: Argon2id t={t} m={m} p={p}")
        salt = c.take(16)
        label = c.take(c.u8())
        must(len(label) <= 64, f"{name}: label of {len(label)} bytes")
        at = c.at + 32
        commitment, nonce = c.take(32), c.take(12)
        sealed = c.take(c.u32())
        c.end()
        if kind == 1:
            passphrase = re.sub(rb"[-\s]", b"", passphrase).upper()
            if not _is_recovery_key(passphrase):
                return None
        k = sealing.argon2id(passphrase, salt, t, m, p)
        if sealing.hkdf(k, slot, b"tidemark v1 slot commitment", 32) != commitment:
            return None
        secrets = sealing.gcm_open(sealing.hkdf(k, slot, b"tidemark v1 slot seal", 32), nonce, sealed, data[:at], name)
        nonce_key = sealing.hkdf(k, slot, b"tidemark v1 slot nonce", 32)
        must(blake3.keyed(nonce_key, data[:at] + secrets)[:12] == nonce, f"{name}: the nonce is not that of its content")
        return secrets

    def _take_secrets(self, c):
        self.root = c.take(32)
        last = 0
        for _ in range(c.u8()):
            epoch, suite = c.u32(), (c.u16(), c.u16(), c.u16())
            private = c.take(c.u16())
            must(epoch > last, f"{c.what}: epochs out of order")
            last = epoch
            self.private[epoch] = (suite, private)
        c.end()

    def _check_repository(self, data):
        c = Cursor(data, "repository")
        magic(c, b"REP")
        self.own(c)
        features, self.created = c.u16(), c.i64()
        if features:
            raise Refused(f"repository: features {features:#x} are not known here")
        self.sizes = tuple(c.u32() for _ in range(5))
        must(c.take(32) == self.mac("repository mac", data[:54]), "repository: wrong MAC")
        c.end()

    def _check_epoch(self, name):
        data = self.read(name, 32768)
        c = Cursor(data, name)
        magic(c, b"EPO")
        self.own(c)
        epoch, suite, _created = c.u32(), (c.u16(), c.u16(), c.u16()), c.i64()
        must(f"{epoch:08x}" == name[-8:], f"{name}: holds epoch {epoch}")
        if suite != SUITE:
            raise Refused(f"{name}: suite {suite} is not known here")
        public = c.take(c.u16())
        mac = self.mac("repository mac", data[:c.at])
        must(c.take(32) == mac, f"{name}: wrong MAC")
        c.end()
        if epoch in self.private:
            must(sealing.x25519_public(self.private[epoch][1]) == public, f"{name}: not the key in the slot")

    def pack_keys(self, pack_id, epoch, sealed_session, commitment, what):
        """Frame key and nonce key of a pack or a point's body (3.5)."""
        where = (epoch, sealed_session)
        if where not in self._sessions:
            if epoch not in self.private:
                raise Refused(f"{what}: no private key of epoch {epoch}")
            suite, private = self.private[epoch]
            if suite != SUITE:
                raise Refused(f"{what}: suite {suite} is not known here")
            info = b"tidemark v1 session" + self.id + epoch.to_bytes(4, "little")
            session = sealing.hpke_open(private, sealed_session[:32], info, b"", sealed_session[32:])
            must(len(session) == 32, f"{what}: a session key of {len(session)} bytes")
            self._sessions[where] = session
        keys = sealing.hkdf(self._sessions[where] + self.keys["seal"], self.id, b"tidemark v1 pack" + pack_id, 96)
        must(keys[64:] == commitment, f"{what}: the commitment is that of other keys")
        return keys[:32], keys[32:64]

    def pack(self, pack_id):
        if pack_id not in self._packs:
            self._packs[pack_id] = Pack(self, pack_id)
        return self._packs[pack_id]

    def pack_ids(self):
        found = moved.pack_ids(self)
        for folder in self.names("packs", "[0-9a-f]{2}"):
            for name in self.names(folder, "[0-9a-f]{32}"):
                must(name[-2:] == folder[-2:], f"{name}: in the wrong folder")
                found.add(bytes.fromhex(name[-32:]))
        return sorted(found)


def _is_recovery_key(text):
    try:
        return len(base64.b32decode(text + b"====")) == 32
    except ValueError:
        return False


class Pack:
    """A pack (section 4): reads raw bytes, and verifies whole chunks."""

    CACHED = 8

    def __init__(self, repo, pack_id):
        self.repo, self.id = repo, pack_id
        self.name = f"packs/{pack_id.hex()[-2:]}/{pack_id.hex()}"
        self.places = None  # frames are in the pack's own object
        try:
            self._head(self._stored)
        except FileNotFoundError:
            self._moved()
        self._frames = OrderedDict()
        self._chunks = self.list_data = None
        self._verified = set()

    def _stored(self, offset, length):
        with self.repo.open(self.name) as file:
            self.size = os.fstat(file.fileno()).st_size
            file.seek(offset)
            return file.read(length)

    def _moved(self):
        """Reads the moved record that counts: the highest whose containers are there."""
        for record in moved.find(self.repo, self.id):
            self.size = None
            size = self._head(record.head)
            self.places = record.places(size, self.lengths)
            if all(moved.exists(self.repo, c) for c, _ in self.places.values()):
                return
        raise Damaged(f"{self.name}: is missing, and so are containers to which it was moved")

    def has(self, i):
        """Whether frame i is there: a compaction may have left it out."""
        return self.places is None or i in self.places

    def _head(self, read):
        """Reads what stands before the frames; gives its length."""
        head = read(0, 166)
        c = Cursor(head, self.name)
        magic(c, b"PAK")
        self.repo.own(c)
        must(c.take(16) == self.id, f"{self.name}: holds another pack")
        epoch, self.count, session, chunks = c.u32(), c.u32(), c.u16(), c.u32()
        commitment, geometry, digest = c.take(32), c.take(48), c.take(32)
        must(1 <= self.count <= 65536 and session <= 2048 and chunks <= 16 * MIB, f"{self.name}: limits of the head")
        rest = read(166, session + 36 * self.count + chunks)
        must(hashlib.sha256(head[:134] + rest).digest() == digest, f"{self.name}: SHA-256 of the head")
        r = Cursor(rest, self.name)
        sealed_session = r.take(session)
        self.lengths = [r.u32() for _ in range(self.count)]
        self.digests = [r.take(32) for _ in range(self.count)]
        self._sealed_list = r.take(chunks)
        self.keys = self.repo.pack_keys(self.id, epoch, sealed_session, commitment, self.name)
        self._geometry(sealing.open_sealed(self.repo.index_keys, self.id, 0, sealing.GEOMETRY, 20, geometry, self.name))
        self.offsets, at = [], 166 + len(rest)
        for i, length in enumerate(self.lengths):
            must(length <= 28 + sealing.padme(5 + self.span(i)[1]), f"{self.name}: frame {i} of {length} bytes")
            self.offsets.append(at)
            at += length
        must(self.size in (at, None) and at <= 64 * MIB, f"{self.name}: {self.size} bytes, its directory says {at}")
        return 166 + len(rest)

    def _geometry(self, plain):
        c = Cursor(plain, self.name)
        self.first, self.step, self.total, self.list_length, self.kind = c.u32(), c.u32(), c.u32(), c.u32(), c.u8()
        must(c.take(3) == bytes(3) and self.kind <= 3, f"{self.name}: geometry")
        c.end()
        must(4096 <= self.step <= 4 * MIB and self.total <= 256 * MIB, f"{self.name}: step {self.step}, total {self.total}")
        must(1 <= self.first <= min(self.step, self.total), f"{self.name}: first {self.first}")
        must(self.kind < 2 or self.first == min(self.step, self.total), f"{self.name}: first {self.first} in kind {self.kind}")
        must(self.count == 1 + -(-(self.total - self.first) // self.step), f"{self.name}: {self.count} frames")
        must(self.list_length <= 16 * MIB, f"{self.name}: chunk list of {self.list_length} bytes")

    def span(self, i):
        """Where frame i begins in the raw bytes, and how many it spans."""
        start = 0 if i == 0 else self.first + (i - 1) * self.step
        return start, min(self.first + i * self.step, self.total) - start

    def frame_of(self, offset):
        return 0 if offset < self.first else 1 + (offset - self.first) // self.step

    def frame(self, i):
        """The raw bytes of frame i."""
        if i in self._frames:
            self._frames.move_to_end(i)
            return self._frames[i]
        what = f"{self.name} frame {i}"
        must(self.has(i), f"{what}: is gone")
        if self.places is None:
            stored = self._stored(self.offsets[i], self.lengths[i])
        else:
            stored = moved.stored(self.repo, *self.places[i], self.lengths[i])
        must(hashlib.sha256(stored).digest() == self.digests[i], f"{what}: SHA-256")
        span = self.span(i)[1]
        kind = sealing.PAGE if self.kind == 3 else sealing.DATA
        plain = sealing.open_sealed(self.keys, self.id, i, kind, span, stored, what)
        data = sealing.payload(plain, span, self.step, what)
        data += bytes(span - len(data))
        self._frames[i] = data
        if len(self._frames) > self.CACHED:
            self._frames.popitem(last=False)
        return data

    def raw(self, offset, length):
        must(offset + length <= self.total, f"{self.name}: {offset}+{length} is beyond {self.total}")
        out, end = bytearray(), offset + length
        while offset < end:
            i = self.frame_of(offset)
            start, span = self.span(i)
            out += self.frame(i)[offset - start:min(end, start + span) - start]
            offset = min(end, start + span)
        return bytes(out)

    @property
    def chunks(self):
        """{raw offset: (length, ID)}, in the order of offsets."""
        if self._chunks is None:
            what = f"{self.name} chunk list"
            plain = sealing.open_sealed(self.repo.index_keys, self.id, 0, sealing.LIST, self.list_length, self._sealed_list, what)
            data = self.list_data = sealing.payload(plain, self.list_length, None, what)
            must(len(data) == self.list_length, f"{what}: {len(data)} bytes, not {self.list_length}")
            c, self._chunks, at = Cursor(data, what), {}, 0
            for _ in range(c.count(16 * MIB)):
                at += c.uvarint(self.total)
                length = c.uvarint(16 * MIB)
                must(length >= 1, f"{what}: an empty chunk")
                self._chunks[at] = (length, c.take(16))
                at += length
            c.end()
            must(at == self.total, f"{what}: ends at {at} of {self.total}")
        return self._chunks

    def verify(self, offset):
        """Checks the chunk or page at offset against its ID, once; gives its length."""
        if offset not in self.chunks:
            raise Damaged(f"{self.name}: no chunk begins at {offset}")
        length, chunk_id = self.chunks[offset]
        if offset not in self._verified:
            key = "page id" if self.kind == 3 else "chunk id"
            must(self.repo.mac(key, self.raw(offset, length))[:16] == chunk_id, f"{self.name}: chunk at {offset} has another ID")
            self._verified.add(offset)
        return length

    def content(self, offset, length):
        """Raw bytes that are whole chunks, one after the other, each verified."""
        must(self.kind != 3, f"{self.name}: holds pages, no content")
        at = offset
        while at < offset + length:
            at += self.verify(at)
        must(at == offset + length, f"{self.name}: {offset}+{length} ends inside a chunk")
        return self.raw(offset, length)


class Point:
    """A recovery point (section 8): header and body, both verified."""

    def __init__(self, repo, name):
        self.repo, self.name = repo, name
        data = repo.read(name, 336 + 2048 + 28 + sealing.padme(5 + 16 * MIB))
        c = Cursor(data, name)
        magic(c, b"PNT")
        repo.own(c)
        self.sequence = c.u64()
        must(f"{self.sequence:016x}" == name[-16:] and 1 <= self.sequence < 1 << 48, f"{name}: holds point {self.sequence}")
        self.server, self.previous, self.live = c.take(16), c.take(32), c.take(32)
        flags, epoch, body_id, commitment = c.u16(), c.u32(), c.take(16), c.take(32)
        must(flags <= 1, f"{name}: flags {flags:#x}")
        self.warned = flags == 1
        session, stored, raw = c.u16(), c.u32(), c.u32()
        must(session <= 2048 and raw <= 16 * MIB, f"{name}: limits of the header")
        device, digest, sealed_session = c.take(32), c.take(32), c.take(session)
        mac = repo.mac("point mac", data[:c.at])
        must(c.take(32) == mac, f"{name}: wrong MAC")
        signed = data[:c.at]
        sealing.ed25519_verify(device, c.take(64), signed, name)
        self.header_length = c.at
        self.id = hashlib.sha256(data[:c.at]).digest()
        body = c.take(stored)
        c.end()
        must(hashlib.sha256(body).digest() == digest, f"{name}: SHA-256 of the body")
        keys = repo.pack_keys(body_id, epoch, sealed_session, commitment, name)
        plain = sealing.open_sealed(keys, body_id, 0, sealing.BODY, raw, body, name)
        self.body = sealing.payload(plain, raw, None, name)
        must(len(self.body) == raw, f"{name}: a body of {len(self.body)} bytes, not {raw}")
        self._sections()

    def _sections(self):
        c, last, sections = Cursor(self.body, self.name), -1, {}
        while c.left():
            tag = c.u8()
            must(tag > last, f"{self.name}: sections out of order")
            last = tag
            sections[tag] = Cursor(c.string(16 * MIB), f"{self.name} section {tag}")
        must({1, 2, 3} <= set(sections), f"{self.name}: a section is missing")
        self.begin, self.end = [(s.i64(), s.u32()) for s in [sections[1]] for _ in range(2)]
        root = sections[2]
        self.entries, self.level = root.uvarint(), root.uvarint(12)
        self.root = root.take(root.left())
        self.statistics = [sections[3].uvarint() for _ in range(13)]
        self.source = self._strings(sections, 4, 5)
        self.paths, self.tags = self._strings(sections, 5), self._strings(sections, 6)
        self.users, self.groups = self._owners(sections, 7), self._owners(sections, 8)
        self.devices, self.warnings = [], []
        if 9 in sections:
            self.devices = [sections[9].u64() for _ in range(sections[9].count(1 << 32))]
        if 10 in sections:
            self.warnings = [(sections[10].string(MIB), sections[10].string(MIB)) for _ in range(sections[10].count(1000))]
        self.server_users = self._server_users(sections)
        self.type, self.why = (sections[12].u8(), sections[12].string(4096)) if 12 in sections else (0, b"")
        self.suspect = [sections[13].string(4096) for _ in range(sections[13].count(32))] if 13 in sections else []
        for tag, section in sections.items():
            if 1 <= tag <= 13:
                section.end()

    def _server_users(self, sections):
        users, last = {}, b""
        if 11 in sections:
            c = sections[11]
            for _ in range(c.count(10_000)):
                name = c.string(MIB)
                must(not users or name > last, f"{c.what}: out of order")
                number = c.uvarint((1 << 32) - 1)
                users[name] = (number, [c.uvarint((1 << 32) - 1) for _ in range(c.count(65_536))])
                last = name
        return users

    def _strings(self, sections, tag, count=None):
        if tag not in sections:
            return []
        c = sections[tag]
        return [c.string(16 * MIB) for _ in range(c.count(1 << 32) if count is None else count)]

    def _owners(self, sections, tag):
        owners, last = {}, -1
        if tag in sections:
            c = sections[tag]
            for _ in range(c.count(1 << 32)):
                number = c.uvarint((1 << 32) - 1)
                must(number > last, f"{c.what}: out of order")
                owners[number], last = c.string(MIB), number
        return owners


class LiveSet:
    """needs: {pack ID: needs of its frames, a byte each} of a live set (section 7)."""

    def __init__(self, repo, root):
        self.repo, self.needs, self._last = repo, {}, None
        self._page(root, None)

    def _page(self, digest, level):
        """Reads a page and what is below it; gives its first pack ID and the number of packs there."""
        name = f"live/{digest.hex()[:2]}/{digest.hex()}"
        try:
            data = self.repo.read(name, MIB)
        except FileNotFoundError:
            raise Damaged(f"{name}: is missing") from None
        must(hashlib.sha256(data).digest() == digest, f"{name}: its name is not its SHA-256")
        c = Cursor(data, name)
        magic(c, b"LIV")
        found, _salt, records = c.u8(), c.u16(), c.u32()
        must(found <= 12 and level in (None, found), f"{name}: level {found}")
        fewest = 1 if level is not None else 2 if found else 0
        must(records >= fewest, f"{name}: {records} records")
        first, packs = None, 0
        for _ in range(records):
            pack_id = c.take(16)
            packs += self._leaf(c, pack_id) if found == 0 else self._below(c, pack_id, found - 1)
            first = first or pack_id
        c.end()
        return first, packs

    def _leaf(self, c, pack_id):
        must(self._last is None or self._last < pack_id, f"{c.what}: packs out of order")
        self.needs[pack_id], self._last = live_record(c), pack_id
        return 1

    def _below(self, c, pack_id, level):
        digest, count = c.take(32), c.uvarint()
        must(self._page(digest, level) == (pack_id, count), f"{c.what}: what it says of {digest.hex()}")
        return count


def live_record(c):
    """The needs of one pack's frames."""
    frames, out, before = c.uvarint(65536), bytearray(), None
    for _ in range(c.count(65536)):
        need, length = c.u8(), c.uvarint(frames)
        must(length >= 1 and need != before, f"{c.what}: runs of needs")
        out += bytes([need]) * length
        before = need
        must(len(out) <= frames, f"{c.what}: runs of needs")
    must(len(out) == frames and any(out), f"{c.what}: runs of needs")
    return bytes(out)
