#!/usr/bin/python3 -B
"""Prints section 20 of repo/FORMAT.md: annotated hex dumps of a stored repository.

    dumps.py REPOSITORY --passphrase-file F [--into repo/FORMAT.md]

With --into it replaces the section in that page. A test compares the section with this output, and the dumped objects with the
stored files.
"""

import argparse
import contextlib
import datetime
import io
import sys

import reader
import sealing
import table
import vault
from sealing import Cursor

WIDTH = 16
RECORDS = {table.ENTRIES: 9, table.EXTENTS: 3, table.REFERENCES: 9}  # of a page; the rest is left out


class Dump(Cursor):
    """Reads fields and prints each with its offset and meaning."""

    def __init__(self, title, data):
        super().__init__(data, title)
        print(f"\n### {title}\n")

    def _print(self, start, meaning):
        for at in range(start, self.at, WIDTH):
            row = self.data[at:min(at + WIDTH, self.at)].hex(" ")
            print(f"    {at:04x}  {row:<{3 * WIDTH - 1}}  {meaning}".rstrip())
            meaning = ""

    def bytes(self, n, meaning):
        start = self.at
        found = self.take(n)
        self._print(start, meaning)
        return found

    def number(self, n, meaning, shown="{}"):
        start = self.at
        value = self.fixed(n)
        self._print(start, f"{meaning}: {shown.format(value)}")
        return value

    def time(self, meaning):
        start = self.at
        value = datetime.datetime.fromtimestamp(self.i64(), datetime.timezone.utc)
        self._print(start, f"{meaning}: {value:%Y-%m-%d %H:%M:%S} UTC")

    def varint(self, meaning, signed=False, shown="{}"):
        start = self.at
        value = self.svarint() if signed else self.uvarint()
        self._print(start, f"{meaning}: {shown.format(value)}")
        return value

    def text(self, meaning, limit=1 << 20):
        start = self.at
        value = self.string(limit)
        self._print(start, f"{meaning}: {len(value)} bytes" + (f", {reader.quoted(value)}" if value else ""))
        return value

    def rest(self, meaning):
        """Prints the first row of what is left."""
        if self.left():
            left = self.left()
            self.bytes(min(WIDTH, left), f"{meaning}, {left} bytes")
            if self.left():
                print("    …")


def dump_repository(repo):
    d = Dump("`repository`", repo.read("repository", 86))
    d.bytes(8, "magic")
    d.bytes(16, "repository ID")
    d.number(2, "features")
    d.time("creation")
    for name in ("minimum", "average", "maximum"):
        d.number(4, f"chunks, {name}")
    d.number(4, "pages, minimum")
    d.number(4, "pages, average")
    d.bytes(32, "MAC")


def dump_epoch(repo, name):
    d = Dump(f"`{name}`", repo.read(name, 4096))
    d.bytes(8, "magic")
    d.bytes(16, "repository ID")
    d.number(4, "epoch")
    for what in ("KEM", "KDF", "AEAD"):
        d.number(2, f"HPKE {what}", "{:#06x}")
    d.time("creation")
    d.bytes(d.number(2, "P"), "public key")
    d.bytes(32, "MAC")


def dump_slot(repo, name):
    d = Dump(f"`{name}`", repo.read(name, 65536))
    d.bytes(8, "magic")
    d.bytes(16, "repository ID")
    d.bytes(8, "slot ID")
    d.number(1, "kind")
    d.time("creation")
    d.number(1, "KDF")
    d.number(4, "t")
    d.number(4, "m, KiB")
    d.number(1, "p")
    d.bytes(16, "salt")
    d.bytes(d.number(1, "L"), "label")
    d.bytes(32, "commitment")
    d.bytes(12, "nonce")
    d.bytes(d.number(4, "C"), "sealed secrets")


def dump_pack(repo, pack):
    with repo.open(pack.name) as file:
        d = Dump(f"`{pack.name}`", file.read(pack.offsets[0] + WIDTH))
    d.bytes(8, "magic")
    d.bytes(16, "repository ID")
    d.bytes(16, "pack ID: run number, 8 random bytes")
    d.number(4, "epoch")
    count = d.number(4, "N, frames")
    session = d.number(2, "S, sealed session key")
    chunks = d.number(4, "C, sealed chunk list")
    d.bytes(32, "commitment")
    d.bytes(48, "geometry: nonce, sealed, tag")
    d.bytes(32, "SHA-256 of head and directory")
    d.bytes(session, "sealed session key: enc, sealed")
    for i in range(count):
        d.number(4, f"stored length of frame {i}")
    for i in range(count):
        d.bytes(32, f"SHA-256 of frame {i}")
    d.bytes(chunks, "chunk list: nonce, sealed, tag")
    d.rest("frame 0: nonce, sealed, tag")


def dump_geometry(repo, pack):
    with repo.open(pack.name) as file:
        sealed = file.read(134)[86:]
    plain = sealing.open_sealed(repo.index_keys, pack.id, 0, sealing.GEOMETRY, 20, sealed, pack.name)
    d = Dump(f"geometry of `{pack.name}`, opened", plain)
    for name in ("first", "step", "total", "raw length of the chunk list"):
        d.number(4, name)
    d.number(1, "kind")
    d.bytes(3, "zeros")


def dump_list(repo, pack):
    shown = min(3, len(pack.chunks))
    d = Dump(f"chunk list of `{pack.name}`, opened", pack.list_data)
    d.varint("chunks or pages")
    for _ in range(shown):
        d.varint("gap")
        d.varint("length")
        d.bytes(16, "ID")
    d.rest("the other chunks")


def dump_page(title, data):
    d = Dump(title, data)
    kind = d.number(1, "type")
    for _ in range(d.varint("P, packs")):
        d.bytes(16, "pack ID")
    count = d.varint("n, records")
    record = {table.ENTRIES: EntryRecords(d).record, table.EXTENTS: lambda: extent(d), table.REFERENCES: lambda: reference(d)}
    for _ in range(min(count, RECORDS[kind])):
        record[kind]()
    d.rest(f"the other {count - RECORDS[kind]} records")


def address(d):
    d.varint("pack in the table")
    d.varint("offset minus the last end", signed=True)


def reference(d):
    d.varint("separator, shared")
    d.text("separator, rest")
    d.varint("entries or bytes below")
    address(d)
    d.varint("length of the page")
    d.bytes(16, "page ID")
    d.varint("hint, offset of the frame")
    d.varint("hint, length of the frame")


def extent(d):
    d.varint("extent, length")
    if d.number(1, "hole or data"):
        address(d)


class EntryRecords:
    """Prints the fields of 6.2."""

    def __init__(self, d):
        self.d = d

    def record(self):
        d = self.d
        d.varint("key, shared")
        d.text("key, rest")
        kinds = d.number(1, "content and kind", "{:#04x}")
        flags = d.number(1, "flags")
        d.varint("mtime, seconds minus the last", signed=True)
        d.varint("nanoseconds")
        if flags & 1:
            d.varint("mode", shown="{:04o}")
        if flags & 2:
            d.varint("uid")
            d.varint("gid")
        if flags & 4:
            for name in ("device slot", "inode", "link count"):
                d.varint(name)
        if flags & 8:
            for _ in range(d.varint("attributes")):
                d.text("name")
                d.text("value")
        if flags & 32:
            d.text("extension")
        self._content(kinds & 15, kinds >> 4)

    def _content(self, kind, form):
        d = self.d
        if kind == table.SYMLINK:
            d.text("target")
        elif kind in (table.CHAR, table.BLOCK):
            d.varint("major")
            d.varint("minor")
        if kind != table.FILE:
            return
        size = d.varint("size")
        if form == 1:
            d.bytes(size, "content")
        elif form == 2:
            address(d)
        elif form == 3:
            for _ in range(d.varint("extents")):
                extent(d)
        elif form == 4:
            d.varint("level of the root page")
            reference(d)


def dump_live(repo, digest):
    name = f"live/{digest.hex()[:2]}/{digest.hex()}"
    d = Dump(f"`{name}`", repo.read(name, 1 << 20))
    d.bytes(8, "magic")
    level = d.number(1, "level")
    d.number(2, "salt")
    for _ in range(d.number(4, "records")):
        d.bytes(16, "pack ID")
        if level:
            d.bytes(32, "SHA-256 of the page")
            d.varint("packs below")
            continue
        d.varint("N, frames")
        for _ in range(d.varint("R, runs")):
            d.number(1, "need", "{:#010b}")
            d.varint("frames")


def dump_point(repo, point):
    d = Dump(f"`{point.name}`", repo.read(point.name, 1 << 24))
    d.bytes(8, "magic")
    d.bytes(16, "repository ID")
    d.number(8, "sequence")
    d.bytes(16, "server ID")
    d.bytes(32, "ID of the previous point")
    d.bytes(32, "root of the live set")
    d.number(2, "flags")
    d.number(4, "epoch")
    d.bytes(16, "body ID")
    d.bytes(32, "commitment")
    session = d.number(2, "S, sealed session key")
    d.number(4, "B, stored length of the body")
    d.number(4, "raw length of the body")
    d.bytes(32, "public key of the device")
    d.bytes(32, "SHA-256 of the stored body")
    d.bytes(session, "sealed session key: enc, sealed")
    d.bytes(32, "MAC")
    d.bytes(64, "signature")
    d.rest("body: nonce, sealed, tag")


def dump_body(point):
    d = Dump(f"body of `{point.name}`, opened", point.body)
    while d.left():
        tag = d.number(1, "tag")
        length = d.varint("length")
        section = Cursor(d.data[d.at:d.at + length], "section")
        d.bytes(min(length, 4 * WIDTH), f"section {tag}")
        if section.left() > 4 * WIDTH:
            print("    …")
            d.take(length - 4 * WIDTH)


INTRODUCTION = """## 20. Hex dumps

From the repository in `integration/compat/testdata/v1`; its passphrase is
`correct horse battery staple`. A line shows an offset in the object, bytes
and what they are; … leaves bytes out. `integration/compat/dumps.py` prints this
section, and a test compares it with the stored objects."""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("repository")
    parser.add_argument("--passphrase-file", required=True)
    parser.add_argument("--into", help="a page whose last section this is")
    args = parser.parse_args()
    if not args.into:
        section(args)
        return 0
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        section(args)
    with open(args.into, encoding="utf-8") as file:
        page = file.read().split("## 11. ")[0].rstrip("\n")
    with open(args.into, "w", encoding="utf-8") as file:
        file.write(page + "\n\n" + out.getvalue())
    return 0


def section(args):
    repo = vault.Repository(args.repository, reader.passphrase(args.passphrase_file))
    point = reader.points(repo)[-1]
    entries = table.Table(repo, point)
    for entry in entries.entries():
        for _ in entries.extents(entry):
            pass
    pages = {data[0]: (page_id, data) for page_id, data in reversed(entries.pages)}
    pack = min((repo.pack(p) for p in entries.needs), key=lambda p: (p.kind != 0, p.total, p.id))

    print(INTRODUCTION)
    dump_repository(repo)
    dump_epoch(repo, repo.names("keys", "epoch-.*")[0])
    dump_slot(repo, repo.names("keys", "slot-.*")[0])
    dump_pack(repo, pack)
    dump_geometry(repo, pack)
    dump_list(repo, pack)
    dump_point(repo, point)
    dump_body(point)
    dump_live(repo, point.live)
    dump_page(f"root page of `{point.name}`, level {point.level}", point.root)
    for kind, what in ((table.ENTRIES, "entries"), (table.EXTENTS, "extents")):
        if kind in pages:
            page_id, data = pages[kind]
            dump_page(f"page {page_id.hex()} of {what}", data)


if __name__ == "__main__":
    sys.exit(main())
