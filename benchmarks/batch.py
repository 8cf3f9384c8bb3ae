"""Many files into one table: kills, memory, one worker and two, and Ray beside one process."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.claim import Check, Claim, Options
from benchmarks.measuring import say
from claip_emo.corpora.synthetic import make_clip
from claip_emo.labels import SEVEN

FILES, QUICK_FILES = 2000, 100
DISTINCT = 12  # made clips; the others are links to them
CLIP = {"size_px": 96, "fps": 12, "duration_s": 2.0}
KILLS = 3
GROWTH_MIB = 64.0  # from a quarter of the work to its end
APART = 1e-5  # of scores: batches are others, and so is the order of sums
DETECTOR = ("--face-detector", "haar")


def measure(options: Options) -> Claim:
    """Recognise many made clips in several ways."""
    count = QUICK_FILES if options.quick else FILES
    with tempfile.TemporaryDirectory() as folder:
        clips = made(Path(folder) / "clips", count)
        runs = {n: timed(clips, Path(folder) / f"{n}.parquet", n) for n in (1, 2)}
        say(f"files per second: {[run.per_second for run in runs.values()]}")
        wanted = pq.read_table(Path(folder) / "1.parquet")
        killed, kills = killed_and_gone_on(clips, Path(folder) / "killed.parquet")
        once = share_that_is_there_once(wanted, killed)
        say(f"after {kills} kills {once:.4f} of the files are there once, with the same rows")
        on_ray = ray(clips, Path(folder) / "ray.parquet")
        apart = float("nan") if on_ray is None else distance(wanted, on_ray)
    checks = (
        Check(
            f"of {count} files, killed with -9 {kills} times: in the table exactly once, with the "
            "same row", once, "share", 1.0, "least", enough=not options.quick and kills == KILLS,
        ),
        Check("memory gained from a quarter of the work to its end, 2 workers",
              runs[2].growth_mib, "MiB", GROWTH_MIB, "most", enough=not options.quick),
        Check("scores with two workers on Ray beside one process, largest difference",
              apart, "probability", APART, "most", enough=not options.quick),
        Check("files per second with 2 workers", runs[2].per_second, "1/s", None),
    )  # fmt: skip
    baseline = {
        "what": "files per second with 1 worker",
        "figure": runs[1].per_second,
        "unit": "1/s",
    }
    details = {str(n): run.to_dict() for n, run in runs.items()}
    return Claim("batch", checks, baseline, {"workers": details, "files": count})


def made(folder: Path, count: int) -> Path:
    """Make clips: a few that differ, and links to them."""
    folder.mkdir()
    kinds = [
        make_clip(folder / f"kind{n}.mp4", person=n, emotion=SEVEN.names[n % 7], take=n, **CLIP)
        for n in range(DISTINCT)
    ]
    for number in range(count):
        os.link(kinds[number % DISTINCT], folder / f"{number:06}.mp4")
    for kind in kinds:
        kind.unlink()
    return folder


def command(clips: Path, out: Path, workers: int, *more: str) -> list[str]:
    """Return the command."""
    return [
        sys.executable, "-m", "claip_emo.cli.main", "batch", str(clips), "--out", str(out),
        "--workers", str(workers), *DETECTOR, *more,
    ]  # fmt: skip


@dataclass
class Run:
    """What was seen of a run.

    Attributes:
        files: that it did.
        seconds: of it, from start to end of the process.
        memory_mib: (time, resident memory of all its processes).
    """

    files: int
    seconds: float = 0.0
    memory_mib: list[tuple[float, float]] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Files per second, starting included."""
        return self.files / self.seconds

    @property
    def growth_mib(self) -> float:
        """What memory gained from a quarter of the work to its last quarter."""
        end = self.memory_mib[-1][0]
        early = [mib for at, mib in self.memory_mib if 0.25 * end <= at < 0.5 * end]
        late = [mib for at, mib in self.memory_mib if at >= 0.75 * end]
        return median(late) - median(early) if early and late else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        every = max(1, len(self.memory_mib) // 100)
        return {
            "files_per_second": self.per_second,
            "seconds": self.seconds,
            "growth_mib": self.growth_mib,
            "peak_mib": max((mib for _, mib in self.memory_mib), default=float("nan")),
            "memory_mib": self.memory_mib[::every],
        }


def timed(clips: Path, out: Path, workers: int) -> Run:
    """Run it, and watch its memory."""
    run, begun = Run(sum(1 for _ in clips.iterdir())), time.perf_counter()
    running = subprocess.Popen(command(clips, out, workers), stderr=subprocess.DEVNULL)
    with watched(running.pid, run, begun):
        code = running.wait()
    run.seconds = time.perf_counter() - begun
    if code != 0:
        raise RuntimeError(f"claip-emo batch ended with {code}.")
    return run


@contextmanager
def watched(pid: int, run: Run, begun: float) -> Iterator[None]:
    """Note the memory of a process and its children while something goes on."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.25):
            if (mib := resident_mib(pid)) > 0:
                run.memory_mib.append((time.perf_counter() - begun, mib))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def resident_mib(pid: int) -> float:
    """Return the memory of a process and its children that nobody else has (PSS)."""
    total = 0
    for one in [pid, *children(pid)]:
        try:
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 1024


def children(parent: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
        except OSError:
            continue
    return found


def killed_and_gone_on(clips: Path, out: Path) -> tuple[Any, int]:
    """Kill it at random moments, then let it end; return the table and how often it was killed."""
    rng, kills = random.Random(0), 0
    total = sum(1 for _ in clips.iterdir())
    folder = out.with_name(f"{out.name}.work")
    for part in range(KILLS):
        running = subprocess.Popen(command(clips, out, 2), stderr=subprocess.DEVNULL)
        wanted = (part + rng.random()) / KILLS * total / 32
        while running.poll() is None and len([*folder.glob("*-*.parquet")]) < wanted:
            time.sleep(0.02)
        time.sleep(rng.random())
        kills += running.poll() is None
        running.kill()
        running.wait()
    subprocess.run(command(clips, out, 2), stderr=subprocess.DEVNULL, check=True)
    return pq.read_table(out), kills


def ray(clips: Path, out: Path) -> Any:
    """Do it on Ray with two workers; None: Ray is not installed."""
    try:
        import ray  # noqa: F401
    except ImportError:
        say("Ray is not installed.")
        return None
    subprocess.run(command(clips, out, 2, "--engine", "ray"), stderr=subprocess.DEVNULL, check=True)
    return pq.read_table(out)


def share_that_is_there_once(wanted: Any, found: Any) -> float:
    """Return of how many files there is one row, that of another run."""
    rows = {row["path"]: row for row in wanted.to_pylist()}
    counts = Counter(found["path"].to_pylist())
    right = sum(
        counts[row["path"]] == 1 and row["path"] in rows and _like(rows[row["path"]], row)
        for row in found.to_pylist()
    )
    return right / max(len(rows), len(found))


def distance(wanted: Any, found: Any) -> float:
    """Return how far scores are apart at most; infinite where anything else differs."""
    apart = 0.0
    for one, other in zip(wanted.to_pylist(), found.to_pylist(), strict=True):
        if not _like(one, other):
            return float("inf")
        scores = [name for name in one if name.startswith("score_")]
        apart = max(apart, *(abs(one[name] - other[name]) for name in scores))
    return apart


def _like(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rows are the same but for rounding of scores."""
    return all(
        np.isclose(one[name], other[name], atol=APART, rtol=0)
        if name.startswith("score_")
        else one[name] == other[name]
        for name in one
    )
