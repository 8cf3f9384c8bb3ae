"""Cost against the number of clips, 10 to 10,000, and against the length of a video, 5 s to 2 h."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import clips
from benchmarks.claim import Check, Claim, Options
from benchmarks.measuring import memory_mib, say
from claip_emo.corpora.synthetic import make_clip

CLIPS, SECONDS = 10_000, (5, 60, 600, 7200)
QUICK_CLIPS, QUICK_SECONDS = 500, (5, 30, 360)  # a twentieth
GROWTH_MIB = 32.0  # after the first hundred clips: what allocators keep comes and goes
EVEN = 0.10  # of the time per clip
LONG_VIDEO_MIB = 2e9 / 2**20
FIRST = 100  # clips after which everything has its place
DISTINCT = 10  # clips on disk; a corpus names them again and again
BATCH = DISTINCT  # so that every batch is the same work
PARTS = 5  # of the batches that are compared
BEGINNING = 5  # batches after the first hundred clips, which memory is compared with
ROWS_KEPT = 200
PATTERN_S = 10  # of film that longer ones repeat


def measure(options: Options) -> Claim:
    """Score many clips, then read long videos; each in a process of its own."""
    count, lengths = (QUICK_CLIPS, QUICK_SECONDS) if options.quick else (CLIPS, SECONDS)
    backbone = options.towers("tiny", quick=("tiny",))[0]
    films = options.towers("vit-b32")[0]
    with tempfile.TemporaryDirectory() as folder:
        many = _in_process("many", folder, backbone, str(count))
        growth, even, medians = flatness(many["rows"])
        say(f"{count} clips: {growth:.1f} MiB gained, time even within {even:.3f}")
        pattern = _film(Path(folder) / "pattern.mp4", PATTERN_S)
        videos = []
        for seconds in lengths:
            path = Path(folder) / f"{seconds}.mp4"
            if seconds < PATTERN_S:
                _film(path, seconds)
            else:
                clips.repeat_film(pattern, path, seconds // PATTERN_S)
            found = _in_process("long", str(path), films)
            videos.append({"length_s": seconds, "megabytes": path.stat().st_size / 1e6} | found)
            say(str(videos[-1]))
            path.unlink()
    longest = videos[-1]
    checks = (
        Check("time per clip, largest departure from its median", even, "share", EVEN, "most"),
        Check("the same of the medians, whatever else the machine did", medians, "share", None),
        Check(f"memory gained after {FIRST} clips", growth, "MiB", GROWTH_MIB, "most"),
        Check(
            f"peak memory of predicting a video of {longest['length_s']} s",
            longest["peak_mib"], "MiB", LONG_VIDEO_MIB, "most",
        ),
    )  # fmt: skip
    baseline = {
        "what": f"time per clip in the first {FIRST} clips",
        "figure": median(row["seconds_per_clip"] for row in many["rows"] if row["clips"] <= FIRST),
        "unit": "s",
    }
    details = {
        "clips": count,
        "towers": backbone,
        "many": many["rows"][:: max(1, len(many["rows"]) // ROWS_KEPT)],
        "videos": videos,
    }
    return Claim("scaling", checks, baseline, details)


def flatness(rows: list[dict[str, float]]) -> tuple[float, float, float]:
    """Return what memory gained after the first hundred clips, and how uneven the time is.

    The batches after the hundred are divided into equal parts. Of each, memory is the median, and
    time the fastest batch: what else the machine does slows batches down, now and then.

    Args:
        rows: of each batch ``clips`` done so far, ``seconds_per_clip`` and ``memory_mib``.

    Returns:
        MiB that the largest part has above the first batches after the hundred; the largest
        departure of a part's time from the median of all parts, as a share of that; and the same
        with a part's median as its time.
    """
    settled = [row for row in rows if row["clips"] > FIRST]
    count = len(settled)
    parts = [settled[count * p // PARTS : count * (p + 1) // PARTS] for p in range(PARTS)]
    memory = [median(row["memory_mib"] for row in part) for part in parts]
    begun = median(row["memory_mib"] for row in settled[:BEGINNING])
    times = [[row["seconds_per_clip"] for row in part] for part in parts]
    fastest, middle = _departure(list(map(min, times))), _departure(list(map(median, times)))
    return max(memory) - begun, fastest, middle


def _departure(seconds: list[float]) -> float:
    """Return the largest departure from the median, as a share of it."""
    middle = median(seconds)
    return max(abs(each / middle - 1) for each in seconds)


def _film(path: Path, seconds: int) -> Path:
    return make_clip(
        path, person=0, emotion="happiness", size_px=160, fps=clips.FPS, duration_s=seconds
    )


def _in_process(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    return json.loads(done.stdout.splitlines()[-1])


def _many(folder: Path, backbone: str, count: int) -> dict[str, Any]:
    """Score a corpus of ``count`` clips that are prepared; tell time and memory batch by batch."""
    from benchmarks.models import build
    from claip_emo.allocation import keep_freed_memory
    from claip_emo.evaluation.evaluate import predict

    keep_freed_memory()  # as every command does
    model, processor = build(backbone)
    made = clips.dfew_like(
        folder / "clips", clips.lengths(DISTINCT), processor.settings.image_size_px
    )
    samples = [
        replace(made.samples[number % DISTINCT], id=f"{number:05d}") for number in range(count)
    ]
    corpus = replace(made, samples=tuple(samples))
    dataset = clips.prepared(corpus, processor.clip_spec(), folder / "cache")
    rows: list[dict[str, float]] = []
    last = time.perf_counter()

    def progress(done: int, _: int) -> None:
        nonlocal last
        now = time.perf_counter()
        since = rows[-1]["clips"] if rows else 0
        rows.append(
            {
                "clips": done,
                "seconds_per_clip": (now - last) / (done - since),
                "memory_mib": memory_mib("VmRSS"),
            }
        )
        last = now

    predict(model.merge(), processor, dataset, batch_size=BATCH, progress=progress)
    return {"rows": rows}


def _long(path: Path, backbone: str) -> dict[str, Any]:
    """Predict one file; tell time, views and the peak of memory."""
    from benchmarks.models import build
    from claip_emo.allocation import keep_freed_memory
    from claip_emo.inference.recognizer import EmotionRecognizer

    keep_freed_memory()
    recognizer = EmotionRecognizer.of_model(*build(backbone), face_detector="haar")
    built = memory_mib("VmRSS")
    begin = time.perf_counter()
    clip = recognizer.load(path)
    read = time.perf_counter()
    recognizer.recognize(clip)
    return {
        "read_s": read - begin,
        "towers_s": time.perf_counter() - read,
        "views": clip.num_views,
        "built_mib": built,
        "peak_mib": memory_mib("VmHWM"),
    }


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "many":
        print(json.dumps(_many(Path(rest[0]), rest[1], int(rest[2]))))
    else:
        print(json.dumps(_long(Path(rest[0]), rest[1])))
