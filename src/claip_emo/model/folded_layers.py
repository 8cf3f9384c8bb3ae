"""Layers for prediction in NumPy: convolutions with what follows them folded in, and the head.

Maps lie as (image, row, column, channel): so each window of a convolution is a few straight
stretches of memory, and the convolution one product of matrices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from claip_emo.model import resnet_layout as layout
from claip_emo.model.description import Described, too_many_frames

Array = NDArray[np.float32]
Weights = Mapping[str, Array]

POOL, POOL_STRIDE = 3, 2  # of the maximum behind the stem


class Convolution:
    """A convolution with LoRA and BatchNorm folded in.

    Args:
        place: its sizes and the names of its weights.
        weights: of the tower, under transformers' names.
        lora_scale: alpha / rank of the LoRA among the weights; None: there is none.
    """

    def __init__(self, place: layout.Convolution, weights: Weights, lora_scale: float | None):
        """Fold the weights; they are left as they are."""
        self.kernel, self.stride = place.kernel, place.stride
        weight = weights[f"{place.name}.convolution.weight"]
        if lora_scale is not None:
            down = weights[f"{place.name}.convolution.lora_A.weight"]
            up = weights[f"{place.name}.convolution.lora_B.weight"][:, :, 0, 0]
            weight = weight + np.float32(lora_scale) * np.tensordot(up, down, 1)
        gain, shift, mean, variance = (
            weights[f"{place.name}.normalization.{what}"] for what in layout.STATISTICS
        )
        factor = gain / np.sqrt(variance + np.float32(layout.EPSILON))
        folded = weight * factor[:, None, None, None]  # (out, in, kernel, kernel)
        self.weight = np.ascontiguousarray(folded.transpose(2, 3, 1, 0)).reshape(-1, place.outputs)
        self.bias = shift - mean * factor

    def __call__(self, maps: Array) -> Array:
        """Convolve (image, height, width, in) to (image, ceil(height / stride), ..., out)."""
        windows = windows_of(maps, self.kernel, self.stride)
        found = windows.reshape(-1, len(self.weight)) @ self.weight
        found += self.bias
        return found.reshape(*windows.shape[:3], -1)


class Block:
    """Convolutions with a way round them."""

    def __init__(self, place: layout.Block, weights: Weights, lora_scale: float | None):
        """Fold the weights."""
        self.layers = [Convolution(layer, weights, lora_scale) for layer in place.layers]
        around = place.shortcut
        self.shortcut = Convolution(around, weights, lora_scale) if around is not None else None

    def __call__(self, maps: Array) -> Array:
        """Return (image, height, width, out), not negative."""
        found = maps
        for layer in self.layers[:-1]:
            found = rectified(layer(found))
        found = self.layers[-1](found)
        found += maps if self.shortcut is None else self.shortcut(maps)
        return rectified(found)


class ResNet:
    """A tower without its pooling.

    Args:
        place: its convolutions.
        weights: under transformers' names; where LoRA is not merged, ``X.lora_A.weight`` and
            ``X.lora_B.weight`` stand beside the ``X.weight`` of every convolution.
        lora_scale: alpha / rank of these; None: there are none.
    """

    def __init__(self, place: layout.Layout, weights: Weights, lora_scale: float | None):
        """Fold the weights."""
        self.stem = Convolution(place.stem, weights, lora_scale)
        self.blocks = [Block(block, weights, lora_scale) for block in place.blocks]

    def __call__(self, images: Array) -> Array:
        """Turn (image, height, width, channel) into the maps of the last stage."""
        maps = halved(rectified(self.stem(images)))
        for block in self.blocks:
            maps = block(maps)
        return maps


def windows_of(maps: Array, kernel: int, stride: int) -> Array:
    """Return what a convolution sees, (image, row, column, kernel, kernel, channel); no copy."""
    if kernel == 1:
        return maps[:, ::stride, ::stride, None, None]
    images, height, width, channels = maps.shape
    edge = kernel // 2
    padded = np.zeros((images, height + 2 * edge, width + 2 * edge, channels), maps.dtype)
    padded[:, edge : edge + height, edge : edge + width] = maps
    image, row, column, channel = padded.strides
    return as_strided(
        padded,
        (images, -(-height // stride), -(-width // stride), kernel, kernel, channels),
        (image, row * stride, column * stride, row, column, channel),
        writeable=False,
    )


def halved(maps: Array) -> Array:
    """Take the maximum of 3 x 3 at every second place; maps are not negative."""
    windows = windows_of(maps, POOL, POOL_STRIDE)
    rows = np.maximum(np.maximum(windows[:, :, :, 0], windows[:, :, :, 1]), windows[:, :, :, 2])
    return np.maximum(np.maximum(rows[:, :, :, 0], rows[:, :, :, 1]), rows[:, :, :, 2])


def rectified(values: Array) -> Array:
    """Set what is negative to 0, in place."""
    return np.maximum(values, 0, out=values)


def pooled_over_space(maps: Array) -> Array:
    """Pool (image, height, width, channel) of faces to (image, channel), normalised."""
    return normalised(maps.mean(axis=(1, 2)))


def pooled_over_time(maps: Array) -> Array:
    """Pool (window, time, band, channel) to (window, 2 x channel x band), normalised."""
    pooled = [found.transpose(0, 2, 1) for found in (maps.mean(axis=1), maps.max(axis=1))]
    return normalised(np.concatenate([part.reshape(len(maps), -1) for part in pooled], axis=1))


def normalised(values: Array) -> Array:
    """Bring each row to mean 0 and deviation 1: a layer norm without weights."""
    centred = values - values.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + np.float32(layout.EPSILON))


class Linear:
    """A linear map, with a bias or without."""

    def __init__(self, weights: Weights, name: str):
        """Take ``name.weight`` (out, in) and, where it is there, ``name.bias``."""
        self.weight, self.bias = weights[f"{name}.weight"].T, weights.get(f"{name}.bias")

    def __call__(self, values: Array) -> Array:
        """Map (..., in) to (..., out)."""
        found = values @ self.weight
        return found if self.bias is None else found + self.bias


class Mean:
    """The mean over the frames (``heads.MeanPool``)."""

    def __call__(self, frames: Array) -> Array:
        """Average (batch, time, width) over time to (batch, width)."""
        return frames.mean(axis=1)


class Transformer:
    """The temporal Transformer (``heads.TemporalTransformer``)."""

    def __init__(self, weights: Weights, heads: int):
        """Take the weights."""
        self.heads = heads
        self.cls, self.positions = weights["cls_token"], weights["position_embedding"]
        self.attention_norm, self.mlp_norm = (
            (weights[f"{name}.weight"], weights[f"{name}.bias"])
            for name in ("attention_norm", "mlp_norm")
        )
        self.qkv, self.attention_out, self.mlp_in, self.mlp_out = (
            Linear(weights, name) for name in ("qkv", "attention_out", "mlp_in", "mlp_out")
        )

    @classmethod
    def shapes(cls, config: Described, width: int) -> dict[str, tuple[int, ...]]:
        """Return the names of its weights and their shapes."""
        inner, mlp = config.temporal_heads * config.temporal_head_dim, config.temporal_mlp_dim
        norms = {
            f"{name}.{what}": (width,)
            for name in ("attention_norm", "mlp_norm")
            for what in ("weight", "bias")
        }
        return {
            "cls_token": (1, 1, width),
            "position_embedding": (1, config.num_frames + 1, width),
            "qkv.weight": (3 * inner, width),
            "attention_out.weight": (width, inner),
            "attention_out.bias": (width,),
            "mlp_in.weight": (mlp, width),
            "mlp_in.bias": (mlp,),
            "mlp_out.weight": (width, mlp),
            "mlp_out.bias": (width,),
            **norms,
        }

    def __call__(self, frames: Array) -> Array:
        """Return the CLS token after attending to the frames: (batch, time, width) to (B, width).

        Raises:
            ValueError: for more frames than the table of positions was made for.
        """
        tokens, weights, value = self._attended(frames)
        row = tokens[:, 0] + self.attention_out((weights @ value).reshape(len(frames), -1))
        return row + self.mlp_out(gelu(self.mlp_in(_scaled(row, *self.mlp_norm))))

    def attention(self, frames: Array) -> Array:
        """Return how the CLS token attends to (batch, time, width), over the heads: (batch, time).

        Raises:
            ValueError: for more frames than the table of positions was made for.
        """
        _, weights, _ = self._attended(frames)
        return weights[:, :, 0, 1:].mean(axis=1)

    def _attended(self, frames: Array) -> tuple[Array, Array, Array]:
        """Return tokens (B, 1 + T, D), the CLS's attention (B, heads, 1, 1 + T), and values."""
        batch, time, width = frames.shape
        if time >= (rows := self.positions.shape[1]):
            raise too_many_frames(time, rows)
        cls = np.broadcast_to(self.cls, (batch, 1, width))
        tokens = np.concatenate([cls, frames], axis=1) + self.positions[:, : time + 1]
        qkv = self.qkv(_scaled(tokens, *self.attention_norm))
        qkv = qkv.reshape(batch, time + 1, 3, self.heads, -1).transpose(2, 0, 3, 1, 4)
        query, key, value = qkv[0][:, :, :1], qkv[1], qkv[2]  # (B, heads, 1 or 1 + T, head_dim)
        scale = np.float32(1 / math.sqrt(query.shape[-1]))
        return tokens, softmax(query @ key.swapaxes(-1, -2) * scale), value


def softmax(values: Array) -> Array:
    """Return exponentials whose sum over the last axis is 1."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def gelu(values: Array) -> Array:
    """Return GELU by its tanh approximation."""
    inner = np.float32(math.sqrt(2 / math.pi)) * (values + np.float32(0.044715) * values**3)
    return np.float32(0.5) * values * (1 + np.tanh(inner))


def _scaled(values: Array, weight: Array, bias: Array) -> Array:
    return normalised(values) * weight + bias
