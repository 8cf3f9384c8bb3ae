"""Evaluation of a clip, ours against the released way, and whether both answer alike."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import clips, released
from benchmarks.claim import Check, Claim, Options, speed_checks
from benchmarks.measuring import factors, interleaved, say
from benchmarks.models import build
from benchmarks.rounded import in_bf16
from claip_emo.corpora.base import Corpus
from claip_emo.data.dataset import ClipDataset
from claip_emo.evaluation.evaluate import predict
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.precision import Precision, best_precision, has_bf16
from claip_emo.model.processing import ClaipEmoProcessor

FACTOR = 6.0
FP32_DISTANCE, BF16_DISTANCE = 1e-5, 0.02  # between probabilities
AGREEMENT, COMPARED = 0.99, 200  # of labels, and on how many clips at least
INT8_COMPARED = 40
MARGIN = 0.01  # random heads give near-ties: clips below the margin do not count
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
    """Time both ways on the same clips, and compare their probabilities and labels."""
    rows = {}
    for backbone in options.towers("vit-b32", "vit-b16"):
        rows[backbone] = _measure_one(backbone, options)
        say(f"{backbone}: {rows[backbone]['factor']['median']:.2f} x")
    checks = speed_checks(rows, FACTOR)
    for name, row in rows.items():
        for what, key, goal in (
            ("fp32", "fp32_distance", FP32_DISTANCE),
            ("bf16", "distance", BF16_DISTANCE),
        ):
            text = f"{name}: largest difference of a probability, {what}"
            checks.append(Check(text, row[key], "", goal, "most"))
        checks.append(agreement(name, row))
        if "int8" in row:
            figure = row["int8"]["factor"]["median"], row["int8_compared"]["distance"]
            checks += [
                Check(f"{name}: time per clip, released / ours in int8", figure[0], "x", None),
                Check(f"{name}: largest difference of a probability, int8", figure[1], "", None),
            ]
    baseline = {
        "what": "released way, time per clip",
        "figure": max(row["released"]["median_s"] for row in rows.values()),
        "unit": "s",
    }
    return Claim("evaluate", tuple(checks), baseline, {"backbones": rows})


def agreement(name: str, row: dict[str, Any]) -> Check:
    """Return the check of the labels: on fewer clips than the goal names, it cannot hold."""
    count, clear = row["compared_clips"], row["clear_clips"]
    text = f"{name}: labels in bf16 as in fp32, on {clear} clear ones of {count} clips"
    if count < COMPARED:
        text += f" (the goal asks for {COMPARED})"
    return Check(text, row["agreement"], "share", AGREEMENT, enough=count >= COMPARED)


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

        def in_int8(clips: Corpus) -> np.ndarray:
            return ways.ours(clips, "int8")

        jobs = {
            "released": lambda: run("released", ways.as_released),
            "ours": lambda: run("ours", ways.ours),
        }
        if not has_bf16("cpu"):  # what is left to those who want it faster than float32
            jobs["int8"] = lambda: run("int8", in_int8)
            in_int8(corpus)
        ways.ours(corpus)  # packs the weights and warms up; the released way has nothing to warm
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
        hardware = has_bf16("cpu")
        count = COMPARED if not options.quick else 20 if hardware else 2
        many = clips.dfew_like(Path(folder) / "many", clips.lengths(count), size_px)
        row |= _compare(ways, many, emulated=0 if hardware else 1 if options.quick else 4)
    return row


def _case(ways: Ways, folder: Path, frames: int, rounds: int) -> dict[str, Any]:
    """Time one clip of a length that our way gains least on."""
    corpus = clips.dfew_like(folder, [frames], ways.processor.settings.image_size_px)
    jobs = {"released": lambda: ways.as_released(corpus), "ours": lambda: ways.ours(corpus)}
    timed = interleaved(jobs, rounds, warm_up=False)
    return {name: timing.to_dict() for name, timing in timed.items()} | {
        "factor": factors(timed["released"], timed["ours"])
    }


def _compare(ways: Ways, corpus: Corpus, emulated: int) -> dict[str, Any]:
    """Compare bf16 with fp32 on clips, in batches so that progress can be told.

    Where bf16 is emulated, its products are computed in float32, and so many of the clips are
    computed by emulation too, which tells how near the two are. There int8 is compared as well.
    """
    wide, narrow = [], []
    for start in range(0, len(corpus), 8):
        part = replace(corpus, samples=corpus.samples[start : start + 8])
        wide.append(ways.ours(part, "fp32"))
        narrow.append(ways.rounded(part) if emulated else ways.ours(part, "bf16"))
        say(f"bf16 beside fp32: {min(start + 8, len(corpus))} of {len(corpus)} clips")
    of_fp32, of_bf16 = np.concatenate(wide), np.concatenate(narrow)
    row = compared(of_fp32, of_bf16)
    if not emulated:
        return row | {"bf16_products": "by the processor"}

    def some(count: int) -> tuple[np.ndarray, Corpus]:
        """Choose clips of all lengths."""
        places = np.linspace(0, len(corpus) - 1, min(count, len(corpus))).round().astype(int)
        return places, replace(corpus, samples=[corpus.samples[place] for place in places])

    (few, of_few), (more, of_more) = some(emulated), some(INT8_COMPARED)
    return row | {
        "bf16_products": "of rounded numbers, summed in float32",
        "emulated_distance": float(np.abs(ways.ours(of_few, "bf16") - of_bf16[few]).max()),
        "emulated_clips": len(few),
        "int8_compared": compared(of_fp32[more], ways.ours(of_more, "int8")),
    }


def compared(wide: np.ndarray, narrow: np.ndarray) -> dict[str, Any]:
    """Compare probabilities (clip, classes) in fp32 and in bf16.

    Labels are compared on clips whose two most probable classes are further apart than the margin
    in fp32; where there is no such clip, the agreement is not a number.
    """
    first, second = np.sort(wide, axis=1)[:, :-3:-1].T
    clear = first - second > MARGIN
    same = wide.argmax(axis=1) == narrow.argmax(axis=1)
    return {
        "distance": float(np.abs(wide - narrow).max()),
        "agreement": float(same[clear].mean()) if clear.any() else float("nan"),
        "compared_clips": len(wide),
        "clear_clips": int(clear.sum()),
        "disagreeing": np.flatnonzero(clear & ~same).tolist(),
    }
