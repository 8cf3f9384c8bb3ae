"""The server under load beside ``batch`` on the same files, and beside one call."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import batch
from benchmarks.asking import Answer, running_server
from benchmarks.claim import Check, Claim, Options
from benchmarks.measuring import say
from claip_emo import EmotionRecognizer

CLIENTS, SECONDS = 32, 60.0
QUICK_CLIENTS, QUICK_SECONDS = 8, 3.0
WARM = 64
FILES = 600  # of batch, for its rate without the start
OF_BATCH = 0.8
GROWTH_MIB = 64.0
FIRST_S = 0.25  # of the time, until everything has its place
CALLS = 5


def measure(options: Options) -> Claim:
    """Let clients ask on and on, and count."""
    clients, seconds = (QUICK_CLIENTS, QUICK_SECONDS) if options.quick else (CLIENTS, SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        kinds = batch.made(Path(folder) / "kinds", batch.DISTINCT)
        files = sorted(kinds.iterdir())
        alone = one_call(files)
        rate = batch_rate(Path(folder), batch.QUICK_FILES if options.quick else FILES)
        say(f"one call {alone:.3f} s, batch {rate:.2f} files/s")
        with running_server("--workers", "2", "--face-detector", "haar") as server:
            contents = [file.read_bytes() for file in files]
            for content in contents:
                server.post(content)
            run = batch.Run(0)
            begun = time.perf_counter()
            with batch.watched(server.pid, run, begun):
                answers = load(server.post, contents, clients, seconds)
            took = time.perf_counter() - begun
    run.files, run.seconds = len(answers), took
    good = np.array([answer.seconds for answer in answers if answer.status == 200])
    statuses = Counter(answer.status for answer in answers)
    per_second = len(good) / took
    p50, p95 = np.percentile(good, (50, 95))
    say(f"{dict(statuses)}: {per_second:.2f}/s, p50 {p50:.2f} s, p95 {p95:.2f} s")
    others = sum(count for status, count in statuses.items() if status not in (200, 429))
    whole = not options.quick
    checks = (
        Check(f"answers of {clients} clients in {seconds:.0f} s that are neither 200 nor 429",
              others, "answers", 0, "most", enough=whole),
        Check("throughput / that of batch on the same files", per_second / rate, "x", OF_BATCH,
              "least", enough=whole),
        Check("memory gained", run.growth_mib, "MiB", GROWTH_MIB, "most", enough=whole),
        Check("p50", float(p50), "s", None),
        Check("p95", float(p95), "s", None),
    )  # fmt: skip
    baseline = {"what": "one recognizer(path)", "figure": alone, "unit": "s"}
    details = {
        "statuses": {str(status): number for status, number in statuses.items()},
        "answers_per_second": per_second,
        "batch_files_per_second": rate,
        "p50_s": float(p50),
        "p95_s": float(p95),
        "clients": clients,
        "memory": run.to_dict() if run.memory_mib else None,
    }
    return Claim("serving", checks, baseline, details)


def one_call(files: list[Path]) -> float:
    """Return the time of one call in this process, median of several."""
    recognizer = EmotionRecognizer.from_pretrained(face_detector="haar")
    recognizer(files[0])
    seconds = []
    for file in files[:CALLS]:
        begun = time.perf_counter()
        recognizer(file)
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds))


def batch_rate(folder: Path, count: int) -> float:
    """Return how many files per second ``batch`` does with two workers, its start left out."""
    few = batch.made(folder / "few", WARM)
    many = batch.made(folder / "many", count + WARM)
    seconds = []
    for clips in (few, many):
        begun = time.perf_counter()
        command = batch.command(clips, folder / f"{clips.name}.parquet", 2)
        subprocess.run(command, stderr=subprocess.DEVNULL, check=True, env=os.environ)
        seconds.append(time.perf_counter() - begun)
    return count / (seconds[1] - seconds[0])


def load(
    ask: Callable[[bytes], Answer], contents: list[bytes], clients: int, seconds: float
) -> list[Answer]:
    """Let clients ask one after the other until the time is over; return all answers."""
    answers: list[Answer] = []
    until = time.perf_counter() + seconds

    def client(number: int) -> None:
        turn = number
        while time.perf_counter() < until:
            answer = ask(contents[turn % len(contents)])
            answers.append(answer)
            turn += 1
            if answer.status == 429:
                time.sleep(0.2)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
