"""Prediction of one file beside the sum of its parts, of a folder beside one file, and int8."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks import clips
from benchmarks.claim import Check, Claim, Options
from benchmarks.measuring import factors, interleaved, say
from benchmarks.models import build
from claip_emo.allocation import keep_freed_memory
from claip_emo.inference.recognizer import EmotionRecognizer
from claip_emo.media.clip import FACE_SOURCE_PX
from claip_emo.media.faces import FACE_MODEL_VARIABLE
from claip_emo.media.source import open_source
from claip_emo.media.spec import choose_frames, choose_seconds
from claip_emo.model.batching import score, stack
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor

OVER_PARTS = 1.15
FOLDER = 0.9  # of as many single files
INT8_FACTOR, INT8_COSINE = 2.5, 0.999
SHARED_YUNET = Path(__file__).parents[2] / "shared" / "models" / "yunet_2026may.onnx"


def measure(options: Options) -> Claim:
    """Time the parts, the whole, and the folder in turn; then int8 beside fp32."""
    keep_freed_memory()  # as every command does
    backbone = options.towers("vit-b32")[0]
    model, processor = build(backbone)
    rounds, files = (3, 6) if options.quick else (7, 20)
    with tempfile.TemporaryDirectory() as folder:
        film = clips.film_720p(Path(folder) / "film.mp4")
        say("720p film made")
        many = Path(folder) / "many"
        many.mkdir()
        copies = [Path(shutil.copy(film, many / f"{n:02d}.mp4")) for n in range(files)]
        recognizer = EmotionRecognizer.of_model(
            copy.deepcopy(model), processor, face_detector=_detector(), face_model=_yunet()
        )
        timed = interleaved(_jobs(recognizer, film), rounds)
        say(str({name: round(timing.median, 3) for name, timing in timed.items()}))
        folder_rounds = 1 if options.quick else 2
        together = interleaved(
            {
                "one by one": lambda: [recognizer(path) for path in copies],
                "folder": lambda: list(recognizer.many(copies)),
            },
            folder_rounds,
            warm_up=False,
        )
        int8 = _int8(model, processor, recognizer, film, rounds)
    parts = [sum(seconds) for seconds in zip(*(timed[p].seconds for p in PARTS), strict=True)]
    over = np.array(timed["whole"].seconds) / np.array(parts)
    saved = np.array(together["folder"].seconds) / np.array(together["one by one"].seconds)
    checks = (
        Check(
            "one file, wall time / sum of its parts",
            float(np.median(over)),
            "x",
            OVER_PARTS,
            "most",
        ),
        Check(f"{files} files at once / one by one", float(np.median(saved)), "x", FOLDER, "most"),
        Check("towers, fp32 / int8", int8["factor"]["median"], "x", INT8_FACTOR),
        Check("cosine of the features, int8 and fp32", int8["cosine"], "", INT8_COSINE),
    )
    baseline = {"what": "decoding, face detection and towers, each alone", "unit": "s"}
    baseline["figure"] = float(np.median(parts))
    details = {
        "backbone": backbone,
        "detector": recognizer.reader.detector.name if recognizer.reader.detector else None,
        "times": {name: timing.to_dict() for name, timing in timed.items()},
        "over_parts": {"least": float(over.min()), "most": float(over.max())},
        "folder": {name: timing.to_dict(per=files) for name, timing in together.items()},
        "int8": int8,
    }
    return Claim("predict", checks, baseline, details)


PARTS = ("decoding", "face detection", "towers")


def _jobs(recognizer: EmotionRecognizer, film: Path) -> dict[str, Callable[[], Any]]:
    """Return each part alone, on what the part before it yields, and the whole."""
    spec = recognizer.reader.settings.clip_spec(views="by_duration")

    def decode() -> list[np.ndarray]:
        source = open_source(film)
        views = choose_frames(source.times_s, source.duration_s, spec, None)
        wanted = np.unique(views).tolist()
        pictures = [picture for _, picture in source.frames(wanted, long_px=FACE_SOURCE_PX)]
        times = source.times_s[views]
        spans = choose_seconds(source.sound_s, source.duration_s, times, spec, None)
        source.sound(sorted(set(spans)), spec.sampling_rate_hz)
        return pictures

    pictures, clip = decode(), recognizer.load(film)
    detector = recognizer.reader.detector

    def detect() -> None:
        for picture in pictures if detector is not None else ():
            detector.detect(picture)

    return {
        "decoding": decode,
        "face detection": detect,
        "towers": lambda: recognizer.predictor.score([clip], "av"),
        "whole": lambda: recognizer(film),
    }


@torch.inference_mode()
def _int8(
    model: ClaipEmoModel,
    processor: ClaipEmoProcessor,
    recognizer: EmotionRecognizer,
    film: Path,
    rounds: int,
) -> dict[str, Any]:
    """Compare the towers of int8 and fp32 on the views of a file."""
    batch = stack([recognizer.load(film)])
    merged = {p: copy.deepcopy(model).merge(p) for p in ("fp32", "int8")}
    timed = interleaved(
        {p: lambda m=m: score(m, processor, batch) for p, m in merged.items()}, rounds
    )
    ready = processor(batch["frames"][None], batch["waveforms"], batch["lengths"])
    inputs = {"frames": ready["pixel_values"][0], "audio": ready["input_features"]}
    cosines = {}
    for part, values in inputs.items():
        wide, narrow = (getattr(m, f"encode_{part}")(values).float() for m in merged.values())
        cosines[part] = functional.cosine_similarity(wide, narrow).min().item()
    return {
        "factor": factors(timed["fp32"], timed["int8"]),
        "cosine": min(cosines.values()),
        "cosines": cosines,
        **{precision: timing.to_dict() for precision, timing in timed.items()},
    }


def _yunet() -> Path | None:
    """Return YuNet's model file, where one is at hand."""
    named = os.environ.get(FACE_MODEL_VARIABLE)
    if named:
        return Path(named)
    return SHARED_YUNET if SHARED_YUNET.is_file() else None


def _detector() -> str:
    return "yunet" if _yunet() else "haar"
