"""Banks of mel filters, as CLAP's front end has them: HTK's and Slaney's."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from claip_emo.model.processor_settings import ProcessorSettings

MEL_FLOOR = 1e-10  # ClapFeatureExtractor's smallest power, -100 dB
HTK_FACTOR, HTK_BREAK_HZ = 2595.0, 700.0
SLANEY_HZ = 200 / 3  # per mel, up to a kilohertz
SLANEY_BREAK_HZ, SLANEY_BREAK_MEL = 1000.0, 15.0
SLANEY_STEP = math.log(6.4) / 27  # per mel, above

Numbers = NDArray[np.float64]


def mel_filters(settings: ProcessorSettings) -> Numbers:
    """Return the triangles of a processor's settings, (frequency, mel).

    ``fusion`` is HTK's scale, ``rand_trunc`` Slaney's with triangles of equal area.
    """
    htk = settings.mel_mode == "fusion"
    low, high = _to_mel(np.array([settings.mel_min_hz, settings.mel_max_hz]), htk)
    corners = _to_hz(np.linspace(low, high, settings.mel_bins + 2), htk)
    bins = np.arange(settings.fft_size // 2 + 1)
    frequencies = bins * (settings.sampling_rate_hz / settings.fft_size)
    below, above = corners[:-2], corners[2:]
    rising = (frequencies[:, None] - below) / (corners[1:-1] - below)
    falling = (above - frequencies[:, None]) / (above - corners[1:-1])
    filters = np.maximum(np.minimum(rising, falling), 0)
    return filters if htk else filters * 2 / (above - below)


def _to_mel(hz: Numbers, htk: bool) -> Numbers:
    if htk:
        return HTK_FACTOR * np.log10(1 + hz / HTK_BREAK_HZ)
    curved = SLANEY_BREAK_MEL + np.log(np.maximum(hz, 1) / SLANEY_BREAK_HZ) / SLANEY_STEP
    return np.where(hz < SLANEY_BREAK_HZ, hz / SLANEY_HZ, curved)


def _to_hz(mel: Numbers, htk: bool) -> Numbers:
    if htk:
        return HTK_BREAK_HZ * (10 ** (mel / HTK_FACTOR) - 1)
    curved = SLANEY_BREAK_HZ * np.exp(SLANEY_STEP * (mel - SLANEY_BREAK_MEL))
    return np.where(mel < SLANEY_BREAK_MEL, mel * SLANEY_HZ, curved)
