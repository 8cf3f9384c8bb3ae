"""What is exported beside the model that it was made of: labels, probabilities, sizes, times.

The model in the box on 200 constructed clips (a face beside a voice of the same class), or on made
clips where they are not at hand; then towers at full size with random weights on a few of them.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.claim import Check, Claim, Options
from benchmarks.measuring import say
from benchmarks.models import build
from claip_emo.corpora.synthetic import make_clip
from claip_emo.inference.export import export_onnx
from claip_emo.inference.onnx_model import OnnxModel
from claip_emo.inference.predictor import ModelPredictor, Predictor
from claip_emo.inference.reader import Reader
from claip_emo.labels import SEVEN
from claip_emo.media.clip import Clip
from claip_emo.model.checkpoint_folder import packaged
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor

CONSTRUCTED = Path(__file__).parents[2] / "shared" / "data" / "constructed" / "clips"
CLIPS, QUICK_CLIPS, LARGE_CLIPS = 200, 12, 12
LARGEST_DISTANCE, INT8_AGREEMENT = 1e-4, 0.98
PRECISIONS = ("fp32", "int8")


@dataclass(frozen=True, slots=True)
class Compared:
    """An exported model beside the one that it was made of.

    Attributes:
        agree: share of clips with the same label.
        distance: the largest of a probability.
        seconds: of scoring, per clip.
        megabytes: of its ONNX files.
    """

    agree: float
    distance: float
    seconds: float
    megabytes: float


def measure(options: Options) -> Claim:
    """Export, score the same clips with all, compare."""
    (backbone,) = options.towers("vit-b32")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        files = _files(out / "clips", QUICK_CLIPS if options.quick else CLIPS)
        small, small_s = _compare(packaged(), files, out / "mini")
        say(str(small))
        source = _built(backbone, out / "model")
        large, large_s = _compare(source, files[:LARGE_CLIPS], out / "large")
    enough = len(files) == CLIPS
    checks = (
        Check("fp32: same label, mini", small["fp32"].agree, "", 1.0, enough=enough),
        _close("fp32: largest distance of a probability, mini", small["fp32"]),
        Check("int8: same label, mini", small["int8"].agree, "", INT8_AGREEMENT, enough=enough),
        _close(f"fp32: largest distance of a probability, {backbone}", large["fp32"]),
    )
    return Claim(
        "export",
        checks,
        {"what": "scoring a clip with torch, mini", "figure": small_s, "unit": "s"},
        {
            "clips": len(files),
            "constructed": CONSTRUCTED.is_dir(),
            "mini": _told(small, small_s),
            "clips_of_large": min(len(files), LARGE_CLIPS),
            backbone: _told(large, large_s),
        },
    )


def _close(what: str, found: Compared) -> Check:
    return Check(what, found.distance, "", LARGEST_DISTANCE, "most")


def _told(found: dict[str, Compared], torch_s: float) -> dict[str, Any]:
    rows = {
        precision: {
            "same_label": one.agree,
            "largest_distance": one.distance,
            "seconds_per_clip": one.seconds,
            "megabytes": one.megabytes,
        }
        for precision, one in found.items()
    }
    return rows | {"torch": {"seconds_per_clip": torch_s}}


def _files(folder: Path, count: int) -> list[Path]:
    """Return so many constructed clips, drawn once for all; or made ones."""
    if CONSTRUCTED.is_dir():
        every = sorted(CONSTRUCTED.glob("*.mp4"))
        return random.Random(0).sample(every, min(count, len(every)))
    folder.mkdir()
    return [_film(folder / f"{person}.mp4", person) for person in range(count)]


def _film(path: Path, person: int) -> Path:
    emotion = SEVEN[person % len(SEVEN)]
    make_clip(path, person=person, emotion=emotion, size_px=64, fps=25, duration_s=1.0)
    return path


def _built(backbone: str, folder: Path) -> Path:
    model, processor = build(backbone)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _compare(source: Path, files: Sequence[Path], out: Path) -> tuple[dict[str, Compared], float]:
    """Export a checkpoint and score clips with all; return also torch's seconds per clip."""
    model = ModelPredictor(
        ClaipEmoModel.from_pretrained(source), ClaipEmoProcessor.from_pretrained(source), "fp32"
    )
    folders = {p: export_onnx(source, out / p, precision=p) for p in PRECISIONS}
    say(f"{source} exported")
    reader = Reader.of_checkpoint(source, face_detector="none")
    read = [reader.load(path, "av") for path in files]
    predictors: dict[str, Predictor] = {"torch": model}
    predictors |= {p: OnnxModel.of_folder(folder) for p, folder in folders.items()}
    scores, seconds = _scored(predictors, read)
    wanted = scores["torch"]
    return {
        p: Compared(
            float(np.mean(scores[p].argmax(axis=1) == wanted.argmax(axis=1))),
            float(np.abs(scores[p] - wanted).max()),
            seconds[p],
            sum(path.stat().st_size for path in folder.glob("*.onnx*")) / 1e6,
        )
        for p, folder in folders.items()
    }, seconds["torch"]


def _scored(
    predictors: dict[str, Predictor], read: Sequence[Clip]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Score clip by clip, in turn; return the probabilities and the median seconds of each."""
    rows: dict[str, list[np.ndarray]] = {name: [] for name in predictors}
    times: dict[str, list[float]] = {name: [] for name in predictors}
    for clip in read:
        for name, predictor in predictors.items():
            begin = time.perf_counter()
            rows[name].append(predictor.score([clip], "av").probabilities)
            times[name].append(time.perf_counter() - begin)
    return (
        {name: np.concatenate(found) for name, found in rows.items()},
        {name: float(np.median(found)) for name, found in times.items()},
    )
