"""A frozen speech encoder whose features a small audio tower is taught: Whisper's.

Whisper was trained on 30 s of sound, padded with silence. Here a sound is encoded at its own
length, with the first of the position embeddings: a tenth of the work for a few seconds.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers import WhisperConfig
from transformers.audio_utils import mel_filter_bank
from transformers.models.whisper.modeling_whisper import WhisperEncoder

CONFIG, WEIGHTS = "config.json", "model.safetensors"
# As WhisperFeatureExtractor's, and as Whisper was trained (Radford et al. 2022, section 2.2).
RATE_HZ = 16_000
WINDOW, HOP = 400, 160  # samples: 25 ms, every 10 ms
FLOOR = 1e-10  # of the mel power
RANGE = 8.0  # decades below the loudest that are kept
FRAME_RATE_HZ = 50  # of the features: the second convolution takes every second frame
PASSED = 0.95  # of the lower half rate; from here to all of it a resampled sound fades out
APART_S = 0.05  # of silence, so that the end of a resampled sound does not ring in its beginning
KEYS_SHOWN = 3


class TeacherError(ValueError):
    """A folder that holds no speech encoder, or a sound that it cannot hear."""


class AudioTeacher:
    """A frozen Whisper encoder, read at one of its layers.

    Args:
        encoder: the network; it is frozen, and computes where its weights are.
        layer: hidden state that is read; 0 is what enters the first layer, n what leaves the n-th,
            before the final norm.

    Raises:
        TeacherError: if the encoder has no such layer.
    """

    def __init__(self, encoder: WhisperEncoder, layer: int = 3):
        """Freeze the encoder and prepare its mel filters."""
        if not 0 <= layer <= len(encoder.layers):
            raise TeacherError(
                f"This encoder has no hidden state {layer}; "
                f"it has 0 (embeddings) to {len(encoder.layers)}."
            )
        self.encoder = encoder.eval().requires_grad_(False)
        self.layer = layer
        filters = mel_filter_bank(
            num_frequency_bins=WINDOW // 2 + 1,
            num_mel_filters=encoder.config.num_mel_bins,
            min_frequency=0.0,
            max_frequency=RATE_HZ / 2,
            sampling_rate=RATE_HZ,
            norm="slaney",
            mel_scale="slaney",
        )
        self._filters = torch.from_numpy(filters.T).float().contiguous()  # (mel, frequency)

    @classmethod
    def from_folder(cls, folder: Path, layer: int = 3) -> AudioTeacher:
        """Load a checkpoint that transformers' ``WhisperEncoder`` wrote, in float32.

        Args:
            folder: with ``config.json`` (a whole ``WhisperConfig``, of which the encoder's part
                counts) and ``model.safetensors``; nothing is unpickled.
            layer: hidden state that is read.

        Raises:
            TeacherError: if a file is missing or damaged, if the two do not belong together, or if
                the encoder has no such layer.
        """
        config, weights = _config(folder), _weights(folder)
        with torch.device("meta"):  # no draws from the global generator for weights that are here
            encoder = WhisperEncoder(config)
        expected = encoder.state_dict()
        _compare(folder, {n: v.shape for n, v in expected.items()}, weights)
        encoder.load_state_dict(weights, assign=True)
        try:
            return cls(encoder, layer)
        except TeacherError as error:
            raise TeacherError(f"{folder}: {error}") from error

    @property
    def width(self) -> int:
        """Size of a feature."""
        return int(self.encoder.config.d_model)

    @property
    def longest_s(self) -> float:
        """Seconds of sound that there are position embeddings for: Whisper's 30."""
        return int(self.encoder.config.max_source_positions) / FRAME_RATE_HZ

    @torch.no_grad()  # not inference_mode: what comes out is a target of losses
    def features(self, samples: NDArray[np.float32], rate: int) -> Tensor:
        """Encode a sound at its own length.

        Pooled, the features differ from those of the same frames with padding to 30 s by a tenth
        (median of real voices; cosine 0.994): there is no silence behind the sound to attend to.

        Args:
            samples: (samples,), mono, in [-1, 1].
            rate: samples per second.

        Returns:
            (frame, width), float32, 50 frames a second.

        Raises:
            TeacherError: if there is no sound, more of it than the encoder has positions for, or
                samples that are no numbers.
        """
        if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
            raise TeacherError(
                f"The teacher hears one channel of finite samples, not {samples.shape} with "
                f"{int((~np.isfinite(samples)).sum())} that are not finite."
            )
        encoder = self.encoder
        wave = resampled(torch.from_numpy(samples).to(encoder.device, torch.float32), rate)
        mel = self._log_mel(wave)[None]  # (1, mel, 10 ms)
        embedded = functional.gelu(encoder.conv1(mel))
        embedded = functional.gelu(encoder.conv2(embedded)).transpose(1, 2)  # (1, frame, width)
        positions = encoder.embed_positions.weight
        if embedded.shape[1] > len(positions):
            raise TeacherError(
                f"The teacher hears {self.longest_s:g} s at once, not {len(samples) / rate:.2f} s: "
                "cut the sound."
            )
        hidden: Tensor = embedded + positions[: embedded.shape[1]]
        for layer in encoder.layers[: self.layer]:
            hidden = layer(hidden, None)
        return hidden[0]

    def _log_mel(self, wave: Tensor) -> Tensor:
        """Turn (samples,) at 16 kHz into (mel, 10 ms) as Whisper saw it, without padding."""
        # Mirrored borders of half a window need more sound than that.
        wave = functional.pad(wave, (0, max(0, WINDOW - len(wave))))
        window = torch.hann_window(WINDOW, device=wave.device)
        spectrum = torch.stft(wave, WINDOW, HOP, window=window, return_complex=True)
        power = spectrum[:, :-1].abs().square()  # (frequency, 10 ms)
        log = (self._filters.to(wave.device) @ power).clamp(min=FLOOR).log10()
        return (log.clamp(min=log.max() - RANGE) + 4) / 4


def pooled(frames: Tensor) -> Tensor:
    """Average features (frame, width) over time, (width,)."""
    return frames.mean(dim=0)


def resampled(wave: Tensor, rate: int) -> Tensor:
    """Resample a sound to 16 kHz; what lies above the lower half rate is faded out before.

    Args:
        wave: (samples,).
        rate: its samples per second.

    Returns:
        (samples,), of the same duration.
    """
    if rate == RATE_HZ:
        return wave
    # Whole seconds are whole numbers of samples at both rates, and of lengths that FFTs like.
    seconds = math.ceil(len(wave) / rate + APART_S)
    spectrum = torch.fft.rfft(wave, n=seconds * rate)
    half_hz = min(rate, RATE_HZ) / 2
    kept = spectrum[: int(half_hz * seconds) + 1]
    share = torch.arange(len(kept), device=wave.device) / (half_hz * seconds)
    fade = ((share - PASSED) / (1 - PASSED)).clamp(0, 1)
    kept = kept * (0.5 + 0.5 * torch.cos(torch.pi * fade))
    sound: Tensor = torch.fft.irfft(kept, n=seconds * RATE_HZ) * (RATE_HZ / rate)
    return sound[: max(1, round(len(wave) * RATE_HZ / rate))]


def _config(folder: Path) -> WhisperConfig:
    path = folder / CONFIG
    if not path.is_file():
        raise TeacherError(
            f"{folder}: {CONFIG} is missing. A teacher is a folder that transformers' "
            f"WhisperEncoder.save_pretrained wrote: {CONFIG} and {WEIGHTS}."
        )
    try:
        values = dict(json.loads(path.read_text(encoding="utf-8")))
        if "encoder_layers" in values:  # another name of it, which a whole config may give as well
            values.pop("num_hidden_layers", None)
        config = WhisperConfig(**values)
    except (OSError, ValueError, TypeError, StrictDataclassError) as error:
        raise TeacherError(f"{path} cannot be read: {error}") from error
    if config.model_type != "whisper":
        raise TeacherError(f"{path} describes a {config.model_type!r}, not a whisper encoder.")
    return config


def _weights(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        raise TeacherError(
            f"{folder}: {WEIGHTS} is missing. Weights of other formats are not read: load them "
            "with transformers and save them with save_pretrained."
        )
    try:
        return {name: value.float() for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise TeacherError(f"{path} cannot be read: {error}") from error


def _compare(folder: Path, expected: dict[str, torch.Size], found: dict[str, Tensor]) -> None:
    """Say which weights are missing, of another shape, or not the encoder's."""
    both = expected.keys() & found.keys()
    wrong = {
        "without": expected.keys() - found.keys(),
        "with unknown": found.keys() - expected.keys(),
        "of another shape": {name for name in both if expected[name] != found[name].shape},
    }
    told = [
        f"{how} {', '.join(sorted(names)[:KEYS_SHOWN])}"
        + (f" and {len(names) - KEYS_SHOWN} more" if len(names) > KEYS_SHOWN else "")
        for how, names in wrong.items()
        if names
    ]
    if told:
        raise TeacherError(
            f"{folder}: {WEIGHTS} is not the encoder that {CONFIG} describes: it comes "
            f"{'; '.join(told)}."
        )
