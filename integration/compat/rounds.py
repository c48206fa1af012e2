"""Intents and collection rounds: FORMAT.md, section 9."""

import hashlib

from sealing import Cursor, magic, must
from vault import MIB, live_record


def check(repo):
    """Parses every intent and round; gives how many there are."""
    names = repo.names("intents", "[0-9a-f]{16}-[0-9a-f]{4}")
    for name in names:
        _intent(repo, name)
    rounds = repo.names("gc", "[0-9a-f]{16}-(condemned|dropped)")
    for name in rounds:
        _round(repo, name)
    for name in repo.names("gc", "[0-9a-f]{16}-folded"):
        _fold(repo, name)
    return len(names), len(rounds)


def _intent(repo, name):
    c = Cursor(repo.read(name, 84), name)
    magic(c, b"INT")
    repo.own(c)
    c.take(16)  # server ID
    run, number = c.u64(), c.u32()
    must(name == f"intents/{run:016x}-{number:04x}", f"{name}: holds {run:016x}-{number:04x}")
    c.take(32)  # root of the live set
    c.end()


def _round(repo, name):
    data = repo.read(name, 64 * MIB)
    c = Cursor(data, name)
    magic(c, b"GCR")
    repo.own(c)
    number, dropped = c.u64(), c.u8()
    must(name == f"gc/{number:016x}-{('condemned', 'dropped')[dropped & 1]}" and dropped <= 1, f"{name}: holds round {number}")
    _lists(c)
    digest = hashlib.sha256(data[:c.at]).digest()
    must(c.take(32) == digest, f"{name}: SHA-256")
    c.end()


def _lists(c):
    last = b""
    for _ in range(c.u32()):
        pack_id = c.take(16)
        must(last < pack_id, f"{c.what}: packs out of order")
        must(set(live_record(c)) <= {0, 255}, f"{c.what}: need of a frame")
        last = pack_id
    last = b""
    for _ in range(c.u32()):
        page = c.take(32)
        must(last < page, f"{c.what}: pages out of order")
        last = page


def _fold(repo, name):
    data = repo.read(name, 64 * MIB)
    c = Cursor(data, name)
    magic(c, b"GCF")
    repo.own(c)
    number, last = c.u64(), 0
    must(name == f"gc/{number:016x}-folded", f"{name}: holds fold {number}")
    for _ in range(c.u32()):
        of = c.u64()
        must(last < of <= number, f"{name}: rounds out of order")
        c.i64()  # when it was dropped
        _lists(c)
        last = of
    digest = hashlib.sha256(data[:c.at]).digest()
    must(c.take(32) == digest, f"{name}: SHA-256")
    c.end()
