"""ResNets over faces and log-mels: how their maps become one vector, and how they predict.

For prediction BatchNorm and LoRA are folded into the convolutions: the same numbers with half as
many layers, and without transformers, which takes longer to import than a clip takes to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MEL_CENTRE_DB = -40.0  # a log-mel of speech lies between -100 and 20 dB; HTS-AT has a batch norm
MEL_SPREAD_DB = 20.0  # for this, a ResNet has nothing at its input
MEL_BINS = 64  # of CLAP's front end
EPSILON = 1e-5  # of the BatchNorm of transformers' ResNet
STEM, STEM_STRIDE = 7, 2
STATISTICS = ("weight", "bias", "running_mean", "running_var")


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


def side_of(config: Any, side: int) -> int:
    """Return what is left of a side of the input behind the last stage of a ResNet."""
    stages = len(config.depths) - (0 if config.downsample_in_first_stage else 1)
    for _ in range(2 + stages):  # the stem halves twice, each further stage once
        side = (side + 1) // 2
    return side


def width_of(config: Any, role: str) -> int:
    """Return the width of the vector that a tower of a role (``vision``, ``audio``) gives."""
    width: int = config.hidden_sizes[-1]
    return width if role == "vision" else 2 * width * side_of(config, MEL_BINS)


def foldable(described: Mapping[str, Any]) -> bool:
    """Say whether a tower's configuration is of a ResNet that ``FoldedResNet`` knows, spelled out.

    Args:
        described: as config.json has it.
    """
    choices = {"model_type": ("resnet",), "hidden_act": ("relu",),
               "layer_type": ("basic", "bottleneck"), "downsample_in_first_stage": (False, True),
               "downsample_in_bottleneck": (False, True)}  # fmt: skip
    sizes = [described.get(name) for name in ("num_channels", "embedding_size")]
    lists = [described.get(name) for name in ("depths", "hidden_sizes")]
    if not all(isinstance(found, list) and found for found in lists):
        return False
    return (
        all(described.get(name) in known for name, known in choices.items())
        and all(type(size) is int and size > 0 for size in (*sizes, *lists[0], *lists[1]))
        and len(lists[0]) == len(lists[1])
    )


class FoldedConvolution(nn.Module):
    """A convolution with all that follows it up to the ReLU folded in.

    Args:
        weight: (out, in, kernel, kernel).
        bias: (out,).
        stride: in both directions.
    """

    def __init__(self, weight: Tensor, bias: Tensor, stride: int):
        """Take the weights, channels last: a third faster."""
        super().__init__()
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias)
        self.stride, self.padding = stride, weight.shape[-1] // 2

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve (batch, in, height, width)."""
        return functional.conv2d(inputs, self.weight, self.bias, self.stride, self.padding)


class FoldedBlock(nn.Module):
    """Convolutions with a way round them."""

    def __init__(self, layers: list[FoldedConvolution], shortcut: FoldedConvolution | None):
        """Take the convolutions, and that of the way round them; None: it is straight."""
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.shortcut = shortcut

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (batch, out, height, width), not negative."""
        found = inputs
        for layer in self.layers[:-1]:
            found = layer(found).relu_()
        around = inputs if self.shortcut is None else self.shortcut(inputs)
        return self.layers[-1](found).add_(around).relu_()


class FoldedResNet(nn.Module):
    """A tower for prediction only: (batch, channel, S, S) of faces, or (batch, 1, F, M) in dB.

    Args:
        config: sizes of transformers' ResNet.
        role: ``vision`` or ``audio``.
        state: weights under transformers' names; where LoRA is not merged, ``X.lora_A.weight``
            and ``X.lora_B.weight`` stand beside the ``X.weight`` of every convolution.
        lora: rank and alpha / rank of these; None: there is none.

    Raises:
        KeyError: with the names that are missing or too many.
        ShapeError: if a weight has another shape than the sizes say.
    """

    def __init__(
        self,
        config: Any,
        role: str,
        state: Mapping[str, Tensor],
        lora: tuple[int, float] | None = None,
    ):
        """Fold the weights; they are left as they are."""
        super().__init__()
        self.role = role
        folding = _Folding(state, lora)
        width = config.embedding_size
        self.stem = folding.convolution(
            "embedder.embedder", config.num_channels, width, STEM, STEM_STRIDE
        )
        blocks = []
        for stage, (depth, out) in enumerate(zip(config.depths, config.hidden_sizes, strict=True)):
            halves = stage > 0 or config.downsample_in_first_stage
            for place in range(depth):
                stride = 2 if halves and place == 0 else 1
                name = f"encoder.stages.{stage}.layers.{place}"
                blocks.append(folding.block(name, config, width, out, stride))
                width = out
        self.blocks = nn.ModuleList(blocks)
        folding.finish()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return pooled features (batch, width)."""
        if self.role == "audio":
            inputs = scaled(inputs)
        maps = self.stem(inputs.contiguous(memory_format=torch.channels_last)).relu_()
        maps = functional.max_pool2d(maps, kernel_size=3, stride=2, padding=1)
        for block in self.blocks:
            maps = block(maps)
        if self.role == "vision":
            return pooled_over_space(maps)
        return pooled_over_time(columns_of(maps))


class ShapeError(ValueError):
    """A weight of another shape than the sizes say: its name, its shape, and the right one."""


class _Folding:
    """Takes weights by their names and folds what follows a convolution into it."""

    def __init__(self, state: Mapping[str, Tensor], lora: tuple[int, float] | None):
        self.left, self.lora = dict(state), lora

    def block(self, name: str, config: Any, inputs: int, outputs: int, stride: int) -> FoldedBlock:
        if config.layer_type == "basic":
            sizes = [(inputs, outputs, 3, stride), (outputs, outputs, 3, 1)]
        else:
            inner = outputs // 4
            first, second = (stride, 1) if config.downsample_in_bottleneck else (1, stride)
            sizes = [(inputs, inner, 1, first), (inner, inner, 3, second), (inner, outputs, 1, 1)]
        layers = [self.convolution(f"{name}.layer.{k}", *size) for k, size in enumerate(sizes)]
        around = None
        if inputs != outputs or stride != 1:
            around = self.convolution(f"{name}.shortcut", inputs, outputs, 1, stride)
        return FoldedBlock(layers, around)

    def convolution(
        self, name: str, inputs: int, outputs: int, kernel: int, stride: int
    ) -> FoldedConvolution:
        weight = self._take(f"{name}.convolution.weight", outputs, inputs, kernel, kernel)
        if self.lora is not None:
            rank, scale = self.lora
            down = self._take(f"{name}.convolution.lora_A.weight", rank, inputs, kernel, kernel)
            up = self._take(f"{name}.convolution.lora_B.weight", outputs, rank, 1, 1)
            weight = weight + scale * torch.einsum("orxy,rikl->oikl", up, down)
        gain, shift, mean, variance = (
            self._take(f"{name}.normalization.{what}", outputs) for what in STATISTICS
        )
        self.left.pop(f"{name}.normalization.num_batches_tracked", None)
        factor = gain / (variance + EPSILON).sqrt()
        return FoldedConvolution(
            weight * factor[:, None, None, None], shift - mean * factor, stride
        )

    def _take(self, name: str, *shape: int) -> Tensor:
        if name not in self.left:
            raise KeyError(name)
        found = self.left.pop(name).float()
        if found.shape != shape:
            raise ShapeError(name, tuple(found.shape), shape)
        return found

    def finish(self) -> None:
        if self.left:
            raise KeyError(*self.left)
