"""A predictor that sees colours and hears loudness, and videos of made people to show it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from claip_emo.corpora.synthetic_voice import RATE_HZ, Voice, speak
from claip_emo.inference.reader import Reader
from claip_emo.inference.recognizer import EmotionRecognizer
from claip_emo.inference.timeline_result import Timeline
from claip_emo.labels import SEVEN
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.scoring import score_clips

from ..media.made_people import HEIGHT, WIDTH, Chins, Head, scene
from ..media.make_media import write

FPS = 8
FRAMES = 8
PIECE_S = 0.5
WINDOW_S = 1.0  # so that every frame is looked at
SIZE_PX = 16


class Seeing:
    """Its features are a crop's mean colour, and a piece's loudness; it counts what it encodes."""

    precision, on_cpu = "fp32", True

    def __init__(self, modality: str = "av") -> None:
        backbone = resolve("tiny-clip")
        self.config = configure(backbone, SEVEN, num_frames=FRAMES, modality=modality)
        processor = ClaipEmoProcessor.for_backbone(backbone, num_frames=FRAMES, audio_s=PIECE_S)
        self.settings = processor.settings
        self.widths = {"vision": 3, "audio": 1}
        self.crops: list[np.ndarray] = []
        self.sounds: list[np.ndarray] = []
        weights = np.random.default_rng(0).normal(0, 8, (4, len(SEVEN.names)))
        self.weights = weights.astype(np.float32)

    def encode(self, frames=(), sounds=()):
        self.crops += list(frames)
        self.sounds += list(sounds)
        shown = [crop.mean(axis=(0, 1)) / 255 - 0.5 for crop in frames]
        heard = [[np.sqrt(np.square(sound).mean())] for sound in sounds]
        return (
            np.array(shown, np.float32).reshape(-1, 3),
            np.array(heard, np.float32).reshape(-1, 1),
        )

    def over_time(self, frames):
        return frames.mean(axis=1)

    def fuse(self, video, audio):
        return np.hstack([video, audio]) @ self.weights

    def score(self, clips, modality="av"):
        return score_clips(self, clips, modality)


def seeing(modality: str = "av", detector=None) -> EmotionRecognizer:
    """A recogniser of colours that finds made faces."""
    model = Seeing(modality)
    reader = Reader(model.settings, modality, face_detector="none")
    reader.detector = detector or Chins()
    return EmotionRecognizer(model, reader=reader)


def voiced(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return speak(Voice.drawn(rng), "happiness", rng, seconds)


def video(
    path: Path,
    shots: Sequence[tuple[int, Sequence[Head], int]],
    sound: np.ndarray | None = None,
    *,
    height: int = HEIGHT,
    width: int = WIDTH,
    **how,
) -> Path:
    """Write shots, each of some frames of some heads before some wall, losslessly (mkv)."""
    size = {"height": height, "width": width}
    frames = [scene(heads, wall, **size) for count, heads, wall in shots for _ in range(count)]
    codec = "ffv1" if path.suffix == ".mkv" else None
    return write(path, np.stack(frames), sound, codec=codec, **{"fps": FPS, "rate": RATE_HZ} | how)


def shown(timeline: Timeline) -> list[tuple[float, float]]:
    """When each person was in sight first and last."""
    return [(person.first_s, person.last_s) for person in timeline.people]
