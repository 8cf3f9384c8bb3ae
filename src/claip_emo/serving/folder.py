"""Where uploads lie while they are looked at; what a server that was killed left is removed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PREFIX, LOCK, SUBFOLDERS = "claip-emo-serve-", "serve.lock", ("uploads", "boxes")


class Folder:
    """A folder of one server, that only its user can read.

    Attributes:
        uploads: where a file lies until a process reads it.
        boxes: where each process has a folder of its own.
    """

    def __init__(self) -> None:
        """Make it, and remove those whose servers are gone."""
        remove_left_over()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.uploads, self.boxes = (self.path / part for part in SUBFOLDERS)
        for part in (self.uploads, self.boxes):
            part.mkdir()
        self._lock = os.open(self.path / ".new", os.O_RDWR | os.O_CREAT, 0o600)
        if fcntl is not None:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        (self.path / ".new").rename(self.path / LOCK)  # locked from its first moment on

    def close(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_left_over() -> None:
    """Remove the folders of servers that were killed: their locks ended with them."""
    if fcntl is None:
        return
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        if not all((lock.parent / part).is_dir() for part in SUBFOLDERS):
            continue  # it is something else
        try:
            descriptor = os.open(lock, os.O_RDWR)
        except OSError:  # it is somebody else's, or just went
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
        except BlockingIOError:
            pass  # its server runs
        finally:
            os.close(descriptor)
