"""How the temporal Transformer attends: what its output is made of, in torch and in NumPy."""

import numpy as np
import pytest
import torch

from claip_emo.inference.predictor import ModelEncoder
from claip_emo.model.folded import FoldedModel
from claip_emo.model.heads import TemporalTransformer
from claip_emo.model.processing import ClaipEmoProcessor

from .made_resnets import saved


def transformer(heads: int) -> TemporalTransformer:
    torch.manual_seed(1)
    return TemporalTransformer(6, num_frames=5, heads=heads, head_dim=4, mlp_dim=8).eval()


@torch.inference_mode()
def test_the_output_is_the_values_weighed_by_the_attention() -> None:
    layer = transformer(heads=1)
    frames = torch.randn(2, 5, 6)
    weights = layer.attention(frames)  # of the frames; the rest is the CLS token's own
    weights = torch.cat([1 - weights.sum(1, keepdim=True), weights], dim=1)[:, :, None]
    tokens = torch.cat([layer.cls_token.expand(2, 1, 6), frames], 1) + layer.position_embedding
    values = layer.qkv(layer.attention_norm(tokens))[..., 8:]
    cls = tokens[:, 0] + layer.attention_out((weights * values).sum(1))
    hidden = torch.nn.functional.gelu(layer.mlp_in(layer.mlp_norm(cls)), approximate="tanh")
    torch.testing.assert_close(layer(frames), cls + layer.mlp_out(hidden))


@torch.inference_mode()
def test_a_head_that_looks_for_one_frame_is_half_of_two() -> None:
    layer = transformer(heads=2)
    layer.position_embedding.zero_()
    layer.cls_token.copy_(torch.tensor([9.0, 0, 0, 0, 0, 0]))
    layer.qkv.weight.zero_()
    layer.qkv.weight[0, 0], layer.qkv.weight[8, 5] = 50, 10  # first head: 0 asks for 5
    frames = torch.eye(6)[None, [1, 2, 5, 3]]
    found = layer.attention(frames)
    even = 0.5 / 5  # of the second head, which attends to all alike
    torch.testing.assert_close(found, torch.tensor([[even, even, 0.5 + even, even]]))


@pytest.mark.parametrize("time", [16, 3])
def test_numpy_attends_as_torch(time, tmp_path) -> None:
    model = saved(tmp_path)
    folded = FoldedModel.of_folder(tmp_path)
    whole = ModelEncoder(model, ClaipEmoProcessor.from_pretrained(tmp_path))
    shape = (3, time, folded.widths["vision"])
    frames = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    mine, theirs = folded.attention(frames), whole.attention(frames)
    np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert mine.shape == (3, time)
    assert (mine >= 0).all()
    assert (mine.sum(axis=1) <= 1).all()
    assert np.ptp(mine) > 1e-3


def test_a_mean_attends_to_nothing(tmp_path) -> None:
    model = saved(tmp_path, temporal="mean")
    folded = FoldedModel.of_folder(tmp_path)
    whole = ModelEncoder(model, ClaipEmoProcessor.from_pretrained(tmp_path))
    frames = np.zeros((1, 16, folded.widths["vision"]), np.float32)
    assert folded.attention(frames) is None
    assert whole.attention(frames) is None


@pytest.mark.parametrize("kind", ["torch", "folded"])
def test_more_frames_than_positions_are_refused(kind, tmp_path) -> None:
    model = saved(tmp_path)
    encoder = FoldedModel.of_folder(tmp_path)
    if kind == "torch":
        encoder = ModelEncoder(model, ClaipEmoProcessor.from_pretrained(tmp_path))
    with pytest.raises(ValueError, match="17 frames were given"):
        encoder.attention(np.zeros((1, 17, encoder.widths["vision"]), np.float32))
