"""Tests of the reader on repositories made by hand: good ones are read, hostile ones are refused."""

import contextlib
import functools
import hashlib
import io
import os
import shutil
import sys
import tempfile
import unittest
from unittest import mock

import reader
import sealing
from forge import PASSPHRASE, SALT, Forge, PageMaker, string, uvarint

ARGON2ID = functools.lru_cache(sealing.argon2id)


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.repo = os.path.join(self.folder, "repo")
        self.forge = Forge(self.repo)
        self.passphrase = os.path.join(self.folder, "passphrase")
        with open(self.passphrase, "wb") as file:
            file.write(PASSPHRASE + b"\n")

    def run_reader(self, *args):
        """Exit code, output, errors."""
        out, err = io.StringIO(), io.StringIO()
        with mock.patch.object(sys, "argv", ["reader.py", self.repo, "--passphrase-file", self.passphrase, *args]), \
                contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = reader.main()
        return code, out.getvalue(), err.getvalue()

    def damaged(self, text, *args):
        code, _, err = self.run_reader(*(args or ("check",)))
        self.assertEqual((code, text in err), (6, True), err)

    def root(self, page=None):
        """A page maker with the root folder in it."""
        page = page or PageMaker(1)
        page.entry(b"\0", kind=1, mode=0o755)
        return page


class Good(Case):
    def test_all_kinds_of_content(self):
        forge, page = self.forge, self.root()
        text, noise = b"small file " * 300, os.urandom(9000)
        one, two, three = forge.pack(0, [text, noise, b"tail"], first=1000)
        blocks = forge.pack(2, [b"b" * 3000, b"c" * 3000, b"d" * 50])
        forge.needs[blocks[0][0]] = bytes([0b00111111, 255])  # 3,000 of the first frame's 4,096 bytes
        extents = PageMaker(2)
        extents.records = [extents.extent(3000, blocks[0]), extents.extent(5), extents.extent(3050, (*blocks[1][:2], 3050))]
        extent_page = extents.page()
        tree = forge.pack(3, [extent_page])[0]
        page.entry(b"\0a", body=uvarint(9000) + page.address(two), form=2, seconds=-5, nanoseconds=7, owner=(1, 2))
        page.entry(b"\0b", body=uvarint(5) + b"hello", form=1, seconds=-(1 << 63))
        page.entry(b"\0c", form=4, body=uvarint(6055) + uvarint(0) + page.reference(b"\0\0", 6055, tree, extent_page))
        page.entry(b"\0d", form=3, body=uvarint(3404) + uvarint(3) + page.extent(3300, one) + page.extent(100) + page.extent(4, three))
        page.entry(b"\0e", kind=3, flags=4, more=uvarint(0) + uvarint(9) + uvarint(2))
        page.entry(b"\0f", kind=3, flags=4, more=uvarint(0) + uvarint(9) + uvarint(2))
        page.entry(b"\0l", kind=2, body=string(b"to\xff"))
        page.entry(b"\0n", kind=4, body=uvarint(1) + uvarint(3), flags=8, more=uvarint(1) + string(b"user.x") + string(b"v"))
        forge.point(page.page(), 9)
        code, out, err = self.run_reader("check")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("9 entries, 1 pages, 3 packs: good", out)
        code, out, err = self.run_reader("ls", "latest", "--content")
        lines = out.splitlines()
        self.assertEqual((code, err, len(lines)), (0, "", 9))
        self.assertTrue(lines[1].startswith("file 0644 1:2 9000 -5.000000007 /a sha256="))
        self.assertIn(f"file 0644 0:0 5 {-(1 << 63)}.000000000 /b", lines[2])
        self.assertIn("holes=5", lines[3])
        self.assertTrue(lines[6].endswith("/f link=/e"))
        self.assertIn("target=to%FF", lines[7])
        self.assertIn("device=1,3 xattr=user.x:76", lines[8])

    def test_two_levels_and_two_points(self):
        forge, leaves, names = self.forge, [], [b"\0a%02d" % i for i in range(30)]
        for at in (0, 10, 20):
            page = self.root() if at == 0 else PageMaker(1)
            for name in names[at:at + 10]:
                page.entry(name)
            leaves.append(page.page())
        places, upper = forge.pack(3, leaves), PageMaker(3)
        for i, (separator, count) in enumerate(((b"", 11), (b"\0a1", 10), (b"\0a2", 10))):
            upper.records.append(upper.reference(separator, count, places[i], leaves[i]))
        first = forge.point(upper.page(), 31, level=1)
        forge.point(upper.page(), 31, level=1, sequence=2, previous=first)
        code, out, err = self.run_reader("check")
        self.assertEqual((code, err, out.count("31 entries, 3 pages, 1 packs: good")), (0, "", 2))
        forge.point(upper.page(), 31, level=1, sequence=2)
        self.damaged("does not follow")

    def test_wrong_passphrase_and_later_version(self):
        with open(self.passphrase, "wb") as file:
            file.write(b"wrong horse")
        self.assertEqual(self.run_reader("points")[0], 5)
        self.forge.put("keys/feature-0001", b"")
        self.assertIn("later version", self.run_reader("points")[2])


class Hostile(Case):
    def test_entry_below_a_link(self):
        page = self.root()
        page.entry(b"\0a", kind=2, body=string(b"/etc"))
        page.entry(b"a\0\0b")
        self.forge.point(page.page(), 3)
        self.damaged("its parent is no folder")

    def test_names(self):
        for name in (b"\0..", b"\0.", b"\0a/b", b"\0a\0", b"..\0\0a", b"\0" + b"n" * 1025, b"a\0\0"):
            page = self.root()
            page.entry(name)
            self.forge.point(page.page(), 2)
            self.damaged("a name that cannot be" if name != b"a\0\0" else "no name", "ls", "latest")

    def test_order_and_canonical_form(self):
        page = self.root()
        page.entry(b"\0b")
        page.entry(b"\0a")
        self.forge.point(page.page(), 3)
        self.damaged("out of order")
        page = self.root()
        page.entry(b"\0a", flags=2, more=uvarint(0) + uvarint(0))
        self.forge.point(page.page(), 2)
        self.damaged("need not stand here")

    def test_counts(self):
        self.forge.point(self.root().page(), 2)
        self.damaged("1 entries, not 2")

    def test_prefix_bomb(self):
        page = self.root()
        page.entry(b"\0d", kind=1, mode=0o755)
        deep = b"".join(b"%0100d\0" % i for i in range(1000)) + b"\0"
        for i in range(50):
            page.entry(deep + b"%02d" % i)
        self.forge.point(page.page(), 52)
        self.damaged("keys are too long")

    def test_pack_swapped(self):
        page = self.root()
        places = self.forge.pack(0, [b"x" * 5000]) + self.forge.pack(0, [b"y" * 5000])
        for name, place in zip((b"\0a", b"\0b"), places):
            page.entry(name, form=2, body=uvarint(5000) + page.address(place))
        self.forge.point(page.page(), 3)
        self.assertEqual(self.run_reader("check")[0], 0)
        names = [f"packs/{p[0].hex()[-2:]}/{p[0].hex()}" for p in places]
        with open(os.path.join(self.repo, names[1]), "rb") as file:
            self.forge.put(names[0], file.read())
        self.damaged("holds another pack")

    def test_every_bit_flip_is_found(self):
        page = self.root()
        place = self.forge.pack(0, [b"x" * 300 + os.urandom(300)])[0]
        page.entry(b"\0a", form=2, body=uvarint(600) + page.address(place))
        self.forge.point(page.page(), 2)
        self.assertEqual(self.run_reader("check")[0], 0)
        for folder, _, files in os.walk(self.repo):
            for file in files:
                name = os.path.relpath(os.path.join(folder, file), self.repo)
                with open(os.path.join(self.repo, name), "rb") as f:
                    good = f.read()
                with mock.patch("sealing.argon2id", self.argon2id):
                    for at in range(0, len(good), 9):
                        self.forge.put(name, good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1:])
                        code = self.run_reader("check")[0]
                        self.assertIn(code, (5, 6), (name, at))
                self.forge.put(name, good)

    @staticmethod
    def argon2id(passphrase, salt, t, m, p):
        """Stands in for flipped costs, which take minutes: another key for other parameters."""
        if (salt, t, m, p) == (SALT, 1, 8192, 1):
            return ARGON2ID(passphrase, salt, t, m, p)
        return hashlib.sha256(repr((passphrase, salt, t, m, p)).encode()).digest()


if __name__ == "__main__":
    unittest.main()
