"""Hostile files and senders against the server: each gets its code, and nothing remains."""

from __future__ import annotations

import random
import struct
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from benchmarks.asking import Answer, running_server
from benchmarks.claim import Check, Claim, Options
from benchmarks.measuring import say
from claip_emo.corpora.synthetic import make_clip
from claip_emo.media.source import open_source

FILES, QUICK_FILES = 1000, 50
RATE_HZ = 48_000
ALLOWED = {200, 400, 413, 415, 503, 504}
LIMITS = ("--max-bytes", "20000000", "--max-duration-s", "60", "--timeout", "20", "--workers", "2")
CODES = {"not_media", "unreadable", "too_large", "worker_lost", "over_time"}


def measure(options: Options) -> Claim:
    """Send them, one by one, and after each a good one."""
    count, rng = QUICK_FILES if options.quick else FILES, random.Random(0)
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder, running_server(*LIMITS) as server:
        good = make_clip(
            Path(folder) / "good.mp4", person=0, emotion="happiness", duration_s=1.0, size_px=64
        )
        wanted = server.post(good.read_bytes()).body
        for number, (name, content) in enumerate(hostile(Path(folder), rng, count)):
            answer = server.post(content)
            statuses[answer.status] += 1
            if not _right(answer):
                wrong.append(f"{name}: {answer.status} {answer.body[:200]!r}")
            if server.post(good.read_bytes()).body != wanted:
                wrong.append(f"after {name} the next request was answered otherwise")
            if number % 100 == 99:
                say(f"{number + 1} files, {dict(statuses)}, {len(wrong)} wrong")
        left, processes = server.files(), server.processes()
    for line in wrong[:20]:
        say(line)
    say(f"{dict(statuses)}; {left} files and {processes} processes were there at the end")
    whole = not options.quick
    checks = (
        Check(f"of {count} hostile files, answered wrongly, or the next request was",
              len(wrong), "files", 0, "most", enough=whole),
        Check("files of uploads that remain", left, "files", 0, "most", enough=whole),
        Check("processes more or less than the two that decode", abs(processes - 2), "processes",
              0, "most", enough=whole),
    )  # fmt: skip
    baseline = {"what": "hostile files that were sent", "figure": count, "unit": "files"}
    told = {str(status): number for status, number in statuses.items()}
    return Claim("hostile", checks, baseline, {"statuses": told, "wrong": wrong[:50]})


def _right(answer: Answer) -> bool:
    """Whether an answer is one that a hostile file may have."""
    if answer.status == 200:
        return set(answer.json) >= {"label", "scores", "warnings"}
    return answer.status in ALLOWED and answer.json.get("code") in CODES


def hostile(folder: Path, rng: random.Random, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield so many files: the special ones, and mutations of good ones."""
    special = [*bombs(), *wrong_types(rng)][:count]
    yield from special
    originals = good_files(folder)
    for number in range(count - len(special)):
        name, content = originals[number % len(originals)]
        yield f"mutation {number} of {name}", mutated(content, rng)


def good_files(folder: Path) -> list[tuple[str, bytes]]:
    """Return small files of several containers, of one drawn face and its voice."""
    path = make_clip(folder / "original.mp4", person=1, emotion="anger", duration_s=1.0, size_px=64)
    source = open_source(path)
    frames = [picture for _, picture in source.frames(range(len(source.times_s)))]
    sound = source.sound([source.sound_s or (0.0, 0.0)], RATE_HZ)[0]
    found = [(path.name, path.read_bytes())]
    for suffix, video, audio in (
        ("webm", "libvpx-vp9", "libopus"), ("mkv", "libx264", "aac"), ("avi", "mpeg4", "mp3"),
        ("wav", None, "pcm_s16le"), ("flac", None, "flac"), ("mov", "mpeg4", "aac"),
    ):  # fmt: skip
        made = folder / f"original.{suffix}"
        _encode(made, (video, frames), (audio, sound))
        found.append((made.name, made.read_bytes()))
    return found


def _encode(
    path: Path, picture: tuple[str | None, list[np.ndarray]], sound: tuple[str, np.ndarray]
) -> None:
    codec, frames = picture
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=12) if codec else None
        audio = container.add_stream(sound[0], rate=RATE_HZ, layout="mono")
        if video is not None:
            video.height, video.width, video.pix_fmt = *frames[0].shape[:2], "yuv420p"
            for frame in frames:
                container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(video.encode())
        samples = (sound[1] * 32767).astype(np.int16)
        for start in range(0, len(samples), 1024):
            part = samples[None, start : start + 1024]
            heard = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "s16", "mono")
            heard.rate, heard.pts = RATE_HZ, start
            container.mux(audio.encode(heard))
        container.mux(audio.encode())


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return a file with some of its bytes changed, cut out, doubled, or cut off."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 2, 8, 64))):
        kind, place = rng.randrange(6), rng.randrange(len(data))
        length = min(rng.choice((1, 4, 64, 1024)), len(data) - place)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place : place + length] = rng.randbytes(length)
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            data[place:place] = data[place : place + length]
        elif kind == 4:
            data[place : place + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"))
        elif len(data) > 64:
            del data[rng.randrange(32, len(data)) :]
        if not data:
            data = bytearray(b"\0")
    return bytes(data)


def bombs() -> Iterator[tuple[str, bytes]]:
    """Yield small files that become large, or take for ever."""
    for width, height in ((100_000, 1), (1, 100_000), (30_000, 30_000), (65_535, 65_535)):
        yield f"png of {width} x {height}", png(width, height)
    for hours, bits in ((1, 8), (5, 8)):
        yield f"{hours} h of silence", silence(hours * 3600, bits)
    promise = struct.pack("<I", 2**32 - 2)
    yield "a WAV that promises 4 GB", silence(1, 16)[:40] + promise + bytes(64)
    yield "a WAV of 65,535 channels", wav(65_535, 8000, 8, bytes(65_535))
    yield "a WAV of 4 GHz", wav(1, 2**32 - 1, 16, bytes(1000))
    box = struct.pack(">I4s", 8, b"moov")
    for _ in range(2000):
        box = struct.pack(">I4s", 8 + len(box), b"moov") + box
    yield "boxes in boxes", struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + box
    head = struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0)
    yield "a box of all sizes", head + b"\0\0\0\1moov" + b"\xff" * 8
    yield "an EBML of no end", b"\x1aE\xdf\xa3" + b"\x01" + b"\xff" * 7 + bytes(1000)


def wrong_types(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield what is no media at all, or only begins so."""
    heads = (
        b"", b"\0", b"%PDF-1.7\n", b"PK\x03\x04", b"\x7fELF\x02", b"#!/bin/sh\n", b"<svg/>",
        b"\x80\x04\x95", b"#EXTM3U\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>",
        b"RIFF\0\0\0\0WAVE", b"\x1aE\xdf\xa3", b"OggS", b"fLaC", b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
        b"\0\0\0\x18ftypmp42", b"FLV\x01\x05\0\0\0\x09", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0",
        b"G" * 188 * 3, b"\xff\xfb\x90\x64", b"FORM\0\0\0\0AIFF", b"RIFF\xff\xff\xff\xffAVI LIST",
    )  # fmt: skip
    for head in heads:
        for length in (0, 50, 5000):
            yield f"{head[:12]!r} and {length} bytes", head + rng.randbytes(length)


def png(width: int, height: int) -> bytes:
    """Return a black picture, of one bit per pixel."""
    row = b"\0" + bytes((width + 7) // 8)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(row * 64) for _ in range(height // 64))
    data = rows + packer.compress(row * (height % 64)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    )


def silence(seconds: int, bits: int) -> bytes:
    """Return a WAV of nothing, 1000 samples a second."""
    return wav(1, 1000, bits, np.full(seconds * 1000, 128, np.uint8).tobytes())


def wav(channels: int, rate: int, bits: int, data: bytes) -> bytes:
    """Return a WAV with such a header."""
    frame = min(channels * bits // 8, 2**16 - 1)
    head = struct.pack(
        "<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, (rate * frame) % 2**32, frame, bits
    )
    body = b"WAVE" + head + struct.pack("<4sI", b"data", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body
