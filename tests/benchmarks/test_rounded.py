"""bf16 whose products are summed in float32: as an emulated product has it, and not as float32."""

import pytest
import torch
from benchmarks.models import build
from benchmarks.rounded import RoundedLinear, in_bf16
from torch.nn import functional

from claip_emo.model import packing
from claip_emo.model.packing import PackedLinear


@pytest.mark.parametrize("bias", [True, False])
def test_a_rounded_product_is_the_emulated_one(monkeypatch, bias: bool) -> None:
    monkeypatch.setattr(packing, "blocks_bf16", lambda: False)
    torch.manual_seed(0)
    weight, offset = torch.randn(64, 256), torch.randn(64) if bias else None
    layer = PackedLinear(weight, offset, "bf16")
    inputs = torch.randn(9, 256)
    found, emulated = RoundedLinear.of(layer)(inputs), layer(inputs)
    assert found.dtype == torch.bfloat16
    ulp = 2.0**-7  # two neighbours of bf16, where the order of the sum decides
    torch.testing.assert_close(found, emulated, rtol=ulp, atol=0.02)
    assert (found == emulated).float().mean() > 0.95
    exact = functional.linear(inputs, weight, offset)
    assert (found.float() - exact).abs().mean() > 10 * (found - emulated).float().abs().mean()


def test_only_plain_weights_in_bf16_are_read() -> None:
    with pytest.raises(ValueError, match="in_bf16"):
        RoundedLinear.of(PackedLinear(torch.randn(2, 2), None, "fp32"))


@torch.inference_mode()
def test_a_model_of_rounded_products_is_near_the_emulated_one() -> None:
    model, processor = build("tiny-clip")
    side = processor.settings.image_size_px
    torch.manual_seed(1)
    inputs = {
        "pixel_values": torch.randn(2, 3, 3, side, side),
        "input_features": processor(waveforms=torch.randn(2, processor.settings.samples))[
            "input_features"
        ],
    }
    wide = model(**inputs).logits
    blocks = packing.blocks_bf16
    rounded = in_bf16(model)
    assert packing.blocks_bf16 is blocks
    assert model.laid_out is None
    assert not any(isinstance(m, PackedLinear) and m.precision == "bf16" for m in rounded.modules())
    assert any(isinstance(m, RoundedLinear) for m in rounded.modules())
    found, emulated = rounded(**inputs).logits, model.merge("bf16")(**inputs).logits
    near, far = (found - emulated).abs().max(), (wide - emulated).abs().max()
    assert near < far
    torch.testing.assert_close(found, emulated, rtol=0.02, atol=0.02)
