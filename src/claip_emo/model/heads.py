"""What is trained from scratch: the temporal module over frames and the fusion head."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from claip_emo.model.description import Described, too_many_frames


class TemporalTransformer(nn.Module):
    """One pre-LN Transformer layer over a learned CLS token and the frames; its output is the CLS.

    Source: the paper's released code. Queries, keys and values have no bias, the output projection
    has one; the CLS token and the position table start from N(0, 1); there is no dropout and no
    final norm.

    Args:
        width: size D of a frame's feature.
        num_frames: the longest sequence of frames; the position table has one row more.
        heads: number of attention heads.
        head_dim: size of each head; heads x head_dim need not equal D.
        mlp_dim: hidden size of the MLP.
    """

    def __init__(self, width: int, num_frames: int, heads: int, head_dim: int, mlp_dim: int):
        """Create the layer with PyTorch's default initialisation of its linear maps."""
        super().__init__()
        self.heads = heads
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.position_embedding = nn.Parameter(torch.randn(1, num_frames + 1, width))
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * heads * head_dim, bias=False)
        self.attention_out = nn.Linear(heads * head_dim, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, mlp_dim)
        self.mlp_out = nn.Linear(mlp_dim, width)

    def forward(self, frames: Tensor) -> Tensor:
        """Return the CLS token after attending to the frames.

        Args:
            frames: (batch, time, width), time at most ``num_frames``.

        Returns:
            (batch, width).

        Raises:
            ValueError: for more frames than the position table has rows.
        """
        tokens, query, key, value = self._projected(frames)
        # Only the CLS is read out, so only its row of the attention is computed.
        attended = functional.scaled_dot_product_attention(query, key, value)
        cls = tokens[:, 0] + self.attention_out(attended.reshape(len(frames), -1))  # (B, D)
        hidden = functional.gelu(self.mlp_in(self.mlp_norm(cls)), approximate="tanh")
        return cls + self.mlp_out(hidden)

    def attention(self, frames: Tensor) -> Tensor:
        """Return how the CLS token attends to the frames, averaged over the heads.

        Args:
            frames: (batch, time, width), time at most ``num_frames``.

        Returns:
            (batch, time); what is missing to 1 is its attention to itself.

        Raises:
            ValueError: for more frames than the position table has rows.
        """
        _, query, key, _ = self._projected(frames)
        weights = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(dim=-1)
        return weights[:, :, 0, 1:].mean(dim=1)  # (B, heads, 1, 1 + T) -> (B, T)

    def _projected(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the tokens (B, 1 + T, D), the CLS's query, and all keys and values."""
        batch, time, width = frames.shape
        rows = self.position_embedding.shape[1]
        if time >= rows:
            raise too_many_frames(time, rows)
        tokens = torch.cat([self.cls_token.expand(batch, 1, width), frames], dim=1)
        tokens = tokens + self.position_embedding[:, : time + 1]
        qkv = self.qkv(self.attention_norm(tokens)).view(batch, time + 1, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, 1 + T, head_dim)
        return tokens, query[:, :, :1], key, value


class MeanPool(nn.Module):
    """The mean over the frames: no parameters, the baseline of the temporal Transformer."""

    def forward(self, frames: Tensor) -> Tensor:
        """Average (batch, time, width) over time to (batch, width)."""
        return frames.mean(dim=1)


class LstmPool(nn.Module):
    """One bidirectional LSTM over the frames: the last state of each direction, side by side.

    Each direction is half as wide as a frame's feature. At the widths of the ViTs that is about as
    many parameters as the temporal Transformer has (3.5 against 3.2 million for 768). There is no
    table of positions, so that it takes any number of frames.

    Args:
        width: size D of a frame's feature; even.
    """

    def __init__(self, width: int):
        """Create the layer with PyTorch's default initialisation.

        Raises:
            ValueError: for an odd width, which has no half.
        """
        super().__init__()
        if width % 2:
            raise ValueError(f"temporal=lstm needs features of an even width, not {width}.")
        self.lstm = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)

    def forward(self, frames: Tensor) -> Tensor:
        """Read (batch, time, width) forwards and backwards; return (batch, width)."""
        _, (state, _) = self.lstm(frames)  # (2, B, D / 2)
        return torch.cat([state[0], state[1]], dim=-1)


class ConcatFusion(nn.Module):
    """concat(audio, video) -> one linear map to the classes: no norm, no hidden layer.

    A model that reads only one of them has nothing to fuse: the width of the other is 0 then, and
    this is one linear map from the one that is there.
    """

    def __init__(self, audio_width: int, video_width: int, num_labels: int):
        """Create the map for features of the given widths."""
        super().__init__()
        self.classifier = nn.Linear(audio_width + video_width, num_labels)

    def forward(self, audio: Tensor, video: Tensor) -> Tensor:
        """Map (batch, audio width) and (batch, video width) to logits (batch, classes)."""
        return self.classifier(torch.cat([audio, video], dim=-1))


class ProjectedFusion(nn.Module):
    """Brings face and voice to one width W, without bias: what is missing, zeros, stays zeros."""

    def __init__(self, audio_width: int, video_width: int, width: int):
        """Create the projections."""
        super().__init__()
        self.audio_in = nn.Linear(audio_width, width, bias=False)
        self.video_in = nn.Linear(video_width, width, bias=False)


class SumFusion(ProjectedFusion):
    """Face and voice projected to one width W, added, and mapped to the classes.

    Nothing but linear maps: it can say what ``ConcatFusion`` can say (as long as W is at least the
    number of classes), but learns it through a factorised matrix.

    Args:
        audio_width: size of the voice's feature.
        video_width: size of the face's feature.
        num_labels: number of classes.
        width: W.
    """

    def __init__(self, audio_width: int, video_width: int, num_labels: int, width: int):
        """Create the maps."""
        super().__init__(audio_width, video_width, width)
        self.classifier = nn.Linear(width, num_labels)

    def forward(self, audio: Tensor, video: Tensor) -> Tensor:
        """Map (batch, audio width) and (batch, video width) to logits (batch, classes)."""
        return self.classifier(self.audio_in(audio) + self.video_in(video))


class GatedFusion(ProjectedFusion):
    """A gate, learned from both, weighs face against voice in each of W dimensions.

    Source: the gated multimodal unit, Arevalo et al., arXiv 1702.01992. Where only one is there,
    nothing is weighed: it counts whole.

    Args:
        audio_width: size of the voice's feature.
        video_width: size of the face's feature.
        num_labels: number of classes.
        width: W.
    """

    def __init__(self, audio_width: int, video_width: int, num_labels: int, width: int):
        """Create the maps."""
        super().__init__(audio_width, video_width, width)
        self.gate = nn.Linear(audio_width + video_width, width)
        self.classifier = nn.Linear(width, num_labels)

    def forward(self, audio: Tensor, video: Tensor) -> Tensor:
        """Map (batch, audio width) and (batch, video width) to logits (batch, classes)."""
        voice, face = self.audio_in(audio).tanh(), self.video_in(video).tanh()  # (B, W)
        share = self.gate(torch.cat([audio, video], dim=-1)).sigmoid()  # of the voice
        both = torch.lerp(face, voice, share)
        return self.classifier(torch.where(given(audio) & given(video), both, voice + face))


class CrossAttentionFusion(ProjectedFusion):
    """Face and voice, projected to W, are two tokens that attend to each other and to themselves.

    One pre-LN multi-head attention with a residual; the two tokens, side by side, are mapped to the
    classes. A missing modality is no token: nobody attends to it, and its own place stays zero.

    Args:
        audio_width: size of the voice's feature.
        video_width: size of the face's feature.
        num_labels: number of classes.
        width: W, a multiple of heads.
        heads: number of attention heads.
    """

    def __init__(self, audio_width: int, video_width: int, num_labels: int, width: int, heads: int):
        """Create the maps."""
        super().__init__(audio_width, video_width, width)
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width)
        self.classifier = nn.Linear(2 * width, num_labels)

    def forward(self, audio: Tensor, video: Tensor) -> Tensor:
        """Map (batch, audio width) and (batch, video width) to logits (batch, classes)."""
        tokens = torch.stack([self.audio_in(audio), self.video_in(video)], dim=1)  # (B, 2, W)
        there = torch.stack([given(audio), given(video)], dim=1)  # (B, 2, 1)
        qkv = self.qkv(self.attention_norm(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, 2, W / heads)
        # Every token sees itself, also one that is not there: no row of the mask is empty, which
        # would be not a number.
        seen = there.mT | torch.eye(2, dtype=torch.bool, device=there.device)  # (B, 2, 2)
        attended = functional.scaled_dot_product_attention(query, key, value, seen[:, None])
        tokens = tokens + self.attention_out(attended.transpose(1, 2).flatten(2))
        return self.classifier((tokens * there).flatten(1))


def given(features: Tensor) -> Tensor:
    """Say of which samples of (batch, width) a modality is there: (batch, 1); zeros are missing."""
    return (features != 0).any(dim=-1, keepdim=True)


def build_temporal(config: Described, width: int) -> nn.Module:
    """Return the temporal module that the configuration names, for frame features of a width."""
    if config.temporal == "mean":
        return MeanPool()
    if config.temporal == "lstm":
        return LstmPool(width)
    return TemporalTransformer(
        width,
        config.num_frames,
        config.temporal_heads,
        config.temporal_head_dim,
        config.temporal_mlp_dim,
    )


def build_fusion(config: Described, audio_width: int, video_width: int) -> nn.Module:
    """Return the fusion head that the configuration names.

    Args:
        config: names it, and its width.
        audio_width: size of the voice's feature; 0 where the model reads no sound.
        video_width: size of the face's feature; 0 where it reads no picture.
    """
    widths = audio_width, video_width, len(config.labels)
    if config.fusion == "concat" or config.modality != "av":
        return ConcatFusion(*widths)
    width = min(config.fusion_width, audio_width, video_width)
    if config.fusion == "sum":
        return SumFusion(*widths, width)
    if config.fusion == "gated":
        return GatedFusion(*widths, width)
    heads = min(config.fusion_heads, width)
    return CrossAttentionFusion(*widths, width - width % heads, heads)
