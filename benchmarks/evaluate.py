"""Evaluation of a clip, ours against the released way, and whether both answer alike in fp32."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import clips, released
from benchmarks.claim import Check, Claim, Options, speed_checks
from benchmarks.measuring import factors, interleaved, say
from benchmarks.models import build
from benchmarks.rounded import in_bf16
from claip_emo.allocation import keep_freed_memory
from claip_emo.corpora.base import Corpus
from claip_emo.data.dataset import ClipDataset
from claip_emo.evaluation.evaluate import predict
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.precision import Precision, best_precision, has_bf16
from claip_emo.model.processing import ClaipEmoProcessor

FACTOR = 6.0
FP32_DISTANCE = 1e-5  # between probabilities
LEAST_FAVOURABLE = {"64 frames": 64, "200 frames": 200}  # no frame twice within a view


class Ways:
    """Both ways of one backbone, with the same weights."""

    def __init__(self, backbone: str):
        """Build them; ours in every precision is merged from the same adapters."""
        self.model, self.processor = build(backbone)
        self.precision = best_precision("cpu", self.model.config)
        self._released = released.ReleasedModel(self.model)
        self._reader = released.ReleasedReader(self.processor)
        self._merged: dict[str, ClaipEmoModel] = {}

    def ours(self, corpus: Corpus, precision: Precision | None = None) -> np.ndarray:
        """Score clips our way, (clip, classes)."""
        precision = precision or self.precision
        if precision not in self._merged:
            self._merged[precision] = copy.deepcopy(self.model).merge(precision)
        return scores(self._merged[precision], self.processor, corpus)

    def rounded(self, corpus: Corpus) -> np.ndarray:
        """Score clips our way in bf16, the products computed in float32, (clip, classes)."""
        if "rounded" not in self._merged:
            self._merged["rounded"] = in_bf16(self.model)
        return scores(self._merged["rounded"], self.processor, corpus)

    def as_released(self, corpus: Corpus) -> np.ndarray:
        """Score clips the released way, (clip, classes)."""
        return np.stack(
            [released.probabilities(self._released, self._reader, sample) for sample in corpus]
        )


def scores(model: ClaipEmoModel, processor: ClaipEmoProcessor, corpus: Corpus) -> np.ndarray:
    """Return what ``evaluate`` would, of face and voice, (clip, classes)."""
    dataset = ClipDataset(corpus, processor.clip_spec(), None)
    return predict(model, processor, dataset, modalities=("av",)).scores


def measure(options: Options) -> Claim:
    """Time both ways on the same clips, and compare their probabilities."""
    keep_freed_memory()  # as every command does; the released way has it too
    rows = {}
    for backbone in options.towers("vit-b32", "vit-b16"):
        rows[backbone] = _measure_one(backbone, options)
        say(f"{backbone}: {rows[backbone]['factor']['median']:.2f} x")
    checks = speed_checks(rows, FACTOR)
    for name, row in rows.items():
        text = f"{name}: largest difference of a probability, fp32"
        checks.append(Check(text, row["fp32_distance"], "", FP32_DISTANCE, "most"))
        if "int8" in row:
            text = f"{name}: time per clip, released / ours in int8"
            checks.append(Check(text, row["int8"]["factor"]["median"], "x", None))
    baseline = {
        "what": "released way, time per clip",
        "figure": max(row["released"]["median_s"] for row in rows.values()),
        "unit": "s",
    }
    return Claim("evaluate", tuple(checks), baseline, {"backbones": rows})


def _measure_one(backbone: str, options: Options) -> dict[str, Any]:
    ways = Ways(backbone)
    per_round, rounds = (2, 2) if options.quick else (4, 3)
    size_px = ways.processor.settings.image_size_px
    with tempfile.TemporaryDirectory() as folder:
        lengths = clips.lengths(per_round)
        corpus = clips.dfew_like(Path(folder) / "half", lengths, size_px)
        found: dict[str, np.ndarray] = {}

        def run(name: str, score: Any) -> None:
            found[name] = score(corpus)

        jobs = {
            "released": lambda: run("released", ways.as_released),
            "ours": lambda: run("ours", ways.ours),
        }
        if not has_bf16("cpu"):  # what is left to those who want it faster than float32
            jobs["int8"] = lambda: run("int8", partial(ways.ours, precision="int8"))
        first = replace(corpus, samples=corpus.samples[:1])
        ways.as_released(first)
        for precision in (ways.precision, *(["int8"] if "int8" in jobs else [])):
            ways.ours(first, precision)  # packs the weights and warms up
        timed = interleaved(jobs, rounds, warm_up=False)
        row: dict[str, Any] = {
            "precision": ways.precision,
            "frames": lengths,
            "released": timed["released"].to_dict(per=per_round),
            "ours": timed["ours"].to_dict(per=per_round),
            "factor": factors(timed["released"], timed["ours"]),
            "cases": {
                name: _case(ways, Path(folder) / str(count), count, 1 if options.quick else 2)
                for name, count in LEAST_FAVOURABLE.items()
            },
        }
        if "int8" in jobs:
            row["int8"] = timed["int8"].to_dict(per=per_round) | {
                "factor": factors(timed["released"], timed["int8"])
            }
        say(f"{backbone}: {row['factor']}, int8 {row.get('int8', {}).get('factor')}")
        fp32 = found["ours"] if ways.precision == "fp32" else ways.ours(corpus, "fp32")
        row["fp32_distance"] = float(np.abs(fp32 - found["released"]).max())
    return row


def _case(ways: Ways, folder: Path, frames: int, rounds: int) -> dict[str, Any]:
    """Time one clip of a length that our way gains least on."""
    corpus = clips.dfew_like(folder, [frames], ways.processor.settings.image_size_px)
    jobs = {"released": lambda: ways.as_released(corpus), "ours": lambda: ways.ours(corpus)}
    timed = interleaved(jobs, rounds, warm_up=False)
    return {name: timing.to_dict() for name, timing in timed.items()} | {
        "factor": factors(timed["released"], timed["ours"])
    }
