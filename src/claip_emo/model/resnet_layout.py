"""ResNets over faces and log-mels as transformers' configuration describes them: sizes and names.

Needs no library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MEL_CENTRE_DB = -40.0  # a log-mel of speech lies between -100 and 20 dB; HTS-AT has a batch norm
MEL_SPREAD_DB = 20.0  # for this, a ResNet has nothing at its input
MEL_BINS = 64  # of CLAP's front end
EPSILON = 1e-5  # of the BatchNorm of transformers' ResNet, and of the layer norm behind
STEM, STEM_STRIDE = 7, 2
STATISTICS = ("weight", "bias", "running_mean", "running_var")
KNOWN = {"model_type": ("resnet",), "hidden_act": ("relu",), "layer_type": ("basic", "bottleneck"),
         "downsample_in_first_stage": (False, True),
         "downsample_in_bottleneck": (False, True)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution with its BatchNorm.

    Attributes:
        name: what the names of its weights begin with.
        inputs: channels.
        outputs: channels.
        kernel: its side; half of it, rounded down, is padded with zeros on each side.
        stride: in both directions.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int
    stride: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names of its weights and their shapes."""
        side = self.kernel, self.kernel
        return {
            f"{self.name}.convolution.weight": (self.outputs, self.inputs, *side),
            **{f"{self.name}.normalization.{what}": (self.outputs,) for what in STATISTICS},
            f"{self.name}.normalization.num_batches_tracked": (),
        }

    def lora_shapes(self, rank: int) -> dict[str, tuple[int, ...]]:
        """The names of the weights that LoRA puts beside it, and their shapes."""
        side = self.kernel, self.kernel
        return {
            f"{self.name}.convolution.lora_A.weight": (rank, self.inputs, *side),
            f"{self.name}.convolution.lora_B.weight": (self.outputs, rank, 1, 1),
        }


@dataclass(frozen=True, slots=True)
class Block:
    """Convolutions one after the other, and the one on the way round them; None: it is straight."""

    layers: tuple[Convolution, ...]
    shortcut: Convolution | None


@dataclass(frozen=True, slots=True)
class Layout:
    """The convolutions of a ResNet: the stem, behind which maps are halved again, and blocks."""

    stem: Convolution
    blocks: tuple[Block, ...]

    @property
    def convolutions(self) -> list[Convolution]:
        """All of them."""
        around = [block.shortcut for block in self.blocks if block.shortcut is not None]
        return [self.stem, *(layer for block in self.blocks for layer in block.layers), *around]


def layout_of(config: Any) -> Layout:
    """Return the convolutions of a configuration that ``is_known``."""
    stem = Convolution(
        "embedder.embedder", config.num_channels, config.embedding_size, STEM, STEM_STRIDE
    )
    blocks, width = [], config.embedding_size
    for stage, (depth, out) in enumerate(zip(config.depths, config.hidden_sizes, strict=True)):
        halves = stage > 0 or config.downsample_in_first_stage
        for place in range(depth):
            stride = 2 if halves and place == 0 else 1
            blocks.append(
                _block(f"encoder.stages.{stage}.layers.{place}", config, width, out, stride)
            )
            width = out
    return Layout(stem, tuple(blocks))


def _block(name: str, config: Any, inputs: int, outputs: int, stride: int) -> Block:
    if config.layer_type == "basic":
        sizes = [(inputs, outputs, 3, stride), (outputs, outputs, 3, 1)]
    else:
        inner = outputs // 4
        first, second = (stride, 1) if config.downsample_in_bottleneck else (1, stride)
        sizes = [(inputs, inner, 1, first), (inner, inner, 3, second), (inner, outputs, 1, 1)]
    layers = tuple(Convolution(f"{name}.layer.{k}", *size) for k, size in enumerate(sizes))
    around = inputs != outputs or stride != 1
    return Block(
        layers, Convolution(f"{name}.shortcut", inputs, outputs, 1, stride) if around else None
    )


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


def is_known(described: Mapping[str, Any]) -> bool:
    """Say whether a tower's configuration is of a ResNet that ``layout_of`` knows, spelled out.

    Args:
        described: as config.json has it.
    """
    sizes = [described.get(name) for name in ("num_channels", "embedding_size")]
    lists = [described.get(name) for name in ("depths", "hidden_sizes")]
    if not all(isinstance(found, list) and found for found in lists):
        return False
    return (
        all(described.get(name) in known for name, known in KNOWN.items())
        and all(type(size) is int and size > 0 for size in (*sizes, *lists[0], *lists[1]))
        and len(lists[0]) == len(lists[1])
    )
