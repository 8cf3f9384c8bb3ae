"""Linear layers with LoRA in one step: the numbers of peft's layers, and less that is kept."""

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.nn import functional

from claip_emo.model import lora
from claip_emo.model.lora import Activation, LayerNorm, drawn, project

WIDTH, ROWS = 12, 20


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.one, self.two = nn.Linear(WIDTH, 7), nn.Linear(WIDTH, 5, bias=False)
        nn.init.normal_(self.norm.weight, 1, 0.3)
        nn.init.normal_(self.norm.bias)


def adapted(dropout: float = 0.0, *, norm_trained: bool = False) -> Block:
    torch.manual_seed(0)
    block = Block()
    block.requires_grad_(False)
    recipe = LoraConfig(
        r=3, lora_alpha=12, lora_dropout=dropout, target_modules="one|two", bias="none"
    )
    inject_adapter_in_model(recipe, block)
    for name, parameter in block.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    block.norm.requires_grad_(norm_trained)
    return block


BEFORE = {
    "none": lambda block: None,
    "norm": lambda block: LayerNorm.of(block.norm),
    "gelu": lambda block: Activation("gelu"),
    "quick_gelu": lambda block: Activation("quick_gelu"),
}
SAME = {
    "none": lambda block, x: x,
    "norm": lambda block, x: block.norm(x),
    "gelu": lambda block, x: functional.gelu(x),
    "quick_gelu": lambda block, x: x * torch.sigmoid(1.702 * x),
}


def gradients(block: Block, outputs: list, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    block.zero_grad()
    inputs.grad = None
    torch.manual_seed(3)
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    found = {name: p.grad.clone() for name, p in block.named_parameters() if p.grad is not None}
    return found | {"inputs": inputs.grad.clone()}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("norm_trained", [False, True])
def test_outputs_and_gradients_are_those_of_peft(before: str, norm_trained: bool) -> None:
    block = adapted(norm_trained=norm_trained)
    inputs = torch.randn(4, ROWS // 4, WIDTH, requires_grad=True)
    ready = SAME[before](block, inputs)
    expected = [block.one(ready), block.two(ready)]
    wanted = gradients(block, expected, inputs)
    outputs = project(inputs, [block.one, block.two], BEFORE[before](block))
    torch.testing.assert_close(outputs, expected)
    found = gradients(block, outputs, inputs)
    trained = norm_trained and before == "norm"
    assert found.keys() == wanted.keys()
    assert len(found) == 5 + 2 * trained
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("before", BEFORE)
def test_dropout_masks_the_adapters_input_only(before: str, monkeypatch) -> None:
    block = adapted(dropout=0.25)
    kept = torch.rand(ROWS, WIDTH) < 0.75
    monkeypatch.setattr(lora, "drawn", lambda like, share: kept if share == 0.75 else None)
    inputs = torch.randn(ROWS, WIDTH, requires_grad=True)

    def by_hand() -> list:
        ready = SAME[before](block, inputs)
        outputs = []
        for module in (block.one, block.two):
            down, up = module.lora_A["default"].weight, module.lora_B["default"].weight
            base = module.get_base_layer()
            small = (ready * kept / 0.75) @ down.t() @ up.t()
            outputs.append(functional.linear(ready, base.weight, base.bias) + 4 * small)
        return outputs

    expected = by_hand()
    wanted = gradients(block, expected, inputs)
    outputs = project(inputs, [block.one, block.two], BEFORE[before](block))
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(gradients(block, outputs, inputs), wanted)


def test_no_dropout_in_evaluation() -> None:
    block = adapted(dropout=0.5).eval()
    inputs = torch.randn(ROWS, WIDTH)
    torch.testing.assert_close(project(inputs, [block.one])[0], block.one(inputs))


def test_an_input_without_gradients_costs_no_product(monkeypatch) -> None:
    block = adapted()
    (output,) = project(torch.randn(ROWS, WIDTH), [block.one], LayerNorm.of(block.norm))
    monkeypatch.setattr(LayerNorm, "backward", None)  # would be called for the input's
    output.sum().backward()
    assert block.one.lora_A["default"].weight.grad is not None


def test_half_precision_is_autocast_s() -> None:
    block = adapted()
    inputs = torch.randn(ROWS, WIDTH, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = project(inputs, [block.one, block.two], LayerNorm.of(block.norm))
    assert {output.dtype for output in outputs} == {torch.bfloat16}
    found = gradients(block, outputs, inputs)
    whole = project(inputs, [block.one, block.two], LayerNorm.of(block.norm))
    wanted = gradients(block, [output.bfloat16() for output in whole], inputs)
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}
    torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("before", BEFORE)
def test_autocast_that_comes_later_changes_no_gradient(before: str) -> None:
    block = adapted(dropout=0.5)
    inputs = torch.randn(ROWS, WIDTH, requires_grad=True)

    def run(autocast: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        outputs = project(inputs, [block.one, block.two], BEFORE[before](block))
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return gradients(block, outputs, inputs)

    wanted = run(False)
    for name, gradient in run(True).items():
        assert torch.equal(gradient, wanted[name])


@pytest.mark.parametrize("state", ["merged", "switched off", "plain"])
def test_other_layers_are_applied_as_they_are(state: str) -> None:
    block = adapted()
    module = block.one
    if state == "merged":
        module.merge()
    elif state == "switched off":
        module.enable_adapters(False)
    else:
        module = module.get_base_layer().requires_grad_(True)
    inputs = torch.randn(ROWS, WIDTH)
    torch.testing.assert_close(project(inputs, [module])[0], module(inputs))


def test_a_trained_base_weight_gets_its_gradient() -> None:
    block = adapted()
    block.one.get_base_layer().requires_grad_(True)
    project(torch.randn(ROWS, WIDTH), [block.one])[0].sum().backward()
    assert block.one.get_base_layer().weight.grad is not None


def test_less_is_kept_than_by_one_peft_layer_after_the_other() -> None:
    block = adapted(dropout=0.1)
    inputs = torch.randn(ROWS, WIDTH, requires_grad=True)

    def kept(compute) -> int:
        storages = {}

        def keep(tensor):
            if not isinstance(tensor, nn.Parameter):
                storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            alive = compute()
        assert alive
        return sum(storages.values())

    def one_by_one() -> list:
        ready = SAME["norm"](block, inputs)
        return [block.one(ready), block.two(ready)]

    ours = kept(lambda: project(inputs, [block.one, block.two], LayerNorm.of(block.norm)))
    assert ours < kept(one_by_one) / 2


def test_masks_are_seeded_and_as_likely_as_asked() -> None:
    like = torch.empty(997, 101)
    torch.manual_seed(5)
    first, second = drawn(like, 0.9), drawn(like, 0.9)
    torch.manual_seed(5)
    assert torch.equal(drawn(like, 0.9), first)
    assert not torch.equal(first, second)
    assert first.shape == like.shape
    for share in (0.5, 0.9, 0.99):
        found = drawn(like, share).float()
        assert found.mean().item() == pytest.approx(share, abs=0.005)
        by_place = found.flatten()[: found.numel() // 4 * 4].view(-1, 4).mean(0)
        assert by_place.numpy() == pytest.approx([share] * 4, abs=0.01)  # each of the four draws


def test_a_mask_is_right_up_to_the_ends() -> None:
    like = torch.empty(1000, 1000)
    torch.manual_seed(5)
    for share in (1.0, 1 - 1e-6, 1 - 7.6e-6):  # nearer to 1 than 16 bits can tell
        assert drawn(like, share).all()
    assert drawn(like, 1 - 1e-3).float().mean().item() == pytest.approx(0.999, abs=2e-4)
    for share in (2**-16, 1e-6):
        assert 0 < drawn(like, share).sum() < 60
