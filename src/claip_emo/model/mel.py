"""Banks of mel filters, as CLAP's front end has them: HTK's and Slaney's."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from claip_emo.model.processor_settings import ProcessorSettings

HTK_FACTOR, HTK_BREAK_HZ = 2595.0, 700.0
SLANEY_HZ = 200 / 3  # per mel, up to a kilohertz
SLANEY_BREAK_HZ, SLANEY_BREAK_MEL = 1000.0, 15.0
SLANEY_STEP = math.log(6.4) / 27  # per mel, above


def mel_filters(settings: ProcessorSettings) -> Tensor:
    """Return the triangles of a processor's settings, (frequency, mel), float64.

    ``fusion`` is HTK's scale, ``rand_trunc`` Slaney's with triangles of equal area.
    """
    htk = settings.mel_mode == "fusion"
    low, high = (
        _to_mel(torch.tensor(hz, dtype=torch.float64), htk)
        for hz in (settings.mel_min_hz, settings.mel_max_hz)
    )
    steps = torch.arange(settings.mel_bins + 2, dtype=torch.float64) / (settings.mel_bins + 1)
    corners = _to_hz(low + (high - low) * steps, htk)
    bins = torch.arange(settings.fft_size // 2 + 1, dtype=torch.float64)
    frequencies = bins * settings.sampling_rate_hz / settings.fft_size
    below, above = corners[:-2], corners[2:]
    rising = (frequencies[:, None] - below) / (corners[1:-1] - below)
    falling = (above - frequencies[:, None]) / (above - corners[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    return filters if htk else filters * 2 / (above - below)


def _to_mel(hz: Tensor, htk: bool) -> Tensor:
    if htk:
        return HTK_FACTOR * (1 + hz / HTK_BREAK_HZ).log10()
    curved = SLANEY_BREAK_MEL + (hz / SLANEY_BREAK_HZ).log() / SLANEY_STEP
    return torch.where(hz < SLANEY_BREAK_HZ, hz / SLANEY_HZ, curved)


def _to_hz(mel: Tensor, htk: bool) -> Tensor:
    if htk:
        return HTK_BREAK_HZ * (10 ** (mel / HTK_FACTOR) - 1)
    curved = SLANEY_BREAK_HZ * (SLANEY_STEP * (mel - SLANEY_BREAK_MEL)).exp()
    return torch.where(mel < SLANEY_BREAK_MEL, mel * SLANEY_HZ, curved)
