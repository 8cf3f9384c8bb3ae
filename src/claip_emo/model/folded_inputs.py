"""Frames and sound become what towers take, in NumPy and one stretch of sound after the other.

What ``processing`` and ``waveforms`` do with batches of tensors on any device, for who predicts
without torch; tests hold both together.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from claip_emo.model.mel import MEL_FLOOR, mel_filters
from claip_emo.model.processor_settings import (
    FRAME_S,
    GREY_WEIGHTS,
    KEPT_S,
    LOWEST_RMS,
    ProcessorSettings,
)

Array = NDArray[np.float32]


class Inputs:
    """Turns frames and sound into what the towers of a checkpoint take."""

    def __init__(self, settings: ProcessorSettings):
        """Prepare filter bank and window."""
        self.settings = settings
        self._filters = mel_filters(settings)  # (frequency, mel), float64
        turn = 2 * np.pi * np.arange(settings.fft_size) / settings.fft_size
        self._window = 0.5 - 0.5 * np.cos(turn)  # Hann's, periodic

    def see(self, frames: NDArray[np.uint8]) -> Array:
        """Turn frames (frame, height, width, 3) uint8 RGB into (frame, S, S, channel)."""
        seen = self.settings
        pixels = resized(frames, seen.image_size_px).astype(np.float32) / np.float32(255)
        if seen.image_channels == 1:
            pixels = pixels @ np.array(GREY_WEIGHTS, np.float32)[:, None]
        if seen.image_normalisation == "per_crop":
            axes = (1, 2, 3)
            centred = pixels - pixels.mean(axis=axes, keepdims=True)
            deviation = np.sqrt(np.square(centred).mean(axis=axes, keepdims=True))
            return centred / np.maximum(deviation, np.float32(1 / 255))
        mean, deviation = (
            np.array(values[: seen.image_channels], np.float32)
            for values in (seen.image_mean, seen.image_std)
        )
        return (pixels - mean) / deviation

    def hear(self, samples: Array) -> Array:
        """Turn the sound of a view (samples,) into log-mels (window, time, mel) in dB."""
        seen = self.settings
        if seen.audio_trim_db is not None:
            samples = self._trimmed(samples, seen.audio_trim_db)
        if seen.audio_rms is not None:
            own = np.sqrt(np.square(samples).mean()) if len(samples) else 0.0
            samples = samples * np.float32(seen.audio_rms / max(own, LOWEST_RMS))
        whole = self._filled(samples)
        last = seen.samples - seen.window_samples
        starts = [round(last * place / max(1, seen.windows - 1)) for place in range(seen.windows)]
        return np.stack([self.log_mel(whole[at : at + seen.window_samples]) for at in starts])

    def log_mel(self, samples: Array) -> Array:
        """Turn (samples,) into CLAP's log-mel (time, mel) in dB."""
        seen = self.settings
        padded = np.pad(samples.astype(np.float64), seen.fft_size // 2, mode="reflect")
        frames = sliding_window_view(padded, seen.fft_size)[:: seen.hop]
        spectrum = np.fft.rfft(frames * self._window)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        mel = np.maximum(power @ self._filters, MEL_FLOOR)
        return (10 * np.log10(mel)).astype(np.float32)

    def _trimmed(self, samples: Array, below_db: float) -> Array:
        """Cut off silence at both ends: what lies so far below the loudest 20 ms."""
        rate = self.settings.sampling_rate_hz
        frame, kept = max(1, round(FRAME_S * rate)), round(KEPT_S * rate)
        padded = np.pad(samples, (0, -len(samples) % frame)).reshape(-1, frame)
        if not len(padded):
            return samples
        power = np.square(padded).mean(axis=1)
        loud = np.flatnonzero(power >= power.max() * np.float32(10 ** (-below_db / 10)))
        if not len(loud):  # not a number
            return samples[:0]
        begin = max(0, int(loud[0]) * frame - kept)
        return samples[begin : (int(loud[-1]) + 1) * frame + kept]

    def _filled(self, samples: Array) -> Array:
        """Cut to ``audio_s``; repeat what is shorter."""
        wanted, tiled = self.settings.samples, self.settings.audio_fill == "tile"
        samples = samples[:wanted]
        times = wanted // len(samples) if len(samples) else 0
        repeated = np.tile(samples, times + tiled)[:wanted]
        return np.pad(repeated, (0, wanted - len(repeated)))


def resized(frames: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Scale the shorter side to S (bicubic, antialiased) and cut the middle square."""
    height, width = frames.shape[1:3]
    if (height, width) == (size_px, size_px):
        return frames
    short = min(height, width)
    rows, columns = int(size_px * height / short), int(size_px * width / short)
    top, left = (rows - size_px) // 2, (columns - size_px) // 2
    down = bicubic(height, rows)[top : top + size_px]
    across = bicubic(width, columns)[left : left + size_px]
    pixels = np.einsum("rh,fhwc->frwc", down, frames.astype(np.float32), optimize=True)
    pixels = np.einsum("sw,frwc->frsc", across, pixels, optimize=True)
    return pixels.round().clip(0, 255).astype(np.uint8)


def bicubic(old: int, new: int) -> Array:
    """Return the weights of an antialiased bicubic scaling of one direction, (new, old).

    Keys's kernel with a = -0.5, as wide as what is left out asks for (Pillow's and torch's).
    """
    step = old / new
    wide = max(step, 1.0)
    centres = step * (np.arange(new)[:, None] + 0.5)
    away = np.abs(np.arange(old) + 0.5 - centres) / wide
    near = (1.5 * away - 2.5) * away**2 + 1
    far = ((-0.5 * away + 2.5) * away - 4) * away + 2
    weights = np.where(away < 1, near, np.where(away < 2, far, 0))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
