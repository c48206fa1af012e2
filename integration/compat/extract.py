"""Puts entries of a point into a folder."""

import os
import stat

from table import BLOCK, CHAR, FIFO, FILE, FOLDER, SYMLINK


class Extraction:
    """Extracts a path: a folder's content lands in the target, anything else below it by its name."""

    def __init__(self, table, path, target):
        self.table, self.path, self.target = table, path, target
        self.links = {}
        self.folders = []
        self.root = os.geteuid() == 0

    def run(self):
        """True if the path is in the point."""
        os.makedirs(self.target, exist_ok=True)
        if os.listdir(self.target):
            raise FileExistsError(f"{os.fsdecode(self.target)} is not empty")
        found = False
        for entry in self.table.entries():
            place = self._place(entry)
            if place is not None:
                found = True
                self._put(entry, place)
        # Times and modes of folders come last, deepest first: what is made in them would change them.
        for entry, place in reversed(self.folders):
            self._metadata(entry, place)
        return found

    def _place(self, entry):
        """Where the entry goes, None if it is not asked for. Names are safe: the table checks each."""
        path = entry.path
        if path == self.path:
            return self.target if entry.kind == FOLDER else os.path.join(self.target, os.path.basename(path))
        prefix = self.path.rstrip(b"/") + b"/"
        return os.path.join(self.target, path[len(prefix):]) if path.startswith(prefix) else None

    def _put(self, entry, place):
        if entry.kind == FOLDER:
            os.makedirs(place, mode=0o700, exist_ok=place == self.target)
            self.folders.append((entry, place))
            return
        if entry.link:
            first = self.links.setdefault((entry.link[:2], entry.sameness()), place)
            if first != place:
                os.link(first, place, follow_symlinks=False)
                return
        if entry.kind == FILE:
            self._write(entry, place)
        elif entry.kind == SYMLINK:
            os.symlink(entry.target, place)
        elif entry.kind == FIFO:
            os.mkfifo(place, 0o600)
        elif self.root:
            kind = {CHAR: stat.S_IFCHR, BLOCK: stat.S_IFBLK}[entry.kind]
            os.mknod(place, kind | 0o600, os.makedev(*entry.device))
        else:
            return
        self._metadata(entry, place)

    def _write(self, entry, place):
        size = 0
        with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for piece in self.table.content(entry):
                if isinstance(piece, int):
                    file.seek(piece, os.SEEK_CUR)
                    size += piece
                else:
                    file.write(piece)
                    size += len(piece)
            file.truncate(size)

    def _metadata(self, entry, place):
        if self.root:
            os.lchown(place, *entry.owner)
        if entry.kind != SYMLINK:
            os.chmod(place, entry.mode)
        for name, value in entry.xattrs:
            if self.root or name.startswith(b"user."):
                os.setxattr(place, name, value, follow_symlinks=False)
        seconds, nanoseconds = entry.mtime
        time = seconds * 1_000_000_000 + nanoseconds
        os.utime(place, ns=(time, time), follow_symlinks=False)
