"""What the headers of sound files promise; FFmpeg tells what is there instead."""

from __future__ import annotations

import struct
from pathlib import Path

HEAD_BYTES = 4096
UNKNOWN_SIZE = 0xFFFFFFFF  # written by who does not know the length when the file begins


def promised_bytes(path: str) -> float:
    """Return how many times as much sound as it holds a WAV file promises; 1 where it is whole.

    Source: the sizes of its RIFF chunks, of which ``data`` holds the samples.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            if stream.read(4) != b"RIFF":
                return 1.0
            stream.seek(12)
            while len(header := stream.read(8)) == 8:
                name, length = struct.unpack("<4sI", header)
                there = size - stream.tell()
                if name == b"data":
                    known = 0 < length < UNKNOWN_SIZE and there > 0
                    return max(1.0, length / there) if known else 1.0
                stream.seek(length + length % 2, 1)
    except OSError:
        return 1.0
    return 1.0


def counts_its_frames(path: str) -> bool:
    """Say whether an MP3 file begins with a table (Xing, Info) that states its true length."""
    try:
        with Path(path).open("rb") as stream:
            head = stream.read(10)
            if head[:3] == b"ID3" and len(head) == 10:  # its size has seven bits in each byte
                tag = sum(
                    byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
                )
                stream.seek(10 + tag)
                head = b""
            head += stream.read(HEAD_BYTES)
    except OSError:
        return False
    return b"Xing" in head or b"Info" in head
