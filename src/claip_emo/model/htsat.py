"""The arithmetic of HTS-AT, CLAP's audio tower, over the weights of transformers' ClapAudioModel.

transformers owns weights, names and configuration, peft the adapters. Tokens stay in the order of
their windows from block to block; relative positions are looked up once per block and not once per
window; scores and probabilities of attention are not kept; of the outputs only the mean over
tokens is computed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import ClapAudioConfig, ClapAudioModel

from claip_emo.model.attention import attend
from claip_emo.model.htsat_windows import Rows, Windows, cropped, padded, quadrupled
from claip_emo.model.lora import Activation, LayerNorm, project
from claip_emo.model.packing import Packed, PackedLinear, effective, refuse_gradients, stacked
from claip_emo.model.precision import Precision

FUSED = ("gelu", "quick_gelu")  # activations that LoRA behind them computes again


def pooled(tower: ClapAudioModel, mel: Tensor, *, checkpointing: bool = False) -> Tensor:
    """Encode log-mels: the mean over tokens after the last layer norm, before CLAP's projection.

    Gradients reach whatever of the tower is trained; nothing below the lowest of it is kept.

    Args:
        tower: its weights, as they are or with LoRA beside them.
        mel: (batch, channel, frame, mel bin) in dB.
        checkpointing: compute each block again in the backward pass and keep its input only.

    Returns:
        (batch, width).

    Raises:
        ValueError: for a tower with fusion, or a mel that is larger than the tower takes.
    """
    encoder, config = tower.audio_encoder, tower.config
    layout, embed = _windows(config, mel.device), encoder.patch_embed
    tokens = _embedded(mel, config, encoder.batch_norm, embed.proj, embed.norm)
    for windows, stage in zip(layout, encoder.layers, strict=True):
        blocks = [
            _Block(block, windows, place, config.hidden_act)
            for place, block in enumerate(stage.blocks)
        ]
        tokens = _through(blocks, windows, tokens, checkpointing)
        if stage.downsample is not None:
            norm, reduction = LayerNorm.of(stage.downsample.norm), stage.downsample.reduction
            (tokens,) = project(quadrupled(tokens, windows), [reduction], norm)
    return encoder.norm(tokens).mean(dim=1)


class _Block:
    """One block of transformers' model: its parts in the steps of ``_advanced``."""

    def __init__(self, block: nn.Module, windows: Windows, place: int, activation: str):
        attention = block.attention.self
        self.block = block
        self.dtype = block.layernorm_before.weight.dtype
        self.shift = windows.shift * (place % 2)
        self.heads = attention.num_attention_heads
        self.bias = _bias(attention, windows.masks[self.shift])
        self.real = windows.real.get(self.shift)
        self.dropout = attention.dropout.p if attention.training else 0.0
        self.activation = activation
        self.drop_path = getattr(block.drop_path, "drop_prob", 0.0) if block.training else 0.0

    def look(self, stream: Tensor) -> Sequence[Tensor]:
        attention = self.block.attention.self
        layers = [attention.query, attention.key, attention.value]
        norm = LayerNorm.of(self.block.layernorm_before)
        if self.real is None:
            return project(stream, layers, norm)
        return project(norm(stream) * self.real.to(self.dtype), layers)

    def join(self, heads: Tensor) -> Tensor:
        output = self.block.attention.output
        return output.dropout(project(heads, [output.dense])[0])

    def think(self, stream: Tensor) -> Tensor:
        first, second = self.block.intermediate, self.block.output
        (wide,) = project(stream, [first.dense], LayerNorm.of(self.block.layernorm_after))
        if self.activation in FUSED:
            (update,) = project(wide, [second.dense], Activation(self.activation))
        else:
            (update,) = project(first.intermediate_act_fn(wide), [second.dense])
        return second.dropout(update)


class PackedHTSAT(Packed):
    """HTS-AT for prediction only.

    LoRA is folded in; query, key and value are one product; positions and masks are ready to add.
    The patches, layer norms and the sums that run through the blocks stay in float32 in every
    precision.

    Args:
        tower: its weights, with LoRA or without; it is left as it is.
        precision: of the products.
    """

    def __init__(self, tower: ClapAudioModel, precision: Precision = "fp32"):
        """Lay out the weights.

        Raises:
            ValueError: for int8 on another device than the CPU, or a tower with fusion.
        """
        super().__init__()
        self.config: ClapAudioConfig = tower.config
        encoder = tower.audio_encoder
        self.batch_norm = _frozen(encoder.batch_norm)
        self.patches = _frozen(encoder.patch_embed.proj)
        self.patch_norm = _frozen(encoder.patch_embed.norm)
        self.norm = _frozen(encoder.norm)
        self.windows = _windows(self.config, self.patches.weight.device)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                _PackedBlock(block, windows, place, precision)
                for place, block in enumerate(stage.blocks)
            )
            for windows, stage in zip(self.windows, encoder.layers, strict=True)
        )
        self.merges = nn.ModuleList(
            nn.Sequential(
                _frozen(stage.downsample.norm),
                PackedLinear(*effective(stage.downsample.reduction), precision),
            )
            for stage in encoder.layers[:-1]
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PackedHTSAT:
        """Move the weights, and lay the windows out where they are now."""
        super()._apply(fn, recurse)
        self.windows = _windows(self.config, self.patches.weight.device)
        return self

    def forward(self, mel: Tensor) -> Tensor:
        """Encode log-mels (batch, channel, frame, mel bin) in dB to (batch, width), float32.

        Raises:
            ValueError: for a mel that is larger than the tower takes, or waits for gradients.
        """
        refuse_gradients(mel)
        stem = self.batch_norm, self.patches, self.patch_norm
        tokens = _embedded(mel.float(), self.config, *stem)
        for place, (windows, blocks) in enumerate(zip(self.windows, self.stages, strict=True)):
            tokens = _through(blocks, windows, tokens)
            if place < len(self.merges):
                tokens = self.merges[place](quadrupled(tokens, windows)).float()
        return self.norm(tokens).mean(dim=1)


def pack(tower: ClapAudioModel, precision: Precision = "fp32") -> PackedHTSAT:
    """Lay out the weights of a tower for prediction; see ``PackedHTSAT``."""
    return PackedHTSAT(tower, precision)


class _PackedBlock(nn.Module):
    """One block of it, in the steps of ``_advanced``."""

    dropout = drop_path = 0.0

    def __init__(self, block: nn.Module, windows: Windows, place: int, precision: Precision):
        super().__init__()
        attention = block.attention.self
        self.shift = windows.shift * (place % 2)
        self.heads = attention.num_attention_heads
        bias = _bias(attention, windows.masks[self.shift]).detach()
        self.register_buffer("bias", bias.float())
        self.register_buffer("real", windows.real.get(self.shift))
        self.norm_before = _frozen(block.layernorm_before)
        self.norm_after = _frozen(block.layernorm_after)
        layers = [attention.query, attention.key, attention.value]
        self.query_key_value = PackedLinear(*stacked(layers), precision)
        self.out = PackedLinear(*effective(block.attention.output.dense), precision)
        self.up = PackedLinear(*effective(block.intermediate.dense), precision)
        self.down = PackedLinear(*effective(block.output.dense), precision)
        self.activation = _frozen(block.intermediate.intermediate_act_fn)

    def look(self, stream: Tensor) -> Sequence[Tensor]:
        ready = self.norm_before(stream)
        if self.real is not None:
            ready = ready * self.real
        return self.query_key_value(ready).chunk(3, dim=-1)

    def join(self, heads: Tensor) -> Tensor:
        return self.out(heads)

    def think(self, stream: Tensor) -> Tensor:
        return self.down(self.activation(self.up(self.norm_after(stream))))


def _through(
    blocks: Sequence[_Block] | nn.ModuleList,
    windows: Windows,
    tokens: Tensor,
    checkpointing: bool = False,
) -> Tensor:
    """Return the tokens of a stage (batch, height * width, width) behind its blocks."""
    batch, _, width = tokens.shape
    rows = {shift: Rows.of(order, batch) for shift, order in windows.orders.items()}
    shift = 0
    stream = rows[shift].enter(padded(tokens, windows).flatten(0, 1))
    for block in blocks:
        if block.shift != shift:
            stream = rows[shift].cross(stream, rows[block.shift])
            shift = block.shift
        stream = stream.view(-1, batch, windows.side**2, width)
        if checkpointing and torch.is_grad_enabled():
            stream = checkpoint(_advanced, block, stream, windows, use_reentrant=False)
        else:
            stream = _advanced(block, stream, windows)
        stream = stream.view(-1, width)
    return cropped(rows[shift].leave(stream).view(batch, -1, width), windows)


def _advanced(block: _Block | nn.Module, stream: Tensor, windows: Windows) -> Tensor:
    """Return the stream (windows, batch, tokens, width) behind one block."""
    sizes = [count * stream.shape[1] for count in windows.counts(block.shift)]
    query, key, value = (
        part.flatten(0, 1).unflatten(-1, (block.heads, -1)).transpose(1, 2).split(sizes)
        for part in block.look(stream)
    )  # for each kind of window (windows * batch, heads, tokens, width of a head)
    found = [
        attend(*parts, dropout=block.dropout)
        for parts in zip(query, key, value, block.bias, strict=True)
    ]
    update = block.join(torch.cat(found) if len(found) > 1 else found[0]).view(stream.shape)
    if block.drop_path:
        update = update * _survivors(block.drop_path, stream).to(block.dtype)
    stream = stream + update
    return stream + block.think(stream)


def _survivors(rate: float, stream: Tensor) -> Tensor:
    """Draw which samples keep an update: 0 or 1 / (1 - rate), (batch, 1, 1)."""
    draws = torch.rand(stream.shape[1], 1, 1, device=stream.device)
    return (draws + (1 - rate)).floor_() / (1 - rate)


def _bias(attention: nn.Module, masks: Tensor) -> Tensor:
    """Return what is added to the scores: (kinds of windows, heads, tokens, tokens)."""
    index = attention.relative_position_index
    bias = attention.relative_position_bias_table[index.flatten()]
    bias = bias.t().contiguous()  # kernels of attention want rows that lie together
    return bias.unflatten(1, index.shape) + masks[:, None]


def _windows(config: ClapAudioConfig, device: torch.device) -> list[Windows]:
    """Return the windows of each stage.

    Raises:
        ValueError: for a tower with fusion.
    """
    if config.enable_fusion:
        raise ValueError(
            "HTS-AT is computed without its fusion branch; load the tower with enable_fusion=False."
        )
    stride = config.patch_stride
    rows, columns = (stride, stride) if isinstance(stride, int) else stride
    height, width = config.spec_size // rows, config.spec_size // columns
    return [
        Windows.of(height // 2**stage, width // 2**stage, config.window_size, device)
        for stage in range(len(config.depths))
    ]


def _embedded(
    mel: Tensor, config: ClapAudioConfig, batch_norm: nn.Module, patches: nn.Module, norm: nn.Module
) -> Tensor:
    """Return the patches of log-mels as tokens (batch, height * width, width)."""
    normed = batch_norm(mel.transpose(1, 3)).transpose(1, 3)
    return norm(patches(_image(normed, config)).flatten(2).transpose(1, 2))


def _image(mel: Tensor, config: ClapAudioConfig) -> Tensor:
    """Fold a mel (batch, channel, frame, bin) to a square: stretches of time under each other."""
    frames, bins = mel.shape[-2:]
    folds = config.spec_size // config.num_mel_bins
    length, height = config.spec_size * folds, config.spec_size // folds
    if frames > length or bins > height:
        raise ValueError(
            f"The mel has {frames} frames of {bins} bins; this tower takes {length} of {height} at "
            "most (model.processor.audio_s)."
        )
    if (frames, bins) != (length, height):
        mel = functional.interpolate(mel, (length, height), mode="bicubic", align_corners=True)
    return mel.unflatten(2, (folds, -1)).transpose(3, 4).flatten(2, 3)


def _frozen(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).float().requires_grad_(False).eval()
