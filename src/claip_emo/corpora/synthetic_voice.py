"""Made voices: syllables whose pitch, tempo and loudness carry the emotion.

Two pairs of emotions sound alike, so that the voice alone cannot tell them apart: anger and
happiness (loud, lively), disgust and neutral (level). They are others than the pairs that look
alike. Where a voice pauses tells nothing of the emotion, so that a mouth may move with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 48_000
INNER_RATE_HZ = 16_000  # at which the voice is computed
STEP = 80  # samples (5 ms) in which the formants are taken as moving evenly
PAUSES_HZ = 0.6  # places a second where a voice may fall silent
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


@dataclass(frozen=True, slots=True)
class Phrasing:
    """When a voice is silent; the same distribution for every emotion.

    Attributes:
        pauses_s: (pause, 2), begin and end.
        flap_hz: how often the mouth of who speaks opens; not the tempo of the syllables.
    """

    pauses_s: NDArray[np.float64]
    flap_hz: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, duration_s: float) -> Phrasing:
        """Draw pauses of 0.15 to 0.3 s."""
        count = rng.binomial(2, min(1.0, PAUSES_HZ * duration_s / 2)) if duration_s >= 1 else 0
        begin = rng.uniform(0.2, max(0.2, duration_s - 0.5), count)
        length = rng.uniform(0.15, 0.3, count)
        return cls(np.stack([begin, begin + length], -1), float(rng.uniform(2.5, 4.5)))

    def loudness(self, time_s: NDArray[np.float64], duration_s: float) -> NDArray[np.float64]:
        """Return (time,) 0 in pauses and at both ends, 1 elsewhere, with edges of 50 ms."""
        level = np.clip(np.minimum(time_s, duration_s - time_s) / 0.05, 0, 1)
        for begin, end in self.pauses_s:
            level *= np.clip(np.maximum(begin - time_s, time_s - end) / 0.05, 0, 1)
        return level

    def mouth(self, count: int, duration_s: float) -> NDArray[np.float64]:
        """Return (frame,) how far the mouth is open, 0 to 1: it rests where the voice pauses.

        It does not follow the syllables: their tempo is the emotion's, and would tell apart on
        the face what is drawn to look alike.
        """
        time_s = (np.arange(count) + 0.5) * duration_s / count
        flap = 0.6 + 0.4 * np.sin(2 * np.pi * self.flap_hz * time_s)
        return self.loudness(time_s, duration_s) * flap


def speak(
    voice: Voice,
    emotion: str,
    rng: np.random.Generator,
    duration_s: float,
    phrasing: Phrasing | None = None,
) -> NDArray[np.float32]:
    """Make a few syllables.

    Args:
        voice: who speaks.
        emotion: one of ``MANNERS``.
        rng: generator of vowels, timing and noise.
        duration_s: length of the result.
        phrasing: when it pauses; None draws it.

    Returns:
        (samples,) at 48 kHz, float32 in [-1, 1].
    """
    manner = MANNERS[emotion]
    phrasing = phrasing or Phrasing.drawn(rng, duration_s)
    count = round(duration_s * INNER_RATE_HZ)
    time = np.arange(count) / INNER_RATE_HZ
    tempo = manner.tempo_hz * rng.uniform(0.92, 1.08)
    beat = time * tempo + rng.uniform(0, 0.3)
    syllable = np.floor(beat).astype(int)
    within = beat - syllable
    vowels = VOWELS[rng.integers(len(VOWELS), size=syllable[-1] + 2)] * voice.tract
    envelope = np.sin(np.pi * np.clip(within / 0.85, 0, 1)) ** 0.7
    stress = rng.uniform(0.75, 1.0, syllable[-1] + 1)[syllable]

    pitch = voice.pitch_hz * manner.pitch * rng.uniform(0.95, 1.05)
    contour = manner.glide ** (time / duration_s) * (1 + manner.swing * np.sin(np.pi * within))
    contour *= 1 + manner.tremor * np.sin(2 * np.pi * 9 * time)
    f0 = pitch * contour * (1 + 0.005 * rng.standard_normal(count).cumsum() / np.sqrt(count))

    steps = np.minimum(np.arange(-(-count // STEP) + 1) * STEP, count - 1)
    blend = np.clip((within[steps] - 0.7) / 0.3, 0, 1)[:, None]
    formants = vowels[syllable[steps]] * (1 - blend) + vowels[syllable[steps] + 1] * blend
    tone = _harmonics(f0, f0[steps], formants, manner.brightness)
    level = np.abs(tone).mean()
    noise = rng.standard_normal(count) * level * 2
    burst = rng.standard_normal(count) * (within > 0.9) * 0.3 * level
    sound = (tone * (1 - manner.breath) + manner.breath * noise) * envelope * stress + burst
    sound *= manner.loudness * rng.uniform(0.9, 1.1) / max(np.abs(sound).max(), 1e-9)
    sound *= phrasing.loudness(time, duration_s)
    outer = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return np.clip(np.interp(outer, time, sound) * 0.9, -1, 1).astype(np.float32)


def _harmonics(
    f0: NDArray[np.float64],
    f0_at_steps: NDArray[np.float64],
    formants: NDArray[np.float64],
    brightness: float,
) -> NDArray[np.float64]:
    """Add up harmonics whose strength follows the formants.

    Args:
        f0: (sample,) Hz.
        f0_at_steps: (step,) Hz, every ``STEP`` samples.
        formants: (step, formant) Hz.
        brightness: how slowly the harmonics fall.

    Returns:
        (sample,) not normalised.
    """
    order = np.arange(1, HARMONICS + 1)[:, None]
    hertz = order * f0_at_steps  # (harmonic, step)
    gain = order ** (brightness - 1.6) * _resonance(hertz, formants)
    gain[hertz > 0.45 * INNER_RATE_HZ] = 0
    phase = 2 * np.pi * np.cumsum(f0) / INNER_RATE_HZ
    padded = np.pad(phase, (0, (gain.shape[1] - 1) * STEP - len(phase)), mode="edge")
    phase = padded.reshape(-1, STEP)
    share = np.arange(STEP) / STEP
    # sin((n + 1) x) = 2 cos(x) sin(n x) - sin((n - 1) x)
    doubled, before, now = 2 * np.cos(phase), np.zeros_like(phase), np.sin(phase)
    tone = np.zeros_like(phase)  # (step, sample within the step)
    for strength in gain:
        tone += (strength[:-1, None] + np.diff(strength)[:, None] * share) * now
        before, now = now, doubled * now - before
    return tone.reshape(-1)[: len(f0)]


def _resonance(hertz: NDArray[np.float64], formants: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (harmonic, step) gains of three formants at the frequency of every harmonic."""
    gain = np.full_like(hertz, 0.05)
    for number, width in enumerate(BANDWIDTHS):
        gain += 0.7**number / (1 + ((hertz - formants[:, number]) / width) ** 2)
    return gain
