"""What a clip's files hold, as a digest: whatever its name, the same content is the same clip."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

from claip_emo.corpora.base import OnProgress
from claip_emo.media.source import IMAGE_SUFFIXES, SOUND_SUFFIXES

logger = logging.getLogger(__name__)

Files = tuple[Path, Path | None]  # of a clip, and of its sound
Stats = list[tuple[str, Path, os.stat_result]]  # of each file: its part in the clip, and what it is

DIGEST_BYTES = 20
READ_AT_ONCE = 1 << 20
THREADS = 8  # they wait for the disk; hashing does not hold the interpreter
KEPT_EVERY = 256  # digests: a kill costs no more than these
SETTLED_S = 2.0  # a file that changed just now may change again within one tick of its clock
LINE = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40})")


class Content(NamedTuple):
    """What a clip is, and how to tell whether its files changed since.

    Attributes:
        digest: of what the files hold.
        stamp: of their parts in the clip, paths, sizes and times of change.
    """

    digest: str
    stamp: str


class Digests:
    """Digests of clips, remembered in a file for as long as size and time of their files stay.

    The file has a line for each clip: a digest of its files' parts in it, their paths, sizes and
    times, and one of the content. Lines are only ever added, each whole, so that several processes
    may add at once; what a kill or a full disk left of a line is passed over.

    Args:
        file: where they are remembered.
    """

    def __init__(self, file: Path):
        """Read what is remembered."""
        self._file = file
        lines = file.read_bytes().split(b"\n") if file.is_file() else []
        pairs = [match.groups() for match in map(LINE.fullmatch, lines) if match]
        self._known = {stamp.decode(): digest.decode() for stamp, digest in pairs}

    def find(
        self, clips: Sequence[Files], progress: OnProgress | None = None
    ) -> dict[Files, Content | OSError]:
        """Return what each clip is, or why its files cannot be read.

        Args:
            clips: paths of clips and of their sound.
            progress: told how many clips are done of how many.
        """
        found: dict[Files, Content | OSError] = {}
        new: list[bytes] = []
        with ThreadPoolExecutor(THREADS) as pool:
            for clip, (told, line) in zip(clips, pool.map(self._look, clips), strict=True):
                found[clip] = told
                new += [line] if line else []
                if len(new) == KEPT_EVERY:
                    self._keep(new)
                if progress is not None:
                    progress(len(found), len(clips))
        self._keep(new)
        return found

    def _look(self, clip: Files) -> tuple[Content | OSError, bytes]:
        """Return what a clip is, and the line to remember it by: if it is new and reliable."""
        try:
            stats = _stats(clip)
            stamp = _stamp(stats)
            if stamp in self._known:
                return Content(self._known[stamp], stamp), b""
            digest = _digest(stats)
        except OSError as error:
            return error, b""
        newest_s = max((s.st_mtime for *_, s in stats), default=0.0)
        settled = newest_s < time.time() - SETTLED_S
        return Content(digest, stamp), f"{stamp} {digest}\n".encode() if settled else b""

    def _keep(self, lines: list[bytes]) -> None:
        """Add lines to the file, in one write; where it cannot be written, go on without."""
        if not lines:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab", buffering=0) as out:
                out.write(b"".join([b"\n", *lines]))  # what is torn before ends there
        except OSError as error:
            _warn(self._file, error.strerror or str(error))
        lines.clear()


def changed(clip: Files, content: Content, *, read: bool = False) -> str | None:
    """Return what happened to a clip's files since they were looked at; None: nothing.

    Args:
        clip: the files.
        content: what they were.
        read: read them anew, whole: whether they can be read is not seen otherwise.
    """
    try:
        stats = _stats(clip)
        same = _stamp(stats) == content.stamp and (not read or _digest(stats) == content.digest)
    except OSError as error:
        return f"it can no longer be read ({error.strerror or error})"
    return None if same else "it changed meanwhile"


@cache
def _warn(file: Path, why: str) -> None:
    """Warn once: a process looks at a cache for each part of a corpus."""
    logger.warning("%s cannot be written (%s); clips are read anew each time.", file, why)


def _stats(clip: Files) -> Stats:
    return [(role, file, file.stat()) for role, file in _files_of(*clip)]


def _stamp(stats: Stats) -> str:
    told = repr([(role, str(f.absolute()), s.st_size, s.st_mtime_ns) for role, f, s in stats])
    return hashlib.blake2b(told.encode(), digest_size=DIGEST_BYTES).hexdigest()


def _files_of(path: Path, audio_path: Path | None) -> Iterator[tuple[str, Path]]:
    """Yield the files that a clip is read from, each with its part in it."""
    if path.is_dir():
        wanted = IMAGE_SUFFIXES if audio_path is not None else (*IMAGE_SUFFIXES, *SOUND_SUFFIXES)
        inside = [file for file in path.iterdir() if file.suffix.lower() in wanted]
        yield from ((file.name, file) for file in sorted(inside))
        whole = path.resolve()
        beside = [whole.parent / (whole.name + suffix) for suffix in wanted]
        yield from ((f"beside{file.suffix}", file) for file in beside if file.is_file())
    else:
        yield "clip", path
    if audio_path is not None:
        yield "sound", audio_path


def _digest(stats: Stats) -> str:
    """Return the digest of what files hold, and of the part that each has."""
    whole = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for role, file, _ in stats:
        content = hashlib.blake2b(digest_size=DIGEST_BYTES)
        with file.open("rb") as opened:
            while piece := opened.read(READ_AT_ONCE):
                content.update(piece)
        whole.update(role.encode("utf-8", "surrogateescape") + b"\0" + content.digest())
    return whole.hexdigest()
