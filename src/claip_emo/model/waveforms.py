"""Waveforms before their log-mel: silence cut off, level set, filled up, divided into windows.

All on the device and in batches; what a checkpoint does not ask for is not done.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from claip_emo.model.processor_settings import FRAME_S, KEPT_S, LOWEST_RMS


def trimmed(
    waveforms: Tensor, lengths: Tensor, *, rate_hz: int, below_db: float
) -> tuple[Tensor, Tensor]:
    """Cut off silence at both ends: what lies so far below the loudest 20 ms.

    Args:
        waveforms: (batch, samples).
        lengths: (batch,), valid samples of each.
        rate_hz: samples per second.
        below_db: decibels below the loudest 20 ms at which silence begins, above 0.

    Returns:
        Waveforms, moved to the front, zeros behind; and their lengths.
    """
    frame, kept = max(1, round(FRAME_S * rate_hz)), round(KEPT_S * rate_hz)
    place = torch.arange(waveforms.shape[1], device=waveforms.device)[None]  # (1, samples)
    heard = torch.where(place < lengths[:, None], waveforms, waveforms.new_zeros(()))
    power = _framed(heard, frame).square().mean(dim=-1)  # (B, frame)
    loud = power >= power.amax(dim=1, keepdim=True) * 10 ** (-below_db / 10)
    count = loud.shape[1]
    order = torch.arange(count, device=loud.device)
    first = torch.where(loud, order, count).amin(dim=1)
    last = torch.where(loud, order, -1).amax(dim=1)
    begin = (first * frame - kept).clamp(min=0)
    end = torch.minimum((last + 1) * frame + kept, lengths)
    shorter = (end - begin).clamp(min=0)
    source = (place + begin[:, None]).clamp(max=waveforms.shape[1] - 1)
    moved = torch.where(place < shorter[:, None], heard.gather(1, source), heard.new_zeros(()))
    return moved, shorter


def levelled(waveforms: Tensor, lengths: Tensor, *, rms: float) -> Tensor:
    """Bring each waveform (batch, samples) to a root mean square over its valid samples."""
    place = torch.arange(waveforms.shape[1], device=waveforms.device)[None]
    heard = torch.where(place < lengths[:, None], waveforms, waveforms.new_zeros(()))
    own = (heard.square().sum(dim=1) / lengths.clamp(min=1)).sqrt()
    return heard * (rms / own.clamp(min=LOWEST_RMS))[:, None]


def filled(waveforms: Tensor, lengths: Tensor, *, samples: int, tiled: bool) -> Tensor:
    """Cut to a length; repeat what is shorter.

    Args:
        waveforms: (batch, samples).
        lengths: (batch,), valid samples of each.
        samples: of the result.
        tiled: repeat up to the end; else whole times and then zeros, as CLAP's ``repeatpad``.

    Returns:
        (batch, ``samples``).
    """
    lengths = lengths.clamp(max=min(samples, waveforms.shape[1]))[:, None]  # (B, 1)
    place = torch.arange(samples, device=waveforms.device)[None]  # (1, samples)
    repeated = place % lengths.clamp(min=1)
    whole = lengths * (samples // lengths.clamp(min=1))
    valid = (lengths > 0).expand(-1, samples) if tiled else place < whole
    return torch.where(valid, waveforms.gather(1, repeated), waveforms.new_zeros(()))


def windowed(waveforms: Tensor, *, window: int, count: int) -> Tensor:
    """Divide (batch, samples) into windows at even distances, (batch, count, window)."""
    if count == 1:
        return waveforms[:, None, :window]
    last = waveforms.shape[1] - window
    starts = [round(last * place / (count - 1)) for place in range(count)]
    return torch.stack([waveforms[:, start : start + window] for start in starts], dim=1)


def _framed(waveforms: Tensor, frame: int) -> Tensor:
    """Divide (batch, samples) into (batch, frames, frame), zeros behind the end."""
    missing = -waveforms.shape[1] % frame
    return torch.nn.functional.pad(waveforms, (0, missing)).unflatten(1, (-1, frame))


def over_windows(encode: Callable[[Tensor], Tensor], mels: Tensor) -> Tensor:
    """Encode each window of (batch, window, time, mel) and average to (batch, width)."""
    batch, windows = mels.shape[:2]
    if windows == 1:
        return encode(mels)
    return encode(mels.flatten(0, 1).unsqueeze(1)).unflatten(0, (batch, windows)).mean(dim=1)
