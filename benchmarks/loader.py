"""Reading for training and for testing on one core: from prepared clips, and the released way.

The goals are for reading: JPEG becomes pixels, and the sound of the window is cut out. The released
way reads beside it, and no more than that. What towers want to see takes more on both sides, ours
and the released way's: augmentation, scaling, normalisation, log-mel. That is a pair of its own.
"""

from __future__ import annotations

import importlib
import io
import tempfile
from collections.abc import Callable
from itertools import cycle, product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks import clips, released
from benchmarks.claim import Check, Claim, Options
from benchmarks.measuring import factors, interleaved, one_core
from benchmarks.models import processor_of
from claip_emo.corpora.base import Corpus, Sample
from claip_emo.data.augment import Augmentation
from claip_emo.data.dataset import ClipDataset, Draw, collate
from claip_emo.media.sampling import test_views, train_window
from claip_emo.model.batching import stack
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.recipe import AugmentRecipe

SAMPLE_MS, VIEWS_MS = 16.0, 20.0
PAIRS = ("sample", "views", "whole sample", "whole views")
LABEL_SMOOTHING = 0.1


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
        "what": "released way, reading alone: one training sample (more pairs: details)",
        "figure": ms["released sample"],
        "unit": "ms",
    }
    details = {
        "frames": lengths,
        "times": {what: timing.to_dict() for what, timing in timed.items()},
        "factors": {what: factors(timed[f"released {what}"], timed[what]) for what in PAIRS},
        "jpeg": decoders,
    }
    return Claim("loader", checks, released_way, details)


def _jobs(
    dataset: ClipDataset, corpus: Corpus, processor: ClaipEmoProcessor
) -> dict[str, Callable[[], Any]]:
    """Return what is timed; each call takes the next clip, so that a round is one clip."""
    reader = released.ReleasedReader(processor)
    rng, recipe = np.random.default_rng(0), AugmentRecipe()
    augmentation = Augmentation(recipe, processor, len(corpus.labels), LABEL_SMOOTHING)
    settings = processor.settings
    step = {"length": settings.num_frames, "stride": settings.frame_stride}
    every_view = list(product(range(released.SEGMENTS), range(released.CROPS)))

    def read_view(sample: Sample, segment: int, _: int) -> Any:
        return released_read(
            reader, sample, lambda n: test_views(n, **step, views=released.SEGMENTS)[segment]
        )

    def ours_whole(epoch: int, index: int) -> Any:
        return augmentation(collate([dataset[Draw(epoch, index)]]), rng)

    def views_whole(epoch: int, index: int) -> Any:
        batch = stack([dataset[index].clip])
        return processor(batch["frames"][None], batch["waveforms"], batch["lengths"])

    samples = corpus.samples
    jobs: dict[str, Callable[[int, int], Any]] = {
        "sample": lambda epoch, index: collate([dataset[Draw(epoch, index)]]),
        "released sample": lambda _, index: released_read(
            reader, samples[index], lambda n: train_window(n, rng, **step)
        ),
        "views": lambda _, index: stack([dataset[index].clip]),
        "released views": lambda _, index: [
            read_view(samples[index], *view) for view in every_view
        ],
        "whole sample": ours_whole,
        "released whole sample": lambda _, index: reader.sample(samples[index], recipe, rng),
        "whole views": views_whole,
        "released whole views": lambda _, index: [
            reader.view(samples[index], *view) for view in every_view
        ],
    }
    turns = {what: enumerate(cycle(range(len(corpus)))) for what in jobs}
    return {what: lambda job=job, turn=turns[what]: job(*next(turn)) for what, job in jobs.items()}


def released_read(
    reader: released.ReleasedReader, sample: Sample, choose: Callable[[int], np.ndarray]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Read frames and sound the released way, and do nothing more to them.

    Args:
        reader: of the released way.
        sample: the clip.
        choose: which of its frames, (time,), of how many.

    Returns:
        Frames (height, width, 3) uint8, and the sound around them (samples,).
    """
    files = released._frames_of(sample.path)
    places = choose(len(files))
    frames = [np.asarray(released._picture(files[place])) for place in places]
    return frames, reader._heard(sample, places, len(files))


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
