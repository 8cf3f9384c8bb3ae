"""The model: sizes as published, what is frozen, missing modalities, saving, merging."""

import json

import pytest
import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer

from claip_emo import ClaipEmoConfig, ClaipEmoModel
from claip_emo.labels import SEVEN
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.checkpoint_folder import CheckpointError
from claip_emo.model.describe import describe_backbone
from claip_emo.recipe import WEIGHT_PARTS

SMALL = ("tiny", "tiny-clip")
SIZE = {"tiny": (1, 48), "tiny-clip": (3, 32)}


def build(name: str = "tiny-clip", **settings) -> ClaipEmoModel:
    torch.manual_seed(0)
    return ClaipEmoModel(configure(resolve(name), SEVEN, num_frames=4, **settings))


def inputs(name: str = "tiny-clip", batch: int = 3) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    channels, size = SIZE[name]
    return {
        "pixel_values": torch.randn(batch, 4, channels, size, size, generator=rng),
        "input_features": torch.randn(batch, 1, 256, 64, generator=rng) * 20 - 40,
    }


@pytest.mark.parametrize(
    ("name", "total", "trainable"),
    [("vit-b32", 119.9, 4.927), ("vit-b16", 118.3, 4.927), ("vit-l14", 338.9, 8.195)],
)
def test_sizes_are_the_published_ones(name: str, total: float, trainable: float) -> None:
    counted = describe_backbone(name)["parameters"]
    assert counted["total"] / 1e6 == pytest.approx(total, abs=0.05)
    assert counted["trainable"] / 1e6 == pytest.approx(trainable, abs=0.001)
    wide = name == "vit-l14"
    assert counted["parts"] == {
        "lora_vision": 3_538_944 if wide else 1_327_104,
        "lora_audio": 423_936,
        "temporal": 4_219_904 if wide else 3_165_184,
        "head": 12_551 if wide else 10_759,
    }


def test_lora_goes_where_the_paper_says() -> None:
    model = build()
    adapted = {n for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)}
    kinds = {name.rpartition(".")[2] for name in adapted if name.startswith("vision")}
    assert kinds == {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"}
    audio = {name for name in adapted if name.startswith("audio")}
    assert not [n for n in audio if "query" in n or "patch_embed" in n or "reduction" in n]
    blocks = [n for n, _ in model.audio_tower.named_modules() if n.endswith("attention")]
    assert len(audio) == 3 * len(blocks)


@pytest.mark.parametrize("name", SMALL)
def test_at_the_start_it_equals_its_base_bit_for_bit(name: str) -> None:
    adapted, frozen = build(name).eval(), build(name, adaptation="frozen").eval()
    weights = dict(adapted.state_dict())
    frozen.load_state_dict(
        {n.replace(".base_layer.", "."): w for n, w in weights.items() if ".lora_" not in n}
    )
    given = inputs(name)
    assert torch.equal(adapted(**given).logits, frozen(**given).logits)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("adaptation", ["lora", "frozen", "full"])
def test_a_step_moves_what_it_should_and_nothing_else(name: str, adaptation: str) -> None:
    model = build(name, adaptation=adaptation).train()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        model(**inputs(name), labels=torch.tensor([0, 1, 2])).loss.backward()
        optimiser.step()
    moved = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    towers = {n for n in before if n.startswith(("vision_tower", "audio_tower"))}
    if adaptation == "frozen":
        assert not moved & towers
    elif adaptation == "lora":
        assert {n for n in moved & towers if ".lora_" not in n} == set()  # buffers included
        assert {n for n in towers if ".lora_B." in n} <= moved
    else:
        assert [n for n in moved & towers if "running_mean" in n]
    assert {"head.classifier.weight", "temporal.cls_token"} <= moved


@pytest.mark.parametrize("adaptation", ["lora", "frozen", "full"])
@pytest.mark.parametrize("temporal", ["transformer", "mean", "lstm"])
@pytest.mark.parametrize("fusion", ["concat", "sum", "gated", "cross_attention"])
def test_what_is_trained_is_of_the_parts_that_a_recipe_names(adaptation, temporal, fusion) -> None:
    model = build(adaptation=adaptation, temporal=temporal, fusion=fusion)
    first = {name.partition(".")[0] for name in model.trained_state()}
    untrained = {"vision_tower", "audio_tower"} if adaptation == "frozen" else set()
    empty = {"temporal"} if temporal == "mean" else set()
    assert first == {*WEIGHT_PARTS} - untrained - empty


@pytest.mark.parametrize("name", SMALL)
def test_a_missing_modality_is_a_zero_vector_whatever_stands_in_its_place(name: str) -> None:
    model = build(name).eval()
    given = inputs(name)
    broken = {key: value.clone() for key, value in given.items()}
    broken["pixel_values"][0] = float("nan")
    broken["input_features"][1] = float("nan")
    outputs = model(
        **broken,
        has_video=torch.tensor([False, True, True]),
        has_audio=torch.tensor([True, False, True]),
    )
    assert torch.isfinite(outputs.logits).all()
    assert (outputs.video[0] == 0).all()
    assert (outputs.audio[1] == 0).all()
    whole = model(**given)
    torch.testing.assert_close(outputs.video[1:], whole.video[1:])
    torch.testing.assert_close(outputs.logits[2], whole.logits[2])
    only = model(input_features=given["input_features"])
    torch.testing.assert_close(outputs.logits[0], only.logits[0])


def test_gradients_are_finite_where_a_modality_is_missing_from_the_whole_batch() -> None:
    model = build().train()
    nobody = torch.zeros(3, dtype=torch.bool)
    model(**inputs(), has_video=nobody, labels=torch.tensor([0, 1, 2])).loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(g).all() for g in gradients)


def test_nothing_given_is_refused() -> None:
    with pytest.raises(ValueError, match="pixel_values or input_features"):
        build()()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("adaptation", ["lora", "frozen", "full"])
def test_save_and_load(name: str, adaptation: str, tmp_path) -> None:
    model = build(name, adaptation=adaptation).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "model")
    again = ClaipEmoModel.from_pretrained(tmp_path)  # the run's folder will do
    given = inputs(name)
    assert torch.equal(model(**given).logits, again(**given).logits)
    assert again.config.labels == list(SEVEN)
    written = {path.name for path in (tmp_path / "model").iterdir()}
    assert not [n for n in written if n.endswith((".bin", ".pt", ".pkl"))]
    assert ("adapter_config.json" in written) == (adaptation == "lora")


def test_reload_after_training_steps_is_exact(tmp_path) -> None:
    model = build("tiny-clip").train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(5):
        model(**inputs(), labels=torch.tensor([0, 1, 2])).loss.backward()
        optimiser.step()
    model.eval().save_pretrained(tmp_path)
    again = ClaipEmoModel.from_pretrained(tmp_path)
    assert torch.equal(model(**inputs()).logits, again(**inputs()).logits)


@pytest.mark.parametrize("name", SMALL)
def test_merged_equals_adapted(name: str) -> None:
    model = build(name).eval()
    with torch.no_grad():
        for n, parameter in model.named_parameters():
            if ".lora_B." in n:
                parameter.normal_(0, 0.02)
    given = inputs(name)
    before = model(**given).logits
    assert not [m for m in model.merge().modules() if isinstance(m, BaseTunerLayer)]
    torch.testing.assert_close(model(**given).logits, before, rtol=1e-4, atol=2e-5)
    with pytest.raises(ValueError, match="prediction only"):
        model.save_pretrained("nowhere")


def test_peft_itself_can_load_the_adapter(tmp_path) -> None:
    model = build("tiny-clip").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    base = build("tiny-clip", adaptation="frozen")
    wrapped = PeftModel.from_pretrained(base, tmp_path).eval()
    given = inputs()
    torch.testing.assert_close(wrapped(**given).logits, model(**given).logits)


def test_a_broken_checkpoint_says_what_is_wrong(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        ClaipEmoModel.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        ClaipEmoModel.from_pretrained(tmp_path)
    build().save_pretrained(tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        ClaipEmoModel.from_pretrained(tmp_path)
    weights.write_bytes(whole)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"lora_rank": 4}))
    with pytest.raises(CheckpointError, match="does not fit"):
        ClaipEmoModel.from_pretrained(tmp_path)


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="lora, frozen, full"):
        build(adaptation="prefix")
    with pytest.raises(ValueError, match="transformer, mean, lstm"):
        build(temporal="gru")
    with pytest.raises(ValueError, match="concat, sum, gated, cross_attention"):
        build(fusion="product")
    with pytest.raises(ValueError, match="av, v, a"):
        build(modality="va")
    with pytest.raises(ValueError, match=r"No tower is known.*bert.*resnet"):
        ClaipEmoModel(ClaipEmoConfig(vision_config={"model_type": "bert"}))


def test_gradient_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = build(lora_dropout=0.0).train()
        model.audio_tower.eval()  # no stochastic depth: the two passes must draw the same
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model(**inputs(), labels=torch.tensor([0, 1, 2])).loss.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-6)


def test_push_to_hub_uploads_a_loadable_folder(tmp_path, monkeypatch) -> None:
    from types import SimpleNamespace

    from transformers.utils import hub

    uploaded: dict[str, bytes] = {}

    def upload(self, folder, repo_id, **_):
        from pathlib import Path

        uploaded.update({p.name: p.read_bytes() for p in Path(folder).iterdir()})
        return repo_id

    fake = SimpleNamespace(create_repo=lambda repo_id, **_: SimpleNamespace(repo_id=repo_id))
    card = SimpleNamespace(save=lambda path: None)
    monkeypatch.setattr(hub, "hf_api", lambda: fake)
    monkeypatch.setattr(hub, "create_and_tag_model_card", lambda *_, **__: card)
    monkeypatch.setattr(ClaipEmoModel, "_upload_modified_files", upload)
    model = build().eval()
    model.push_to_hub("someone/emotions")
    for name, content in uploaded.items():
        (tmp_path / name).write_bytes(content)
    again = ClaipEmoModel.from_pretrained(tmp_path)
    assert torch.equal(model(**inputs()).logits, again(**inputs()).logits)
