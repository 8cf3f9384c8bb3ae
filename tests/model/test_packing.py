"""Weights laid out for prediction."""

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.nn import functional

from claip_emo.model import packing
from claip_emo.model.packing import PackedLinear, effective, stacked


def adapted() -> nn.Module:
    torch.manual_seed(0)
    holder = nn.ModuleDict({"one": nn.Linear(16, 8)})
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=8, target_modules="one"), holder)
    nn.init.normal_(holder["one"].lora_B["default"].weight)
    return holder["one"].eval()


@pytest.mark.parametrize("merged", [False, True])
def test_adapters_are_folded_in_once_and_the_layer_is_left_as_it_is(merged: bool) -> None:
    layer = adapted()
    inputs = torch.randn(3, 16)
    expected = layer(inputs)
    if merged:
        layer.merge()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    torch.testing.assert_close(functional.linear(inputs, *effective(layer)), expected)
    assert layer.merged == merged
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])


def test_layers_of_one_input_become_one() -> None:
    layers = [nn.Linear(6, 4), nn.Linear(6, 3, bias=False)]
    inputs = torch.randn(2, 6)
    expected = torch.cat([layer(inputs) for layer in layers], dim=1)
    torch.testing.assert_close(functional.linear(inputs, *stacked(layers)), expected)
    assert stacked(layers[1:])[1] is None


@pytest.mark.parametrize("bias", [True, False])
def test_every_precision_is_close_to_the_layer(bias: bool) -> None:
    torch.manual_seed(1)
    layer = nn.Linear(64, 32, bias=bias)
    inputs = torch.randn(5, 7, 64)
    expected = layer(inputs)
    weights = effective(layer)
    assert torch.equal(PackedLinear(*weights, "fp32")(inputs), expected)
    assert torch.equal(
        PackedLinear(*weights, "fp32")(inputs.bfloat16()), layer(inputs.bfloat16().float())
    )
    half = PackedLinear(*weights, "bf16")(inputs)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.02, atol=0.02)
    small = PackedLinear(*weights, "int8")(inputs)
    assert small.dtype == torch.float32
    assert functional.cosine_similarity(small, expected, dim=-1).min() > 0.999
    assert not torch.allclose(small, expected, rtol=1e-4)  # it is 8-bit arithmetic


def test_integers_have_a_scale_for_each_output() -> None:
    weight = torch.randn(4, 32) * torch.tensor([[1e-3], [1.0], [30.0], [0.0]])
    inputs = torch.randn(9, 32)
    found = PackedLinear(weight, None, "int8")(inputs)
    expected = inputs @ weight.t()
    for column in range(3):
        error = (found[:, column] - expected[:, column]).abs().max()
        assert error < 0.03 * expected[:, column].abs().max()
    assert not found[:, 3].any()


def test_integers_are_for_the_cpu() -> None:
    with pytest.raises(ValueError, match="--precision bf16 or fp32"):
        PackedLinear(torch.empty(2, 2, device="meta"), None, "int8")


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_casts_leave_packed_weights_as_they_are(monkeypatch, precision: str, blocked: bool) -> None:
    if not blocked:
        monkeypatch.setattr(packing, "blocks_bf16", lambda: False)
    packed = PackedLinear(torch.randn(32, 64), torch.randn(32), precision)
    inputs = torch.randn(5, 64)
    expected = packed(inputs)
    for cast in ("half", "bfloat16", "float", "double"):
        assert torch.equal(getattr(packed, cast)()(inputs), expected)


def test_weights_move_unless_they_lie_as_the_cpu_reads_them(monkeypatch) -> None:
    weight, bias = torch.randn(32, 64), torch.randn(32)
    if packing.blocks_bf16():
        with pytest.raises(ValueError, match="move the model to its device first"):
            PackedLinear(weight, bias, "bf16").to("meta")
    with pytest.raises(ValueError, match="move the model to its device first"):
        nn.Sequential(PackedLinear(weight, bias, "int8")).to("meta")
    monkeypatch.setattr(packing, "blocks_bf16", lambda: False)
    for precision in ("fp32", "bf16"):
        moved = PackedLinear(weight, bias, precision).to("meta", torch.float64)
        assert moved(torch.randn(5, 64, device="meta")).device.type == "meta"


def test_the_engine_of_integers_is_chosen_for_these_weights_only(monkeypatch) -> None:
    engines = torch.backends.quantized
    former, chosen = engines.engine, []
    prepack = torch.ops.quantized.linear_prepack

    def spied(*weights: object) -> object:
        chosen.append(engines.engine)
        return prepack(*weights)

    monkeypatch.setattr(torch.ops.quantized, "linear_prepack", spied)
    PackedLinear(torch.randn(8, 16), None, "int8")
    expected = packing.INT8_ENGINE if packing.INT8_ENGINE in engines.supported_engines else former
    assert chosen == [expected]
    assert engines.engine == former
