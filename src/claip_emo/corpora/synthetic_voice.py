"""Made voices: syllables whose pitch, tempo and loudness carry the emotion.

Two pairs of emotions sound alike, so that the voice alone cannot tell them apart: anger and
happiness (loud, lively), disgust and neutral (level). They are others than the pairs that look
alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 48_000
INNER_RATE_HZ = 16_000  # at which the voice is computed
HARMONICS = 24
VOWELS = np.array(  # first three formants in Hz of a, e, i, o, u (Peterson and Barney 1952)
    [[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240]]
)
BANDWIDTHS = np.array([90.0, 110.0, 160.0])


@dataclass(frozen=True, slots=True)
class Manner:
    """How an emotion speaks.

    Attributes:
        pitch: relative to the person's own.
        swing: of the pitch within a syllable, as a share.
        glide: pitch at the end relative to the beginning.
        tempo_hz: syllables per second.
        loudness: 0 to 1.
        brightness: how slowly the harmonics fall; higher is sharper.
        breath: share of noise.
        tremor: of the pitch, as a share, at 9 Hz.
    """

    pitch: float
    swing: float
    glide: float
    tempo_hz: float
    loudness: float
    brightness: float
    breath: float
    tremor: float = 0.0


LIVELY = Manner(1.35, 0.25, 1.0, 4.8, 0.9, 1.0, 0.02)
LEVEL = Manner(1.0, 0.04, 0.97, 3.4, 0.4, 0.5, 0.04)
MANNERS: dict[str, Manner] = {
    "happiness": LIVELY,
    "anger": LIVELY,
    "neutral": LEVEL,
    "disgust": LEVEL,
    "sadness": Manner(0.8, 0.03, 0.75, 2.0, 0.14, 0.0, 0.15),
    "surprise": Manner(1.15, 0.1, 1.9, 2.6, 0.6, 0.7, 0.03),
    "fear": Manner(1.75, 0.08, 1.05, 6.5, 0.3, 0.4, 0.3, 0.07),
}


@dataclass(frozen=True, slots=True)
class Voice:
    """What stays the same of a person's voice."""

    pitch_hz: float
    tract: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Voice:
        """Draw a voice: people differ by less than emotions do."""
        return cls(pitch_hz=float(rng.uniform(140, 185)), tract=float(rng.uniform(0.9, 1.12)))


def speak(
    voice: Voice, emotion: str, rng: np.random.Generator, duration_s: float
) -> NDArray[np.float32]:
    """Make a few syllables.

    Args:
        voice: who speaks.
        emotion: one of ``MANNERS``.
        rng: generator of vowels, timing and noise.
        duration_s: length of the result.

    Returns:
        (samples,) at 48 kHz, float32 in [-1, 1].
    """
    manner = MANNERS[emotion]
    count = round(duration_s * INNER_RATE_HZ)
    time = np.arange(count) / INNER_RATE_HZ
    tempo = manner.tempo_hz * rng.uniform(0.92, 1.08)
    beat = time * tempo + rng.uniform(0, 0.3)
    syllable = np.floor(beat).astype(int)
    within = beat - syllable
    vowels = VOWELS[rng.integers(len(VOWELS), size=syllable[-1] + 2)] * voice.tract
    blend = np.clip((within - 0.7) / 0.3, 0, 1)[:, None]
    formants = vowels[syllable] * (1 - blend) + vowels[syllable + 1] * blend  # (sample, formant)
    envelope = np.sin(np.pi * np.clip(within / 0.85, 0, 1)) ** 0.7
    stress = rng.uniform(0.75, 1.0, syllable[-1] + 1)[syllable]
    whole = np.clip(np.minimum(time, duration_s - time) / 0.05, 0, 1)

    pitch = voice.pitch_hz * manner.pitch * rng.uniform(0.95, 1.05)
    contour = manner.glide ** (time / duration_s) * (1 + manner.swing * np.sin(np.pi * within))
    contour *= 1 + manner.tremor * np.sin(2 * np.pi * 9 * time)
    f0 = pitch * contour * (1 + 0.005 * rng.standard_normal(count).cumsum() / np.sqrt(count))
    phase = 2 * np.pi * np.cumsum(f0) / INNER_RATE_HZ

    order = np.arange(1, HARMONICS + 1)[:, None]
    hertz = order * f0  # (harmonic, sample)
    gain = order ** (manner.brightness - 1.6) * _resonance(hertz, formants)
    gain[hertz > 0.45 * INNER_RATE_HZ] = 0
    tone = (gain * np.sin(order * phase)).sum(0)
    noise = rng.standard_normal(count) * np.abs(tone).mean() * 2
    burst = rng.standard_normal(count) * (within > 0.9) * 0.3 * np.abs(tone).mean()
    sound = (tone * (1 - manner.breath) + manner.breath * noise) * envelope * stress + burst
    sound *= whole * manner.loudness * rng.uniform(0.9, 1.1) / max(np.abs(sound).max(), 1e-9)
    outer = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return np.clip(np.interp(outer, time, sound) * 0.9, -1, 1).astype(np.float32)


def loudness_per_frame(sound: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Return the loudness of a sound in each of ``count`` frames, 0 to 1."""
    pieces = np.array_split(sound.astype(np.float64), count)
    level = np.sqrt([np.mean(piece**2) for piece in pieces])
    return level / max(float(level.max()), 1e-9)


def _resonance(hertz: NDArray[np.float64], formants: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the gain of three formants at the frequency of every harmonic and sample."""
    gain = np.full_like(hertz, 0.05)
    for number, width in enumerate(BANDWIDTHS):
        gain += 0.7**number / (1 + ((hertz - formants[:, number]) / width) ** 2)
    return gain
