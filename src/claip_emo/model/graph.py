"""An ONNX graph under construction: what stands in it is standard ONNX, of any runtime.

torch's own exporter is not used: it takes minutes for ViT-B/32 and HTS-AT (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from claip_emo.model.description import TowerError
from claip_emo.model.packing import PackedLinear

Array = NDArray[Any]
Operand = str | Array | Tensor
GraphPrecision = Literal["fp32", "int8"]

OPSET, IR = 20, 10  # ONNX Runtime 1.19 and newer
ACTIVATIONS = {"GELUActivation": "Gelu", "ReLU": "Relu"}
INT8_MOST = 127
PRODUCT_MOST = 63  # 7 bits: two products with 8-bit inputs add up to 16 bits (AVX2 without VNNI)


class Graph:
    """Nodes and weights; calling it adds a node and returns the name of what that gives.

    Args:
        name: of the graph.
        precision: ``int8``: weights are integers with a scale per output; what linear layers
            multiply them with is rounded to integers as well, with a scale per call.
    """

    def __init__(self, name: str, precision: GraphPrecision = "fp32"):
        """Begin with nothing."""
        self.name, self.precision = name, precision
        self._nodes: list[Any] = []
        self._weights: list[TensorProto] = []
        self._inputs: list[Any] = []

    def input(self, name: str, *shape: int | str) -> str:
        """Declare a float32 input; a side that is named has any length."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def __call__(self, kind: str, *operands: Operand, **attributes: Any) -> str:
        """Add a node of one output."""
        return self.several(kind, 1, *operands, **attributes)[0]

    def several(self, kind: str, count: int, *operands: Operand, **attributes: Any) -> list[str]:
        """Add a node of several outputs; arrays and tensors among the operands become weights."""
        names = [self._named(operand) for operand in operands]
        outputs = [f"{kind.lower()}_{len(self._nodes)}_{place}" for place in range(count)]
        self._nodes.append(helper.make_node(kind, names, outputs, **attributes))
        return outputs

    def reshape(self, values: str, *shape: int) -> str:
        """Give values another shape; 0 keeps a side, -1 is what is left."""
        return self("Reshape", values, np.array(shape, np.int64))

    def mean(self, values: str, *axes: int) -> str:
        """Average over axes, which are no more then."""
        return self("ReduceMean", values, np.array(axes, np.int64), keepdims=0)

    def pad(self, values: str, before: Sequence[int], after: Sequence[int]) -> str:
        """Put zeros before and after."""
        return self("Pad", values, np.array([*before, *after], np.int64))

    def linear(self, values: str, weight: Tensor, bias: Tensor | None = None) -> str:
        """Multiply (..., in) with weights (out, in), and add a bias."""
        columns = array_of(weight).T
        found = (self._quantised if self.precision == "int8" else self._product)(values, columns)
        return found if bias is None else self("Add", found, bias)

    def apply(self, values: str, layer: PackedLinear | nn.Linear) -> str:
        """Apply a linear layer, packed in float32 or plain."""
        return self.linear(values, layer.weight, layer.bias)

    def mlp(self, values: str, up: PackedLinear, activation: nn.Module, down: PackedLinear) -> str:
        """Apply two linear layers and an activation between them."""
        return self.apply(self.activation(self.apply(values, up), activation), down)

    def norm(self, values: str, layer: nn.Module) -> str:
        """Apply a layer norm, or nothing where there is none."""
        if isinstance(layer, nn.Identity):
            return values
        scale, shift = layer.weight, layer.bias
        return self("LayerNormalization", values, scale, shift, axis=-1, epsilon=layer.eps)

    def activation(self, values: str, layer: nn.Module) -> str:
        """Apply an activation.

        Raises:
            TowerError: for one that has no node here.
        """
        if isinstance(layer, nn.SiLU):
            return self("Mul", values, self("Sigmoid", values))
        kind = ACTIVATIONS.get(type(layer).__name__)
        if kind is None:
            raise TowerError(f"The activation {type(layer).__name__} has no ONNX graph.")
        return self(kind, values)

    def first(self, tokens: str) -> str:
        """Return the first of tokens (batch, token, width), (batch, 1, width)."""
        return self("Slice", tokens, np.array([0]), np.array([1]), np.array([1]))

    def convolution(self, maps: str, kernel: Array, bias: Array, *, stride: int) -> str:
        """Convolve maps (image, in, height, width), padded by half of the kernel.

        In int8 the kernel (out, in, side, side) is stored as integers and multiplied in float32:
        integers there would be three times as slow.
        """
        weight: Operand = kernel
        if self.precision == "int8":
            whole, scale = rounded(kernel, INT8_MOST, axes=(1, 2, 3))
            weight = self("DequantizeLinear", whole, scale.ravel(), axis=0)
        pads = [kernel.shape[-1] // 2] * 4
        return self("Conv", maps, weight, bias, strides=[stride, stride], pads=pads)

    def model(self, **outputs: tuple[str, Sequence[int | str]]) -> ModelProto:
        """Return the whole.

        Args:
            outputs: the name of a node's output and its shape, by the name that it gets.
        """
        told = []
        for name, (value, shape) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [name]))
            told.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        graph = helper.make_graph(self._nodes, self.name, self._inputs, told, self._weights)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="claip-emo", opset_imports=opsets)
        model.ir_version = IR
        helper.set_model_props(model, {"precision": self.precision})
        return model

    def _named(self, operand: Operand) -> str:
        if isinstance(operand, str):
            return operand
        name = f"weight_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(array_of(operand), name))
        return name

    def _product(self, values: str, columns: Array) -> str:
        return self("MatMul", values, columns)

    def _quantised(self, values: str, columns: Array) -> str:
        """Multiply as integers; runtimes know these nodes as one."""
        weights, scale = rounded(columns, PRODUCT_MOST, axes=(0,))
        whole, its_scale, zero = self.several("DynamicQuantizeLinear", 3, values)
        product = self("MatMulInteger", whole, weights, zero)
        factor = self("Mul", its_scale, scale)
        return self("Mul", self("Cast", product, to=TensorProto.FLOAT), factor)


def rounded(weights: Array, most: int, *, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Round weights to integers from -most to most.

    Returns:
        int8, and the scales, of size 1 along ``axes``.
    """
    largest = np.abs(weights).max(axis=axes, keepdims=True)
    scales = np.maximum(largest, np.finfo(np.float32).tiny) / np.float32(most)
    return np.round(weights / scales).astype(np.int8), scales


def attend(
    graph: Graph,
    query: str,
    key: str,
    value: str,
    heads: int,
    *,
    width: int,
    axes: int = 1,
    bias: Operand | None = None,
) -> tuple[str, str]:
    """Attend over tokens, with several heads.

    Args:
        graph: what the nodes are added to.
        query: (..., token, width).
        key: (..., token, width).
        value: (..., token, width).
        heads: of which width is a multiple.
        width: of all heads together.
        axes: before that of the tokens.
        bias: what is added to the scores (..., head, token, token).

    Returns:
        (..., token, width), and the probabilities (..., head, token, token).
    """
    kept, each = [0] * (axes + 1), list(range(axes))
    token, head, part = axes, axes + 1, axes + 2

    def divided(tokens: str, *order: int) -> str:
        return graph("Transpose", graph.reshape(tokens, *kept, heads, -1), perm=[*each, *order])

    scale = np.float32((width // heads) ** -0.5)
    asked = graph("Mul", divided(query, head, token, part), scale)
    scores = graph("MatMul", asked, divided(key, head, part, token))
    if bias is not None:
        scores = graph("Add", scores, bias)
    shares = graph("Softmax", scores, axis=-1)
    mixed = graph("MatMul", shares, divided(value, head, token, part))
    joined = graph("Transpose", mixed, perm=[*each, head, token, part])
    return graph.reshape(joined, *kept, width), shares


def array_of(values: Array | Tensor) -> Array:
    """Return an array of what may be a tensor."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
