"""How the maps of a ResNet over faces or log-mels become one vector, with torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from claip_emo.model.resnet_layout import MEL_CENTRE_DB, MEL_SPREAD_DB


def scaled(mel: Tensor) -> Tensor:
    """Bring a log-mel in dB to about mean 0 and deviation 1."""
    return (mel - MEL_CENTRE_DB) / MEL_SPREAD_DB


def pooled_over_space(maps: Tensor) -> Tensor:
    """Pool (batch, channel, height, width) of faces to (batch, channel).

    Normalised as CLIP's pooled output is: the temporal module's positions are N(0, 1).
    """
    pooled = maps.mean(dim=(-2, -1))
    return functional.layer_norm(pooled, pooled.shape[-1:])


def columns_of(maps: Tensor) -> Tensor:
    """Lay out maps (batch, channel, time, band) over time, (batch, channel x band, time).

    The coarse frequency axis is kept: pitch lives there.
    """
    return maps.permute(0, 1, 3, 2).flatten(1, 2)


def pooled_over_time(columns: Tensor) -> Tensor:
    """Pool mean and maximum over time, (batch, 2 x channel x band)."""
    pooled = torch.cat([columns.mean(dim=-1), columns.amax(dim=-1)], dim=-1)
    return functional.layer_norm(pooled, pooled.shape[-1:])
