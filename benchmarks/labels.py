"""Whether bf16 and int8 give the labels of float32, on 200 clips of all lengths.

Where the processor has no bf16, its products are computed in float32 (``rounded``), and a few of
the clips by emulation too, which tells how near the two are.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import clips
from benchmarks.claim import Check, Claim, Options
from benchmarks.evaluate import Ways
from benchmarks.measuring import say
from claip_emo.corpora.base import Corpus
from claip_emo.model.precision import has_bf16

DISTANCE = 0.02  # between probabilities
AGREEMENT, COMPARED = 0.99, 200  # of labels, and on how many clips at least
MARGIN = 0.01  # random heads give near-ties: clips below the margin do not count
EMULATED, IN_INT8 = 4, 40  # of the clips
QUICK_CLIPS = 4
AT_ONCE = 8


def measure(options: Options) -> Claim:
    """Score the clips in float32, in bf16, and some in int8; compare probabilities and labels."""
    rows = {}
    for backbone in options.towers("vit-b32", "vit-b16"):
        rows[backbone] = _measure_one(backbone, QUICK_CLIPS if options.quick else COMPARED)
        say(f"{backbone}: {rows[backbone]}")
    return claim(rows)


def claim(rows: dict[str, dict[str, Any]]) -> Claim:
    """Return the claim of the backbones that were measured."""
    checks = [agreement(name, row["bf16"]) for name, row in rows.items()]
    checks.sort(key=lambda check: (not math.isnan(check.figure), check.figure))
    for name, row in rows.items():
        found = row["bf16"]["distance"]
        text = f"{name}: largest difference of a probability, bf16"
        checks.append(Check(f"{text} ({row['products']})", found, "", DISTANCE, "most"))
        if "emulated_distance" in row:
            text = f"{name}: largest difference of a probability, such products and emulated bf16"
            checks.append(Check(text, row["emulated_distance"], "", DISTANCE, "most"))
        same, count = row["int8"]["agreement"], row["int8"]["clear_clips"]
        text = f"{name}: labels in int8 as in fp32, on {count} clear ones"
        checks.append(Check(text, same, "share", None))
        text = f"{name}: largest difference of a probability, int8"
        checks.append(Check(text, row["int8"]["distance"], "", None))
    baseline = {"what": "labels in fp32, of clips whose margin is over", "unit": ""}
    baseline["figure"] = MARGIN
    return Claim("labels", tuple(checks), baseline, {"backbones": rows})


def agreement(name: str, row: dict[str, Any]) -> Check:
    """Return the check of the labels: on fewer clips than the goal names, it cannot hold."""
    count, clear = row["compared_clips"], row["clear_clips"]
    text = f"{name}: labels in bf16 as in fp32, on {clear} clear ones of {count} clips"
    if count < COMPARED:
        text += f" (the goal asks for {COMPARED})"
    return Check(text, row["agreement"], "share", AGREEMENT, enough=count >= COMPARED)


def compared(wide: np.ndarray, narrow: np.ndarray) -> dict[str, Any]:
    """Compare probabilities (clip, classes) in fp32 and in another precision.

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


def _measure_one(backbone: str, count: int) -> dict[str, Any]:
    ways, hardware = Ways(backbone), has_bf16("cpu")
    with tempfile.TemporaryDirectory() as folder:
        size_px = ways.processor.settings.image_size_px
        corpus = clips.dfew_like(Path(folder), clips.lengths(count), size_px)
        wide, narrow = [], []
        for start in range(0, count, AT_ONCE):  # so that progress can be told
            part = replace(corpus, samples=corpus.samples[start : start + AT_ONCE])
            wide.append(ways.ours(part, "fp32"))
            narrow.append(ways.ours(part, "bf16") if hardware else ways.rounded(part))
            say(f"{backbone}: {min(start + AT_ONCE, count)} of {count} clips")
        of_fp32, of_bf16 = np.concatenate(wide), np.concatenate(narrow)
        more, of_more = spread(corpus, IN_INT8)
        row = {
            "products": "by the processor" if hardware else "of rounded numbers in float32",
            "bf16": compared(of_fp32, of_bf16),
            "int8": compared(of_fp32[more], ways.ours(of_more, "int8")),
        }
        if not hardware:
            few, of_few = spread(corpus, EMULATED if count > QUICK_CLIPS else 1)
            emulated = np.abs(ways.ours(of_few, "bf16") - of_bf16[few]).max()
            row |= {"emulated_distance": float(emulated), "emulated_clips": len(few)}
    return row


def spread(corpus: Corpus, count: int) -> tuple[np.ndarray, Corpus]:
    """Choose clips evenly, from the shortest to the longest; return their places and themselves."""
    places = np.linspace(0, len(corpus) - 1, min(count, len(corpus))).round().astype(int)
    return places, replace(corpus, samples=[corpus.samples[place] for place in places])
