"""The arithmetic of CLIP's vision transformer, over the weights of transformers' CLIPVisionModel.

transformers owns weights, names and configuration. Of the last layer only the CLS token is
computed, as nothing else is read; on the CPU frames are taken a few at a time, as many as stay in
the cache.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.activations import ACT2FN

from claip_emo.model.attention import attend
from claip_emo.model.lora import QUICK_GELU, Activation, LayerNorm, project, working_dtype
from claip_emo.model.packing import Packed, PackedLinear, effective, refuse_gradients, stacked
from claip_emo.model.precision import Precision

CACHE_BYTES = 20 * 2**20  # of the widest activation; 32 frames of ViT-B/32 in float32


def pooled(tower: CLIPVisionModel, pixels: Tensor, *, checkpointing: bool = False) -> Tensor:
    """Encode frames: the CLS token after the last layer norm, before CLIP's projection.

    Gradients reach whatever of the tower is trained; what autograd keeps is a third of what the
    module's own forward pass keeps, where LoRA is what is trained.

    Args:
        tower: its weights, as they are or with LoRA beside them.
        pixels: (frame, channel, S, S), normalised.
        checkpointing: compute each layer again in the backward pass and keep its input only.

    Returns:
        (frame, width).

    Raises:
        ValueError: if the frames are not of the size that the positions are for.
    """
    check_size(pixels, tower.config)

    def encode(few: Tensor) -> Tensor:
        hidden = tower.pre_layrnorm(_embedded(tower, few))
        layers = list(tower.encoder.layers)
        for layer in layers:
            last = layer is layers[-1]
            if checkpointing and torch.is_grad_enabled():
                hidden = checkpoint(_layer, layer, hidden, last, use_reentrant=False)
            else:
                hidden = _layer(layer, hidden, last)
        return tower.post_layernorm(hidden[:, 0])

    weight = tower.embeddings.patch_embedding.weight
    return in_pieces(encode, pixels, tower.config, working_dtype(weight))


def _embedded(tower: CLIPVisionModel, pixels: Tensor) -> Tensor:
    """Return patches and the CLS token, with their positions: (frame, 1 + patch, width)."""
    parts = tower.embeddings
    weight = parts.patch_embedding.weight
    flat = functional.linear(patches(pixels.to(weight.dtype), parts.patch_size), weight.flatten(1))
    cls = parts.class_embedding.to(flat.dtype).expand(len(pixels), 1, -1)
    return torch.cat([cls, flat], dim=1) + parts.position_embedding.weight


def _layer(layer: nn.Module, hidden: Tensor, last: bool) -> Tensor:
    """Apply one layer to (frame, token, width); of the last one return the CLS token only."""
    attention, mlp = layer.self_attn, layer.mlp
    norm = LayerNorm.of(layer.layer_norm1)
    if last:
        key, value = project(hidden, [attention.k_proj, attention.v_proj], norm)
        hidden = hidden[:, :1]
        (query,) = project(hidden, [attention.q_proj], norm)
    else:
        names = attention.q_proj, attention.k_proj, attention.v_proj
        query, key, value = project(hidden, names, norm)
    mixed = attend(
        *(_heads(part, attention.num_heads) for part in (query, key, value)),
        dropout=attention.dropout if layer.training else 0.0,
    )
    (update,) = project(mixed, [attention.out_proj])
    hidden = hidden + update
    (wide,) = project(hidden, [mlp.fc1], LayerNorm.of(layer.layer_norm2))
    if mlp.config.hidden_act in ("gelu", "quick_gelu"):
        (update,) = project(wide, [mlp.fc2], Activation(mlp.config.hidden_act))
    else:
        (update,) = project(mlp.activation_fn(wide), [mlp.fc2])
    return hidden + update


class PackedCLIPVision(Packed):
    """CLIP's vision transformer for prediction only.

    LoRA is folded in, query, key and value are one product, and CLIP's ``quick_gelu`` is a ``silu``
    whose factor lies in the weights around it. Layer norms and the sums that run through the layers
    stay in float32 in every precision; with int8 so do the patches.

    Args:
        tower: its weights, with LoRA or without; it is left as it is.
        precision: of the products.
    """

    def __init__(self, tower: CLIPVisionModel, precision: Precision = "fp32"):
        """Lay out the weights."""
        super().__init__()
        self.config: CLIPVisionConfig = tower.config
        parts = tower.embeddings
        weight = parts.patch_embedding.weight.detach().float().flatten(1)
        self.patches = PackedLinear(weight, None, "fp32" if precision == "int8" else precision)
        self.register_buffer("cls", parts.class_embedding.detach().float().clone())
        self.register_buffer("positions", parts.position_embedding.weight.detach().float().clone())
        self.before = _frozen(tower.pre_layrnorm)
        self.layers = nn.ModuleList(_PackedLayer(each, precision) for each in tower.encoder.layers)
        self.after = _frozen(tower.post_layernorm)
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode frames (frame, channel, S, S), normalised, to (frame, width), float32.

        Raises:
            ValueError: if the frames are not of the size that the positions are for, or wait for
                gradients.
        """
        refuse_gradients(pixels)
        check_size(pixels, self.config)
        return in_pieces(self._encode, pixels, self.config, self.dtype)

    def _encode(self, pixels: Tensor) -> Tensor:
        flat = self.patches(patches(pixels.to(self.dtype), self.config.patch_size))
        hidden = flat.new_empty((len(flat), flat.shape[1] + 1, flat.shape[2]), dtype=torch.float32)
        hidden[:, 0] = self.cls + self.positions[0]
        torch.add(flat, self.positions[1:], out=hidden[:, 1:])
        hidden = self.before(hidden)
        for layer in self.layers[:-1]:
            hidden = layer(hidden)
        return self.after(self.layers[-1](hidden, cls_only=True)[:, 0])


class _PackedLayer(nn.Module):
    """One layer of it."""

    def __init__(self, layer: nn.Module, precision: Precision):
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.heads = attention.num_heads
        self.norm1, self.norm2 = _frozen(layer.layer_norm1), _frozen(layer.layer_norm2)
        self.query = PackedLinear(*effective(attention.q_proj), precision)
        self.key_value = PackedLinear(*stacked([attention.k_proj, attention.v_proj]), precision)
        self.out = PackedLinear(*effective(attention.out_proj), precision)
        self.activation, factor = _activation(mlp.config.hidden_act)
        weight, bias = effective(mlp.fc1)
        self.up = PackedLinear(weight * factor, None if bias is None else bias * factor, precision)
        weight, bias = effective(mlp.fc2)
        self.down = PackedLinear(weight / factor, bias, precision)

    def forward(self, hidden: Tensor, cls_only: bool = False) -> Tensor:
        normed = self.norm1(hidden)
        if cls_only:
            hidden = hidden[:, :1]
        query = self.query(normed[:, : hidden.shape[1]])
        key, value = self.key_value(normed).chunk(2, dim=-1)
        mixed = attend(*(_heads(part, self.heads) for part in (query, key, value)))
        hidden = hidden + self.out(mixed)
        wide = self.activation(self.up(self.norm2(hidden)))
        return hidden + self.down(wide)


def patches(pixels: Tensor, size: int) -> Tensor:
    """Cut (frame, channel, S, S) into squares: (frame, patch, channel x size x size)."""
    frames, channels, height, width = pixels.shape
    rows, columns = height // size, width // size
    cut = pixels[:, :, : rows * size, : columns * size]
    cut = cut.reshape(frames, channels, rows, size, columns, size).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(frames, rows * columns, channels * size * size)


def check_size(pixels: Tensor, config: CLIPVisionConfig) -> None:
    """Refuse frames of another size than the tower's positions are for.

    Raises:
        ValueError: naming both sizes.
    """
    height, width = pixels.shape[-2:]
    if (height, width) != (config.image_size, config.image_size):
        raise ValueError(
            f"The frames are {height} x {width} px; this tower sees {config.image_size} x "
            f"{config.image_size} px (model.processor.image_size_px)."
        )


def in_pieces(
    encode: Callable[[Tensor], Tensor], pixels: Tensor, config: CLIPVisionConfig, dtype: torch.dtype
) -> Tensor:
    """Encode frames, on the CPU as many at a time as keep the widest activation in the cache.

    Tensors that have only a shape, as a dry run has them, are not divided.
    """
    tokens = (config.image_size // config.patch_size) ** 2 + 1
    each = tokens * config.intermediate_size * dtype.itemsize
    few = max(1, CACHE_BYTES // each)
    if pixels.device.type != "cpu" or len(pixels) <= few or type(pixels) is not Tensor:
        return encode(pixels)
    pieces = -(-len(pixels) // few)
    return torch.cat([encode(part) for part in pixels.tensor_split(pieces)])


def _heads(tokens: Tensor, heads: int) -> Tensor:
    """Turn (frame, token, width) into (frame, head, token, part)."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def _activation(name: str) -> tuple[Callable[[Tensor], Tensor], float]:
    """Return an activation f and a factor c; of the one of that name, act(x) = f(c x) / c."""
    if name == "quick_gelu":
        return nn.SiLU(inplace=True), QUICK_GELU
    return ACT2FN[name], 1.0


def _frozen(module: nn.LayerNorm) -> nn.LayerNorm:
    return copy.deepcopy(module).float().requires_grad_(False).eval()
