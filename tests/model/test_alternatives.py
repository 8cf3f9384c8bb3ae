"""What ablations set beside the paper's choices: temporal modules, fusions, one modality alone."""

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from claip_emo import ClaipEmoModel
from claip_emo.model.describe import describe_backbone

from .test_modeling import SMALL, build, inputs


@pytest.mark.parametrize("temporal", ["transformer", "mean", "lstm"])
@pytest.mark.parametrize("fusion", ["concat", "sum", "gated", "cross_attention"])
def test_every_alternative_trains_saves_and_loads(temporal: str, fusion: str, tmp_path) -> None:
    model = build("tiny", temporal=temporal, fusion=fusion).train()
    given = inputs("tiny")
    heads = {n: p.clone() for n, p in model.named_parameters() if n.startswith(("temp", "head"))}
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        model(**given, labels=torch.tensor([0, 1, 2])).loss.backward()
        optimiser.step()
    stuck = {n for n, p in model.named_parameters() if n in heads and torch.equal(p, heads[n])}
    assert not stuck
    model.eval().save_pretrained(tmp_path)
    again = ClaipEmoModel.from_pretrained(tmp_path)
    assert (again.config.temporal, again.config.fusion) == (temporal, fusion)
    assert torch.equal(model(**given).logits, again(**given).logits)
    silent = model(**given, has_audio=torch.tensor([True, False, True]))
    only = model(pixel_values=given["pixel_values"])
    torch.testing.assert_close(silent.logits[1], only.logits[1])


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("adaptation", ["lora", "frozen", "full"])
@pytest.mark.parametrize("modality", ["v", "a"])
def test_a_model_of_one_modality(name: str, adaptation: str, modality: str, tmp_path) -> None:
    model = build(name, adaptation=adaptation, modality=modality).train()
    mine, other = {"v": ("vision", "audio"), "a": ("audio", "vision")}[modality]
    assert getattr(model, f"{other}_tower") is None
    assert getattr(model.config, f"{other}_config") is None
    assert (model.temporal is None) == (modality == "a")
    counted = model.count_parameters()
    assert counted["total"] == sum(p.numel() for p in model.parameters())
    assert not [part for part in counted["parts"] if other in part]
    both = build(name, adaptation=adaptation).count_parameters()
    width = {"vision": model.video_width, "audio": model.audio_width}[mine]
    assert counted["parts"].pop("head") == 7 * width + 7
    expected = {p: n for p, n in both["parts"].items() if mine in p or p == "temporal"}
    if modality == "a":
        expected.pop("temporal")
    assert counted["parts"] == expected
    given = inputs(name)
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(**given, labels=torch.tensor([0, 1, 2])).loss.backward()
    optimiser.step()
    model.eval().save_pretrained(tmp_path)
    stored = [f for f in tmp_path.iterdir() if f.suffix == ".safetensors"]
    names = {key for file in stored for key in load_file(file)}
    assert names
    assert not [key for key in names if f"{other}_tower" in key]
    again = ClaipEmoModel.from_pretrained(tmp_path)
    before = model(**given).logits
    assert torch.equal(before, again(**given).logits)
    torch.testing.assert_close(again.merge()(**given).logits, before, rtol=1e-4, atol=2e-5)


def test_what_a_model_does_not_read_is_ignored() -> None:
    given = inputs()
    for modality, mine, other in (
        ("v", "pixel_values", "input_features"),
        ("a", "input_features", "pixel_values"),
    ):
        model = build(modality=modality).eval()
        whole = model(**given)
        broken = given | {other: torch.full_like(given[other], float("nan"))}
        assert torch.equal(model(**broken).logits, whole.logits)
        assert torch.equal(model(**{mine: given[mine]}).logits, whole.logits)
        # Without its own it has zeros, and says the same of everybody.
        nothing = model(**{other: given[other]}, labels=torch.tensor([0, 1, 2]))
        assert (nothing.logits == nothing.logits[0]).all()
        nothing.loss.backward()


def test_the_towers_are_those_of_both_modalities_alone() -> None:
    """The features of a model of one modality are those of a model of both, if it has its tower."""
    both, given = build(modality="av").eval(), inputs()
    for modality in ("v", "a"):
        single = build(modality=modality).eval()
        own = single.state_dict()
        single.load_state_dict(
            own | {n: w for n, w in both.state_dict().items() if n in own and "head" not in n}
        )
        found, whole = single(**given), both(**given)
        kind = {"v": "video", "a": "audio"}[modality]
        assert torch.equal(found[kind], whole[kind])


def test_peft_itself_can_load_the_adapter_of_one_tower(tmp_path) -> None:
    for modality in ("v", "a"):
        model = build(modality=modality).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.05 * torch.randn_like(parameter))
        model.save_pretrained(tmp_path / modality)
        base = build(adaptation="frozen", modality=modality)
        wrapped = PeftModel.from_pretrained(base, tmp_path / modality).eval()
        given = inputs()
        torch.testing.assert_close(wrapped(**given).logits, model(**given).logits)


def test_a_checkpoint_from_before_the_alternatives_loads(tmp_path) -> None:
    model = build().eval()
    model.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    for key in ("modality", "fusion_width", "fusion_heads"):
        del stored[key]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    again = ClaipEmoModel.from_pretrained(tmp_path)
    assert again.config.modalities == ("av", "v", "a")
    assert torch.equal(model(**inputs()).logits, again(**inputs()).logits)


def test_sizes_of_the_alternatives_at_full_size() -> None:
    head = {}
    for fusion in ("sum", "gated", "cross_attention"):
        head[fusion] = describe_backbone("vit-b32", fusion=fusion)["parameters"]["parts"]["head"]
    projections, classes = 2 * 768 * 256, 7
    assert head["sum"] == projections + classes * 257
    assert head["gated"] == projections + 1537 * 256 + classes * 257
    assert head["cross_attention"] == (
        projections + 2 * 256 + 3 * 256 * 256 + 257 * 256 + classes * 513
    )
    lstm = describe_backbone("vit-b32", temporal="lstm")["parameters"]["parts"]["temporal"]
    assert lstm == 2 * (4 * 384 * (768 + 384) + 8 * 384)
    face = describe_backbone("vit-b32", modality="v")
    assert face["parameters"]["parts"] == {
        "lora_vision": 1_327_104, "temporal": 3_165_184, "head": 7 * 769,
    }  # fmt: skip
    assert "audio_s" not in face["input"]
    voice = describe_backbone("vit-b32", modality="a")
    assert voice["parameters"]["parts"] == {"lora_audio": 423_936, "head": 7 * 769}
    assert (voice["temporal"], voice["fusion"]) == (None, None)
