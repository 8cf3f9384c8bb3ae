"""Uploads are decoded in processes that can do little else.

``python -m claip_emo.serving.sandbox FD`` is such a process.

Such a process has a limit of memory, of processor time for each file, and of open files; it writes
no file and, where the kernel has Landlock, reads none but the upload that it is given and what
Python itself needs, and opens no TCP connection. A hostile file ends it, never the server.
"""

from __future__ import annotations

import errno
import os
import resource
import site
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import cv2

from claip_emo.inference.reading_process import Guard, connected, serve
from claip_emo.media.container import MediaError, open_media
from claip_emo.media.source import open_source
from claip_emo.serving import landlock

MODULE = "claip_emo.serving.sandbox"
OPEN_FILES = 64
OUT_OF_MEMORY = ("Cannot allocate memory", "Insufficient memory", "bad_alloc")


class TooLargeError(MediaError):
    """A recording that is longer or larger than the server takes."""


def begin(setup: Mapping[str, Any]) -> Guard:
    """Give up what reading does not need, once all is loaded; return what guards each job."""
    limits = setup["limits"]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_DATA, (limits["memory_bytes"], limits["memory_bytes"]))
    _confine([*_needed(), *filter(None, (setup["face_model"], setup["box"]))])

    @contextmanager
    def guard(job: Mapping[str, Any]) -> Iterator[None]:
        _let_compute(limits["cpu_s"])
        try:
            look_first(job["path"], limits)
            yield
        except Exception as error:
            if _is_out_of_memory(error):
                raise MemoryError from error
            raise

    return guard


def _confine(readable: list[str]) -> None:
    """Give up all other files, where the kernel does that.

    Raises:
        RuntimeError: if it should do that and does not, or would not for all of this process.
    """
    if landlock.version() < 1:
        return
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:  # those that were there before keep what they may
        raise RuntimeError(f"It has {threads} threads before it is confined.")
    if not landlock.confine(readable):
        raise RuntimeError("It could not be confined, though the kernel offers Landlock.")


def look_first(path: str, limits: Mapping[str, Any]) -> None:
    """Refuse what is too large by its header, and then by its packets, before any is decoded.

    Raises:
        TooLargeError: saying what the limit is.
        MediaError: if it is no media.
    """
    with open_media(path) as container:
        for stream in container.streams.video:
            context = stream.codec_context
            if context is None:
                continue
            width, height = context.width, context.height
            if width * height > limits["max_pixels"] or max(width, height) > limits["max_side_px"]:
                raise TooLargeError(
                    f"{path}: its pictures have {width} x {height} px; at most "
                    f"{limits['max_pixels']} px, and {limits['max_side_px']} on a side, are taken."
                )
        _refuse_long(path, (container.duration or 0) / 1e6, limits)
    _refuse_long(path, open_source(path).duration_s, limits)  # headers may lie


def _refuse_long(path: str, duration_s: float, limits: Mapping[str, Any]) -> None:
    if duration_s > limits["max_duration_s"]:
        raise TooLargeError(
            f"{path}: it lasts {duration_s:.0f} s; at most {limits['max_duration_s']:g} s are "
            "taken."
        )


def _let_compute(seconds: float) -> None:
    """Let this process compute for so long from now on; the kernel ends it then."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (ceil(time.process_time() + seconds), hard))


def _is_out_of_memory(error: Exception) -> bool:
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, OSError) and chain.errno == errno.ENOMEM:
            return True
        if any(words in str(chain) for words in OUT_OF_MEMORY):
            return True
        chain = chain.__cause__
    return False


def _needed() -> list[str]:
    """Return where Python and its libraries lie, some of which are imported late."""
    own = Path(__file__).resolve().parents[2]
    places = {own, *map(Path, (sys.prefix, sys.base_prefix, *site.getsitepackages()))}
    return [*map(str, places), "/usr/lib", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null",
            "/dev/urandom"]  # fmt: skip


if __name__ == "__main__":
    cv2.setNumThreads(1)  # its threads would not be confined
    serve(connected(sys.argv[1:]), begin)
