"""A model read for prediction without transformers says what the whole model says."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from claip_emo.inference.recognizer import EmotionRecognizer
from claip_emo.labels import SEVEN
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.checkpoint_folder import (
    ADAPTER,
    CONFIG,
    TOWERS,
    CheckpointError,
    packaged,
)
from claip_emo.model.configuration import ClaipEmoConfig
from claip_emo.model.description import Described, TowerError
from claip_emo.model.folded import FoldedConfig, FoldedModel
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor

from ..media.make_media import ramp, tone, write
from ..processes import run_python

SIZES = {
    "model_type": "resnet",
    "num_channels": 1,
    "embedding_size": 8,
    "hidden_sizes": [8, 16, 24],
    "depths": [2, 1, 2],
    "layer_type": "basic",
}


def saved(folder: Path, sizes: dict | None = None, **choices) -> ClaipEmoModel:
    """Save a model none of whose numbers is what it was initialised with."""
    torch.manual_seed(0)
    tower = SIZES | (sizes or {})
    backbone = replace(resolve("tiny"), vision=tower, audio=tower)
    model = ClaipEmoModel(configure(backbone, SEVEN, **choices))
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if "running_var" in name:
            value.data.uniform_(0.5, 2)
        elif "normalization.weight" in name:
            value.data.uniform_(0.5, 1.5)
        elif name.endswith("num_batches_tracked"):
            value.data.fill_(3)
        elif any(part in name for part in ("lora_", "normalization", "head")):
            value.data.normal_(0, 0.3)
    model.eval().save_pretrained(folder)
    ClaipEmoProcessor.for_backbone(backbone).save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"layer_type": "bottleneck"},
        {"layer_type": "bottleneck", "downsample_in_bottleneck": True},
        {"downsample_in_first_stage": True},
        {"depths": [1, 1, 1], "hidden_sizes": [8, 8, 16]},
    ],
)
@pytest.mark.parametrize("adaptation", ["lora", "frozen", "full"])
def test_towers_give_the_same_features(sizes, adaptation, tmp_path) -> None:
    model = saved(tmp_path, sizes, adaptation=adaptation)
    folded = FoldedModel.from_folder(tmp_path, FoldedConfig.of_folder(tmp_path))
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(3, 1, 40, 40, generator=generator)
    mel = torch.randn(2, 3, 96, 64, generator=generator) * 20 - 40
    with torch.inference_mode():
        for mine, theirs in (
            (folded.encode_frames(pixels), model.encode_frames(pixels)),
            (folded.encode_audio(mel), model.encode_audio(mel)),
        ):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=2e-5)
            assert theirs.std() > 0.1


@pytest.mark.parametrize(
    "choices",
    [
        {"temporal": "transformer", "fusion": "concat"},
        {"temporal": "lstm", "fusion": "sum"},
        {"temporal": "mean", "fusion": "gated"},
        {"temporal": "mean", "fusion": "cross_attention"},
        {"modality": "v"},
        {"modality": "a"},
    ],
)
def test_recognition_is_that_of_the_whole_model(choices, tmp_path) -> None:
    shift = {choices.get("modality", "av"): [0.5, -0.5, 0, 0, 0.2, 0, 0]}
    model = saved(tmp_path, **choices, logit_shift=shift, temperature=1.7)
    path = tmp_path / "both.mp4"
    write(path, ramp(20), tone(0.8))
    quick = EmotionRecognizer.from_pretrained(tmp_path, face_detector="none")
    assert isinstance(quick.model, FoldedModel)
    processor = ClaipEmoProcessor.from_pretrained(tmp_path)
    whole = EmotionRecognizer(model, processor, face_detector="none")
    mine, theirs = quick(path), whole(path)
    assert mine.modalities == theirs.modalities
    assert mine.scores == pytest.approx(theirs.scores, abs=1e-5)
    assert np.ptp(list(theirs.scores.values())) > 1e-3


def test_what_is_not_a_resnet_in_the_checkpoint_is_left_to_the_whole_model(tmp_path) -> None:
    config = configure(resolve("tiny-clip"), SEVEN)
    config.save_pretrained(tmp_path)
    assert FoldedConfig.of_folder(tmp_path) is None
    saved(tmp_path / "resnet")
    assert FoldedConfig.of_folder(tmp_path / "resnet") is not None
    for changes in ({"store_towers": False}, {"temporal": "sum"}, {"modality": 7}):
        described = json.loads((tmp_path / "resnet" / CONFIG).read_text())
        (tmp_path / CONFIG).write_text(json.dumps(described | changes))
        assert FoldedConfig.of_folder(tmp_path) is None
    (tmp_path / CONFIG).write_text("{")
    assert FoldedConfig.of_folder(tmp_path) is None


def test_defaults_are_those_of_the_whole_configuration() -> None:
    whole = ClaipEmoConfig.__dataclass_fields__
    shared = {n: v for n, v in vars(Described).items() if n in Described.__annotations__}
    assert len(shared) > 10
    assert shared == {name: whole[name].default for name in shared}


def without(part: str):
    def change(state: dict) -> None:
        for name in [name for name in state if part in name]:
            del state[name]

    return change


def besides(name: str):
    def change(state: dict) -> None:
        state[name] = torch.zeros(1)

    return change


def of_other_shape(part: str, axis: int = 0):
    def change(state: dict) -> None:
        name = next(name for name in state if part in name)
        state[name] = state[name].narrow(axis, 0, 1).clone()

    return change


FIRST = "vision_tower.embedder.embedder.convolution"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (TOWERS, without(FIRST), f"1 names differ, such as {FIRST}.weight"),
        (TOWERS, without("running_var"), "such as vision_tower"),
        (TOWERS, besides("vision_tower.more"), "1 names differ, such as vision_tower.more"),
        (TOWERS, besides("text_tower.more"), "1 names differ, such as text_tower.more"),
        (TOWERS, of_other_shape("convolution"), "expected"),
        (ADAPTER, without("lora_"), "such as base_model.model.vision_tower."),
        (ADAPTER, without(FIRST), f"such as base_model.model.{FIRST}.lora_A.weight"),
        (ADAPTER, without("lora_B"), "lora_B.weight"),
        (ADAPTER, besides(f"base_model.model.{FIRST}.weight"), f"model.{FIRST}.weight"),
        (ADAPTER, besides("base_model.model.vision_tower.x.lora_A.weight"), "x.lora_A.weight"),
        (ADAPTER, of_other_shape("lora_B"), "expected"),
        (ADAPTER, of_other_shape("lora_A"), "lora_A.weight is (1, "),
        (ADAPTER, of_other_shape("stages.1.layers.0.layer.0.convolution.lora_A", 1), "expected"),
        (ADAPTER, without("head."), "2 names differ, such as base_model.model.head."),
        (ADAPTER, of_other_shape("head."), "expected"),
    ],
)
def test_what_does_not_fit_is_named_with_its_file(file, change, message, tmp_path) -> None:
    saved(tmp_path)
    state = load_file(tmp_path / file)
    change(state)
    save_file(state, tmp_path / file)
    expected = rf"{re.escape(file)} does not fit its config\.json: .*{re.escape(message)}"
    with pytest.raises(CheckpointError, match=expected):
        EmotionRecognizer.from_pretrained(tmp_path, face_detector="none")


@pytest.mark.parametrize("changes", [{"adaptation": "frozen"}, {"lora_rank": 4}])
def test_lora_that_the_configuration_does_not_tell_of_is_refused(changes, tmp_path) -> None:
    saved(tmp_path)
    described = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(described | changes))
    with pytest.raises(CheckpointError, match=rf"{ADAPTER} does not fit .*lora_A"):
        EmotionRecognizer.from_pretrained(tmp_path, face_detector="none")


@pytest.mark.parametrize(
    "sizes",
    [{"depths": 3}, {"depths": [1]}, {"hidden_sizes": None}, {"layer_type": "botleneck"},
     {"hidden_act": "gelu"}, {"num_channels": "1"}, {"downsample_in_first_stage": "no"}],
)  # fmt: skip
def test_sizes_that_are_not_known_are_left_to_the_whole_model(sizes, tmp_path) -> None:
    saved(tmp_path)
    described = json.loads((tmp_path / CONFIG).read_text())
    described["vision_config"] |= sizes
    (tmp_path / CONFIG).write_text(json.dumps(described))
    assert FoldedConfig.of_folder(tmp_path) is None
    described["modality"] = "a"  # then there is no vision tower
    (tmp_path / CONFIG).write_text(json.dumps(described))
    assert FoldedConfig.of_folder(tmp_path) is not None


def test_a_torn_and_a_missing_file_are_named(tmp_path) -> None:
    saved(tmp_path)
    whole = (tmp_path / TOWERS).read_bytes()
    (tmp_path / TOWERS).write_bytes(whole[:1000])
    with pytest.raises(CheckpointError, match=re.escape(f"{TOWERS} cannot be read")):
        EmotionRecognizer.from_pretrained(tmp_path, face_detector="none")
    (tmp_path / TOWERS).unlink()
    with pytest.raises(CheckpointError, match=re.escape(f"{TOWERS} cannot be read")):
        EmotionRecognizer.from_pretrained(tmp_path, face_detector="none")


def test_it_is_there_in_fp32_only(tmp_path) -> None:
    saved(tmp_path)
    assert EmotionRecognizer.from_pretrained(tmp_path, face_detector="none").precision == "fp32"
    with pytest.raises(TowerError, match="--precision fp32"):
        EmotionRecognizer.from_pretrained(tmp_path, face_detector="none", precision="bf16")


def test_the_model_in_the_box_says_folded_what_it_says_whole(tmp_path) -> None:
    path = tmp_path / "both.mp4"
    write(path, ramp(20), tone(0.8))
    quick = EmotionRecognizer.from_pretrained(face_detector="none")
    assert isinstance(quick.model, FoldedModel)
    assert quick.processor.settings.image_mirrored
    whole = EmotionRecognizer(
        ClaipEmoModel.from_pretrained(packaged()), quick.processor, face_detector="none"
    )
    for modality in ("av", "video", "audio"):
        mine, theirs = (each(path, modality=modality).scores for each in (quick, whole))
        assert mine == pytest.approx(theirs, abs=1e-5)


def test_the_model_in_the_box_predicts_without_transformers(tmp_path) -> None:
    path = tmp_path / "both.mp4"
    write(path, ramp(20), tone(0.8))
    script = (
        "import sys\n"
        "from claip_emo import EmotionRecognizer\n"
        f"print(EmotionRecognizer.from_pretrained(face_detector='haar')({str(path)!r}).label)\n"
        "print(sorted({'transformers', 'peft', 'scipy', 'accelerate'} & set(sys.modules)))\n"
    )
    done = run_python(script).stdout.splitlines()
    assert done[0] in SEVEN.names
    assert done[1] == "[]"
    copy = shutil.copytree(packaged(), tmp_path / "copy")
    assert FoldedConfig.of_folder(copy) is not None
