"""The zero-shot baseline against transformers' own whole models and arithmetic by hand."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoTokenizer,
    ClapConfig,
    ClapModel,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
)

from claip_emo import ClaipEmoModel
from claip_emo.corpora.table import read_table
from claip_emo.data.dataset import ClipDataset
from claip_emo.evaluation.evaluate import predict
from claip_emo.evaluation.predictions import Predictions
from claip_emo.evaluation.zero_shot import ZeroShotModel, embed_labels
from claip_emo.evaluation.zero_shot_run import evaluate_zero_shot
from claip_emo.labels import LabelSet
from claip_emo.model.backbones import LanguageError, configure, resolve
from claip_emo.model.language import LanguageTower, language_of, store_language
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.prompts import prompts
from claip_emo.recipe import DataRecipe

from ..media.make_media import tone, write
from ..model.make_checkpoints import make_clap, make_clip

LABELS = LabelSet(("sadness", "anger_disgust", "neutral", "my_own"))
SEEN = {"num_frames": 2, "frame_stride": 3, "audio_s": 0.5, "face_detector": "none"}


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Five clips: three whole ones, one without sound, one without picture."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)

    def frames(count: int) -> np.ndarray:
        return rng.integers(0, 256, (count, 40, 40, 3), dtype=np.uint8)

    write(folder / "a.mp4", frames(30), tone(1.2, hertz=300))
    write(folder / "b.mp4", frames(12), tone(0.5, hertz=900))
    write(folder / "c.mp4", frames(40), tone(1.6, hertz=2500))
    write(folder / "silent.mp4", frames(20))
    write(folder / "voice.wav", sound=tone(0.9, hertz=150))
    rows = [("a.mp4", "sadness"), ("b.mp4", "neutral"), ("c.mp4", "my_own")]
    rows += [("silent.mp4", "anger_disgust"), ("voice.wav", "sadness")]
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    return folder / "clips.csv"


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clap_folder(tmp_path_factory) -> Path:
    return make_clap(tmp_path_factory.mktemp("clap"))


def saved(folder: Path, backbone=None, **settings: object) -> Path:
    """Write a checkpoint whose training has moved everything that it may move."""
    backbone = backbone or resolve("tiny-clip")
    torch.manual_seed(11)
    model = ClaipEmoModel.from_backbone(configure(backbone, LABELS, num_frames=2, **settings))
    model.config.temperature = 3.0
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
    model.save_pretrained(folder)
    ClaipEmoProcessor.for_backbone(backbone, **SEEN).save_pretrained(folder)
    store_language(folder, model.config)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("model"))


def whole_models(folder: Path) -> tuple[CLIPModel, ClapModel]:
    """Put the stored towers and the stored language sides into transformers' own models."""
    towers = load_file(folder / "towers.safetensors")
    models = []
    for kind, config, role in ((CLIPModel, CLIPConfig, "vision"), (ClapModel, ClapConfig, "audio")):
        model = kind(config.from_pretrained(folder / f"language-{role}")).eval()
        state = load_file(folder / f"language-{role}" / "model.safetensors")
        state |= {
            f"{role}_model.{name.removeprefix(f'{role}_tower.')}": value
            for name, value in towers.items()
            if name.startswith(f"{role}_tower.")
        }
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert set(missing) <= {"logit_scale_t"}
        assert not unexpected
        models.append(model)
    return models[0], models[1]


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def text_rows(model: nn.Module, folder: Path, role: str) -> np.ndarray:
    tokenizer = AutoTokenizer.from_pretrained(folder / f"language-{role}")
    rows = []
    for label in LABELS:
        ids = tokenizer(prompts(label, role), padding=True, return_tensors="pt")
        rows.append(unit(model.get_text_features(**ids).pooler_output.numpy()).mean(axis=0))
    return unit(np.stack(rows).astype(np.float64))  # (classes, P)


@torch.no_grad()
def by_hand(folder: Path, table: Path, weight: float) -> dict[tuple[str, str], np.ndarray]:
    """Return the scores of each clip and modality from the whole models' own embeddings."""
    clip_model, clap_model = whole_models(folder)
    words = text_rows(clip_model, folder, "vision"), text_rows(clap_model, folder, "audio")
    scales = clip_model.logit_scale.exp().item(), clap_model.logit_scale_a.exp().item()
    processor = ClaipEmoProcessor.from_pretrained(folder)
    dataset = ClipDataset(read_table(table, labels=LABELS), processor.clip_spec(), None)
    uniform = np.full(len(LABELS), 1 / len(LABELS))
    found, views_seen = {}, set()
    for item in (dataset[index] for index in range(len(dataset))):
        clip, views = item.clip, {"av": [], "v": [], "a": []}
        views_seen.add(clip.num_views)
        for view in range(clip.num_views):
            face = voice = None
            if clip.has_video:
                shown = torch.from_numpy(np.asarray(clip.frames[view]))[None]
                pixels = processor(frames=shown)["pixel_values"][0]
                frames = unit(clip_model.get_image_features(pixels).pooler_output.numpy())
                face = softmax(scales[0] * words[0] @ unit(frames.mean(axis=0)))
            if clip.has_audio:
                sound = torch.from_numpy(np.asarray(clip.waveforms[view]))[None]
                mel = processor(waveforms=sound)["input_features"]
                heard = clap_model.get_audio_features(mel).pooler_output.numpy()[0]
                voice = softmax(scales[1] * words[1] @ unit(heard))
            views["v"].append(uniform if face is None else face)
            views["a"].append(uniform if voice is None else voice)
            if face is not None and voice is not None:
                product = face**weight * voice ** (1 - weight)
                views["av"].append(product / product.sum())
            else:
                views["av"].append(face if voice is None else voice)
        for modality, each in views.items():
            found[item.sample.id, modality] = np.mean(each, axis=0)
    assert max(views_seen) > 1
    return found


@pytest.mark.parametrize("weight", [0.5, 0.8])
def test_scores_are_those_computed_by_hand(checkpoint, table, tmp_path, weight: float) -> None:
    figures = evaluate_zero_shot(
        DataRecipe(root=str(table)), tmp_path, source=checkpoint, face_weight=weight, workers=0,
        batch_size=2, device="cpu", console=Console(quiet=True),
    )  # fmt: skip
    rows = Predictions.read(tmp_path / "predictions.parquet")
    expected = by_hand(checkpoint, table, weight)
    keys = list(zip(rows.ids, rows.modality, strict=True))
    assert set(keys) == expected.keys()
    assert len(keys) == len(expected) == 15
    for place, key in enumerate(keys):
        np.testing.assert_allclose(rows.scores[place], expected[key], rtol=2e-5, atol=1e-7)
    assert np.ptp(rows.scores, axis=1).max() > 0.01  # it is not all uniform
    assert figures["n"] == 5
    # One view: the logits are log probabilities, to the last digit that float32 has.
    single = keys.index(next(key for key in keys if key[0].startswith("b")))
    np.testing.assert_allclose(np.exp(rows.logits[single]), rows.scores[single], rtol=1e-5)


def test_what_is_missing_leaves_the_other_alone(checkpoint, table, tmp_path) -> None:
    evaluate_zero_shot(
        DataRecipe(root=str(table)),
        tmp_path,
        source=checkpoint,
        workers=0,
        device="cpu",
        console=Console(quiet=True),
    )
    rows = Predictions.read(tmp_path / "predictions.parquet")
    scores = {
        (name.partition(".")[0], kind): rows.scores[place]
        for place, (name, kind) in enumerate(zip(rows.ids, rows.modality, strict=True))
    }
    np.testing.assert_allclose(scores["silent", "av"], scores["silent", "v"], rtol=1e-6)
    np.testing.assert_allclose(scores["voice", "av"], scores["voice", "a"], rtol=1e-6)
    np.testing.assert_allclose(scores["silent", "a"], 0.25)
    np.testing.assert_allclose(scores["voice", "v"], 0.25)


def test_late_fusion_by_hand(checkpoint) -> None:
    model = ZeroShotModel.from_checkpoint(checkpoint, face_weight=0.25)
    face, voice = model.vision_labels[1:2], model.audio_labels[2:3]
    nothing = torch.zeros_like(face), torch.zeros_like(voice)
    p_v = (model.language["vision"].scale * face @ model.vision_labels.T).softmax(-1)
    p_a = (model.language["audio"].scale * voice @ model.audio_labels.T).softmax(-1)
    assert p_v.argmax() == 1
    assert p_a.argmax() == 2
    fused = p_v**0.25 * p_a**0.75
    torch.testing.assert_close(model.fuse(face, voice).exp(), fused / fused.sum())
    torch.testing.assert_close(model.fuse(face, nothing[1]).exp(), p_v)
    torch.testing.assert_close(model.fuse(nothing[0], voice).exp(), p_a)
    torch.testing.assert_close(model.fuse(*nothing).exp(), torch.full((1, 4), 0.25))
    together = model.fuse(torch.cat([face, nothing[0]]), torch.cat([voice, voice]))
    torch.testing.assert_close(together[1:].exp(), p_a)  # row by row


def test_towers_are_as_they_were_before_training(checkpoint, tmp_path) -> None:
    """Adapters, head and temperature of the checkpoint change nothing."""
    other = saved(tmp_path / "frozen", adaptation="frozen", temporal="mean")
    one, two = ZeroShotModel.from_checkpoint(checkpoint), ZeroShotModel.from_checkpoint(other)
    assert one.config.temperature == 1.0
    pixels, mel = torch.randn(2, 3, 3, 32, 32), torch.randn(2, 1, 256, 64)
    assert torch.equal(one.encode_video(pixels), two.encode_video(pixels))
    assert torch.equal(one.encode_audio(mel), two.encode_audio(mel))
    assert not [name for name, p in one.named_parameters() if p.requires_grad]
    assert one.count_parameters()["trainable"] == 0


def test_towers_that_training_has_changed_come_from_their_source(
    clip_folder,
    clap_folder,
    tmp_path,
) -> None:
    backbone = resolve("vit-b32", vision=str(clip_folder), audio=str(clap_folder))
    changed = ZeroShotModel.from_checkpoint(saved(tmp_path / "f", backbone, adaptation="full"))
    whole = CLIPModel.from_pretrained(clip_folder)
    for name, value in changed.vision_tower.state_dict().items():
        assert torch.equal(value, whole.vision_model.state_dict()[name])
    with pytest.raises(LanguageError, match="which training has changed"):
        ZeroShotModel.from_checkpoint(saved(tmp_path / "tiny", adaptation="full"))


def test_a_checkpoint_that_only_names_its_towers(
    clip_folder,
    clap_folder,
    tmp_path,
) -> None:
    """As with the hub's: nothing is stored; here the ids are folders."""
    backbone = resolve("vit-b32", vision=str(clip_folder), audio=str(clap_folder))
    carried = saved(tmp_path / "carried", backbone)
    config = configure(backbone, LABELS, num_frames=2)
    config.store_towers = False
    model = ClaipEmoModel.from_backbone(config)
    model.save_pretrained(tmp_path / "named")
    store_language(tmp_path / "named", config)
    names = {path.name for path in (tmp_path / "named").iterdir()}
    assert not {"towers.safetensors", "language-vision", "language-audio"} & names
    named = ZeroShotModel.from_checkpoint(tmp_path / "named")
    other = ZeroShotModel.from_checkpoint(carried)
    assert torch.equal(named.vision_labels, other.vision_labels)
    assert torch.equal(named.audio_labels, other.audio_labels)
    pixels = torch.randn(2, 2, 3, 32, 32)
    assert torch.equal(named.encode_video(pixels), other.encode_video(pixels))


def test_a_model_of_one_modality_has_rows_of_that_one(table, tmp_path) -> None:
    for modality in ("v", "a"):
        source = saved(tmp_path / modality, modality=modality)
        model = ZeroShotModel.from_checkpoint(source)
        processor = ClaipEmoProcessor.from_pretrained(source)
        dataset = ClipDataset(read_table(table, labels=LABELS), processor.clip_spec(), None)
        rows = predict(model, processor, dataset)
        assert set(rows.modality) == {modality}
        assert len(rows) == 5


def test_a_backbone_without_checkpoint_scores_any_labels(table, tmp_path, caplog) -> None:
    figures = []
    for place in ("one", "two"):  # random towers, but always the same
        torch.manual_seed(len(place))
        out = tmp_path / place
        evaluate_zero_shot(
            DataRecipe(root=str(table)), out, backbone="tiny-clip", face_detector="none", workers=0,
            device="cpu", command="claip-emo evaluate", console=Console(quiet=True),
        )  # fmt: skip
        figures.append((out / "predictions.parquet").read_bytes())
    assert figures[0] == figures[1]
    rows = Predictions.read(out / "predictions.parquet")
    assert rows.labels.names == tuple(sorted(LABELS))
    assert "No words are known for the label 'my_own'" in caplog.text
    facts = json.loads((out / "run.json").read_text())
    assert (facts["title"], facts["adaptation"]) == ("clips, zero-shot", "zero-shot")
    assert facts["parameters"]["trainable"] == 0
    assert "random weights" in facts["corpus_note"]
    assert facts["parameters"]["total"] > 0
    assert "a photo of {an_adjective} face" in facts["prompts"]["vision"]
    page = (out / "report.html").read_text()
    assert "zero-shot" in page
    assert "0 trained of" in page


@pytest.mark.parametrize("labels", [["anger", "happiness"], ["fear", "anger", "disappointment"]])
def test_a_tokenizer_that_knows_no_word_is_an_error(tmp_path, labels: list[str]) -> None:
    """An empty one, as transformers makes it without files, saved by mistake."""
    make_clip(tmp_path)
    CLIPTokenizer().save_pretrained(tmp_path)
    tower = LanguageTower.from_source(str(tmp_path), "vision")
    with pytest.raises(LanguageError, match=r"tokenizer of .* knows no word of 'a photo of an? "):
        embed_labels(tower, labels, "vision")


def test_labels_cut_at_the_same_place_are_an_error() -> None:
    config = configure(resolve("tiny-clip"), LABELS)
    long = ["x y " * 60 + name for name in ("one", "two")]
    with pytest.raises(LanguageError, match="the same ids"):
        embed_labels(language_of(config, "vision"), long, "vision")


def test_a_wrong_end_of_text_is_an_error(tmp_path) -> None:
    """CLIP reads the embedding at the first end-of-text id; where there is none, at the start."""
    folder = make_clip(tmp_path)
    described = json.loads((folder / "config.json").read_text())
    described["text_config"]["eos_token_id"] = 49407
    (folder / "config.json").write_text(json.dumps(described))
    tower = LanguageTower.from_source(str(folder), "vision")
    with pytest.raises(LanguageError, match="the same embedding"):
        embed_labels(tower, ["anger", "fear", "happiness"], "vision")


def test_mistakes_of_the_caller(checkpoint, table, tmp_path) -> None:
    with pytest.raises(ValueError, match="weight of the face"):
        ZeroShotModel.from_checkpoint(checkpoint, face_weight=1.5)
    for wrong in ({}, {"source": checkpoint, "backbone": "tiny-clip"}):
        with pytest.raises(ValueError, match="a checkpoint, or a backbone"):
            evaluate_zero_shot(DataRecipe(root=str(table)), tmp_path, **wrong)
    with pytest.raises(LanguageError, match="'tiny' has no text encoder"):
        ZeroShotModel.from_backbone("tiny", LABELS)
