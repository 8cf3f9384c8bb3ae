"""What a clip's files hold, as a digest: whatever its name, the same content is the same clip."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from claip_emo.media.source import IMAGE_SUFFIXES, SOUND_SUFFIXES

Files = tuple[Path, Path | None]  # of a clip, and of its sound
Progress = Callable[[int, int], None]

DIGEST_BYTES = 20
READ_AT_ONCE = 1 << 20
THREADS = 8  # they wait for the disk; hashing does not hold the interpreter
KEPT_EVERY = 256  # digests: a kill costs no more than these
SETTLED_S = 2.0  # a file that changed just now may change again within one tick of its clock
LINE = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40})")


class Digests:
    """Digests of clips, remembered in a file for as long as size and time of their files stay.

    The file has a line for each clip: a digest of the paths, sizes and times, and one of the
    content. Lines are only ever added, each whole, so that several processes may add at once; what
    a kill or a full disk left of a line is passed over.

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
        self, clips: Sequence[Files], progress: Progress | None = None
    ) -> dict[Files, str | OSError]:
        """Return the digest of each clip, or why its files cannot be read.

        Args:
            clips: paths of clips and of their sound.
            progress: told how many clips are done of how many.
        """
        found: dict[Files, str | OSError] = {}
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

    def _look(self, clip: Files) -> tuple[str | OSError, bytes]:
        """Return a digest and the line to remember it by, if it is new and can be relied on."""
        try:
            files = list(_files_of(*clip))
            stats = [(role, file, file.stat()) for role, file in files]
            told = repr([(str(f.absolute()), s.st_size, s.st_mtime_ns) for _, f, s in stats])
            stamp = hashlib.blake2b(told.encode(), digest_size=DIGEST_BYTES).hexdigest()
            if stamp in self._known:
                return self._known[stamp], b""
            digest = _digest(files)
        except OSError as error:
            return error, b""
        newest_s = max((s.st_mtime for *_, s in stats), default=0.0)
        settled = newest_s < time.time() - SETTLED_S
        return digest, f"{stamp} {digest}\n".encode() if settled else b""

    def _keep(self, lines: list[bytes]) -> None:
        """Add lines to the file, in one write."""
        if lines:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab", buffering=0) as out:
                out.write(b"".join([b"\n", *lines]))  # what is torn before ends there
            lines.clear()


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


def _digest(files: Sequence[tuple[str, Path]]) -> str:
    """Return the digest of what files hold, and of the part that each has."""
    whole = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for role, file in files:
        content = hashlib.blake2b(digest_size=DIGEST_BYTES)
        with file.open("rb") as opened:
            while piece := opened.read(READ_AT_ONCE):
                content.update(piece)
        whole.update(role.encode("utf-8", "surrogateescape") + b"\0" + content.digest())
    return whole.hexdigest()
