"""One optimiser step, ours against the released way: time per clip, and memory beside the model.

Each way runs in a process of its own, so that its peak of memory is its own; the two take their
steps in turn. A step is everything between two steps: reading the clips, augmentation, forward,
backward, optimiser.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

from benchmarks import clips
from benchmarks.claim import Check, Claim, Options, speed_checks
from benchmarks.measuring import Timing, factors, forget_peak, memory_mib, say
from benchmarks.models import build, processor_of

FACTOR = 2.5
MEMORY = 0.5  # of the released way's
WAYS = ("released", "ours")


def measure(options: Options) -> Claim:
    """Let both take their steps in turn, backbone by backbone."""
    rows = {}
    for backbone in options.towers("vit-b32", "vit-b16"):
        rows[backbone] = _measure_one(backbone, options)
        say(f"{backbone}: {rows[backbone]['factor']}, memory {rows[backbone]['memory_share']:.2f}")
    checks = speed_checks(rows, FACTOR)
    checks += [
        Check(f"{name}: peak memory, ours / released", row["memory_share"], "share", MEMORY, "most")
        for name, row in rows.items()
    ]
    slowest = max(row["released"]["median_s"] for row in rows.values())
    baseline = {"what": "released way, time per clip", "figure": slowest, "unit": "s"}
    return Claim("train_step", tuple(checks), baseline, {"backbones": rows})


def _measure_one(backbone: str, options: Options) -> dict[str, Any]:
    batch = 4 if backbone == "vit-b32" and not options.quick else 2  # 13 GiB of ViT-B/16 at 2
    rounds = 2 if options.quick else 3
    with tempfile.TemporaryDirectory() as folder:
        lengths = clips.lengths(batch)
        processor = processor_of(backbone)
        size_px = processor.settings.image_size_px
        corpus = clips.dfew_like(Path(folder) / "clips", lengths, size_px)
        clips.prepared(corpus, processor.clip_spec(), Path(folder) / "cache")
        workers = {way: Worker(way, backbone, Path(folder)) for way in WAYS}
        try:
            steps: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
            for turn in range(rounds + 1):  # the first warms up
                for way, worker in workers.items():
                    steps[way].append(worker.step())
                    say(f"{backbone}, {way}, step {turn}: {steps[way][-1]['seconds']:.2f} s")
        finally:
            for worker in workers.values():
                worker.close()
    timed = {w: Timing(tuple(s["seconds"] for s in steps[w][1:])) for w in WAYS}
    peaks = {way: steps[way][-1]["peak_mib"] for way in WAYS}
    return {
        "batch": batch,
        "frames": lengths,
        "precision": workers["ours"].about["precision"],
        "factor": factors(timed["released"], timed["ours"]),
        "memory_share": peaks["ours"] / peaks["released"],
        **{
            way: timed[way].to_dict(per=batch)
            | {"peak_mib": peaks[way], "built_mib": workers[way].about["built_mib"]}
            for way in WAYS
        },
    }


class Worker:
    """A process that has built a model and takes one step whenever it is told to."""

    def __init__(self, way: str, backbone: str, folder: Path):
        """Start it and wait until it is ready; ``about`` is what it says of itself."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.train_step", way, backbone, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        self.about = self._answer()

    def step(self) -> dict[str, float]:
        """Take one step; return its ``seconds`` and the ``peak_mib`` of memory beside the model."""
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"A training process ended with {self._process.wait()}.")
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def work(way: str, backbone: str, folder: Path) -> None:
    """Build a model, then take a step for each line on stdin; answer in JSON, a line each."""
    for answer in answers(way, backbone, folder, sys.stdin):
        print(json.dumps(answer), flush=True)


def answers(
    way: str, backbone: str, folder: Path, asked: Iterable[str]
) -> Generator[dict[str, Any], None, None]:
    """Build a model and yield what is to be known of it; then take a step for each time asked."""
    step, precision = {"released": _released_step, "ours": _our_step}[way](backbone, folder)
    built = forget_peak()
    yield {"precision": precision, "built_mib": built}
    for _ in asked:
        begin = time.perf_counter()
        step()
        seconds = time.perf_counter() - begin
        yield {"seconds": seconds, "peak_mib": memory_mib("VmHWM") - built}


Step = Callable[[], object]


def _released_step(backbone: str, folder: Path) -> tuple[Step, str]:
    import numpy as np

    from benchmarks import released
    from claip_emo.recipe import AugmentRecipe

    model, processor = build(backbone)
    corpus = clips.corpus_in(folder / "clips")
    labels = [corpus.labels.index_of(sample.label) for sample in corpus]
    training = released.ReleasedTraining(
        released.ReleasedModel(model), released.ReleasedReader(processor), AugmentRecipe()
    )
    rng = np.random.default_rng(0)
    return lambda: training.step(corpus.samples, labels, rng), "fp32"


def _our_step(backbone: str, folder: Path) -> tuple[Step, str]:
    """Return a step as the Trainer takes it."""
    import numpy as np
    import torch
    from torch.nn import functional

    from claip_emo.allocation import keep_freed_memory
    from claip_emo.data.augment import Augmentation
    from claip_emo.data.dataset import Draw, collate
    from claip_emo.model.precision import best_precision
    from claip_emo.recipe import AugmentRecipe
    from claip_emo.training.arithmetic import adamw
    from claip_emo.training.schedule import parameter_groups

    keep_freed_memory()  # as every command does
    model, processor = build(backbone)
    precision = best_precision("cpu", model.config)
    corpus = clips.corpus_in(folder / "clips")
    dataset = clips.prepared(corpus, processor.clip_spec(), folder / "cache")
    augmentation = Augmentation(AugmentRecipe(), processor, len(corpus.labels), 0.1)
    groups = parameter_groups(model.train().named_parameters(), 0.05)
    optimiser = adamw(groups, 4e-5)
    rng = np.random.default_rng(0)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    epochs = iter(range(10**9))

    def step() -> None:
        epoch = next(epochs)
        batch = collate([dataset[Draw(epoch, index)] for index in range(len(corpus))])
        with autocast:
            inputs = augmentation(batch, rng)
            targets = inputs.pop("labels")
            loss = functional.cross_entropy(model(**inputs).logits.float(), targets)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step, precision


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
