"""Whether the first bytes of an upload are those of media; what is in it FFmpeg tells later."""

from __future__ import annotations

HEAD_BYTES = 16
BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")  # of MPEG-4
BEGINNINGS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"fLaC",
    b"OggS",
    b"ID3",
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",  # JPEG
    b"BM",
    b"FORM",
    b".snd",
    b"\x30\x26\xb2\x75",  # ASF
)
RIFF = (b"WAVE", b"AVI ", b"WEBP")
TRANSPORT = 0x47  # MPEG transport stream


def is_media(head: bytes) -> bool:
    """Say whether a file that begins so can be a video, a sound or a picture.

    Args:
        head: its first bytes, ``HEAD_BYTES`` where it has as many.
    """
    if head[4:8] in BOXES or head.startswith(BEGINNINGS):
        return True
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] in RIFF:
        return True
    if len(head) >= 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # MPEG audio, AAC
        return head[1] & 0x06 != 0 or head[1] & 0xF6 == 0xF0
    return head[:1] == bytes([TRANSPORT])
