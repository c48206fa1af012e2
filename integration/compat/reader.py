#!/usr/bin/python3 -B
"""Lists, checks and extracts the recovery points of a Tidemark repository in a folder.

An independent reader, written from repo/FORMAT.md alone, to prove that the
page is complete. It verifies whatever can be verified, prefers clear code to
speed, and keeps a whole extent (up to one pack) in memory. Never use it for
anything but small repositories.

Exit codes: 0 done, 2 usage, 4 nothing there, 5 wrong passphrase or a later
version, 6 damaged.
"""

import argparse
import datetime
import hashlib
import os
import sys

import extract
import moved
import rounds
import vault
from sealing import Damaged, Refused
from table import KINDS, Table


class NotFound(Exception):
    """A point or path that does not exist."""


def points(repo):
    """All points in the order of their sequence; each must follow one that came before it."""
    found = [vault.Point(repo, name) for name in repo.names("points", "[0-9a-f]{16}")]
    for before, point in zip(found, found[1:]):
        if point.sequence == before.sequence + 1 and point.previous != before.id:
            raise Damaged(f"{point.name}: does not follow {before.name}")
    return found


def find_point(repo, text):
    found = points(repo)
    if text == "latest":
        found = found[-1:]
    else:
        found = [p for p in found if p.id.hex().startswith(text.lower())]
    if len(found) != 1:
        raise NotFound(f"{text!r}: {len(found)} points are called so")
    return found[0]


def quoted(data):
    """Bytes as one word of ASCII: all but letters, digits and / . _ - as %XX."""
    plain = b"/._-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return "".join(chr(b) if b in plain else f"%{b:02X}" for b in data)


def line(table, entry, links, content):
    """One line for an entry, the same in every implementation."""
    seconds, nanoseconds = entry.mtime
    parts = [KINDS[entry.kind], f"{entry.mode:04o}", f"{entry.owner[0]}:{entry.owner[1]}", str(entry.size),
             f"{seconds}.{nanoseconds:09d}", quoted(entry.path)]
    if entry.link:
        parts.append("link=" + quoted(links.setdefault((entry.link[:2], entry.sameness()), entry.path)))
    if entry.target:
        parts.append("target=" + quoted(entry.target))
    if KINDS[entry.kind] in ("char", "block"):
        parts.append(f"device={entry.device[0]},{entry.device[1]}")
    parts += [f"xattr={quoted(name)}:{value.hex()}" for name, value in entry.xattrs]
    if entry.flags & 16:
        parts.append("incomplete")
    if content and entry.kind == 0:
        digest, holes = hashlib.sha256(), 0
        for piece in table.content(entry):
            if isinstance(piece, int):
                holes += piece
                zeros(digest, piece)
            else:
                digest.update(piece)
        parts += [f"sha256={digest.hexdigest()}", f"holes={holes}"]
    return " ".join(parts)


def zeros(digest, count):
    block = bytes(1 << 20)
    while count > 0:
        digest.update(block[:min(count, len(block))])
        count -= len(block)


def list_points(repo, _args):
    for point in points(repo):
        begin = datetime.datetime.fromtimestamp(point.begin[0], datetime.timezone.utc)
        warned = " with warnings" if point.warned else ""
        print(f"{point.id.hex()[:16]} {point.sequence} {begin:%Y-%m-%dT%H:%M:%SZ} {point.entries} entries"
              f" {quoted(point.source[0])} {' '.join(quoted(p) for p in point.paths)}{warned}")


def list_entries(repo, args):
    table, links = Table(repo, find_point(repo, args.point)), {}
    for entry in table.entries():
        print(line(table, entry, links, args.content))


def extract_path(repo, args):
    table = Table(repo, find_point(repo, args.point))
    path = b"/" + os.fsencode(args.path).strip(b"/")
    if not extract.Extraction(table, path, os.fsencode(args.to)).run():
        raise NotFound(f"{args.path!r} is not in the point")


def check(repo, _args):
    """Reads and verifies everything; the live sets must name exactly what was read."""
    rounds.check(repo)
    moved.check(repo)
    for pack_id in repo.pack_ids():
        pack = repo.pack(pack_id)
        for i in filter(pack.has, range(pack.count)):
            pack.frame(i)
        for offset, (length, _) in pack.chunks.items():
            if all(map(pack.has, range(pack.frame_of(offset), pack.frame_of(offset + length - 1) + 1))):
                pack.verify(offset)
    for point in points(repo):
        table, files = Table(repo, point), 0
        for entry in table.entries():
            files += 1
            for _ in table.content(entry):
                pass
        needs = vault.LiveSet(repo, point.live).needs
        if needs != {pack: bytes(n) for pack, n in table.needs.items()}:
            raise Damaged(f"{point.name}: its live set is not what its entries need")
        print(f"{point.id.hex()[:16]} {files} entries, {len(table.pages)} pages, {len(needs)} packs: good")


def dump(repo, args):
    """The decrypted parts of a point in hex, a line each: for the dumps in FORMAT.md."""
    point = find_point(repo, args.point)
    table = Table(repo, point)
    print("header", point.header_length, point.name)
    print("body", point.body.hex())
    print("root", point.level, point.root.hex())
    print("live", point.live.hex())
    for entry in table.entries():
        for _ in table.extents(entry):
            pass
    for page_id, data in table.pages:
        print("page", page_id.hex(), data.hex())
    for pack_id in sorted(table.needs):
        pack = repo.pack(pack_id)
        print("pack", pack_id.hex(), pack.kind, pack.first, pack.step, pack.total, pack.count,
              " ".join(f"{at}+{length}:{chunk.hex()}" for at, (length, chunk) in pack.chunks.items()))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository")
    parser.add_argument("--passphrase-file", required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("points").set_defaults(run=list_points)
    commands.add_parser("check").set_defaults(run=check)
    listing = commands.add_parser("ls")
    listing.add_argument("--content", action="store_true", help="add the SHA-256 of each file and its bytes in holes")
    listing.set_defaults(run=list_entries)
    extraction = commands.add_parser("extract")
    extraction.set_defaults(run=extract_path)
    dumping = commands.add_parser("dump")
    dumping.set_defaults(run=dump)
    for command in (listing, extraction, dumping):
        command.add_argument("point", help="latest, or the beginning of an ID")
    extraction.add_argument("path")
    extraction.add_argument("--to", required=True, help="a folder that is empty or does not exist")
    return parser.parse_args()


def passphrase(file):
    with open(file, "rb") as f:
        data = f.read(1 << 16)
    return data[:-1] if data.endswith(b"\n") else data


def main():
    args = arguments()
    try:
        args.run(vault.Repository(args.repository, passphrase(args.passphrase_file)), args)
    except (NotFound, FileNotFoundError) as err:
        print(f"reader: {err}", file=sys.stderr)
        return 4
    except Refused as err:
        print(f"reader: {err}", file=sys.stderr)
        return 5
    except Damaged as err:
        print(f"reader: damaged: {err}", file=sys.stderr)
        return 6
    return 0


if __name__ == "__main__":
    sys.exit(main())
