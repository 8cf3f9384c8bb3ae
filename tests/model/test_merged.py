"""A checkpoint with LoRA folded into its weights: plain names, loads without peft, same scores."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from claip_emo.inference.predictor import ModelPredictor
from claip_emo.model import packaged
from claip_emo.model.backbones import resolve
from claip_emo.model.checkpoint_folder import CheckpointError, sums
from claip_emo.model.folded import FoldedModel
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.stacking import MODALITIES

from ..inference.test_predictor import clip
from ..processes import run_python
from .exported_models import made
from .made_resnets import saved as saved_resnets

SCORE = """
import sys
sys.modules["peft"] = None  # importing it fails
import numpy as np
from claip_emo import EmotionRecognizer
from claip_emo.inference.predictor import load_predictor
from claip_emo.model.modeling import ClaipEmoModel
from tests.inference.test_predictor import clip
folder = sys.argv[1]
ClaipEmoModel.from_pretrained(folder)
found = EmotionRecognizer.from_pretrained(folder, face_detector="none", precision="fp32").predictor
size, time = found.settings.image_size_px, found.settings.num_frames
np.save(sys.argv[2], found.score([clip(1, size, time)], "av").probabilities)
"""


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    folder = tmp_path / "model"
    made().save_pretrained(folder)
    ClaipEmoProcessor.for_backbone(resolve("tiny-clip")).save_pretrained(folder)
    return folder


def whole(folder: Path) -> ModelPredictor:
    processor = ClaipEmoProcessor.from_pretrained(folder)
    return ModelPredictor(ClaipEmoModel.from_pretrained(folder), processor, "fp32")


def test_one_file_of_plain_weights(checkpoint, tmp_path) -> None:
    (checkpoint / "LICENSE").write_text("terms")
    folder = packaged.merge(checkpoint, tmp_path / "merged")
    names = {path.name for path in folder.iterdir()}
    described = {"config.json", "processor_config.json", "LICENSE", "SHA256SUMS"}
    assert names == described | {"model.safetensors"}
    assert (folder / "SHA256SUMS").read_text() == sums(folder)
    with safe_open(folder / "model.safetensors", "np") as stored:
        weights = set(stored.keys())
    assert not [name for name in weights if "lora_" in name or "base_layer" in name]
    assert "vision_tower.encoder.layers.0.self_attn.q_proj.weight" in weights
    assert "head.classifier.weight" in weights
    config = json.loads((folder / "config.json").read_text())
    assert (config["adaptation"], config["store_towers"]) == ("full", True)


def test_it_loads_without_peft_and_scores_as_before(checkpoint, tmp_path) -> None:
    folder = packaged.merge(checkpoint, tmp_path / "merged")
    model, merged = whole(checkpoint), whole(folder)
    size, time = model.settings.image_size_px, model.settings.num_frames
    given = [clip(1, size, time), clip(2, size, time)]
    for modality in MODALITIES:
        one, other = (found.score(given, modality).probabilities for found in (model, merged))
        np.testing.assert_allclose(other, one, atol=1e-5)
    done = run_python(SCORE, str(folder), str(tmp_path / "scores.npy"))
    assert done.returncode == 0, done.stderr
    alone = model.score(given[:1], "av").probabilities
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), alone, atol=1e-5)


def test_merged_resnets_are_folded_too(tmp_path) -> None:
    saved_resnets(tmp_path / "model")
    folder = packaged.merge(tmp_path / "model", tmp_path / "merged")
    found = FoldedModel.of_folder(folder)
    model = whole(tmp_path / "model")
    given = [clip(1, found.settings.image_size_px, found.settings.num_frames)]
    one, other = (each.score(given, "av").probabilities for each in (model, found))
    np.testing.assert_allclose(other, one, atol=1e-5)
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        FoldedModel.of_folder(folder)


def test_what_is_no_such_file_is_told(checkpoint, tmp_path) -> None:
    folder = packaged.merge(checkpoint, tmp_path / "merged")
    shutil.copyfile(checkpoint / "adapter_model.safetensors", folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not fit"):
        ClaipEmoModel.from_pretrained(folder)


def test_a_merged_checkpoint_can_be_merged_halved_and_replaced(checkpoint, tmp_path) -> None:
    folder = packaged.merge(checkpoint, tmp_path / "merged")
    again = packaged.merge(folder, tmp_path / "again")
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    half = packaged.halve(folder, again)
    assert whole(half).config.adaptation == "full"
    sizes = [(each / "model.safetensors").stat().st_size for each in (half, folder)]
    assert sizes[0] < 0.6 * sizes[1]
