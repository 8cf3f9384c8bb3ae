"""Training on one CUDA device, random weights at full size: ours beside the released way.

python -m benchmarks.gpu [--backbones vit-b32 vit-b16 vit-l14] [--minutes 7]

For each pair of towers: clips per second and model FLOP utilisation of a training step (forward,
backward, optimiser), its peak of memory, the largest batch that fits, and what the loader must
deliver. Ours is measured in bfloat16, plain, with gradient checkpointing, and compiled; the
released way in float32 through transformers' own forward, with PyTorch's defaults for TF32. The
utilisation counts the operations that a step needs, for both ways alike: neither what checkpointing
computes again nor what the released way computes and does not read.

What is measured is written after each configuration; a run that is cut off keeps it. Those for
which no time was left are named in the result.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine
from benchmarks.claim import rounded
from benchmarks.gpu_training import (
    Training,
    Way,
    augmentation_s,
    free,
    gemm_tflops,
    largest,
    operations,
    peak_tflops,
    timed,
)
from benchmarks.measuring import say
from benchmarks.models import build
from claip_emo.model.precision import resolve_precision
from claip_emo.whole_files import write_text

BATCH = 32  # clips a step, as in the recipes
LARGEST = 512  # clips; no larger batch is tried
TIMED_S = 5.0
SOUGHT_S = 20.0  # the largest batch, at most so long
NEEDED_S, NEEDED_COMPILED_S = 30, 100  # what must be left of the time to begin a configuration
LOADER_GOAL_S = 0.016  # of one core, for a sample from the cache of prepared clips
COMPILES = ("cuda",)  # kinds of devices on which compiling gains anything

WAYS = (
    Way("released"),
    Way("ours"),
    Way("ours", checkpointing=True),
    Way("ours", compiled=True),
    Way("ours", compiled=True, checkpointing=True),
)


class Run:
    """The configurations of a run, one after the other, and what is known so far.

    Args:
        options: what was typed.
    """

    def __init__(self, options: argparse.Namespace):
        """Measure what the device can do at best."""
        self.options = options
        self.end = time.monotonic() + 60 * options.minutes
        self.device = torch.device(options.device)
        on_cuda = self.device.type == "cuda"
        self.card = torch.cuda.get_device_name(self.device) if on_cuda else "cpu"
        given, size = options.peak_tflops, 8192 if on_cuda else 512
        self.sheet = {"bf16": given, "fp32": given} if given else peak_tflops(self.card)
        self.gemm = {
            "bf16": gemm_tflops(self.device, torch.bfloat16, size),
            "fp32": gemm_tflops(self.device, torch.float32, size),
        }
        self.commit = machine.commit()
        self.rows: list[dict[str, Any]] = []
        self.left_out: list[dict[str, Any]] = []
        self.towers: dict[str, dict[str, float]] = {}
        say(f"{self.card}: {rounded(self.gemm)} TFLOP/s in products, data sheet {self.sheet}")

    def measure(self) -> dict[str, Any]:
        """Measure way after way, each with every pair of towers; write after each."""
        for way in WAYS:
            if way.compiled and self.device.type not in COMPILES:
                continue
            for backbone in self.options.backbones:
                described = {"backbone": backbone, **asdict(way)}
                needed = NEEDED_COMPILED_S if way.compiled else NEEDED_S
                if self.end - time.monotonic() < needed:
                    self.left_out.append(described)
                    continue
                say(f"{described} ...")
                self.rows.append(described | self._attempt(way, backbone))
                say(json.dumps(rounded(self.rows[-1])))
                self.write(complete=False)
        return self.write(complete=True)

    def _attempt(self, way: Way, backbone: str) -> dict[str, Any]:
        """Measure; what fails is a row with its error, and the rest goes on."""
        try:
            return self._configuration(way, backbone)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {str(error).strip()[:500]}"}
        finally:
            torch.compiler.reset()
            free()

    def _configuration(self, way: Way, backbone: str) -> dict[str, Any]:
        model, processor = build(backbone)
        precision = resolve_precision(self.options.precision, self.device, model.config)
        if backbone not in self.towers:
            plain = Training(model, processor, Way("ours"), precision, self.device)
            self.towers[backbone] = {
                "gflop_per_clip": operations(plain) / 1e9,
                "augmentation_s_per_clip": augmentation_s(processor, self.device),
            }
            del plain
            free()
        training = Training(model, processor, way, precision, self.device)
        found: dict[str, Any] = {"precision": training.precision}
        if way.compiled:  # each further batch would be compiled
            batch = self._batch_of(backbone, way.checkpointing)
            if not batch:
                return found | {"error": "Without compiling it was not measured either."}
        else:
            most, exact = largest(training.fits, self.options.largest, SOUGHT_S)
            found |= {"largest_batch": most, "larger_ones_fail": exact}
            batch = min(self.options.batch, most)
            if not batch:
                return found | {"error": "Not even one clip fits into the memory."}
        found |= self._steps(training, batch)
        used = found["clips_per_second"] * self.towers[backbone]["gflop_per_clip"] / 1e3  # TFLOP/s
        sheet = self.sheet and self.sheet[training.precision]
        found["utilisation"] = used / sheet if sheet else None
        found["share_of_measured_gemm"] = used / self.gemm[training.precision]
        return found

    def _batch_of(self, backbone: str, checkpointing: bool) -> int:
        """Return the batch at which the same was measured without compiling; 0: at none."""
        wanted = {"backbone": backbone, **asdict(Way("ours", checkpointing=checkpointing))}
        same = (row for row in self.rows if wanted.items() <= row.items())
        return next((row.get("batch", 0) for row in same), 0)

    def _steps(self, training: Training, batch: int) -> dict[str, Any]:
        """Time steps of a batch, and see what memory they take."""
        inputs = training.inputs(batch)
        training.step(inputs)  # compiled, and the optimiser's state is there from now on
        free()
        on_cuda = self.device.type == "cuda"
        if on_cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        steps = timed(lambda: training.step(inputs), self.device, self.options.seconds)
        peak = torch.cuda.max_memory_allocated(self.device) / 2**30 if on_cuda else None
        rate, seen = batch / steps.median, training.settings
        clip_bytes = 3 * seen.num_frames * seen.image_size_px**2 + 4 * seen.samples
        return {
            "batch": batch,
            "step": steps.to_dict(),
            "clips_per_second": rate,
            "peak_gib": peak,
            "loader": {
                "mb_per_second": rate * clip_bytes / 1e6,
                "cores_at_16_ms_a_clip": rate * LOADER_GOAL_S,
            },
        }

    def write(self, *, complete: bool) -> dict[str, Any]:
        """Write what is known, whole or not at all; return it."""
        released = {
            row["backbone"]: row["clips_per_second"]
            for row in self.rows
            if row["name"] == "released" and "clips_per_second" in row
        }
        for row in self.rows:
            if row["backbone"] in released and "clips_per_second" in row:
                row["times_released"] = row["clips_per_second"] / released[row["backbone"]]
                if row["name"] == "ours":  # the released way augments where clips are read
                    augmented = self.towers[row["backbone"]]["augmentation_s_per_clip"]
                    rate = 1 / (1 / row["clips_per_second"] + augmented)
                    row["times_released_augmented"] = rate / released[row["backbone"]]
        found = rounded(
            {
                "name": "gpu",
                "complete": complete,
                "card": self.card,
                "memory_gib": _memory_gib(self.device),
                "data_sheet_tflops": self.sheet,
                "measured_gemm_tflops": self.gemm,
                "tf32": {
                    "products": torch.backends.cuda.matmul.allow_tf32,
                    "convolutions": torch.backends.cudnn.allow_tf32,
                },
                "towers": self.towers,
                "rows": self.rows,
                "left_out": self.left_out,
                "machine": machine.describe(),
                "commit": self.commit,
                "command": machine.command("benchmarks.gpu"),
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        out: Path = self.options.out
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, json.dumps(found, indent=2) + "\n")
        return found


def _memory_gib(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    return torch.cuda.get_device_properties(device).total_memory / 2**30


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write, and print the whole result as the last line on stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--backbones", nargs="+", default=["vit-b32", "vit-b16", "vit-l14"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--peak-tflops", type=float, help="of a card that is not in the table")
    parser.add_argument("--minutes", type=float, default=7.0, help="begin nothing after so many")
    parser.add_argument("--quick", action="store_true", help="few clips, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu.json"))
    options = parser.parse_args(arguments)
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        parser.error(
            "There is no CUDA device on this machine; --device cpu --backbones tiny-clip --quick "
            "tries the script without one."
        )
    options.batch, options.largest = (2, 4) if options.quick else (BATCH, LARGEST)
    options.seconds = 0.2 if options.quick else TIMED_S
    print(json.dumps(Run(options).measure()))


if __name__ == "__main__":
    main()
