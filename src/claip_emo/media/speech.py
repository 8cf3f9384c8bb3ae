"""Whether somebody speaks in a sound: parts with a pitch that moves, as voices have it.

Music and animals can have that too: what is told reliably is that nobody speaks, not that somebody
does.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000  # about; of the samples that are looked at
FRAME_S, HOP_S = 0.04, 0.02
PITCH_HZ = 70.0, 400.0
PERIODIC = 0.5  # autocorrelation, of the power, at the period of a voice
NEARLY = 0.9  # of the best period's
ONE_PEAK = 1.25  # times the shortest period that fits: the peak itself is not further
VALLEY = 0.2  # autocorrelation between one period and the next
QUIET_DB = 35.0  # below the loudest frame
FAINT = 3e-4  # root mean square, -70 dB
LEAST_VOICED_S = 0.2
LEAST_MOTION = 0.2  # semitones, standard deviation; tones and hum: up to 0.17, a level voice 0.22


def has_speech(samples: NDArray[np.float32], rate_hz: int) -> bool:
    """Say whether a sound (samples,), in [-1, 1], has somebody speaking in it."""
    pitches = pitches_of(samples, rate_hz)
    if len(pitches) * HOP_S < LEAST_VOICED_S:
        return False
    return float(np.std(12 * np.log2(pitches))) > LEAST_MOTION


def pitches_of(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
    """Return the pitch in Hz of every frame that has one, (voiced,)."""
    thinner = max(1, rate_hz // RATE_HZ)
    rate = rate_hz / thinner
    whole = len(samples) // thinner * thinner
    thin = samples[:whole].reshape(-1, thinner).mean(axis=1)
    length, hop = round(FRAME_S * rate), round(HOP_S * rate)
    if len(thin) < length:
        return np.zeros(0)
    frames = np.lib.stride_tricks.sliding_window_view(thin, length)[::hop]
    frames = frames - frames.mean(axis=1, keepdims=True)
    level = np.sqrt(np.square(frames).mean(axis=1))
    loud = level >= max(float(level.max()) * 10 ** (-QUIET_DB / 20), FAINT)
    spectrum = np.fft.rfft(frames[loud], 2 * length)
    likeness = np.fft.irfft(np.square(np.abs(spectrum)))[:, :length]
    likeness /= np.maximum(likeness[:, :1], 1e-12)
    likeness /= 1 - np.arange(length) / length  # fewer samples overlap the later they are
    first, last = math.floor(rate / PITCH_HZ[1]), math.ceil(rate / PITCH_HZ[0])
    within = likeness[:, first : min(last, length // 2 + hop)]
    # The peak of the shortest period that fits nearly best: of a tone every multiple fits.
    fitting = within >= np.maximum(NEARLY * within.max(axis=1, keepdims=True), PERIODIC)
    shortest = fitting.argmax(axis=1)
    lags = np.arange(within.shape[1])
    of_it = (lags >= shortest[:, None]) & (lags < ONE_PEAK * (first + shortest[:, None]) - first)
    period = np.where(of_it, within, -1).argmax(axis=1)
    dips = likeness[:, : first + within.shape[1]].min(axis=1) < VALLEY  # before a peak
    voiced = fitting.any(axis=1) & (shortest > 0) & dips
    return np.asarray(rate / (first + period[voiced]), np.float64)
