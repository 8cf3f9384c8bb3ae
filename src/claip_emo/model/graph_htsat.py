"""HTS-AT as an ONNX graph, as ``htsat.PackedHTSAT`` computes it, but with samples outermost."""

from __future__ import annotations

import numpy as np
from torch import nn

from claip_emo.model.graph import Array, Graph, array_of, attend
from claip_emo.model.htsat import PackedHTSAT
from claip_emo.model.htsat_windows import Windows

BICUBIC = {  # Keys's kernel as torch has it
    "mode": "cubic",
    "cubic_coeff_a": -0.75,
    "coordinate_transformation_mode": "align_corners",
}


def htsat_graph(
    graph: Graph, mel: str, tower: PackedHTSAT, shape: tuple[int, int]
) -> tuple[str, int]:
    """Add the tower to a graph.

    Args:
        graph: what the nodes are added to.
        mel: (window, 1, time, mel) in dB.
        tower: packed in float32.
        shape: time, mel.

    Returns:
        The mean over its tokens, (window, width), and the width.
    """
    width = tower.patches.out_channels
    image = _image(graph, _batch_normed(graph, mel, tower.batch_norm), tower, shape)
    tokens = _patches(graph, image, tower.patches)
    tokens = graph.norm(tokens, tower.patch_norm)
    for place, (windows, blocks) in enumerate(zip(tower.windows, tower.stages, strict=True)):
        tokens = _stage(graph, tokens, windows, blocks, width)
        if place < len(tower.merges):
            norm, reduction = tower.merges[place]
            joined = graph.norm(_quadrupled(graph, tokens, windows, width), norm)
            tokens = graph.apply(joined, reduction)
            width = len(reduction.weight)
    return graph.mean(graph.norm(tokens, tower.norm), 1), width


def _batch_normed(graph: Graph, mel: str, layer: nn.BatchNorm2d) -> str:
    """Apply a batch norm whose channels are mel bins."""
    factor = layer.weight / (layer.running_var + layer.eps).sqrt()
    return graph("Add", graph("Mul", mel, factor), layer.bias - layer.running_mean * factor)


def _image(graph: Graph, mel: str, tower: PackedHTSAT, shape: tuple[int, int]) -> str:
    """Fold a mel to a square, stretches of time under each other."""
    config = tower.config
    folds = config.spec_size // config.num_mel_bins
    length, height = config.spec_size * folds, config.spec_size // folds
    if shape != (length, height):
        mel = graph("Resize", mel, "", "", np.array([length, height]), axes=[2, 3], **BICUBIC)
    folded = graph.reshape(mel, 0, folds, length // folds, height)
    folded = graph("Transpose", folded, perm=[0, 1, 3, 2])
    return graph.reshape(folded, 0, 1, config.spec_size, length // folds)


def _patches(graph: Graph, image: str, layer: nn.Conv2d) -> str:
    """Return tokens (window, height * width, width)."""
    pads = [*layer.padding, *layer.padding]
    maps = graph("Conv", image, layer.weight, layer.bias, strides=list(layer.stride), pads=pads)
    return graph("Transpose", graph.reshape(maps, 0, layer.out_channels, -1), perm=[0, 2, 1])


def _stage(graph: Graph, tokens: str, windows: Windows, blocks: nn.ModuleList, width: int) -> str:
    """Return the tokens (window, height * width, width) behind the blocks of a stage."""
    orders = {shift: array_of(order) for shift, order in windows.orders.items()}
    stream, order = _padded(graph, tokens, windows, width), np.arange(orders[0].size)
    for block in blocks:
        wanted = orders[block.shift]
        stream = graph.reshape(_ordered(graph, stream, order, wanted), 0, *wanted.shape, width)
        stream = _block(graph, stream, windows, block, width)
        stream, order = graph.reshape(stream, 0, -1, width), wanted
    return _cropped(graph, _ordered(graph, stream, order, np.arange(order.size)), windows, width)


def _ordered(graph: Graph, stream: str, order: Array, wanted: Array) -> str:
    """Bring tokens from one order into another; each says which token of the grid lies where."""
    places = np.argsort(order, axis=None)[wanted.flatten()]
    if np.array_equal(places, np.arange(places.size)):
        return stream
    return graph("Gather", stream, places, axis=1)


def _block(graph: Graph, stream: str, windows: Windows, block: nn.Module, width: int) -> str:
    """Return the stream (sample, window, token, width) behind one block."""
    normed = graph.norm(stream, block.norm_before)
    if block.real is not None:
        normed = graph("Mul", normed, array_of(block.real)[:, 0])
    joined = graph.apply(normed, block.query_key_value)
    asked = graph.several("Split", 3, joined, axis=-1, num_outputs=3)
    kinds = np.repeat(np.arange(len(block.bias)), windows.counts(block.shift))
    bias = graph("Gather", block.bias, kinds, axis=0) if len(block.bias) > 1 else block.bias
    mixed, _ = attend(graph, *asked, block.heads, width=width, axes=2, bias=bias)
    stream = graph("Add", stream, graph.apply(mixed, block.out))
    normed = graph.norm(stream, block.norm_after)
    return graph("Add", stream, graph.mlp(normed, block.up, block.activation, block.down))


def _padded(graph: Graph, tokens: str, windows: Windows, width: int) -> str:
    """Fill (sample, height * width, channels) with zeros up to whole windows."""
    if not windows.real:
        return tokens
    height, breadth = windows.padded
    grid = graph.reshape(tokens, 0, windows.height, windows.width, width)
    filled = (0, height - windows.height, breadth - windows.width, 0)
    return graph.reshape(graph.pad(grid, (0, 0, 0, 0), filled), 0, height * breadth, width)


def _cropped(graph: Graph, tokens: str, windows: Windows, width: int) -> str:
    """Take away what ``_padded`` added."""
    if not windows.real:
        return tokens
    grid = graph.reshape(tokens, 0, *windows.padded, width)
    ends = np.array([windows.height, windows.width])
    grid = graph("Slice", grid, np.zeros(2, np.int64), ends, np.array([1, 2]))
    return graph.reshape(grid, 0, windows.height * windows.width, width)


def _quadrupled(graph: Graph, tokens: str, windows: Windows, width: int) -> str:
    """Join squares of four tokens, columns outermost: (sample, token / 4, 4 * width)."""
    height, breadth = windows.height // 2, windows.width // 2
    squares = graph.reshape(tokens, 0, height, 2, breadth, 2, width)
    squares = graph("Transpose", squares, perm=[0, 1, 3, 4, 2, 5])
    return graph.reshape(squares, 0, height * breadth, 4 * width)
