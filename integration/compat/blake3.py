"""Keyed BLAKE3 with 32 bytes of output, in pure Python.

Written from the BLAKE3 paper (sections 2.1 to 2.6). Many 1 KiB chunks are
compressed at once: a Python integer holds one 32-bit word of each of them in
lanes of 64 bits, so that additions carry into the empty upper half, and bits
that a shift pushes into a neighbour's upper half are masked away.
"""

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
      0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
COLUMNS_AND_DIAGONALS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED_HASH = 1, 2, 4, 8, 16
BLOCK, CHUNK, LANES = 64, 1024, 256


class _Lanes:
    """Constants for a number of lanes: a one in each, and the mask of words."""

    def __init__(self, n):
        self.n = n
        self.ones = int.from_bytes((b"\1" + bytes(7)) * n, "little")
        self.mask = self.ones * 0xFFFFFFFF
        self.numbers = int.from_bytes(b"".join(i.to_bytes(8, "little") for i in range(n)), "little")

    def load(self, data, start, stride):
        """The 16 words of the 64-byte blocks that begin at start + i * stride."""
        words = []
        for word in range(start, start + BLOCK, 4):
            lanes = bytearray(8 * self.n)
            for byte in range(4):
                lanes[byte::8] = data[word + byte:word + byte + stride * (self.n - 1) + 1:stride]
            words.append(int.from_bytes(lanes, "little"))
        return words

    def store(self, words):
        """Chaining values, 32 bytes for each lane."""
        out = bytearray(32 * self.n)
        for i, word in enumerate(words):
            lanes = word.to_bytes(8 * self.n, "little")
            for byte in range(4):
                out[4 * i + byte::32] = lanes[byte::8]
        return bytes(out)

    def compress(self, cv, m, counter, length, flags):
        """The compression function in every lane; counter holds one number of 64 bits a lane."""
        mask = self.mask
        low = counter & mask
        v = list(cv) + [w * self.ones for w in IV[:4]]
        v += [low, (counter >> 32) & mask, length * self.ones, flags * self.ones]
        for _ in range(7):
            for i, (a, b, c, d) in enumerate(COLUMNS_AND_DIAGONALS):
                va, vb, vc, vd = v[a], v[b], v[c], v[d]
                va = (va + vb + m[2 * i]) & mask
                vd ^= va
                vd = (vd >> 16 | vd << 16) & mask
                vc = (vc + vd) & mask
                vb ^= vc
                vb = (vb >> 12 | vb << 20) & mask
                va = (va + vb + m[2 * i + 1]) & mask
                vd ^= va
                vd = (vd >> 8 | vd << 24) & mask
                vc = (vc + vd) & mask
                vb ^= vc
                vb = (vb >> 7 | vb << 25) & mask
                v[a], v[b], v[c], v[d] = va, vb, vc, vd
            m = [m[p] for p in PERMUTATION]
        return [v[i] ^ v[i + 8] for i in range(8)]


_lanes_of = {}


def _lanes(n):
    if n not in _lanes_of:
        _lanes_of[n] = _Lanes(n)
    return _lanes_of[n]


def _key_words(key):
    return [int.from_bytes(key[i:i + 4], "little") for i in range(0, 32, 4)]


def _full_chunks(key, data, first, n):
    """Chaining values of n whole chunks that are neither alone nor cut short."""
    lanes = _lanes(n)
    counter = lanes.numbers + first * lanes.ones
    cv = [w * lanes.ones for w in key]
    for start in range(0, CHUNK, BLOCK):
        flags = KEYED_HASH
        flags |= CHUNK_START if start == 0 else 0
        flags |= CHUNK_END if start == CHUNK - BLOCK else 0
        cv = lanes.compress(cv, lanes.load(data, first * CHUNK + start, CHUNK), counter, BLOCK, flags)
    return lanes.store(cv)


def _last_chunk(key, data, number, extra):
    """The chaining value of one chunk of 0 to 1,024 bytes; extra is ROOT if it is the only one."""
    lanes, cv = _lanes(1), key
    last = max(len(data) - 1, 0) // BLOCK * BLOCK
    for start in range(0, last + 1, BLOCK):
        block = data[start:start + BLOCK]
        flags = KEYED_HASH
        flags |= CHUNK_START if start == 0 else 0
        flags |= CHUNK_END | extra if start == last else 0
        words = lanes.load(block + bytes(BLOCK - len(block)), 0, BLOCK)
        cv = lanes.compress(cv, words, number, len(block), flags)
    return lanes.store(cv)


def _parents(key, nodes):
    """One level up: neighbours are paired, an odd last one rises as it is."""
    pairs = len(nodes) // 64
    flags = KEYED_HASH | PARENT | (ROOT if len(nodes) == 64 else 0)
    out = []
    for first in range(0, pairs, LANES):
        lanes = _lanes(min(LANES, pairs - first))
        cv = lanes.compress([w * lanes.ones for w in key], lanes.load(nodes, first * 64, 64), 0, BLOCK, flags)
        out.append(lanes.store(cv))
    return b"".join(out) + nodes[pairs * 64:]


def keyed(key, data):
    """BLAKE3(key; data): 32 bytes."""
    if len(key) != 32:
        raise ValueError("a BLAKE3 key has 32 bytes")
    words, data = _key_words(key), bytes(data)
    if len(data) <= CHUNK:
        return _last_chunk(words, data, 0, ROOT)
    full = (len(data) - 1) // CHUNK
    nodes = [_full_chunks(words, data, first, min(LANES, full - first)) for first in range(0, full, LANES)]
    nodes.append(_last_chunk(words, data[full * CHUNK:], full, 0))
    nodes = b"".join(nodes)
    while len(nodes) > 32:
        nodes = _parents(words, nodes)
    return nodes
