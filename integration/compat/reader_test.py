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

import cases
import reader
import sealing
from forge import PASSPHRASE, SALT, Forge, uvarint

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

    def damaged(self, text):
        code, _, err = self.run_reader("check")
        self.assertEqual((code, text in err), (6, True), err)


class Good(Case):
    def test_all_kinds_of_content(self):
        cases.good(self.forge)
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
        first, root = cases.good_trees(self.forge)
        self.forge.point(root, 30, level=1, sequence=2, previous=first)
        code, out, err = self.run_reader("check")
        self.assertEqual((code, err, out.count("30 entries, 3 pages, 10 packs: good")), (0, "", 2))
        self.forge.point(root, 30, level=1, sequence=2)
        self.damaged("does not follow")

    def test_slot_of_another_repository(self):
        cases.good(self.forge)
        self.forge.put("keys/slot-0000000000000000", b"damaged")
        self.assertEqual(self.run_reader("points")[0], 0)

    def test_wrong_passphrase_and_later_version(self):
        with open(self.passphrase, "wb") as file:
            file.write(b"wrong horse")
        self.assertEqual(self.run_reader("points")[0], 5)
        self.forge.put("keys/feature-0002", b"")
        self.assertIn("later version", self.run_reader("points")[2])


class Hostile(Case):
    def test_cases(self):
        for name, (make, text) in cases.HOSTILE.items():
            with self.subTest(name):
                shutil.rmtree(self.repo)
                make(Forge(self.repo))
                self.damaged(text)

    def test_every_bit_flip_is_found(self):
        page = cases.table()
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
                    for at in range(0, len(good), 23):
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
