"""What the towers of a checkpoint want to see and hear: the content of processor_config.json."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from claip_emo.media.spec import ClipSpec, DetectorKind
from claip_emo.model.checkpoint_folder import CheckpointError

PROCESSOR_CONFIG = "processor_config.json"

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # openai/clip-*: preprocessor_config.json
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

GREY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601
FRAME_S = 0.02  # in which loudness is measured
KEPT_S = 0.05  # around what is louder than silence
LOWEST_RMS = 5e-5  # -86 dB; what is more silent is not raised further

Normalisation = Literal["dataset", "per_crop"]
MelMode = Literal["fusion", "rand_trunc"]
AudioFill = Literal["repeatpad", "tile"]


@dataclass(frozen=True, slots=True)
class ProcessorSettings:
    """What the towers of a checkpoint want to see; the content of ``processor_config.json``.

    Attributes:
        image_size_px: side S of the square that the vision tower sees.
        image_channels: 3 for colour, 1 for grey.
        image_normalisation: ``dataset`` subtracts ``image_mean`` and divides by ``image_std``;
            ``per_crop`` takes mean and deviation of each frame itself.
        image_mirrored: scoring shows the vision tower each frame as it is and mirrored, and
            averages its features: twice the work. Training mirrors at random (``augment.flip``).
        num_frames: frames T of one view.
        frame_stride: decoded frames from one sampled frame to the next.
        face_detector: which detector prediction uses.
        face_margin: share of the face's height added on each side of the crop.
        audio_s: seconds of sound of one view; shorter sound is repeated.
        audio_fill: ``repeatpad`` repeats it whole times and then pads with zeros, as CLAP was
            trained; ``tile`` repeats it up to the end.
        audio_window_s: seconds that the audio tower hears at once; its features are averaged over
            as many windows as cover ``audio_s``. None: all of it at once.
        audio_rms: root mean square that the sound of a view is brought to; None: left as it is.
        audio_trim_db: silence at both ends is cut off, as far below the loudest 20 ms; None: kept.
        mel_mode: ``fusion`` is the HTK filter bank, ``rand_trunc`` Slaney's; it belongs to the
            checkpoint: the two are 20 dB apart on noise.
    """

    image_size_px: int = 224
    image_channels: int = 3
    image_normalisation: Normalisation = "dataset"
    image_mean: tuple[float, ...] = CLIP_MEAN
    image_std: tuple[float, ...] = CLIP_STD
    image_mirrored: bool = False
    num_frames: int = 16
    frame_stride: int = 4
    face_detector: DetectorKind = "auto"
    face_margin: float = 0.1
    sampling_rate_hz: int = 48_000
    audio_s: float = 10.0
    audio_fill: AudioFill = "repeatpad"
    audio_window_s: float | None = None
    audio_rms: float | None = None
    audio_trim_db: float | None = None
    fft_size: int = 1024
    hop: int = 480
    mel_bins: int = 64
    mel_min_hz: float = 0.0
    mel_max_hz: float = 14_000.0
    mel_mode: MelMode = "fusion"

    def __post_init__(self) -> None:
        """Check the choices that would fail late and far from their cause."""
        if self.image_channels not in (1, 3):
            raise ValueError(f"image_channels is 1 or 3, not {self.image_channels}.")
        if self.mel_mode not in ("fusion", "rand_trunc"):
            raise ValueError(f"mel_mode is fusion or rand_trunc, not {self.mel_mode!r}.")
        if self.image_normalisation not in ("dataset", "per_crop"):
            raise ValueError(f"Unknown image_normalisation {self.image_normalisation!r}.")
        if self.audio_fill not in ("repeatpad", "tile"):
            raise ValueError(f"audio_fill is repeatpad or tile, not {self.audio_fill!r}.")
        if not 0 <= self.mel_min_hz < self.mel_max_hz:
            raise ValueError(
                f"mel_min_hz lies below mel_max_hz ({self.mel_max_hz:g}), from 0 on; it is "
                f"{self.mel_min_hz:g}."
            )
        if self.audio_window_s is not None and not 0 < self.audio_window_s <= self.audio_s:
            raise ValueError(
                f"audio_window_s lies between 0 and audio_s ({self.audio_s:g}); it is "
                f"{self.audio_window_s:g}."
            )

    @property
    def samples(self) -> int:
        """Number of audio samples of one view."""
        return round(self.audio_s * self.sampling_rate_hz)

    @property
    def windows(self) -> int:
        """Number of windows of sound whose features are averaged."""
        return math.ceil(self.audio_s / (self.audio_window_s or self.audio_s))

    @property
    def window_samples(self) -> int:
        """Number of audio samples of one window."""
        return round((self.audio_window_s or self.audio_s) * self.sampling_rate_hz)

    @property
    def mel_shape(self) -> tuple[int, int, int]:
        """Windows, frames and bins of the log-mel of one view."""
        return self.windows, self.window_samples // self.hop + 1, self.mel_bins

    def clip_spec(self, **overrides: Any) -> ClipSpec:
        """Return what must be taken from a file for these towers."""
        wanted: dict[str, Any] = {
            "num_frames": self.num_frames,
            "stride": self.frame_stride,
            "size_px": self.image_size_px,
            "audio_s": self.audio_s,
            "sampling_rate_hz": self.sampling_rate_hz,
            "face_margin": self.face_margin,
        }
        return ClipSpec(**(wanted | overrides))


def read_settings(folder: Path) -> ProcessorSettings:
    """Read the settings of a checkpoint's folder.

    Raises:
        CheckpointError: if the file is missing or names unknown settings.
    """
    path = folder / PROCESSOR_CONFIG
    try:
        described = json.loads(path.read_text("utf-8"))
        described.pop("processor_class", None)
        for name in ("image_mean", "image_std"):
            described[name] = tuple(described[name])
        return ProcessorSettings(**described)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
