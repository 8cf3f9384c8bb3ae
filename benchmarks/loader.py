"""Reading for training and for testing on one core: from prepared clips, and the released way."""

from __future__ import annotations

import importlib
import io
import tempfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks import clips, released
from benchmarks.claim import Check, Claim, Options
from benchmarks.measuring import factors, interleaved, one_core
from benchmarks.models import processor_of
from claip_emo.corpora.base import Corpus
from claip_emo.data.dataset import ClipDataset, Draw
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.recipe import AugmentRecipe

SAMPLE_MS, VIEWS_MS = 16.0, 20.0


def measure(options: Options) -> Claim:
    """Read the same clips both ways, in turn, on one core."""
    processor = processor_of(options.towers("vit-b32")[0])
    count, rounds = (8, 16) if options.quick else (24, 120)
    lengths = clips.lengths(count)
    with tempfile.TemporaryDirectory() as folder:
        corpus = clips.dfew_like(Path(folder) / "clips", lengths, processor.settings.image_size_px)
        dataset = clips.prepared(corpus, processor.clip_spec(), Path(folder) / "cache")
        with one_core():
            timed = interleaved(_jobs(dataset, corpus, processor), rounds)
            decoders = _decoders(next(corpus.samples[0].path.glob("*.jpg")), options)
    ms = {what: timing.median * 1000 for what, timing in timed.items()}
    checks = (
        Check("one training sample from the cache", ms["sample"], "ms", SAMPLE_MS, "most"),
        Check("both test views from the cache", ms["views"], "ms", VIEWS_MS, "most"),
    )
    released_way = {
        "what": "released way: one training sample (both test views, four there: details)",
        "figure": ms["released sample"],
        "unit": "ms",
    }
    details = {
        "frames": lengths,
        "times": {what: timing.to_dict() for what, timing in timed.items()},
        "sample_factor": factors(timed["released sample"], timed["sample"]),
        "views_factor": factors(timed["released views"], timed["views"]),
        "jpeg": decoders,
    }
    return Claim("loader", checks, released_way, details)


def _jobs(
    dataset: ClipDataset, corpus: Corpus, processor: ClaipEmoProcessor
) -> dict[str, Callable[[], Any]]:
    """Return what is timed; each call takes the next clip, so that a round is one clip."""
    reader = released.ReleasedReader(processor)
    rng = np.random.default_rng(0)
    recipe = AugmentRecipe()
    turns = {what: cycle(range(len(corpus))) for what in ("a", "b", "c", "d")}
    draws = enumerate(turns["a"])

    def sample() -> Any:
        epoch, index = next(draws)
        return dataset[Draw(epoch, index)]

    def views() -> Any:
        clip = corpus.samples[next(turns["d"])]
        return [
            reader.view(clip, s, c) for s in range(released.SEGMENTS) for c in range(released.CROPS)
        ]

    return {
        "sample": sample,
        "released sample": lambda: reader.sample(corpus.samples[next(turns["b"])], recipe, rng),
        "views": lambda: dataset[next(turns["c"])],
        "released views": views,
    }


def _decoders(file: Path, options: Options) -> dict[str, float]:
    """Return the ms that one frame takes from JPEG to RGB, by decoder; those that are installed."""
    data = file.read_bytes()
    encoded = np.frombuffer(data, np.uint8)
    jobs: dict[str, Callable[[], Any]] = {
        "OpenCV": lambda: cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB),
        "Pillow": lambda: np.asarray(Image.open(io.BytesIO(data)).convert("RGB")),
    }
    for module, decode in (("simplejpeg", "decode_jpeg"),):
        try:
            function = getattr(importlib.import_module(module), decode)
        except ImportError:
            continue
        jobs[module] = lambda function=function: function(data)
    timed = interleaved(jobs, 50 if options.quick else 500)
    return {name: 1000 * timing.median for name, timing in timed.items()}
