"""Tests of the reader's own primitives against published vectors."""

import unittest

import blake3
import sealing
from sealing import Cursor, Damaged

# BLAKE3's test_vectors.json: keyed_hash, first 32 bytes; input byte i is i mod 251.
KEYED = {
    0: "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26",
    1: "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b",
    1023: "c951ecdf03288d0fcc96ee3413563d8a6d3589547f2c2fb36d9786470f1b9d6e",
    1024: "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4",
    1025: "357dc55de0c7e382c900fd6e320acc04146be01db6a8ce7210b7189bd664ea69",
    2048: "879cf1fa2ea0e79126cb1063617a05b6ad9d0b696d0d757cf053439f60a99dd1",
    2049: "9f29700902f7c86e514ddc4df1e3049f258b2472b6dd5267f61bf13983b78dd5",
    3072: "044a0e7b172a312dc02a4c9a818c036ffa2776368d7f528268d2e6b5df191770",
    3073: "68dede9bef00ba89e43f31a6825f4cf433389fedae75c04ee9f0cf16a427c95a",
    4097: "00df940cd36bb9fa7cbbc3556744e0dbc8191401afe70520ba292ee3ca80abbc",
    5121: "6ccf1c34753e7a044db80798ecd0782a8f76f33563accaddbfbb2e0ea4b2d024",
    7169: "ed9b1a922c046fdb3d423ae34e143b05ca1bf28b710432857bf738bcedbfa511",
    31744: "efa53b389ab67c593dba624d898d0f7353ab99e4ac9d42302ee64cbf9939a419",
    102400: "1c35d1a5811083fd7119f5d5d1ba027b4d01c0c6c49fb6ff2cf75393ea5db4a7",
}


class Vectors(unittest.TestCase):
    def test_keyed_blake3(self):
        key = b"whats the Elvish word for friend"
        for size, want in KEYED.items():
            data = bytes(i % 251 for i in range(size))
            self.assertEqual(blake3.keyed(key, data).hex(), want, size)

    def test_hkdf_rfc5869_case_1(self):
        okm = sealing.hkdf(b"\x0b" * 22, bytes(range(13)), bytes(range(0xf0, 0xfa)), 42)
        self.assertEqual(okm.hex(), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
                                    "34007208d5b887185865")

    def test_hkdf_rfc5869_case_3_without_salt(self):
        okm = sealing.hkdf(b"\x0b" * 22, b"", b"", 42)
        self.assertEqual(okm.hex(), "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
                                    "9d201395faa4b61a96c8")

    def test_hpke_rfc9180_base(self):
        # The CFRG's test-vectors.json: mode 0, KEM 0x0020, KDF 0x0001, AEAD 0x0002, first message.
        plain = sealing.hpke_open(
            bytes.fromhex("497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d"),
            bytes.fromhex("6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256"),
            bytes.fromhex("4f6465206f6e2061204772656369616e2055726e"),
            bytes.fromhex("436f756e742d30"),
            bytes.fromhex("e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be99319"
                          "80a41de125a925cdad859d5b7a"))
        self.assertEqual(plain, b"Beauty is truth, truth beauty")

    def test_ed25519_rfc8032_test_2(self):
        public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
        signature = bytes.fromhex(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")
        sealing.ed25519_verify(public, signature, b"\x72", "test")
        with self.assertRaises(Damaged):
            sealing.ed25519_verify(public, signature, b"\x73", "test")


class Encoding(unittest.TestCase):
    def test_padme(self):
        # Checked by hand: E = floor(log2 n), S = floor(log2 E) + 1, a multiple of 2^(E-S).
        for n, want in ((5, 5), (7, 7), (8, 8), (9, 10), (15, 16), (33, 36), (1000, 1024), (1025, 1088), (524293, 524288 + 16384)):
            self.assertEqual(sealing.padme(n), want, n)

    def test_varints(self):
        self.assertEqual(Cursor(b"\xac\x02", "t").uvarint(), 300)
        self.assertEqual(Cursor(b"\xff" * 9 + b"\x01", "t").uvarint(), (1 << 64) - 1)
        self.assertEqual([Cursor(bytes([b]), "t").svarint() for b in range(5)], [0, -1, 1, -2, 2])
        for bad in (b"\x80\x00", b"\xff" * 9 + b"\x02", b"\xff" * 10 + b"\x01", b"\x80", b""):
            with self.assertRaises(Damaged):
                Cursor(bad, "t").uvarint()

    def test_payload(self):
        body = b"a" * 100
        padded = b"\0" + (100).to_bytes(4, "little") + body
        self.assertEqual(sealing.payload(padded, 100, 100, "t"), body)
        with self.assertRaises(Damaged):  # padding is due unless the payload is whole
            sealing.payload(padded, 100, 101, "t")
        self.assertEqual(sealing.payload(padded + bytes(sealing.padme(105) - 105), 100, 101, "t"), body)
        with self.assertRaises(Damaged):
            sealing.payload(padded, 99, 100, "t")

    def test_payload_of_zstd(self):
        import zstandard
        packed = zstandard.ZstdCompressor().compress(bytes(1 << 20))
        plain = b"\1" + len(packed).to_bytes(4, "little") + packed
        plain += bytes(sealing.padme(len(plain)) - len(plain))
        self.assertEqual(sealing.payload(plain, 1 << 20, None, "t"), bytes(1 << 20))
        with self.assertRaises(Damaged):  # more than told
            sealing.payload(plain, (1 << 20) - 1, None, "t")
        twice = b"\1" + (2 * len(packed)).to_bytes(4, "little") + packed * 2
        twice += bytes(sealing.padme(len(twice)) - len(twice))
        with self.assertRaises(Damaged):
            sealing.payload(twice, 1 << 21, None, "t")


if __name__ == "__main__":
    unittest.main()
