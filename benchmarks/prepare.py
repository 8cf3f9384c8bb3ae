"""``claip-emo prepare``: clips per second beside decoding the same files and nothing else.

The rate has no goal: it is told. Seconds are counted from the first file on, as the command itself
does; ``wall_s`` has those of its start as well.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.claim import Check, Claim, Options
from benchmarks.measuring import say
from claip_emo.corpora.synthetic import make_corpus
from claip_emo.labels import SEVEN

QUICK_CLIPS, WHOLE_CLIPS = 60, 1020
CLIPS_EACH = 1  # made clips of a person and emotion, where the constructed ones are not there
WORKERS = 2
CONSTRUCTED = Path(__file__).parents[2] / "shared" / "data" / "constructed"


def measure(options: Options) -> Claim:
    """Decode all files, prepare them into an empty folder, then once more with nothing to do."""
    backbone = options.towers("vit-b32")[0]
    with tempfile.TemporaryDirectory() as folder:
        table = _table(Path(folder), options)
        with table.open(encoding="utf-8", newline="") as file:
            files = [table.parent / row["path"] for row in csv.DictReader(file)]
        decoder, decoding_s = _decode(files)
        say(f"{decoder}: {len(files) / decoding_s:.1f} clips/s")
        command = [*_command(), "prepare", "csv", "--data", str(table), "--backbone", backbone]
        command += ["--cache", str(Path(folder) / "cache"), "--workers", str(WORKERS)]
        command += ["--set", "data.face_detector=none", "--json"]
        first, first_s = _timed(command)
        again, again_s = _timed(command)
    lost = len(files) - first["prepared"]
    checks = (
        Check("clips per second", first["clips_per_s"], "clips/s", None),
        Check("clips that could not be prepared", lost, "clips", 0, "most"),
        Check("clips prepared by the second call", again["prepared"], "clips", 0, "most"),
    )
    details = {
        "clips": len(files),
        "corpus": "constructed" if files[0].is_relative_to(CONSTRUCTED) else "made",
        "times_decoding": decoding_s / first_s,  # of the whole command, with its start
        "megabytes": first["bytes"] / 1e6,
        "wall_s": {"first call": first_s, "second call": again_s},
        "workers": WORKERS,
        "backbone": backbone,
    }
    baseline = {"what": decoder, "figure": len(files) / decoding_s, "unit": "clips/s"}
    return Claim("prepare", checks, baseline, details)


def _table(folder: Path, options: Options) -> Path:
    """Return the table of the constructed clips, or of made ones where those are not there."""
    if not CONSTRUCTED.is_dir():
        people = 3 + (QUICK_CLIPS if options.quick else WHOLE_CLIPS) // (CLIPS_EACH * len(SEVEN))
        return make_corpus(
            folder / "made", people=people, clips_per_emotion=CLIPS_EACH,
            test_people=1, validation_people=1, size_px=160,
        )  # fmt: skip
    if not options.quick:
        return CONSTRUCTED / "clips.csv"
    table = folder / "few.csv"
    with (CONSTRUCTED / "clips.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    few = rows[:: len(rows) // QUICK_CLIPS]
    for row in few:
        row["path"] = str(CONSTRUCTED / row["path"])
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(few[0]))
        writer.writeheader()
        writer.writerows(few)
    return table


def _decode(files: list[Path]) -> tuple[str, float]:
    """Decode picture and sound of every file, as many at once as ``prepare`` does.

    Returns:
        With what, and the seconds.
    """
    program = shutil.which("ffmpeg")
    if program:
        what = f"{Path(program).name} -f null, {WORKERS} at once"
        pool, decode = ThreadPoolExecutor(WORKERS), partial(_with_ffmpeg, program)
    else:
        what = f"PyAV (libav; no ffmpeg program here), {WORKERS} processes"
        pool, decode = ProcessPoolExecutor(WORKERS), _with_pyav
    with pool:
        list(pool.map(decode, files[:WORKERS]))  # starts the processes
        begin = time.perf_counter()
        for _ in pool.map(decode, files, chunksize=8):
            pass
        return what, time.perf_counter() - begin


def _with_ffmpeg(program: str, file: Path) -> None:
    quiet = ["-v", "error", "-nostdin", "-threads", "1"]
    subprocess.run([program, *quiet, "-i", str(file), "-f", "null", "-"], check=True)


def _with_pyav(file: Path) -> None:
    import av

    with av.open(str(file)) as container:
        for packet in container.demux():
            packet.decode()


def _command() -> list[str]:
    script = Path(sys.executable).with_name("claip-emo")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "claip_emo.cli.main"]


def _timed(command: list[str]) -> tuple[dict[str, Any], float]:
    """Run a command that prints JSON; return that, and its seconds with those of its start."""
    begin = time.perf_counter()
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout), time.perf_counter() - begin
