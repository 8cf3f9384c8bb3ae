"""A checkpoint in half precision: half the size, and it loads as the original does."""

import hashlib

import pytest
import torch
from safetensors.torch import load_file, save_file

from claip_emo.labels import SEVEN
from claip_emo.model import checkpoint_folder, packaged
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.checkpoint_folder import CheckpointError
from claip_emo.model.language import store_language
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    model = ClaipEmoModel(configure(resolve("tiny-clip"), SEVEN)).eval()
    for name, value in model.named_parameters():
        if "lora_B" in name:
            value.data.normal_(0, 0.1)
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    ClaipEmoProcessor.for_backbone(resolve("tiny-clip")).save_pretrained(folder)
    store_language(folder, model.config)
    return folder


def test_half_the_bytes_and_nearly_the_same_outputs(checkpoint, tmp_path) -> None:
    half = packaged.halve(checkpoint, tmp_path / "half")

    whole, small = (ClaipEmoModel.from_pretrained(folder) for folder in (checkpoint, half))
    sizes = [(folder / "towers.safetensors").stat().st_size for folder in (checkpoint, half)]
    assert sizes[1] < 0.55 * sizes[0]
    assert {value.dtype for value in small.state_dict().values()} <= {torch.float32, torch.int64}
    generator = torch.Generator().manual_seed(1)
    inputs = {
        "pixel_values": torch.randn(2, 3, 3, 32, 32, generator=generator),
        "input_features": torch.randn(2, 1, 256, 64, generator=generator) * 20 - 40,
    }
    with torch.no_grad():
        apart = (whole(**inputs).logits - small(**inputs).logits).abs().max()
    assert 0 < apart < 2e-2
    stored = load_file(half / "language-vision" / "model.safetensors")
    assert {value.dtype for value in stored.values() if value.is_floating_point()} == {
        torch.float16
    }


def test_every_file_has_its_sum(checkpoint, tmp_path) -> None:
    (tmp_path / "card.md").write_text("what it is")
    (tmp_path / "terms").write_text("who may")
    half = packaged.halve(
        checkpoint, tmp_path / "half", card=tmp_path / "card.md", licence=tmp_path / "terms"
    )
    assert (half / "README.md").read_text() == "what it is"
    assert (half / "LICENSE").read_text() == "who may"

    listed = dict(
        reversed(line.split("  ")) for line in (half / packaged.SUMS).read_text().splitlines()
    )
    there = {p.relative_to(half).as_posix() for p in half.rglob("*") if p.is_file()}
    assert listed.keys() == there - {packaged.SUMS}
    for name, digest in listed.items():
        assert hashlib.sha256((half / name).read_bytes()).hexdigest() == digest


def test_what_does_not_fit_half_precision_is_refused(checkpoint, tmp_path) -> None:
    path = checkpoint / "adapter_model.safetensors"
    state = load_file(path)
    name = next(iter(state))
    state[name] = state[name] * 0 + 1e6
    save_file(state, path)

    with pytest.raises(CheckpointError, match=f"{name} is too large for half precision"):
        packaged.halve(checkpoint, tmp_path / "half")
    assert not (tmp_path / "half").exists()


def test_no_other_folder_is_overwritten(checkpoint, tmp_path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")

    with pytest.raises(FileExistsError, match="holds no checkpoint"):
        packaged.halve(checkpoint, other)
    with pytest.raises(FileExistsError, match="is the checkpoint itself"):
        packaged.halve(checkpoint, checkpoint)
    assert (other / "mine.txt").read_text() == "mine"


def test_an_installation_without_a_model_says_so(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(checkpoint_folder, "files", lambda name: tmp_path)
    with pytest.raises(CheckpointError, match="carries no model; name one with --model DIR"):
        checkpoint_folder.packaged()


def test_a_torn_file_of_weights_is_named(checkpoint, tmp_path) -> None:
    torn = checkpoint / "language-vision" / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"language-vision/model\.safetensors cannot be read"):
        packaged.halve(checkpoint, tmp_path / "half")
    assert not (tmp_path / "half").exists()


def test_a_folder_that_holds_a_tower_only_is_not_replaced(checkpoint, tmp_path) -> None:
    tower = tmp_path / "tower"
    tower.mkdir()
    (tower / "config.json").write_text("{}")
    with pytest.raises(FileExistsError, match="holds no checkpoint"):
        packaged.halve(checkpoint, tower)
    assert [p.name for p in tower.iterdir()] == ["config.json"]
