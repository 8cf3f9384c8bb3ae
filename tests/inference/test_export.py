"""Exported models answer as their checkpoints do, are written whole, and are checked when read."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from claip_emo.inference import export
from claip_emo.inference.explain import explain
from claip_emo.inference.export import ExportError, export_onnx
from claip_emo.inference.onnx_model import MissingExtraError, OnnxModel
from claip_emo.inference.predictor import ModelPredictor, load_predictor
from claip_emo.model.backbones import resolve
from claip_emo.model.checkpoint_folder import CheckpointError, sums
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.stacking import MODALITIES

from ..model.exported_models import made
from .test_predictor import clip


def saved(folder: Path, **choices) -> Path:
    """A checkpoint of small towers."""
    processor = {"num_frames": 3, "image_mirrored": True, "audio_window_s": 2.0}
    made(num_frames=3, **choices).save_pretrained(folder)
    ClaipEmoProcessor.for_backbone(resolve("tiny-clip"), **processor).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("export") / "model")


@pytest.fixture(scope="module")
def exported(checkpoint) -> Path:
    return export_onnx(checkpoint, checkpoint.parent / "onnx")


def whole(folder: Path) -> ModelPredictor:
    model = ClaipEmoModel.from_pretrained(folder)
    return ModelPredictor(model, ClaipEmoProcessor.from_pretrained(folder), "fp32")


def clips(settings) -> list:
    size, time = settings.image_size_px, settings.num_frames
    return [
        clip(1, size, time),
        clip(2, size, time, video=False),
        clip(3, size, time, audio=False),
        *(clip(seed, size, time) for seed in range(4, 8)),
    ]


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"temporal": "lstm", "fusion": "gated", "adaptation": "full"},
        {"temporal": "mean", "fusion": "cross_attention", "adaptation": "frozen"},
        {"modality": "v"},
        {"modality": "a"},
    ],
)
def test_an_exported_model_scores_as_its_checkpoint(tmp_path, choices: dict) -> None:
    model = whole(saved(tmp_path / "model", **choices))
    found = load_predictor(export_onnx(tmp_path / "model", tmp_path / "onnx"))
    assert isinstance(found, OnnxModel)
    assert found.widths == model.widths
    for modality in model.config.modalities:
        given = clips(model.settings)
        one, other = model.score(given, modality), found.score(given, modality)
        np.testing.assert_allclose(other.logits, one.logits, atol=5e-5)
        assert np.ptp(one.probabilities, axis=0).max() > 1e-3
    features = np.random.default_rng(0).normal(size=(2, 3, model.widths["vision"]))
    one, other = (each.attention(features.astype(np.float32)) for each in (model, found))
    assert (one is None) == ("temporal" in choices or choices.get("modality") == "a")
    if one is not None:
        np.testing.assert_allclose(other, one, atol=1e-6)


@pytest.mark.parametrize("reads", MODALITIES)
def test_int8_gives_nearly_the_same_scores_whatever_else_is_scored(tmp_path, reads: str) -> None:
    checkpoint = saved(tmp_path / "model", modality=reads)
    model = whole(checkpoint)
    found = load_predictor(export_onnx(checkpoint, tmp_path / "int8", precision="int8"))
    assert found.precision == "int8"
    given = clips(model.settings)
    for modality in model.config.modalities:
        one, other = model.score(given, modality), found.score(given, modality)
        assert 1e-6 < np.abs(one.probabilities - other.probabilities).max() < 0.02
        np.testing.assert_array_equal(found.score(given[3:4], modality).logits, other.logits[3:4])


def test_nothing_is_encoded_as_nothing(exported) -> None:
    found = OnnxModel.of_folder(exported)
    assert [part.shape for part in found.encode()] == [(0, 32), (0, 64)]
    for part in (found.over_time, found.attention):
        with pytest.raises(ValueError, match="4 frames were given"):
            part(np.zeros((1, 4, 32), np.float32))


def test_its_answers_are_explained_as_the_models(checkpoint, exported) -> None:
    model, found = whole(checkpoint), OnnxModel.of_folder(exported)
    given = clip(1, model.settings.image_size_px, model.settings.num_frames)
    one, other = explain(model, given), explain(found, given)
    assert other.label == one.label
    for name in ("attention", "frame_drops", "piece_drops"):
        wanted = getattr(one, name)
        wanted, seen = (getattr(each, "log_odds", each) for each in (wanted, getattr(other, name)))
        np.testing.assert_allclose(seen, wanted, atol=1e-4)


def test_what_lies_in_the_folder(checkpoint, exported) -> None:
    names = {path.name for path in exported.iterdir()}
    graphs = {"vision.onnx", "audio.onnx", "temporal.onnx", "head.onnx"}
    assert names == graphs | {"config.json", "processor_config.json", "README.md", "SHA256SUMS"}
    assert (exported / "SHA256SUMS").read_text() == sums(exported)
    for name in ("config.json", "processor_config.json"):
        assert (exported / name).read_text() == (checkpoint / name).read_text()
    for name in graphs:
        onnx.checker.check_model(str(exported / name), full_check=True)


def test_large_weights_lie_beside_their_graph(checkpoint, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(export, "ONE_FILE_BYTES", 100_000)
    folder = export_onnx(checkpoint, tmp_path / "onnx")
    assert (folder / "vision.onnx.data").stat().st_size > 100_000
    assert (folder / "vision.onnx").stat().st_size < 60_000
    assert not (folder / "temporal.onnx.data").exists()
    given = clips(whole(checkpoint).settings)
    found = OnnxModel.of_folder(folder).score(given)
    np.testing.assert_allclose(found.logits, whole(checkpoint).score(given).logits, atol=5e-5)


def disturbed(graph: onnx.ModelProto, by: float) -> onnx.ModelProto:
    """The graph with one weight changed: the first that is a matrix of floats."""
    for weight in graph.graph.initializer:
        if len(weight.dims) == 2 and weight.data_type in (1, 3):
            values = numpy_helper.to_array(weight).copy()
            values *= np.array(by, values.dtype)
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
            return graph
    raise AssertionError


@pytest.mark.parametrize(
    ("precision", "part", "by", "says"),
    [
        ("fp32", "head", 1.01, "probabilities are up to .* off"),
        ("fp32", "temporal", 1.1, "probabilities are up to .* off"),
        ("int8", "vision", -1, "does not stand int8"),
        ("fp32", "head", np.nan, "up to inf off"),
    ],
)
def test_what_answers_otherwise_is_not_written(
    checkpoint, tmp_path, monkeypatch, precision, part, by, says
) -> None:
    graphs = export._graphs

    def broken(*given):
        for name, graph in graphs(*given):
            yield name, disturbed(graph, by) if name == part else graph

    monkeypatch.setattr(export, "_graphs", broken)
    with pytest.raises(ExportError, match=says):
        export_onnx(checkpoint, tmp_path / "onnx", precision=precision)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_replaced(checkpoint, tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError, match="mine is there"):
        export_onnx(checkpoint, tmp_path / "mine")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(checkpoint, exported, tmp_path, monkeypatch, package) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'claip-emo\[export\]'"):
        export_onnx(checkpoint, tmp_path / "onnx")
    if package == "onnxruntime":
        with pytest.raises(MissingExtraError, match="pip install onnxruntime"):
            OnnxModel.of_folder(exported)


def change(name: str, **values):
    def done(folder: Path) -> None:
        described = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(described | values))

    return done


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "audio.onnx").unlink(), "audio.onnx is missing"),
        (lambda folder: (folder / "audio.onnx").write_bytes(b"onnx"), "audio.onnx cannot be read"),
        (lambda folder: (folder / "vision.onnx").write_bytes(b""), "vision.onnx cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json cannot be read"),
        (lambda folder: (folder / "config.json").unlink(), "config.json cannot be read"),
        (change("config.json", temporal="rnn"), "config.json cannot be read"),
        (change("config.json", labels=["joy", "anger"]), "head.onnx is another model's"),
        (change("config.json", modality="v"), "head.onnx is another model's"),
        (change("processor_config.json", image_size_px=48), "vision.onnx is another model's"),
        (change("processor_config.json", audio_s=1), "processor_config.json cannot be read"),
        (change("processor_config.json", hop=481), "audio.onnx is another model's"),
    ],
)
def test_a_broken_folder_is_told(exported, tmp_path, damage, says) -> None:
    folder = tmp_path / "onnx"
    shutil.copytree(exported, folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=says):
        OnnxModel.of_folder(folder)


def test_an_exported_model_keeps_its_device_and_precision(exported) -> None:
    for asked in ({"device": "cuda"}, {"precision": "bf16"}):
        with pytest.raises(ValueError, match="computes on the CPU, in fp32"):
            load_predictor(exported, **asked)
    assert load_predictor(exported, "cpu", "fp32").precision == "fp32"
