"""What PyAV gives: a container that opens, its streams, and packets that survive damage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from claip_emo.threads import for_each_picture

# Lists of other files and pages of text: what is given as a clip must not open its neighbours.
NOT_MEDIA = {"concat", "concatf", "hls", "applehttp", "dash", "imf", "sdp", "rtsp", "rtp", "tty"}

WAV_HEADER_BYTES, WAV_PROBED_BYTES = 12, 2**18
DTS_SYNC = tuple(
    bytes.fromhex(mark) for mark in ("7ffe8001", "fe7f0180", "1fffe800", "ff1f00e8", "64582025")
)

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 1_000_000  # of sound; beyond it a header is damaged


class MediaError(ValueError):
    """A file that yields nothing, and why."""


def open_media(path: str) -> Any:
    """Open a container.

    Raises:
        MediaError: if the file is missing, empty, a folder, or not media.
    """
    file = Path(path)
    try:
        if not file.exists():
            raise MediaError(f"{path}: there is no such file.")
        if file.is_dir():
            raise MediaError(f"{path}: this is a folder without images.")
        if file.stat().st_size == 0:
            raise MediaError(f"{path}: the file is empty (0 bytes).")
        allowed = {"format_whitelist": _formats()}
        if _is_plain_wav(file):
            allowed["max_probe_packets"] = "1"
        # As a bare name, what stands before a colon would be taken for a protocol.
        name = f"file:{file.absolute()}"
        return av.open(name, metadata_errors="replace", container_options=allowed)
    except MediaError:
        raise
    except (FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(
            f"{path}: this cannot be read as video or sound ({reason}); it is another kind of "
            "file, or was cut off before its index was written."
        ) from error


def video_stream(container: Any) -> Any:
    """Return the largest video stream that is no cover picture, or None."""
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
        and stream.codec_context is not None
        and stream.codec_context.width > 0
    ]
    return max(streams, key=lambda s: s.codec_context.width * s.codec_context.height, default=None)


def with_threads(stream: Any) -> None:
    """Let a stream of pictures be decoded with as many threads as are to be had for it."""
    stream.thread_type, stream.thread_count = "AUTO", for_each_picture()


def audio_stream(container: Any) -> Any:
    """Return the best audio stream that can be decoded, or None."""
    usable = [
        s
        for s in container.streams.audio
        if s.codec_context is not None and LOWEST_RATE_HZ <= (s.rate or 0) <= HIGHEST_RATE_HZ
    ]
    best = container.streams.best("audio") if usable else None
    return best if best in usable else next(iter(usable), None)


def packets(container: Any, streams: Sequence[Any], warnings: list[str]) -> Iterator[Any]:
    """Yield packets until the end, or until the container is too damaged to go on."""
    if not streams:
        return
    demuxed = container.demux(*streams)
    while True:
        try:
            packet = next(demuxed)
        except StopIteration:
            return
        except (FFmpegError, OSError) as error:
            warnings.append(f"truncated: the file cannot be read to its end ({error.strerror})")
            return
        yield packet


def decoded(packet: Any) -> tuple[list[Any], int]:
    """Decode one packet; a damaged one yields nothing and counts as one error."""
    try:
        return list(packet.decode()), 0
    except (FFmpegError, OSError):
        return [], 1


def go_to(container: Any, stream: Any, pts: int) -> None:
    """Go to the key frame before; where a file cannot be sought, stay."""
    try:
        container.seek(pts, stream=stream, backward=True)
    except (FFmpegError, OSError):
        return


def _is_plain_wav(file: Path) -> bool:
    """Say whether a file is a wav in whose first 256 kB nothing looks like DTS.

    FFmpeg takes the first packets of every wav of 16 bits for what they might be otherwise, DTS
    above all, and for that time most could be read. Here only the marks of DTS are looked for.
    """
    with file.open("rb") as opened:
        header = opened.read(WAV_HEADER_BYTES)
        if header[:4] not in (b"RIFF", b"RF64") or header[8:] != b"WAVE":
            return False
        start = opened.read(WAV_PROBED_BYTES)
    return not any(mark in start for mark in DTS_SYNC)


@cache
def _formats() -> str:
    return ",".join(sorted(av.formats_available - NOT_MEDIA))
