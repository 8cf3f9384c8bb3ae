"""Towers as ONNX graphs: CLIP's vision transformer and ResNets; HTS-AT has ``graph_htsat``.

Each mirrors what predicts: ``clip_vit.PackedCLIPVision`` in torch, and ``folded_layers.ResNet`` in
NumPy, whose convolutions have LoRA and BatchNorm folded in.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto
from torch import nn
from transformers import PreTrainedConfig

from claip_emo.model import folded_layers as folded
from claip_emo.model.clip_vit import PackedCLIPVision
from claip_emo.model.description import TowerError
from claip_emo.model.graph import Graph, GraphPrecision, array_of, attend
from claip_emo.model.graph_htsat import htsat_graph
from claip_emo.model.htsat import PackedHTSAT
from claip_emo.model.resnet_layout import (
    EPSILON,
    MEL_CENTRE_DB,
    MEL_SPREAD_DB,
    is_known,
    layout_of,
    width_of,
)

PIXELS, MEL, FEATURES = "pixels", "mel", "features"


def vision_graph(
    tower: nn.Module, shape: tuple[int, int, int], precision: GraphPrecision
) -> ModelProto:
    """Return a graph from ``pixels`` (frame, channel, S, S) to ``features`` (frame, width).

    Args:
        tower: merged, as ``ClaipEmoModel.merge`` leaves it.
        shape: channel, S, S.
        precision: of products with weights.

    Raises:
        TowerError: if the architecture has no graph.
    """
    graph = Graph("vision", precision)
    pixels = graph.input(PIXELS, "frame", *shape)
    if isinstance(tower, PackedCLIPVision):
        features, width = _clip(graph, pixels, tower), tower.config.hidden_size
    else:
        maps = _resnet(graph, pixels, tower)
        features, width = _normalised(graph, graph.mean(maps, 2, 3), tower.config, "vision")
    return graph.model(**{FEATURES: (features, ("frame", width))})


def audio_graph(tower: nn.Module, shape: tuple[int, int], precision: GraphPrecision) -> ModelProto:
    """Return a graph from ``mel`` (window, 1, time, mel) in dB to ``features`` (window, width).

    Args:
        tower: merged, as ``ClaipEmoModel.merge`` leaves it.
        shape: time, mel.
        precision: of products with weights.

    Raises:
        TowerError: if the architecture has no graph.
    """
    graph = Graph("audio", precision)
    mel = graph.input(MEL, "window", 1, *shape)
    if isinstance(tower, PackedHTSAT):
        features, width = htsat_graph(graph, mel, tower, shape)
    else:
        centred = graph("Sub", mel, np.float32(MEL_CENTRE_DB))
        maps = _resnet(graph, graph("Div", centred, np.float32(MEL_SPREAD_DB)), tower)
        features, width = _over_time(graph, maps, tower.config)
    return graph.model(**{FEATURES: (features, ("window", width))})


def _clip(graph: Graph, pixels: str, tower: PackedCLIPVision) -> str:
    config = tower.config
    size, width = config.patch_size, config.hidden_size
    kernel = array_of(tower.patches.weight).reshape(width, -1, size, size)
    patches = graph("Conv", pixels, kernel, strides=[size, size])
    patches = graph("Transpose", graph.reshape(patches, 0, width, -1), perm=[0, 2, 1])
    table = array_of(tower.positions).copy()
    table[0] += array_of(tower.cls)
    tokens = graph("Add", graph.pad(patches, (0, 1, 0), (0, 0, 0)), table)  # (frame, 1 + patch, D)
    hidden = graph.norm(tokens, tower.before)
    for layer in tower.layers:
        hidden = _clip_layer(graph, hidden, layer, cls_only=layer is tower.layers[-1])
    return graph.norm(graph.reshape(hidden, 0, width), tower.after)


def _clip_layer(graph: Graph, hidden: str, layer: nn.Module, *, cls_only: bool) -> str:
    normed = asking = graph.norm(hidden, layer.norm1)
    if cls_only:  # nothing else is read of the last layer
        hidden, asking = (graph.first(tokens) for tokens in (hidden, normed))
    query, both = graph.apply(asking, layer.query), graph.apply(normed, layer.key_value)
    key, value = graph.several("Split", 2, both, axis=-1, num_outputs=2)
    width = len(layer.query.weight)
    mixed, _ = attend(graph, query, key, value, layer.heads, width=width)
    hidden = graph("Add", hidden, graph.apply(mixed, layer.out))
    normed = graph.norm(hidden, layer.norm2)
    return graph("Add", hidden, graph.mlp(normed, layer.up, layer.activation, layer.down))


def _resnet(graph: Graph, images: str, tower: nn.Module) -> str:
    """Return the maps of the last stage, (image, channel, height, width)."""
    config: PreTrainedConfig = tower.config
    if not is_known(config.to_dict()):
        raise TowerError(f"A {config.model_type} tower of these settings has no ONNX graph.")
    weights = {name: array_of(value) for name, value in tower.state_dict().items()}
    net = folded.ResNet(layout_of(config), weights, None)
    maps = graph("Relu", _convolved(graph, images, net.stem))
    maps = graph("MaxPool", maps, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for block in net.blocks:
        maps = _block(graph, maps, block)
    return maps


def _block(graph: Graph, maps: str, block: folded.Block) -> str:
    found = maps
    for layer in block.layers[:-1]:
        found = graph("Relu", _convolved(graph, found, layer))
    found = _convolved(graph, found, block.layers[-1])
    around = maps if block.shortcut is None else _convolved(graph, maps, block.shortcut)
    return graph("Relu", graph("Add", found, around))


def _convolved(graph: Graph, maps: str, layer: folded.Convolution) -> str:
    side, outputs = layer.kernel, len(layer.bias)
    kernel = layer.weight.reshape(side, side, -1, outputs).transpose(3, 2, 0, 1)
    return graph.convolution(maps, kernel, layer.bias, stride=layer.stride)


def _over_time(graph: Graph, maps: str, config: PreTrainedConfig) -> tuple[str, int]:
    """Pool maps (window, channel, time, band): mean and maximum over time."""
    columns = graph("Transpose", maps, perm=[0, 1, 3, 2])
    columns = graph.reshape(columns, 0, width_of(config, "audio") // 2, -1)
    largest = graph("ReduceMax", columns, np.array([-1]), keepdims=0)
    pooled = graph("Concat", graph.mean(columns, -1), largest, axis=-1)
    return _normalised(graph, pooled, config, "audio")


def _normalised(graph: Graph, pooled: str, config: PreTrainedConfig, role: str) -> tuple[str, int]:
    width = width_of(config, role)
    ones = np.ones(width, np.float32)
    return graph("LayerNormalization", pooled, ones, axis=-1, epsilon=EPSILON), width
