"""The temporal module against the released code's outputs, and against a naive full attention."""

import pytest
import torch
from safetensors.torch import load_file

from claip_emo.model.heads import ConcatFusion, MeanPool, TemporalTransformer

from ..conftest import SHARED

GOLDEN = SHARED / "goldens" / "temporal.safetensors"


def naive(module: TemporalTransformer, frames: torch.Tensor) -> torch.Tensor:
    """The layer written out in full: every token passes the MLP, then the CLS is read."""
    batch, time, width = frames.shape
    cls = module.cls_token.expand(batch, -1, -1)
    x = torch.cat([cls, frames], 1) + module.position_embedding[:, : time + 1]
    normed = torch.nn.functional.layer_norm(
        x, (width,), module.attention_norm.weight, module.attention_norm.bias
    )
    query, key, value = (normed @ module.qkv.weight.T).chunk(3, dim=-1)
    split = lambda t: t.view(batch, time + 1, module.heads, -1).transpose(1, 2)  # noqa: E731
    query, key, value = split(query), split(key), split(value)
    weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
    attended = (weights @ value).transpose(1, 2).reshape(batch, time + 1, -1)
    x = x + module.attention_out(attended)
    hidden = module.mlp_in(module.mlp_norm(x))
    inner = 0.7978845608028654 * (hidden + 0.044715 * hidden**3)
    x = x + module.mlp_out(0.5 * hidden * (1 + torch.tanh(inner)))
    return x[:, 0]


@pytest.mark.parametrize("time", [1, 5, 16])
def test_equals_the_layer_written_out(time: int) -> None:
    torch.manual_seed(0)
    module = TemporalTransformer(96, 16, 8, 16, 128).double()
    frames = torch.randn(3, time, 96, dtype=torch.float64)
    torch.testing.assert_close(module(frames), naive(module, frames), rtol=0, atol=1e-12)


@pytest.mark.parametrize("golden", [GOLDEN] if GOLDEN.is_file() else [])
def test_reproduces_the_released_module(golden) -> None:
    stored = load_file(golden)
    module = TemporalTransformer(96, 16, 8, 16, 128)
    module.load_state_dict(
        {k.removeprefix("weight/"): v for k, v in stored.items() if k.startswith("weight/")}
    )
    for name, frames in (
        ("output_16_frames", stored["input"]),
        ("output_first_5_frames", stored["input"][:, :5]),
    ):
        torch.testing.assert_close(module(frames), stored[name], rtol=0, atol=1e-5)


def test_the_order_of_frames_matters() -> None:
    torch.manual_seed(0)
    module = TemporalTransformer(32, 4, 2, 8, 64)
    frames = torch.randn(1, 4, 32)
    assert not torch.allclose(module(frames), module(frames.flip(1)), atol=1e-3)


def test_too_many_frames_are_refused_by_name() -> None:
    module = TemporalTransformer(32, 4, 2, 8, 64)
    with pytest.raises(ValueError, match=r"5 frames.*made for 4.*num_frames"):
        module(torch.zeros(1, 5, 32))


def test_mean_pool_averages_over_time() -> None:
    frames = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])
    assert MeanPool()(frames).tolist() == [[2.0, 4.0]]


def test_concat_is_one_linear_map_audio_first() -> None:
    head = ConcatFusion(2, 3, 2)
    with torch.no_grad():
        head.classifier.weight.copy_(torch.tensor([[1.0, 0, 0, 0, 0], [0, 0, 1.0, 0, 0]]))
        head.classifier.bias.zero_()
    logits = head(torch.tensor([[7.0, 8.0]]), torch.tensor([[9.0, 1.0, 2.0]]))
    assert logits.tolist() == [[7.0, 9.0]]
    assert sum(p.numel() for p in head.parameters()) == 2 * 5 + 2
