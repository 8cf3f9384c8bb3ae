"""A timeline of ten minutes beside decoding, face detection and one pass of the towers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import clips
from benchmarks.claim import Check, Claim, Options
from benchmarks.measuring import interleaved, memory_mib, say
from benchmarks.predict import _detector, _yunet
from claip_emo.allocation import keep_freed_memory
from claip_emo.corpora.synthetic import make_clip
from claip_emo.inference.looking import on_grid
from claip_emo.inference.recognizer import EmotionRecognizer
from claip_emo.inference.voice import pieces
from claip_emo.media.clip import FACE_SOURCE_PX
from claip_emo.media.picture import crop
from claip_emo.media.recording import hear
from claip_emo.media.source import open_source

OVER_PARTS = 1.3
LONG_VIDEO_MIB = 2048.0
WINDOW_S, HOP_S = 2.0, 0.5
SECONDS, TOWERS_SECONDS, QUICK_SECONDS = 600, 60, 30
LONG_S, QUICK_LONG_S = 7200, 360
SMALL_PX = 240
HELD = 64  # pictures that stand for all others where one part is measured alone
AT_ONCE = 32
PARTS = ("decoding", "face detection", "towers")


def measure(options: Options) -> Claim:
    """Time the parts and the whole of timelines; then the memory of a two-hour one."""
    keep_freed_memory()
    seconds = QUICK_SECONDS if options.quick else SECONDS
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        pattern = clips.film_720p(Path(folder) / "pattern.mp4")
        pattern_s = open_source(pattern).duration_s
        models = {"mini": seconds} | dict.fromkeys(
            options.towers("vit-b32", quick=()), min(seconds, TOWERS_SECONDS)
        )
        for name, length_s in models.items():
            film = Path(folder) / f"{name}.mp4"
            clips.repeat_film(pattern, film, round(length_s / pattern_s))
            measured[name] = _ratio(name, film, rounds=3 if options.quick else 2)
            say(f"{name}: {measured[name]}")
        film = Path(folder) / "long.mp4"
        long_s = QUICK_LONG_S if options.quick else LONG_S
        # Small pictures: what grows with the length of a file does not follow from their size.
        small = make_clip(
            Path(folder) / "small.mp4", person=0, emotion="happiness", size_px=SMALL_PX, fps=30,
            duration_s=min(10.0, long_s),
        )  # fmt: skip
        clips.repeat_film(small, film, max(1, round(long_s / open_source(small).duration_s)))
        memory = _in_process(film)
        say(str(memory))
    checks = (
        *(
            Check(
                f"{name}: a timeline of {models[name]} s / the sum of its parts",
                found["over_parts"], "x", OVER_PARTS, "most",
            )
            for name, found in measured.items()
        ),
        Check(
            f"mini: peak memory of a timeline of {long_s} s",
            memory["peak_mib"], "MiB", LONG_VIDEO_MIB, "most", enough=not options.quick,
        ),
    )  # fmt: skip
    baseline = {
        "what": f"decoding, face detection and one pass of the towers over {seconds} s",
        "figure": sum(measured["mini"]["times"][part]["median_s"] for part in PARTS),
        "unit": "s",
    }
    return Claim("timeline", checks, baseline, {"models": measured, "long": memory})


def _recognizer(name: str) -> EmotionRecognizer:
    choices: dict[str, Any] = {"face_detector": _detector(), "face_model": _yunet()}
    if name == "mini":
        return EmotionRecognizer.from_pretrained(**choices)
    from benchmarks.models import build

    return EmotionRecognizer.of_model(*build(name), **choices)


def _ratio(name: str, film: Path, rounds: int) -> dict[str, Any]:
    """Time each part alone over the whole film, and the timeline."""
    recognizer = _recognizer(name)
    timed = interleaved(_jobs(recognizer, film), rounds, warm_up=False)
    parts = np.sum([timed[part].seconds for part in PARTS], axis=0)
    over = np.array(timed["whole"].seconds) / parts
    detector = recognizer.reader.detector
    return {
        "over_parts": float(np.median(over)),
        "least": float(over.min()),
        "most": float(over.max()),
        "detector": detector.name if detector is not None else None,
        "times": {part: timing.to_dict() for part, timing in timed.items()},
    }


def _jobs(recognizer: EmotionRecognizer, film: Path) -> dict[str, Callable[[], object]]:
    """Return each part alone, on as much as the whole has, and the whole."""
    settings, detector = recognizer.predictor.settings, recognizer.reader.detector
    source = open_source(film)
    wanted = on_grid(source.times_s, WINDOW_S / settings.num_frames).tolist()
    held = [p for _, p in islice(source.frames(wanted[:HELD], long_px=FACE_SOURCE_PX), HELD)]
    faces = np.stack([crop(picture, None, settings.image_size_px)[0] for picture in held])
    rate = settings.sampling_rate_hz
    sounds = [samples for _, samples in pieces(source, rate, settings.audio_s)]

    def decode() -> None:
        again = open_source(film)
        for _ in again.frames(wanted, long_px=FACE_SOURCE_PX):
            pass
        for _ in hear(again, rate):
            pass

    def detect() -> None:
        for picture in islice(cycle(held), len(wanted) if detector is not None else 0):
            detector.detect(picture)

    def towers() -> None:
        encode = recognizer.predictor.encode
        for begin in range(0, len(wanted), AT_ONCE):
            some = np.arange(begin, min(begin + AT_ONCE, len(wanted))) % len(faces)
            encode(faces[some])
        for begin in range(0, len(sounds), 8):
            encode(sounds=sounds[begin : begin + 8])

    return {
        "decoding": decode,
        "face detection": detect,
        "towers": towers,
        "whole": lambda: recognizer.timeline(film, window_s=WINDOW_S, hop_s=HOP_S, faces="all"),
    }


def _in_process(film: Path) -> dict[str, Any]:
    """Make a timeline in a process of its own, and tell its peak memory."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.timeline", str(film)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    return json.loads(done.stdout.splitlines()[-1])


def _long(film: Path) -> dict[str, Any]:
    keep_freed_memory()
    recognizer = _recognizer("mini")
    early = 0.0

    def look(done_s: float, total_s: float) -> None:
        nonlocal early
        if not early and done_s > 0.6 * total_s:  # well within the picture
            early = memory_mib("VmRSS")

    found = recognizer.timeline(film, faces="all", progress=look)
    return {
        "length_s": found.duration_s,
        "windows": sum(len(list(person.windows)) for person in found.people),
        "at_60_percent_mib": early,
        "peak_mib": memory_mib("VmHWM"),
    }


if __name__ == "__main__":
    print(json.dumps(_long(Path(sys.argv[1]))))
