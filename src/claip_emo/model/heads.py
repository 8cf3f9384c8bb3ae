"""What is trained from scratch: the temporal module over frames and the fusion head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from claip_emo.model.configuration import ClaipEmoConfig


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
        batch, time, width = frames.shape
        rows = self.position_embedding.shape[1]
        if time >= rows:
            raise ValueError(
                f"{time} frames were given, but the position table was made for {rows - 1}; set "
                f"model.num_frames to {time} and train again, or sample {rows - 1} frames."
            )
        tokens = torch.cat([self.cls_token.expand(batch, 1, width), frames], dim=1)
        tokens = tokens + self.position_embedding[:, : time + 1]  # (B, 1 + T, D)
        qkv = self.qkv(self.attention_norm(tokens)).view(batch, time + 1, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, 1 + T, head_dim)
        # Only the CLS is read out, so only its row of the attention is computed.
        attended = functional.scaled_dot_product_attention(query[:, :, :1], key, value)
        cls = tokens[:, 0] + self.attention_out(attended.reshape(batch, -1))  # (B, D)
        hidden = functional.gelu(self.mlp_in(self.mlp_norm(cls)), approximate="tanh")
        return cls + self.mlp_out(hidden)


class MeanPool(nn.Module):
    """The mean over the frames: no parameters, the baseline of the temporal Transformer."""

    def forward(self, frames: Tensor) -> Tensor:
        """Average (batch, time, width) over time to (batch, width)."""
        return frames.mean(dim=1)


class ConcatFusion(nn.Module):
    """concat(audio, video) -> one linear map to the classes: no norm, no hidden layer."""

    def __init__(self, audio_width: int, video_width: int, num_labels: int):
        """Create the map for features of the given widths."""
        super().__init__()
        self.classifier = nn.Linear(audio_width + video_width, num_labels)

    def forward(self, audio: Tensor, video: Tensor) -> Tensor:
        """Map (batch, audio width) and (batch, video width) to logits (batch, classes)."""
        return self.classifier(torch.cat([audio, video], dim=-1))


def build_temporal(config: ClaipEmoConfig, width: int) -> nn.Module:
    """Return the temporal module that the configuration names, for frame features of a width."""
    if config.temporal == "mean":
        return MeanPool()
    return TemporalTransformer(
        width,
        config.num_frames,
        config.temporal_heads,
        config.temporal_head_dim,
        config.temporal_mlp_dim,
    )


def build_fusion(config: ClaipEmoConfig, audio_width: int, video_width: int) -> nn.Module:
    """Return the fusion head that the configuration names."""
    return ConcatFusion(audio_width, video_width, len(config.labels))
