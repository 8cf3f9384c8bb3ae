"""A model read for prediction in NumPy says what the whole model says."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from claip_emo.inference.predictor import ModelPredictor, load_predictor
from claip_emo.inference.recognizer import EmotionRecognizer
from claip_emo.labels import SEVEN
from claip_emo.media.clip import Clip
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.checkpoint_folder import (
    ADAPTER,
    CONFIG,
    TOWERS,
    CheckpointError,
    packaged,
)
from claip_emo.model.description import ModalityError, TowerError
from claip_emo.model.folded import FoldedConfig, FoldedModel
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.processor_settings import ProcessorSettings
from claip_emo.model.stacking import MODALITIES

from ..media.make_media import ramp, tone, write
from ..processes import run_python
from .made_resnets import saved


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
    folded = FoldedModel.of_folder(tmp_path)
    processor = ClaipEmoProcessor.from_pretrained(tmp_path)
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)
    samples = rng.normal(0, 0.1, 20_000).astype(np.float32)
    with torch.inference_mode():
        ready = processor(torch.from_numpy(frames)[None], torch.from_numpy(samples)[None])
        pixels, mel = ready["pixel_values"][0], ready["input_features"]
        shown, heard = folded.encode(frames, [samples])
        for mine, theirs in (
            (shown, model.encode_frames(pixels)),
            (heard, model.encode_audio(mel)),
        ):
            np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-4, atol=3e-5)
            assert theirs.std() > 0.1


@pytest.mark.parametrize(
    "choices",
    [
        {"temporal": "transformer", "fusion": "concat"},
        {"temporal": "mean"},
        {"temporal": "mean", "adaptation": "frozen"},
        {"modality": "v", "fusion": "sum"},
        {"modality": "a", "temporal": "lstm"},
    ],
)
def test_recognition_is_that_of_the_whole_model(choices, tmp_path) -> None:
    shift = {choices.get("modality", "av"): [0.5, -0.5, 0, 0, 0.2, 0, 0]}
    model = saved(tmp_path, **choices, logit_shift=shift, temperature=1.7)
    path = tmp_path / "both.mp4"
    write(path, ramp(20), tone(0.8))
    quick = EmotionRecognizer.from_pretrained(tmp_path, face_detector="none")
    assert isinstance(quick.predictor, FoldedModel)
    processor = ClaipEmoProcessor.from_pretrained(tmp_path)
    whole = EmotionRecognizer.of_model(model, processor, face_detector="none")
    mine, theirs = quick(path), whole(path)
    assert mine.modalities == theirs.modalities
    assert mine.scores == pytest.approx(theirs.scores, abs=1e-5)
    assert np.ptp(list(theirs.scores.values())) > 1e-3


@pytest.mark.parametrize(
    ("temporal", "time"), [("mean", 16), ("transformer", 16), ("transformer", 5)]
)
def test_clips_of_all_kinds_are_scored_as_by_the_whole_model(temporal, time, tmp_path) -> None:
    shift = {"v": [0.5, -0.5, 0, 0, 0.2, 0, 0], "a": [0, 1.0, 0, 0, 0, 0, -1.0]}
    softness = {"v": 0.8, "a": 3.0}  # both: 1
    model = saved(tmp_path, temporal=temporal, logit_shift=shift, temperature=softness)
    quick = FoldedModel.of_folder(tmp_path)
    whole = ModelPredictor(model, ClaipEmoProcessor.from_pretrained(tmp_path))
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 0.1, n).astype(np.float32) for n in (9000, 12_000)]
    frames = rng.integers(0, 256, (2, time, 48, 48, 3), dtype=np.uint8)
    times = np.arange(2.0 * time).reshape(2, time) // 3
    frames[:, 1:] = frames[:, :1]  # frames of one time are equal
    spans = ((0.0, 0.2), (0.1, 0.3))
    clips = [
        Clip("mute", frames[:1, ::-1].copy(), None, (), (), 1.0),
        Clip("both", frames, times, tuple(sounds), spans, 1.0),
        Clip("one sound", frames, times, (sounds[1], sounds[1]), spans[1:] * 2, 1.0),
        Clip("voice", None, None, (sounds[1],), spans[1:], 1.0),
        Clip("still", frames[1:], times[1:], (sounds[0],), spans[:1], 1.0),
    ]
    for modality in MODALITIES:
        mine, theirs = (each.score(clips, modality) for each in (quick, whole))
        np.testing.assert_allclose(mine.probabilities, theirs.probabilities, atol=1e-5)
        np.testing.assert_allclose(mine.logits, theirs.logits, rtol=1e-3, atol=1e-4)
        assert np.ptp(theirs.logits) > 0.1
        alone = [quick.score([clip], modality).logits[0] for clip in clips]
        np.testing.assert_allclose(mine.logits, alone, rtol=1e-3, atol=1e-4)


def test_more_frames_than_positions_are_refused_as_by_the_whole_model(tmp_path) -> None:
    saved(tmp_path)
    frames = np.zeros((1, 17, 48, 48, 3), np.uint8)
    with pytest.raises(
        ValueError, match=r"17 frames were given.*made for 16; set model\.num_frames"
    ):
        FoldedModel.of_folder(tmp_path).score([Clip("long", frames, None, (), (), 1.0)])


def test_colours_are_seen(tmp_path) -> None:
    model = saved(tmp_path, {"num_channels": 3}, modality="v")
    processor = ClaipEmoProcessor(ProcessorSettings(image_size_px=48, image_mirrored=True))
    processor.save_pretrained(tmp_path)
    frames = np.random.default_rng(0).integers(0, 256, (1, 16, 48, 48, 3), dtype=np.uint8)
    clip = Clip("colours", frames, None, (), (), 1.0)
    mine = FoldedModel.of_folder(tmp_path).score([clip]).logits
    theirs = ModelPredictor(model, processor).score([clip]).logits
    np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)
    other = replace(clip, frames=frames[..., ::-1].copy())
    assert np.abs(FoldedModel.of_folder(tmp_path).score([other]).logits - mine).max() > 1e-3


def test_log_mels_of_other_bins_are_refused(tmp_path) -> None:
    saved(tmp_path)
    settings = ClaipEmoProcessor.from_pretrained(tmp_path).settings
    ClaipEmoProcessor(replace(settings, mel_bins=32)).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="log-mels of 64 bins, and its processor gives 32"):
        FoldedModel.of_folder(tmp_path)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_other_devices_are_the_whole_models(device, tmp_path, monkeypatch) -> None:
    saved(tmp_path)
    asked = []
    monkeypatch.setattr(
        "claip_emo.model.devices.pick_device", lambda name: asked.append(name) or "cpu"
    )
    assert isinstance(load_predictor(tmp_path, device), ModelPredictor)
    assert isinstance(load_predictor(tmp_path, "cpu:0"), FoldedModel)
    assert asked == [device]


def test_what_it_does_not_read_cannot_be_asked_for(tmp_path) -> None:
    saved(tmp_path, modality="v")
    with pytest.raises(ModalityError, match="reads faces only"):
        FoldedModel.of_folder(tmp_path).score([], "a")


def test_weights_in_bfloat16_are_read(tmp_path) -> None:
    saved(tmp_path)
    whole = FoldedModel.of_folder(tmp_path).head.weight
    state = load_file(tmp_path / ADAPTER)
    save_file({n: t.bfloat16() for n, t in state.items()}, tmp_path / ADAPTER)
    rounded = FoldedModel.of_folder(tmp_path).head.weight
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, whole, rtol=2**-7)


def test_what_is_not_a_resnet_in_the_checkpoint_is_left_to_the_whole_model(tmp_path) -> None:
    config = configure(resolve("tiny-clip"), SEVEN)
    config.save_pretrained(tmp_path)
    assert FoldedConfig.of_folder(tmp_path) is None
    saved(tmp_path / "resnet")
    assert FoldedConfig.of_folder(tmp_path / "resnet") is not None
    for changes in ({"store_towers": False}, {"temporal": "sum"}, {"modality": 7},
                    {"temporal": "lstm"}, {"fusion": "gated"}):  # fmt: skip
        described = json.loads((tmp_path / "resnet" / CONFIG).read_text())
        (tmp_path / CONFIG).write_text(json.dumps(described | changes))
        assert FoldedConfig.of_folder(tmp_path) is None
    (tmp_path / CONFIG).write_text("{")
    assert FoldedConfig.of_folder(tmp_path) is None


@pytest.mark.parametrize("wrong", [{"image_channels": 3}, {"num_frames": 17}])
def test_towers_that_want_other_input_are_left_to_the_whole_model(wrong, tmp_path) -> None:
    saved(tmp_path)
    assert FoldedModel.of_folder(tmp_path) is not None
    settings = ClaipEmoProcessor.from_pretrained(tmp_path).settings
    ClaipEmoProcessor(replace(settings, **wrong)).save_pretrained(tmp_path)
    assert FoldedModel.of_folder(tmp_path) is None


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
        (TOWERS, without("running_var"), "such as audio_tower"),
        (TOWERS, besides("vision_tower.more"), "1 names differ, such as vision_tower.more"),
        (TOWERS, besides("text_tower.more"), "1 names differ, such as text_tower.more"),
        (TOWERS, of_other_shape("convolution"), "expected"),
        (ADAPTER, without("lora_"), "such as base_model.model.audio_tower."),
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


def test_other_precisions_are_left_to_the_whole_model_which_has_none(tmp_path) -> None:
    saved(tmp_path)
    quick = EmotionRecognizer.from_pretrained(tmp_path, device="cpu", precision="fp32")
    assert (quick.predictor.precision, quick.predictor.on_cpu) == ("fp32", True)
    assert isinstance(quick.predictor, FoldedModel)
    with pytest.raises(TowerError, match="--precision fp32"):
        EmotionRecognizer.from_pretrained(tmp_path, face_detector="none", precision="bf16")
    with pytest.raises(ValueError, match="Unknown device 'gpu'"):
        EmotionRecognizer.from_pretrained(tmp_path, face_detector="none", device="gpu")


def test_the_model_in_the_box_says_folded_what_it_says_whole(tmp_path) -> None:
    path = tmp_path / "both.mp4"
    write(path, ramp(20), tone(0.8))
    quick = EmotionRecognizer.from_pretrained(face_detector="none")
    assert isinstance(quick.predictor, FoldedModel)
    assert quick.predictor.settings.image_mirrored
    whole = EmotionRecognizer.of_model(
        ClaipEmoModel.from_pretrained(packaged()),
        ClaipEmoProcessor.from_pretrained(packaged()),
        face_detector="none",
    )
    for modality in ("av", "video", "audio"):
        mine, theirs = (each(path, modality=modality).scores for each in (quick, whole))
        assert mine == pytest.approx(theirs, abs=1e-5)


def test_the_model_in_the_box_predicts_without_torch(tmp_path) -> None:
    path = tmp_path / "both.mp4"
    write(path, ramp(20), tone(0.8))
    script = (
        "import sys\n"
        "from claip_emo import EmotionRecognizer\n"
        f"print(EmotionRecognizer.from_pretrained(face_detector='haar')({str(path)!r}).label)\n"
        "print(sorted({'torch', 'transformers', 'peft', 'scipy'} & set(sys.modules)))\n"
    )
    done = run_python(script).stdout.splitlines()
    assert done[0] in SEVEN.names
    assert done[1] == "[]"
    copy = shutil.copytree(packaged(), tmp_path / "copy")
    assert FoldedConfig.of_folder(copy) is not None
