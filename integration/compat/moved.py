"""Containers and moved records: FORMAT.md, section 9.2."""

import hashlib

from sealing import Cursor, Damaged, magic, must

MIB = 1 << 20
HEX = "[0-9a-f]{32}"


def feature(repo, name):
    """Checks the object that says that packs were moved."""
    must(repo.read(name, 26) == b"tidmFEA\x01" + repo.id + b"\x01\x00", f"{name}: its bytes")


def container_name(container):
    return f"containers/{container.hex()[-2:]}/{container.hex()}"


def records(repo, pack_id):
    """The names of a pack's moved records, the highest generation first."""
    text = pack_id.hex()
    return sorted(repo.names(f"moved/{text[-2:]}", f"{text}-[0-9a-f]{{4}}"), reverse=True)


def pack_ids(repo):
    """The IDs of all packs that have moved records."""
    found = set()
    for folder in repo.names("moved", "[0-9a-f]{2}"):
        for name in repo.names(folder, HEX + "-[0-9a-f]{4}"):
            must(name[-7:-5] == folder[-2:], f"{name}: in the wrong folder")
            found.add(bytes.fromhex(name[-37:-5]))
    return found


class Moved:
    """A moved record. What stands before the frames of its pack is read by head(offset, length)."""

    FIXED = 52

    def __init__(self, repo, name):
        self.repo, self.name = repo, name
        self.data = repo.read(name, 32 * MIB)
        must(hashlib.sha256(self.data[:-32]).digest() == self.data[-32:], f"{name}: SHA-256")
        c = Cursor(self.data[:self.FIXED], name)
        magic(c, b"MOV")
        repo.own(c)
        self.pack, generation = c.take(16), c.u32()
        must(name[-37:] == f"{self.pack.hex()}-{generation:04x}" and generation >= 1, f"{name}: holds {self.pack.hex()}-{generation:04x}")
        c.i64()  # when the pack was stored

    def head(self, offset, length):
        return self.data[self.FIXED + offset:-32][:length]

    def places(self, head, lengths):
        """{frame: (container, offset)}, from what follows a head of so many bytes."""
        c = Cursor(self.data[self.FIXED + head:-32], self.name)
        count = c.u32()
        must(1 <= count <= 65536, f"{self.name}: {count} containers")
        containers = [c.take(16) for _ in range(count)]
        must(len(set(containers)) == count, f"{self.name}: a container twice")
        out, last, named = {}, -1, 0
        kept = c.u32()
        must(kept >= 1, f"{self.name}: no frame")
        for _ in range(kept):
            frame, index, offset = c.u32(), c.u16(), c.u32()
            must(last < frame < len(lengths) and index <= named and index < count, f"{self.name}: frame {frame} in container {index}")
            must(offset + lengths[frame] <= 64 * MIB, f"{self.name}: frame {frame} beyond a container")
            out[frame], last, named = (containers[index], offset), frame, max(named, index + 1)
        must(named == count, f"{self.name}: a container without a frame")
        c.end()
        return out


def exists(repo, container):
    try:
        repo.open(container_name(container)).close()
    except FileNotFoundError:
        return False
    return True


def stored(repo, container, offset, length):
    """The stored bytes of a frame in a container."""
    with repo.open(container_name(container)) as file:
        file.seek(offset)
        return file.read(length)


def check(repo):
    """Reads every container whole; gives how many there are."""
    names = [n for folder in repo.names("containers", "[0-9a-f]{2}") for n in repo.names(folder, HEX)]
    for name in names:
        must(name[-2:] == name.split("/")[1], f"{name}: in the wrong folder")
        data = repo.read(name, 64 * MIB)
        c = Cursor(data, name)
        magic(c, b"CON")
        repo.own(c)
        must(c.take(16).hex() == name[-32:], f"{name}: holds another container")
        count = c.u32()
        must(1 <= count <= 65536, f"{name}: {count} frames")
        frames = [(c.take(16), c.u32(), c.u32(), c.take(32)) for _ in range(count)]
        digest = hashlib.sha256(data[:c.at]).digest()
        must(c.take(32) == digest, f"{name}: SHA-256 of the head")
        for pack_id, frame, length, digest in frames:
            must(frame < 65536 and hashlib.sha256(c.take(length)).digest() == digest, f"{name}: frame {frame} of {pack_id.hex()}")
        c.end()
    return len(names)


def find(repo, pack_id):
    """The pack's records that may count, the one that should first."""
    found = [Moved(repo, name) for name in records(repo, pack_id)]
    if not found:
        raise Damaged(f"packs/{pack_id.hex()[-2:]}/{pack_id.hex()}: is missing")
    return found
