"""The temporal module and the fusion head as ONNX graphs; what they compute stands in ``heads``."""

from __future__ import annotations

import numpy as np
import torch
from onnx import ModelProto
from torch import nn

from claip_emo.model.graph import Array, Graph, array_of, attend
from claip_emo.model.heads import (
    ConcatFusion,
    CrossAttentionFusion,
    GatedFusion,
    LstmPool,
    MeanPool,
    SumFusion,
    TemporalTransformer,
)

FRAMES, VIDEO, AUDIO, ATTENTION, LOGITS = "frames", "video", "audio", "attention", "logits"
END = np.iinfo(np.int64).max  # of whatever length


def temporal_graph(module: nn.Module, width: int) -> ModelProto:
    """Return a graph from ``frames`` (batch, time, width) to ``video`` (batch, width).

    Of a Transformer the graph also gives ``attention`` (batch, time): how much the CLS token looks
    at each frame, averaged over heads; what is left to 1 is itself.
    """
    graph = Graph("temporal")
    frames = graph.input(FRAMES, "batch", "time", width)
    outputs = {}
    if isinstance(module, MeanPool):
        video = graph.mean(frames, 1)
    elif isinstance(module, LstmPool):
        video = _lstm(graph, frames, module.lstm)
    else:
        video, shares = _transformer(graph, frames, module)
        outputs = {ATTENTION: (shares, ("batch", "time"))}
    return graph.model(**{VIDEO: (video, ("batch", width))}, **outputs)


def _transformer(graph: Graph, frames: str, module: TemporalTransformer) -> tuple[str, str]:
    padded = graph.pad(frames, (0, 1, 0), (0, 0, 0))  # (B, 1 + T, D), zeros for the CLS token
    table = array_of(module.position_embedding).copy()
    table[:, :1] += array_of(module.cls_token)
    length = graph("Shape", padded, start=1, end=2)
    places = graph("Slice", table, _whole(0), length, _whole(1))
    tokens = graph("Add", padded, places)
    normed = graph.norm(tokens, module.attention_norm)
    query, key, value = module.qkv.weight.chunk(3)
    mixed, shares = attend(
        graph,
        graph.linear(graph.first(normed), query),  # only the CLS is read out
        graph.linear(normed, key),
        graph.linear(normed, value),
        module.heads,
        width=len(query),
    )
    cls = graph("Add", graph.first(tokens), graph.apply(mixed, module.attention_out))  # (B, 1, D)
    wide = graph.apply(graph.norm(cls, module.mlp_norm), module.mlp_in)
    update = graph.apply(graph("Gelu", wide, approximate="tanh"), module.mlp_out)
    video = graph.reshape(graph("Add", cls, update), 0, -1)
    looks = graph.mean(shares, 1, 2)  # (B, 1 + T)
    return video, graph("Slice", looks, _whole(1), _whole(END), _whole(1))


def _lstm(graph: Graph, frames: str, lstm: nn.LSTM) -> str:
    """Return the last states of both directions; ONNX has the gates in another order."""
    weights = [_gates(lstm, f"weight_{what}_l0") for what in ("ih", "hh")]
    biases = [_gates(lstm, f"bias_{what}_l0") for what in ("ih", "hh")]
    first = graph("Transpose", frames, perm=[1, 0, 2])  # (T, B, D)
    operands = first, *weights, np.concatenate(biases, axis=1)
    sizes = {"hidden_size": lstm.hidden_size, "direction": "bidirectional"}
    _, state = graph.several("LSTM", 2, *operands, **sizes)  # (2, B, D / 2)
    return graph.reshape(graph("Transpose", state, perm=[1, 0, 2]), 0, -1)


def _gates(lstm: nn.LSTM, name: str) -> Array:
    """Return (direction, 4 x hidden, ...): torch's input, forget, cell, output as ONNX has them."""
    directions = []
    for suffix in ("", "_reverse"):
        into, forget, cell, out = getattr(lstm, name + suffix).chunk(4)
        directions.append(torch.cat([into, out, forget, cell]))
    return array_of(torch.stack(directions))


def fusion_graph(module: nn.Module, audio_width: int, video_width: int) -> ModelProto:
    """Return a graph from ``audio`` and ``video`` (batch, width) to ``logits`` (batch, classes).

    A model that reads only one of them has only that input.
    """
    graph = Graph("head")
    audio, video = (
        graph.input(name, "batch", width) if width else None
        for name, width in ((AUDIO, audio_width), (VIDEO, video_width))
    )
    if isinstance(module, ConcatFusion):
        fused = _both(graph, audio, video)
    elif isinstance(module, SumFusion):
        fused = graph("Add", *_projected(graph, module, audio, video))
    elif isinstance(module, GatedFusion):
        fused = _gated(graph, module, audio, video)
    else:
        fused = _crossed(graph, module, audio, video)
    classes = module.classifier.out_features
    return graph.model(**{LOGITS: (graph.apply(fused, module.classifier), ("batch", classes))})


def _both(graph: Graph, audio: str | None, video: str | None) -> str:
    there = [features for features in (audio, video) if features is not None]
    return graph("Concat", *there, axis=-1) if len(there) > 1 else there[0]


def _projected(graph: Graph, module: nn.Module, audio: str, video: str) -> tuple[str, str]:
    return graph.apply(audio, module.audio_in), graph.apply(video, module.video_in)  # each (B, W)


def _gated(graph: Graph, module: GatedFusion, audio: str, video: str) -> str:
    voice, face = (graph("Tanh", part) for part in _projected(graph, module, audio, video))
    gate = graph.apply(_both(graph, audio, video), module.gate)
    apart = graph("Mul", graph("Sigmoid", gate), graph("Sub", voice, face))
    weighed = graph("Add", face, apart)
    together = graph("And", _given(graph, audio), _given(graph, video))
    return graph("Where", together, weighed, graph("Add", voice, face))


def _crossed(graph: Graph, module: CrossAttentionFusion, audio: str, video: str) -> str:
    parts = [_row(graph, part) for part in _projected(graph, module, audio, video)]
    tokens = graph("Concat", *parts, axis=1)  # (B, 2, W)
    rows = [_row(graph, _given(graph, part)) for part in (audio, video)]
    there = graph("Concat", *rows, axis=1)  # (B, 2, 1)
    seen = graph("Or", graph("Transpose", there, perm=[0, 2, 1]), np.eye(2, dtype=bool))
    seen = graph("Unsqueeze", seen, _whole(1))  # (B, 1, 2, 2)
    hidden = np.float32(-np.inf)
    normed = graph.norm(tokens, module.attention_norm)
    asked = [graph.linear(normed, part) for part in module.qkv.weight.chunk(3)]
    width = module.attention_out.in_features
    bias = graph("Where", seen, np.float32(0), hidden)
    mixed, _ = attend(graph, *asked, module.heads, width=width, bias=bias)
    tokens = graph("Add", tokens, graph.apply(mixed, module.attention_out))
    return graph.reshape(graph("Where", there, tokens, np.float32(0)), 0, -1)


def _row(graph: Graph, features: str) -> str:
    return graph("Unsqueeze", features, _whole(1))


def _given(graph: Graph, features: str) -> str:
    """Say of which samples of (batch, width) a modality is there, (batch, 1); zeros are missing."""
    largest = graph("ReduceMax", graph("Abs", features), _whole(-1), keepdims=1)
    return graph("Greater", largest, np.float32(0))


def _whole(*numbers: int) -> Array:
    return np.array(numbers, np.int64)
