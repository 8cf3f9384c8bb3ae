"""What a server does at most; each limit is enforced before the work that it bounds."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server does at most.

    Attributes:
        max_bytes: of an uploaded file.
        max_duration_s: of a recording.
        max_pixels: of a picture of it.
        max_side_px: longest side of one.
        workers: files that are read at once, each in a process of its own.
        waiting: requests beyond those, uploads included, that may wait; who comes later is told to
            come again.
        upload_s: within which an upload must be complete.
        predict_s: within which a file must be read for a prediction.
        timeline_s: within which a timeline must be made.
        cpu_s: of processor time that reading one file may take, of all threads.
        memory_bytes: that a process may use to read one.
        grace_s: how long requests in flight may go on after a server was told to end.
    """

    max_bytes: int = 200 * MIB
    max_duration_s: float = 600.0
    max_pixels: int = 4096 * 2304
    max_side_px: int = 8192
    workers: int = 2
    waiting: int = 32
    upload_s: float = 60.0
    predict_s: float = 60.0
    timeline_s: float = 900.0
    cpu_s: float = 600.0
    memory_bytes: int = 2048 * MIB
    grace_s: float = 60.0

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: naming the limit.
        """
        for name in self.__slots__:
            least = 0 if name == "waiting" else 1e-3
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} is at least {least:g}, not {getattr(self, name)}.")
