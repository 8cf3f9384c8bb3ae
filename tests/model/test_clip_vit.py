"""Our arithmetic of CLIP's vision transformer beside transformers' own."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel

from claip_emo import ClaipEmoModel
from claip_emo.labels import SEVEN
from claip_emo.model import clip_vit
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.clip_vit import PackedCLIPVision, pooled

SIDE = 32


def build(adaptation: str = "lora", **changes: object) -> CLIPVisionModel:
    torch.manual_seed(0)
    config = configure(resolve("tiny-clip"), SEVEN, adaptation=adaptation, lora_dropout=0.0)
    described = config.vision_config.to_dict() | {"num_hidden_layers": 3, **changes}
    config.vision_config = CLIPVisionConfig(**described)
    tower = ClaipEmoModel(config).vision_tower
    for name, parameter in tower.named_parameters():
        if "lora_B" in name or name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return tower


def frames(count: int = 5) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def gradients(tower: CLIPVisionModel, features: torch.Tensor) -> dict[str, torch.Tensor]:
    tower.zero_grad()
    (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
    return {name: p.grad.clone() for name, p in tower.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("adaptation", ["lora", "full"])
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "relu"])
def test_features_and_gradients_are_those_of_transformers(adaptation, activation) -> None:
    tower = build(adaptation, hidden_act=activation).train()
    expected = tower(pixel_values=frames()).pooler_output
    wanted = gradients(tower, expected)
    found = pooled(tower, frames())
    torch.testing.assert_close(found, expected)
    own = gradients(tower, found)
    assert own.keys() == wanted.keys()
    assert len(own) >= 3 * 6 * 2
    torch.testing.assert_close(own, wanted, rtol=1e-4, atol=1e-5)


def test_layers_can_be_computed_again_instead_of_kept() -> None:
    tower = build().train()
    for module in tower.modules():
        if hasattr(module, "lora_dropout"):
            module.lora_dropout["default"] = nn.Dropout(0.5)

    def run(checkpointing: bool) -> tuple[dict[str, torch.Tensor], int]:
        kept = []
        torch.manual_seed(4)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: kept.append(tensor.nbytes) or tensor, lambda tensor: tensor
        ):
            features = pooled(tower, frames(), checkpointing=checkpointing)
        return gradients(tower, features), sum(kept)

    (whole, much), (again, little) = run(False), run(True)
    torch.testing.assert_close(again, whole)
    assert little < much / 3


def test_frames_are_taken_as_many_at_a_time_as_the_cache_holds(monkeypatch) -> None:
    tower = build().eval()
    whole = pooled(tower, frames(7))
    seen = []
    layer = clip_vit._layer
    monkeypatch.setattr(
        clip_vit,
        "_layer",
        lambda one, hidden, last: seen.append(len(hidden)) or layer(one, hidden, last),
    )
    tokens = (SIDE // tower.config.patch_size) ** 2 + 1
    monkeypatch.setattr(clip_vit, "CACHE_BYTES", 3 * tokens * tower.config.intermediate_size * 4)
    torch.testing.assert_close(pooled(tower, frames(7)), whole)
    assert sorted(seen) == [2] * 6 + [3] * 3
    torch.testing.assert_close(PackedCLIPVision(tower)(frames(7)), whole)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("adaptation", ["lora", "frozen", "full"])
def test_packed_weights_predict_the_same(adaptation, activation) -> None:
    tower = build(adaptation, hidden_act=activation).eval()
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    with torch.inference_mode():
        expected = tower(pixel_values=frames()).pooler_output
        packed = PackedCLIPVision(tower)
        torch.testing.assert_close(packed(frames()), expected, rtol=1e-5, atol=1e-5)
        half, small = (PackedCLIPVision(tower, each)(frames()) for each in ("bf16", "int8"))
    assert half.dtype == small.dtype == torch.float32
    torch.testing.assert_close(half, expected, rtol=0.05, atol=0.05)
    assert not torch.allclose(half, expected, atol=1e-4)
    assert functional.cosine_similarity(small, expected).min() > 0.999
    assert not torch.allclose(small, expected, atol=1e-4)
    for name, value in tower.state_dict().items():
        assert torch.equal(value, before[name])
    assert not [p for p in packed.parameters() if p.requires_grad]


def test_autocast_reaches_the_products_only() -> None:
    tower = build().train()
    with torch.autocast("cpu", torch.bfloat16):
        features = pooled(tower, frames())
        expected = tower(pixel_values=frames()).pooler_output
    assert features.dtype == expected.dtype == torch.float32
    torch.testing.assert_close(features, expected, rtol=0.05, atol=0.05)
    assert all(torch.isfinite(g).all() for g in gradients(tower, features).values())


def test_frozen_towers_leave_no_graph() -> None:
    assert not pooled(build("frozen").train(), frames()).requires_grad


@pytest.mark.parametrize("encode", [pooled, lambda tower, pixels: PackedCLIPVision(tower)(pixels)])
def test_another_size_is_refused(encode) -> None:
    with pytest.raises(ValueError, match=r"48 x 48 px; this tower sees 32 x 32 px"):
        encode(build(), torch.randn(1, 3, 48, 48))


def test_patches_are_those_of_the_convolution() -> None:
    convolution = nn.Conv2d(3, 6, 8, stride=8, bias=False)
    pixels = torch.randn(2, 3, 32, 24)
    expected = convolution(pixels).flatten(2).transpose(1, 2)
    flat = clip_vit.patches(pixels, 8) @ convolution.weight.flatten(1).t()
    torch.testing.assert_close(flat, expected, rtol=1e-4, atol=1e-5)
