"""A model whose reasons are known: it looks at one patch, and listens for 440 Hz."""

from __future__ import annotations

import numpy as np

from claip_emo.media.clip import Clip
from claip_emo.model.description import Described
from claip_emo.model.folded_layers import Transformer
from claip_emo.model.processor_settings import ProcessorSettings
from claip_emo.model.scoring import NO_FRAMES

from ..media.make_media import tone

RATE = 8000
SIZE_PX = 64
PATCH = (slice(20, 28), slice(44, 52))  # within the cover at row 2, column 5
CELL = (2, 5)
BRIGHT = (5, 9)  # of 12 frames, five a second
TONE_S = (1.5, 2.0)
LABELS = ["calm", "angry", "sad"]


class World:
    """Angry is who has a bright patch and a 440 Hz voice; nothing else counts.

    Args:
        temporal: ``mean`` averages the frames, ``transformer`` attends to bright patches.
    """

    widths = {"vision": 4, "audio": 1}  # noqa: RUF012 - as the protocol has it

    def __init__(self, temporal: str = "mean", seen: float = 12.0, heard: float = 40.0, **choices):
        self.config = Described(labels=LABELS, temporal=temporal, **choices)
        self.config.check()
        self.settings = ProcessorSettings(
            image_size_px=SIZE_PX, num_frames=8, sampling_rate_hz=RATE, face_margin=0.0
        )
        self.temporal = looking_for_bright() if temporal == "transformer" else None
        self.seen, self.heard = seen, heard
        self.frames_encoded = self.sounds_encoded = 0

    def encode(self, frames=NO_FRAMES, sounds=()):
        """Return brightness of the patch from 0 to 1, what is missing to 1, 0, 0; and 440 Hz."""
        self.frames_encoded += len(frames)
        self.sounds_encoded += len(sounds)
        shown = np.zeros((len(frames), 4), np.float32)
        if len(frames):
            shown[:, 0] = frames[:, *PATCH].mean(axis=(1, 2, 3)) / 255
            shown[:, 1] = 1 - shown[:, 0]
        heard = [strength(samples) for samples in sounds]
        return shown, np.array(heard, np.float32).reshape(-1, 1)

    def over_time(self, frames):
        return frames.mean(axis=1) if self.temporal is None else self.temporal(frames)

    def attention(self, frames):
        return None if self.temporal is None else self.temporal.attention(frames)

    def fuse(self, video, audio):
        angry = self.seen * video[:, 0] + self.heard * audio[:, 0] - 1
        return np.stack([np.zeros_like(angry), angry, np.full_like(angry, -2)], axis=1)


def strength(samples: np.ndarray) -> float:
    """How strong 440 Hz is in a sound, as a share of a tone at full length."""
    wave = np.exp(-2j * np.pi * 440 * np.arange(len(samples)) / RATE)
    return float(np.abs(wave @ samples) / max(len(samples), 1))


def looking_for_bright() -> Transformer:
    """A layer whose CLS token attends to the first number of a frame, and takes it over."""
    weights = {name: np.zeros(shape, np.float32) for name, shape in Transformer.shapes(
        Described(labels=LABELS, num_frames=8, temporal_heads=1, temporal_head_dim=2,
                  temporal_mlp_dim=2), 4).items()}  # fmt: skip
    for norm in ("attention_norm", "mlp_norm"):
        weights[f"{norm}.weight"][:] = 1
    weights["cls_token"][0, 0] = [0, 0, 0, 1]
    weights["qkv.weight"][0, 3] = 1  # the CLS token's query
    weights["qkv.weight"][2, 0] = 1  # keys: bright patches
    weights["qkv.weight"][4, 0] = 1  # values
    weights["attention_out.weight"][0, 0] = 0.5
    return Transformer(weights, heads=1)


def made_clip(**changes) -> Clip:
    """Twelve frames in two views that share four, and three seconds of sound.

    The patch is bright in two frames, and 440 Hz sounds for half a second. Brighter places and
    louder seconds, which the model does not care for, are elsewhere.
    """
    rng = np.random.default_rng(0)
    frames = rng.integers(80, 120, (12, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    frames[:, 40:60, 4:24] = 255
    frames[:, *PATCH] = 20
    frames[BRIGHT[0], *PATCH], frames[BRIGHT[1], *PATCH] = 250, 220
    sound = rng.normal(0, 0.01, 3 * RATE).astype(np.float32)
    sound[: RATE // 2] += 1.8 * tone(0.5, RATE, 1800)
    begin, end = (round(second * RATE) for second in TONE_S)
    sound[begin:end] += tone(0.5, RATE)
    views = np.array([range(8), range(4, 12)])
    parts = {
        "path": "made.mp4",
        "frames": frames[views],
        "frame_times_s": views / 5,
        "waveforms": (sound, sound),
        "audio_spans_s": ((0.0, 3.0),) * 2,
        "duration_s": 3.0,
        "face_rate": 1.0,
    }
    return Clip(**(parts | changes))
