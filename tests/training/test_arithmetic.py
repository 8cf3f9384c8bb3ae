"""Fewer kernels, compiled towers, another number format: the same training."""

import copy
import json
import logging

import pytest
import torch

from claip_emo.labels import SEVEN
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.batching import score
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.packing import PackedLinear
from claip_emo.recipe_files import load_recipe, parse_recipe
from claip_emo.training.arithmetic import adamw, compile_towers, scoring
from claip_emo.training.fit import train
from claip_emo.training.plan import plan
from claip_emo.training.trainer import ClaipEmoTrainer

from .conftest import described, frozen, small


def parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((9, 7), (5,))]


def step(optimiser: torch.optim.Optimizer, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimiser.step()


def groups(weights: list[torch.nn.Parameter]) -> list[dict]:
    return [
        {"params": weights[:1], "weight_decay": 0.1},
        {"params": weights[1:], "weight_decay": 0.0},
    ]


def test_the_fused_optimiser_is_adamw_and_goes_on_exactly(tmp_path) -> None:
    whole, halves, plain = parameters(), parameters(), parameters()
    optimiser, first = adamw(groups(whole), 0.1), adamw(groups(halves), 0.1)
    assert optimiser.defaults["fused"] is True
    reference = torch.optim.AdamW(groups(plain), lr=0.1, foreach=False, fused=False)
    for number in range(6):
        step(optimiser, number)
        step(reference, number)
        if number < 3:
            step(first, number)
    torch.save(first.state_dict(), tmp_path / "optimizer.pt")
    second = adamw(groups(halves), 0.1)
    second.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    for number in range(3, 6):
        step(second, number)
    for mine, again, theirs in zip(whole, halves, plain, strict=True):
        assert torch.equal(mine, again)
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_where_there_is_no_fused_kernel_torch_chooses() -> None:
    weights = [torch.nn.Parameter(torch.zeros(2, device="meta"))]
    assert adamw([{"params": weights}], 0.1).defaults["fused"] is None


def test_compiled_towers_compute_the_same() -> None:
    """Traced, and run without generated code: what is left out of a graph would be missing."""
    torch.manual_seed(0)
    model = ClaipEmoModel(configure(resolve("tiny-clip"), SEVEN, lora_dropout=0.0, num_frames=2))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    inputs = {
        "pixel_values": torch.randn(3, 2, 3, 32, 32),
        "input_features": torch.randn(3, 1, 256, 64),
        "has_video": torch.tensor([True, False, True]),
        "labels": torch.tensor([0, 1, 2]),
    }
    compiled = copy.deepcopy(model)
    graphs = []

    def eager(graph: torch.fx.GraphModule, _: list[torch.Tensor]):
        graphs.append(len(graph.graph.nodes))
        return graph

    compile_towers(compiled, eager)
    for one in (model.eval(), compiled.eval()):
        one(**inputs).loss.backward()
    assert sum(graphs) > 100  # both towers are in graphs
    for (name, mine), theirs in zip(model.named_parameters(), compiled.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None), name
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, msg=name)


def test_what_is_compiled_waits_while_packed_towers_score() -> None:
    torch.manual_seed(0)
    model = ClaipEmoModel(configure(resolve("tiny-clip"), SEVEN, num_frames=2)).eval()
    frames = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = copy.deepcopy(model).merge("bf16").encode_frames(frames)
    compile_towers(model, lambda graph, _: graph)
    compiled = model.encode_frames, model.encode_audio
    with torch.no_grad(), scoring(model, "bf16"):
        assert model.encode_frames.__func__ is ClaipEmoModel.encode_frames
        assert model.encode_audio.__func__ is ClaipEmoModel.encode_audio
        assert torch.equal(model.encode_frames(frames), expected)
    assert (model.encode_frames, model.encode_audio) == compiled
    with pytest.raises(RuntimeError), scoring(model, "bf16"):
        raise RuntimeError
    assert (model.encode_frames, model.encode_audio) == compiled


@pytest.fixture
def scored(monkeypatch) -> list[set[str]]:
    """In which precisions the towers are packed, for each batch of a run that is scored."""
    found: list[set[str]] = []

    def watched(model: ClaipEmoModel, *rest):
        found.append({m.precision for m in model.modules() if isinstance(m, PackedLinear)})
        return score(model, *rest)

    monkeypatch.setattr("claip_emo.evaluation.evaluate.score", watched)
    return found


def test_compiling_is_left_out_with_a_word_where_it_gains_nothing(
    clips, tmp_path, quiet, caplog, monkeypatch, scored
) -> None:
    compiled = []
    monkeypatch.setattr("claip_emo.training.trainer.compile_towers", compiled.append)
    recipe = described(clips, epochs=1, compile=True, precision="bf16")
    train(parse_recipe(recipe), tmp_path / "r", device="cpu", console=quiet)
    assert "train.compile is left out" in caplog.text
    assert compiled == []
    assert scored == [{"bf16"}, {"bf16"}]  # and nothing else is


@pytest.mark.parametrize(
    ("choice", "here", "expected"),
    [("auto", "bf16", "bf16"), ("auto", "fp32", "fp32"), ("fp32", "bf16", "fp32"),
     ("bf16", "fp32", "bf16")],
)  # fmt: skip
def test_auto_is_what_is_faster_here(
    clips, monkeypatch, choice: str, here: str, expected: str
) -> None:
    monkeypatch.setattr("claip_emo.model.precision.best_precision", lambda *_: here)
    assert plan(small(clips, precision=choice), device="cpu")["precision"] == expected


@pytest.mark.parametrize("features", ["live", "cached"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_precision_is_used_and_told(
    clips, tmp_path, quiet, monkeypatch, scored, precision: str, features: str
) -> None:
    """By the towers, by what is trained, and by what is scored: validation part and test part."""
    encoded, trained = [], set()
    encode, forward = ClaipEmoModel.encode_frames, ClaipEmoModel.forward

    def watched_towers(self, *rest):
        if self.laid_out is None:
            encoded.append(torch.is_autocast_enabled("cpu"))
        return encode(self, *rest)

    def watched(self, *rest, **more):
        if torch.is_grad_enabled():
            trained.add(torch.is_autocast_enabled("cpu"))
        return forward(self, *rest, **more)

    monkeypatch.setattr(ClaipEmoModel, "encode_frames", watched_towers)
    monkeypatch.setattr(ClaipEmoModel, "forward", watched)
    recipe = frozen(clips, features)
    recipe["train"] |= {"epochs": 1, "precision": precision}
    run = train(parse_recipe(recipe), tmp_path / "r", device="cpu", console=quiet)
    assert json.loads((run.out / "run.json").read_text())["precision"] == precision
    assert set(encoded) == trained == {precision == "bf16"}
    assert scored == [{precision}] * (2 if features == "live" else 1)


def test_a_run_that_goes_on_in_another_precision_says_so(
    clips, tmp_path, quiet, monkeypatch, caplog
) -> None:
    recipe = small(clips, epochs=2)
    stop = ClaipEmoTrainer.training_step

    def failing(self, *rest, **more):
        if self.state.global_step == 5:
            raise KeyboardInterrupt
        return stop(self, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr("claip_emo.model.precision.best_precision", lambda *_: "bf16")
        patch.setattr(ClaipEmoTrainer, "training_step", failing)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "r", device="cpu", console=quiet)
    assert "goes on in" not in caplog.text
    monkeypatch.setattr("claip_emo.model.precision.best_precision", lambda *_: "fp32")
    with caplog.at_level(logging.WARNING):
        run = train(recipe, tmp_path / "r", device="cpu", console=quiet)
    assert "trained in bf16 so far and goes on in fp32" in caplog.text
    assert json.loads((run.out / "run.json").read_text())["precision"] == "fp32"


def test_a_plan_names_precision_and_features(clips) -> None:
    still = ["augment.randaugment_layers=0", "augment.crop_scale=[1,1]", "augment.flip=0",
             "augment.erase=0", "augment.mixup=0", "augment.cutmix=0", "augment.time_masks=0",
             "augment.frequency_masks=0", "model.adaptation=frozen"]  # fmt: skip
    data = [f"data.root={clips}", "model.backbone=tiny-clip", "train.precision=bf16"]
    found = [plan(load_recipe("csv", [*data, *more])) for more in ([], still)]
    assert [one["features"] for one in found] == ["live", "cached"]
    assert [one["precision"] for one in found] == ["bf16", "bf16"]
