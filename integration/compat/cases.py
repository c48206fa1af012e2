#!/usr/bin/python3 -B
"""Repositories made by hand: two good, the others hostile though every seal and MAC is right.

    cases.py FOLDER

writes each below FOLDER. A reader must refuse a hostile one as damaged before
it uses what is wrong.
"""

import os
import sys

from forge import Forge, PageMaker, string, uvarint


def table():
    """A page maker with the root folder in it."""
    page = PageMaker(1)
    page.entry(b"\0", kind=1, mode=0o755)
    return page


def good(forge):
    """All forms of content, extreme times, links."""
    page = table()
    text, noise = b"small file " * 300, bytes((i * i * 7 + i // 3) % 251 for i in range(9000))
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


def good_trees(forge):
    """A table of two levels, and a live set of three."""
    page, packs = table(), []
    for i in range(9):
        packs += forge.pack(0, [b"content %d " % i * 100])
    for i, place in enumerate(packs):
        page.entry(b"\0a%02d" % i, form=2, body=uvarint(place[2]) + page.address(place))
    leaves, upper = [page.page()], PageMaker(3)
    for at in (10, 20):
        page = PageMaker(1)
        for i in range(at, at + 10):
            page.entry(b"\0a%02d" % i)
        leaves.append(page.page())
    places = forge.pack(3, leaves)
    for i, (separator, count) in enumerate(((b"", 10), (b"\0a1", 10), (b"\0a2", 10))):
        upper.records.append(upper.reference(separator, count, places[i], leaves[i]))
    return forge.point(upper.page(), 30, level=1, per_page=3), upper.page()


def named(name):
    def make(forge):
        page = table()
        page.entry(name)
        forge.point(page.page(), 2)
    return make


def entry_below_a_link(forge):
    page = table()
    page.entry(b"\0a", kind=2, body=string(b"/etc"))
    page.entry(b"a\0\0b")
    forge.point(page.page(), 3)


def no_root(forge):
    page = PageMaker(1)
    page.entry(b"\0a")
    forge.point(page.page(), 1)


def out_of_order(forge):
    page = table()
    page.entry(b"\0b")
    page.entry(b"\0a")
    forge.point(page.page(), 3)


def out_of_order_over_pages(forge):
    """Each page is right; the separator lies, so that a search misses what a listing shows."""
    first, second, upper = table(), PageMaker(1), PageMaker(3)
    first.entry(b"\0b")
    second.entry(b"\0a")
    pages = [first.page(), second.page()]
    places = forge.pack(3, pages)
    upper.records = [upper.reference(b"", 2, places[0], pages[0]), upper.reference(b"\0c", 1, places[1], pages[1])]
    forge.point(upper.page(), 3, level=1)


def owner_twice(forge):
    page = table()
    page.entry(b"\0a", flags=2, more=uvarint(0) + uvarint(0))
    forge.point(page.page(), 2)


def wrong_count(forge):
    forge.point(table().page(), 2)


def wrong_level(forge):
    forge.point(table().page(), 1, level=1)


def prefix_bomb(forge):
    page = table()
    deep = b"".join(b"%0100d\0" % i for i in range(1000)) + b"\0"
    for i in range(50):
        page.entry(deep + b"%02d" % i)
    forge.point(page.page(), 51)


def one_file(forge, size, told=None, kind=0, content=b"content "):
    """A file of one address; told: the size that the entry tells."""
    page = table()
    chunk = (content * (size // len(content) + 1))[:size]
    place = forge.pack(kind, [chunk])[0]
    told = size if told is None else told
    page.entry(b"\0a", form=2, body=uvarint(told) + page.address((*place[:2], told)))
    forge.point(page.page(), 2)


def beyond_the_pack(forge):
    one_file(forge, 5000, told=5001)


def inside_a_chunk(forge):
    """Opens and reads, but the chunk list cannot verify it."""
    one_file(forge, 5000, told=4000)


def content_in_a_page(forge):
    one_file(forge, 3000, kind=3)


def missing_pack(forge):
    page = table()
    page.entry(b"\0a", form=2, body=uvarint(10) + page.address((bytes(16), 0, 10)))
    forge.point(page.page(), 2)


def another_page(forge):
    """The reference's page ID is that of another page."""
    leaf, upper = table().page(), PageMaker(3)
    other = table()
    other.entry(b"\0a")
    other = other.page()
    place = forge.pack(3, [leaf])[0]
    upper.records = [upper.reference(b"", 1, place, other)]
    forge.point(upper.page(), 1, level=1)


def extents_and_size(forge):
    page = table()
    page.entry(b"\0a", form=3, body=uvarint(11) + uvarint(1) + page.extent(10))
    forge.point(page.page(), 2)


def frame_bomb(forge):
    """A frame that decodes to more than its span."""
    forge.bomb = True
    one_file(forge, 4096, content=b"\0")


def swapped_packs(forge):
    """Each pack under the other's name."""
    page = table()
    places = forge.pack(0, [b"x" * 5000]) + forge.pack(0, [b"y" * 5000])
    for name, place in zip((b"\0a", b"\0b"), places):
        page.entry(name, form=2, body=uvarint(5000) + page.address(place))
    forge.point(page.page(), 3)
    names = [os.path.join(forge.folder, f"packs/{p[0].hex()[-2:]}/{p[0].hex()}") for p in places]
    os.rename(names[0], names[0] + ".aside")
    os.rename(names[1], names[0])
    os.rename(names[0] + ".aside", names[1])


def point_renamed(forge):
    forge.point(table().page(), 1)
    folder = os.path.join(forge.folder, "points")
    os.rename(os.path.join(folder, f"{1:016x}"), os.path.join(folder, f"{2:016x}"))


# name: how it is made, and what the Python reader says
HOSTILE = {
    "entry-below-a-link": (entry_below_a_link, "its parent is no folder"),
    "name-dot-dot": (named(b"\0.."), "a name that cannot be"),
    "name-dot": (named(b"\0."), "a name that cannot be"),
    "name-slash": (named(b"\0a/b"), "a name that cannot be"),
    "name-nul": (named(b"\0a\0"), "a name that cannot be"),
    "name-long": (named(b"\0" + b"n" * 1025), "a name that cannot be"),
    "folder-dot-dot": (named(b"..\0\0a"), "a name that cannot be"),
    "name-empty": (named(b"a\0\0"), "no name"),
    "no-parent": (named(b"a\0\0b"), "its parent is no folder"),
    "no-root": (no_root, "the root folder is missing"),
    "out-of-order": (out_of_order, "out of order"),
    "out-of-order-over-pages": (out_of_order_over_pages, "out of order"),
    "owner-twice": (owner_twice, "need not stand here"),
    "wrong-count": (wrong_count, "1 entries, not 2"),
    "wrong-level": (wrong_level, "is of another type"),
    "prefix-bomb": (prefix_bomb, "keys are too long"),
    "beyond-the-pack": (beyond_the_pack, "is beyond"),
    "inside-a-chunk": (inside_a_chunk, "ends inside a chunk"),
    "content-in-a-page": (content_in_a_page, "holds pages"),
    "missing-pack": (missing_pack, "is missing"),
    "another-page": (another_page, "has another ID"),
    "extents-and-size": (extents_and_size, "extents and size differ"),
    "frame-bomb": (frame_bomb, "decodes to more"),
    "swapped-packs": (swapped_packs, "holds another pack"),
    "point-renamed": (point_renamed, "holds point 1"),
}


def main():
    good(Forge(os.path.join(sys.argv[1], "good")))
    good_trees(Forge(os.path.join(sys.argv[1], "good-trees")))
    for name, (make, _) in HOSTILE.items():
        make(Forge(os.path.join(sys.argv[1], "hostile-" + name)))


if __name__ == "__main__":
    main()
