"""Tables of entries and lists of extents: FORMAT.md, sections 5 and 6."""

import os
from dataclasses import dataclass, field

from sealing import Cursor, Damaged, must

FILE, FOLDER, SYMLINK, FIFO, CHAR, BLOCK = range(6)
KINDS = ("file", "folder", "symlink", "fifo", "char", "block")
ENTRIES, EXTENTS, REFERENCES = 1, 2, 3
MIB = 1 << 20
U32 = (1 << 32) - 1


@dataclass(frozen=True)
class Address:
    pack: bytes
    offset: int
    length: int


@dataclass(frozen=True)
class Extent:
    length: int
    address: Address | None  # None: a hole


@dataclass(frozen=True)
class Reference:
    separator: bytes
    count: int
    address: Address
    page_id: bytes
    hint: tuple


@dataclass
class Entry:
    key: bytes
    kind: int
    flags: int
    mtime: tuple  # seconds, nanoseconds
    mode: int = 0
    owner: tuple = (0, 0)
    link: tuple | None = None  # device slot, inode, link count
    xattrs: list = field(default_factory=list)
    size: int = 0
    target: bytes = b""
    device: tuple = (0, 0)
    form: int = 0
    inline: bytes = b""
    extents: list = field(default_factory=list)
    tree: tuple | None = None  # level, reference

    @property
    def folder(self):
        """Where its children's keys begin: its path, each component followed by 00."""
        if self.key == b"\0":
            return b""
        parent, name = split(self.key)
        return parent + name + b"\0"

    @property
    def path(self):
        return b"/" + self.folder[:-1].replace(b"\0", b"/")

    def sameness(self):
        """All but the name: what hard links agree in."""
        return (self.kind, self.flags & 16, self.mtime, self.mode, self.owner, self.link, tuple(self.xattrs), self.size,
                self.target, self.device, self.form, self.inline, tuple(self.extents), self.tree)


def split(key):
    """The folder and the name in a key; the folder ends where a component is empty."""
    at = 0
    while key[at:at + 1] != b"\0":
        end = key.find(b"\0", at)
        if end < 0:
            raise Damaged(f"key {key!r} has no name")
        at = end + 1
    return key[:at], key[at + 1:]


def check_key(key):
    must(len(key) <= 131072 + 2, "a path that is too long")
    folder, name = split(key)
    must(name or not folder, f"key {key[-100:]!r}: no name")
    for part in folder.split(b"\0")[:-1] + [name]:
        if len(part) > 1024 or part in (b".", b"..") or b"/" in part or b"\0" in part:
            raise Damaged(f"key {key[-100:]!r}: a name that cannot be")


class Page:
    """One page and what its records share."""

    def __init__(self, data, kind, what):
        self.c = Cursor(data, what)
        must(len(data) <= 2 * MIB, f"{what}: {len(data)} bytes")
        must(self.c.u8() == kind, f"{what}: is of another type than {kind}")
        self.packs = [self.c.take(16) for _ in range(self.c.count(U32))]
        must(len(set(self.packs)) == len(self.packs), f"{what}: a pack twice in its table")
        self.ends = [0] * len(self.packs)
        self.used = 0
        self.key, self.keys = b"", 0
        self.count = self.c.count(U32)
        must(self.count >= 1, f"{what}: no records")

    def close(self):
        self.c.end()
        must(self.used == len(self.packs), f"{self.c.what}: packs that nothing names")

    def place(self):
        """An address but for its length: the pack's number, and the offset."""
        i = self.c.uvarint()
        must(i < len(self.packs) and i <= self.used, f"{self.c.what}: pack {i} out of order")
        self.used = max(self.used, i + 1)
        offset = self.ends[i] + self.c.svarint()
        must(0 <= offset <= U32, f"{self.c.what}: offset {offset}")
        return i, offset

    def address(self, place, length):
        i, offset = place
        self.ends[i] = offset + length
        return Address(self.packs[i], offset, length)

    def prefixed(self, first):
        """A key or separator that shares a prefix with the one before."""
        shared, rest = self.c.uvarint(), self.c.string(131072 + 2)
        must(shared <= len(self.key), f"{self.c.what}: prefix of {shared}")
        if not first:
            must(rest[:1] > self.key[shared:shared + 1], f"{self.c.what}: keys out of order, or a prefix that is not the longest")
        self.key = self.key[:shared] + rest
        self.keys += len(self.key)
        must(self.keys <= 4 * MIB, f"{self.c.what}: its keys are too long")
        return self.key

    def reference(self, first, alone=False):
        separator = self.prefixed(first) if not alone else self._nothing()
        count, place = self.c.uvarint(), self.place()
        address = self.address(place, self.c.uvarint(2 * MIB))
        page_id = self.c.take(16)
        return Reference(separator, count, address, page_id, (self.c.uvarint(), self.c.uvarint()))

    def _nothing(self):
        must(self.c.take(2) == b"\0\0", f"{self.c.what}: a separator where none is")
        return b""

    def extent(self):
        length, kind = self.c.uvarint((1 << 63) - 1), self.c.u8()
        must(length >= 1 and kind <= 1, f"{self.c.what}: an extent of kind {kind} and {length} bytes")
        if kind == 0:
            return Extent(length, None)
        must(length <= U32, f"{self.c.what}: an extent of {length} bytes")
        return Extent(length, self.address(self.place(), length))


class Leaf(Page):
    """A page of entries."""

    def __init__(self, data, what):
        super().__init__(data, ENTRIES, what)
        self.modes, self.owner, self.seconds = {}, None, 0
        self.entries = [self._entry(i == 0) for i in range(self.count)]
        self.close()

    def _entry(self, first):
        c = self.c
        key = self.prefixed(first)
        check_key(key)
        form_kind, flags = c.u8(), c.u8()
        kind, form = form_kind & 15, form_kind >> 4
        must(kind <= BLOCK and flags & 0xC0 == 0, f"{c.what}: kind {kind}, flags {flags:#x}")
        self.seconds = (self.seconds + c.svarint() + (1 << 63)) % (1 << 64) - (1 << 63)
        entry = Entry(key, kind, flags, (self.seconds, c.uvarint(999_999_999)), form=form)
        entry.mode = self._kept(flags & 1, self.modes.get(kind), lambda: c.uvarint(0o7777))
        entry.owner = self._kept(flags & 2, self.owner, lambda: (c.uvarint(U32), c.uvarint(U32)))
        self.modes[kind], self.owner = entry.mode, entry.owner
        if flags & 4:
            must(kind != FOLDER, f"{c.what}: a linked folder")
            entry.link = (c.uvarint(), c.uvarint(), c.uvarint())
        if flags & 8:
            entry.xattrs = self._xattrs()
        if flags & 32:
            self._extension()
        self._body(entry)
        return entry

    def _kept(self, given, before, read):
        if not given:
            must(before is not None, f"{self.c.what}: a mode or owner that stands nowhere")
            return before
        value = read()
        must(value != before, f"{self.c.what}: a mode or owner that need not stand here")
        return value

    def _xattrs(self):
        c = self.c
        xattrs, total = [], 0
        for _ in range(c.count(MIB)):
            name, value = c.string(MIB), c.string(MIB)
            must(not xattrs or xattrs[-1][0] < name, f"{c.what}: attributes out of order")
            xattrs.append((name, value))
            total += len(name) + len(value)
        must(xattrs and total <= MIB, f"{c.what}: {len(xattrs)} attributes of {total} bytes")
        return xattrs

    def _extension(self):
        c, last = Cursor(self.c.string(65536), self.c.what), -1
        while c.left():
            tag = c.uvarint()
            must(tag > last, f"{c.what}: extension out of order")
            last = tag
            c.string(65536)

    def _body(self, entry):
        c = self.c
        if entry.kind == SYMLINK:
            entry.target = c.string(131072)
        elif entry.kind in (CHAR, BLOCK):
            entry.device = (c.uvarint(), c.uvarint())
        if entry.kind != FILE:
            must(entry.form == 0, f"{c.what}: content of what is no file")
            return
        entry.size = c.uvarint((1 << 63) - 1)
        must((entry.form == 0) == (entry.size == 0), f"{c.what}: form {entry.form} with {entry.size} bytes")
        if entry.form == 1:
            must(entry.size <= 65536, f"{c.what}: {entry.size} bytes inline")
            entry.inline = c.take(entry.size)
        elif entry.form == 2:
            must(entry.size <= U32, f"{c.what}: one address of {entry.size} bytes")
            entry.extents = [Extent(entry.size, self.address(self.place(), entry.size))]
        elif entry.form == 3:
            count = c.count(64)
            must(count >= 1, f"{c.what}: no extents")
            entry.extents = [self.extent() for _ in range(count)]
            must(sum(e.length for e in entry.extents) == entry.size, f"{c.what}: extents and size differ")
        elif entry.form == 4:
            level = c.uvarint(12)
            reference = self.reference(True, alone=True)
            must(reference.count == entry.size and reference.hint == (0, 0), f"{c.what}: reference to a tree of extents")
            entry.tree = (level, reference)
        elif entry.form != 0:
            raise Damaged(f"{c.what}: form {entry.form} of content")


class ExtentLeaf(Page):
    def __init__(self, data, what):
        super().__init__(data, EXTENTS, what)
        self.extents = [self.extent() for _ in range(self.count)]
        self.close()


class Upper(Page):
    """A page of references; of_extents: they have no separators."""

    def __init__(self, data, of_extents, what):
        super().__init__(data, REFERENCES, what)
        self.references = []
        for i in range(self.count):
            reference = self.reference(i == 0, of_extents)
            must(i > 0 or reference.separator == b"", f"{what}: the first separator")
            self.references.append(reference)
        self.close()


class Table:
    """All entries of a point, and the frames that they need."""

    def __init__(self, repo, point):
        self.repo, self.point = repo, point
        self.needs = {}  # pack ID: bytearray of needs
        self.pages = []  # (page ID, bytes) in the order of the walk
        self._boundary = None

    def need(self, address):
        pack = self.repo.pack(address.pack)
        needs = self.needs.setdefault(address.pack, bytearray(pack.count))
        must(address.length >= 1 and address.offset + address.length <= pack.total, f"{pack.name}: {address.offset}+{address.length} is beyond {pack.total}")
        at, end = address.offset, address.offset + address.length
        while at < end:
            i = pack.frame_of(at)
            start, span = pack.span(i)
            last = min(end, start + span) - 1
            for eighth in range(8 * (at - start) // span, 8 * (last - start) // span + 1):
                needs[i] |= 1 << eighth
            at = last + 1

    def page(self, reference):
        """A page, checked against its ID."""
        address = reference.address
        pack = self.repo.pack(address.pack)
        must(pack.kind == 3, f"{pack.name}: holds no pages")
        must(pack.verify(address.offset) == address.length, f"{pack.name}: page at {address.offset}")
        self._check_hint(pack, reference)
        data = pack.raw(address.offset, address.length)
        must(self.repo.mac("page id", data)[:16] == reference.page_id, f"{pack.name}: page at {address.offset} has another ID")
        self.need(address)
        self.pages.append((reference.page_id, data))
        return data

    def _check_hint(self, pack, reference):
        if reference.hint != (0, 0):
            i = pack.frame_of(reference.address.offset)
            must(reference.hint == (pack.offsets[i], pack.lengths[i]), f"{pack.name}: hint {reference.hint} for frame {i}")

    def entries(self):
        """Every entry in order, checked against its neighbours and its parent."""
        what = f"{self.point.name} root page"
        last, folders, count = None, set(), 0
        for entry in self._walk(self.point.root, self.point.level, self.point.entries, what):
            must(last is None or last < entry.key, f"{what}: entries out of order below it")
            if self._boundary is not None:
                wanted = entry.key[:len(os.path.commonprefix([last, entry.key])) + 1]
                must(self._boundary == wanted, f"{what}: separator {self._boundary!r} before {entry.key!r}")
                self._boundary = None
            must(count > 0 or (entry.key == b"\0" and entry.kind == FOLDER), f"{what}: the root folder is missing")
            must(count == 0 or split(entry.key)[0] in folders, f"{entry.path!r}: its parent is no folder")
            if entry.kind == FOLDER:
                folders.add(entry.folder)
            must(entry.link is None or entry.link[0] < len(self.point.devices), f"{entry.path!r}: device slot")
            last, count = entry.key, count + 1
            yield entry
        must(count == self.point.entries, f"{what}: {count} entries, not {self.point.entries}")

    def _walk(self, data, level, count, what):
        if level == 0:
            leaf = Leaf(data, what)
            must(len(leaf.entries) == count, f"{what}: {len(leaf.entries)} entries, not {count}")
            yield from leaf.entries
            return
        upper = Upper(data, False, what)
        must(sum(r.count for r in upper.references) == count, f"{what}: counts do not add up to {count}")
        for i, reference in enumerate(upper.references):
            if i > 0:
                self._boundary = reference.separator
            yield from self._walk(self.page(reference), level - 1, reference.count, f"page {reference.page_id.hex()}")

    def extents(self, entry):
        """The extents of a file, which are then needed."""
        found = entry.extents
        if entry.tree:
            level, reference = entry.tree
            found = self._walk_extents(reference, level)
        for extent in found:
            if extent.address:
                self.need(extent.address)
            yield extent

    def _walk_extents(self, reference, level):
        data, what = self.page(reference), f"page {reference.page_id.hex()}"
        if level == 0:
            leaf = ExtentLeaf(data, what)
            must(sum(e.length for e in leaf.extents) == reference.count, f"{what}: extents do not add up")
            yield from leaf.extents
            return
        upper = Upper(data, True, what)
        must(sum(r.count for r in upper.references) == reference.count, f"{what}: counts do not add up")
        for below in upper.references:
            yield from self._walk_extents(below, level - 1)

    def content(self, entry):
        """The file's bytes in pieces: bytes, or a number of zeros."""
        if entry.form == 1:
            yield entry.inline
        for extent in self.extents(entry):
            if extent.address is None:
                yield extent.length
            else:
                address = extent.address
                yield self.repo.pack(address.pack).content(address.offset, address.length)
