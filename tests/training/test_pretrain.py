"""Pre-training of small towers with captions, on a few made faces and voices."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from claip_emo.corpora.acted_voices import ActedVoice
from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.voted_faces import VotedFaces
from claip_emo.evaluation.zero_shot import ZeroShotModel
from claip_emo.labels import SEVEN
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.language import language_of
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.towers import DUAL_PREFIX
from claip_emo.pretrain_recipe import PretrainRecipe
from claip_emo.recipe_files import RecipeError, parse_recipe
from claip_emo.training import pretrain_courses
from claip_emo.training.first_words import begin_with_words
from claip_emo.training.pretrain import pretrain
from claip_emo.training.pretrain_network import Learner, Lesson, logit_adjustment, soft_loss

TOWER = {
    "num_channels": 1,
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
}
STILL = {
    "side": [1, 1], "shift": 0, "rotation_deg": 0, "squeeze": 0, "flip": 0, "brightness": [1, 1],
    "contrast": [1, 1], "gamma": [1, 1], "side_light": 0, "blur": 0, "rescale": 0, "jpeg": 0,
    "noise": 0, "occlusion": 0,
}  # fmt: skip
QUIET = {
    "speed": [1, 1], "pitch": 0, "noise": 0, "babble": 0, "music": 0, "reverberation": 0,
    "equaliser": 0, "band": 0, "codec": 0, "level_db": [0, 0],
}  # fmt: skip
RATE = 48_000


def recipe_of(tmp_path: Path, **changes) -> PretrainRecipe:
    described = {
        "data": {"root": str(tmp_path), **changes.pop("data", {})},
        "faces": {"tower": TOWER, "size_px": 32, "epochs": 3, "batch_size": 28, "world": STILL,
                  "learning_rate": 0.05, "mixup": 0},
        "voices": {"tower": TOWER, "audio_s": 0.8, "window_s": 0.4, "epochs": 3, "batch_size": 14,
                   "world": QUIET, "learning_rate": 3e-3, "mixup": 0, "time_masks": 0,
                   "frequency_masks": 0},
        "language": {"width": 16, "layers": 1, "heads": 2},
        "workers": 0,
        **changes,
    }  # fmt: skip
    return parse_recipe(described, schema=PretrainRecipe)


def made_faces(root: Path, part: str) -> VotedFaces:
    """Return faces whose class is the place of a bright stripe; a tenth of the votes stray."""
    rng = np.random.default_rng({"train": 0, "select": 1}[part])
    classes = np.arange(84 if part == "train" else 21) % 7
    pixels = rng.integers(0, 80, (len(classes), 48, 48)).astype(np.uint8)
    for place, number in enumerate(classes):
        pixels[place, 6 * number : 6 * number + 8] += 150
    votes = np.zeros((len(classes), 7), np.int64)
    votes[np.arange(len(classes)), classes] = 9
    votes[np.arange(len(classes)), (classes + 1) % 7] = 1
    return VotedFaces(tuple(f"{part}-{n}" for n in range(len(classes))), pixels, votes)


def made_voices(table: Path, progress=None) -> list[ActedVoice]:
    """Return tones whose pitch is the class."""
    rng = np.random.default_rng(2)
    voices = []
    for speaker in ("actor02", "actor03", "actor04", "actor15", "actor17"):
        for number, label in enumerate(SEVEN):
            for take in range(2):
                time = np.arange(int(RATE * rng.uniform(0.3, 0.6))) / RATE
                tone = np.sin(2 * np.pi * 200 * 1.8**number * time) + 0.05 * rng.normal(
                    size=len(time)
                )
                voices.append(
                    ActedVoice(
                        speaker, label,
                        "calm" if label == "neutral" and take else label,
                        "man" if int(speaker[-1]) % 2 else "woman",
                        "strong" if take and label != "neutral" else "normal",
                        "Kids are talking by the door",
                        (0.3 * tone).astype(np.float32),
                    )
                )  # fmt: skip
    return voices


@pytest.fixture(autouse=True)
def made(monkeypatch) -> None:
    monkeypatch.setattr(pretrain_courses, "read_voted_faces", made_faces)
    monkeypatch.setattr(pretrain_courses, "read_constructed_voices", made_voices)


def told(description: str):
    return lambda done, total: None


def lines_of(out: Path, role: str) -> list[dict]:
    return [json.loads(line) for line in (out / f"{role}-history.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("role", ["vision", "audio"])
def test_a_tower_learns_and_so_does_its_language(tmp_path, role) -> None:
    recipe = recipe_of(tmp_path, data={"roles": [role]})
    changed = getattr(recipe, "faces" if role == "vision" else "voices").model_copy(
        update={"epochs": 12}
    )
    recipe = recipe.model_copy(update={"faces" if role == "vision" else "voices": changed})

    (done,) = pretrain(recipe, tmp_path / "out", tell=told)

    lines = lines_of(tmp_path / "out", role)
    assert lines[-1]["losses"]["captions"] < 0.8 * lines[0]["losses"]["captions"]
    assert done.scores["war"] > 0.8
    # Of the last epoch: the best one of made voices may come before language is learnt.
    assert lines[-1]["select"]["zero_shot_war"] > 0.4  # chance: 0.14
    assert done.scores == max((line["select"] for line in lines), key=lambda s: s["war"] + s["uar"])


def test_going_on_equals_never_having_stopped(tmp_path) -> None:
    recipe = recipe_of(tmp_path, data={"roles": ["vision"]})
    pretrain(recipe, tmp_path / "whole", tell=told)

    class StoppedError(Exception):
        pass

    def stop(role: str, line: dict) -> None:
        if line["epoch"] == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        pretrain(recipe, tmp_path / "halves", tell=told, on_epoch=stop)
    assert not (tmp_path / "halves" / "vision").exists()
    pretrain(recipe, tmp_path / "halves", tell=told)

    files = [tmp_path / out / "vision" / "model.safetensors" for out in ("whole", "halves")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert lines_of(tmp_path / "whole", "vision") == lines_of(tmp_path / "halves", "vision")


def test_another_recipe_may_not_go_on_in_the_same_folder(tmp_path) -> None:
    recipe = recipe_of(tmp_path, data={"roles": ["vision"]})
    pretrain(recipe, tmp_path / "out", tell=told)

    changed = recipe.model_copy(update={"seed": 1})
    with pytest.raises(RecipeError, match=r"it differs in seed\. Name another --out"):
        pretrain(changed, tmp_path / "out", tell=told)
    sources = {"audio_teacher": Path("whisper"), "init": Path("former")}
    with pytest.raises(RecipeError, match=r"it differs in voices\.teacher, init\."):
        pretrain(recipe, tmp_path / "out", tell=told, **sources)


def test_speakers_who_choose_or_test_are_not_trained_on(tmp_path) -> None:
    course = pretrain_courses.VoiceCourse(recipe_of(tmp_path), tmp_path, told)

    assert {voice.speaker for voice in course.samples.voices} == {"actor02", "actor03", "actor04"}
    assert {voice.speaker for voice in course.select} == {"actor15"}


def test_rows_without_a_class_teach_none() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 5.0]], requires_grad=True)
    soft_loss(logits, torch.tensor([[0.5, 0.5], [0.0, 0.0]])).backward()

    assert logits.grad is not None
    assert not logits.grad[1].any()
    assert torch.allclose(logits.grad[0], torch.tensor([2.0, 0.0]).softmax(0) - 0.5, atol=1e-6)


def test_towers_are_taken_as_clip_and_clap_are(tmp_path) -> None:
    pretrain(recipe_of(tmp_path), tmp_path / "out", tell=told)
    folders = {role: str(tmp_path / "out" / role) for role in ("vision", "audio")}
    backbone = resolve("mini", **folders)
    config = configure(backbone, SEVEN)

    model = ClaipEmoModel.from_backbone(config)
    processor = ClaipEmoProcessor.for_backbone(backbone)
    zero_shot = ZeroShotModel(model, {role: language_of(config, role) for role in folders})

    for role, folder in folders.items():
        kept = load_file(Path(folder) / "model.safetensors")
        tower = getattr(model, f"{role}_tower").state_dict()
        plain = {n.replace(".base_layer.", "."): v for n, v in tower.items() if ".lora_" not in n}
        stored = {n.removeprefix(DUAL_PREFIX): v for n, v in kept.items() if DUAL_PREFIX in n}
        assert plain.keys() == stored.keys()
        assert all(torch.equal(plain[name], stored[name]) for name in plain)
    seen = processor.settings
    assert (seen.image_size_px, seen.image_channels, seen.image_normalisation) == (
        32,
        1,
        "per_crop",
    )
    assert (seen.audio_s, seen.audio_window_s, seen.audio_fill) == (0.8, 0.4, "tile")
    frames = made_faces(tmp_path, "select").pixels[:, None, ..., None].repeat(3, axis=-1)
    pixels = processor(frames=torch.from_numpy(frames))["pixel_values"]
    faces = zero_shot.over_time(zero_shot.encode_frames(pixels[:, 0])[:, None])
    right = zero_shot.fuse(faces, torch.zeros_like(faces)).argmax(dim=1) == torch.arange(21) % 7
    best = json.loads((tmp_path / "out" / "vision" / "metrics.json").read_text())
    assert right.float().mean().item() == pytest.approx(best["select"]["zero_shot_war"])


def test_a_head_of_words_takes_voice_and_face_each_for_its_own(tmp_path) -> None:
    pretrain(recipe_of(tmp_path), tmp_path / "out", tell=told)
    folders = {role: str(tmp_path / "out" / role) for role in ("vision", "audio")}
    config = configure(resolve("mini", **folders), SEVEN, temporal="mean")
    model = ClaipEmoModel.from_backbone(config)
    begin_with_words(model)
    words = ZeroShotModel(model, {role: language_of(config, role) for role in folders})

    generator = torch.Generator().manual_seed(0)
    face, voice = (
        torch.randn(40, width, generator=generator)
        for width in (model.video_width, model.audio_width)
    )
    embedded = {"vision": face, "audio": voice}
    for role, features in embedded.items():
        embedded[role] = words.language[role].embed_media(features)
    no_face, no_voice, nothing = (
        torch.zeros_like(each) for each in (face, voice, embedded["vision"])
    )
    by_face = words.fuse(embedded["vision"], nothing).argmax(dim=1)
    by_voice = words.fuse(nothing, embedded["audio"]).argmax(dim=1)
    assert torch.equal(model.fuse(face, no_voice).argmax(dim=1), by_face)
    assert torch.equal(model.fuse(no_face, voice).argmax(dim=1), by_voice)
    assert min(len(by_face.unique()), len(by_voice.unique())) > 1


def test_rare_classes_are_raised_in_the_loss_alone() -> None:
    targets = torch.nn.functional.one_hot(torch.arange(10).clamp(min=4) - 4, 7).float()
    raised = logit_adjustment(targets, 0.5)
    assert raised[0].item() == pytest.approx(0.5 * np.log(0.5))
    assert raised[1].item() == pytest.approx(0.5 * np.log(0.1))

    torch.manual_seed(0)
    recipe = parse_recipe({"language": {"width": 16, "layers": 1}}, schema=PretrainRecipe)
    learner = Learner("vision", TOWER, recipe.language, ["a happy face"], adjustment=raised)
    inputs = torch.randn(10, 1, 32, 32)
    lesson = Lesson(inputs, targets, ["a happy face"] * 10, torch.ones(10, 10))
    learner.eval()
    loss = learner.losses(lesson, {"labels": 1.0})["labels"]

    logits = learner.head(learner(inputs))
    expected = torch.nn.functional.cross_entropy(logits + raised, targets)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert not any("adjustment" in name for name in learner.state_dict())


def test_a_start_that_fails_claims_no_folder(tmp_path, monkeypatch) -> None:
    def missing(root: Path, part: str) -> VotedFaces:
        raise CorpusError(["no faces"])

    recipe = recipe_of(tmp_path, data={"roles": ["vision"]})
    monkeypatch.setattr(pretrain_courses, "read_voted_faces", missing)
    with pytest.raises(CorpusError, match="no faces"):
        pretrain(recipe.model_copy(update={"seed": 3}), tmp_path / "out", tell=told)

    monkeypatch.setattr(pretrain_courses, "read_voted_faces", made_faces)
    assert pretrain(recipe, tmp_path / "out", tell=told)


def test_a_full_disk_keeps_the_last_state_and_a_torn_one_is_named(tmp_path, monkeypatch) -> None:
    recipe = recipe_of(tmp_path, data={"roles": ["vision"]})
    out, save = tmp_path / "out", torch.save
    written = []

    def full(state: object, path: Path) -> None:
        if written:
            path.write_bytes(b"half")
            raise RuntimeError("PytorchStreamWriter failed writing file")
        written.append(path)
        save(state, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="could not be written"):
        pretrain(recipe, out, tell=told)
    assert not list(out.glob(".partial*"))
    assert torch.load(out / "vision-state.pt", weights_only=True)["epoch"] == 1

    monkeypatch.setattr(torch, "save", save)
    whole = (out / "vision-state.pt").read_bytes()
    (out / "vision-state.pt").write_bytes(whole[:1000])
    with pytest.raises(CorpusError, match="cannot be read; delete it"):
        pretrain(recipe, out, tell=told)
    (out / "vision-state.pt").write_bytes(whole)
    assert pretrain(recipe, out, tell=told)
    assert len(lines_of(out, "vision")) == 3


def test_a_state_that_cannot_be_reached_is_not_called_broken(tmp_path, monkeypatch) -> None:
    recipe = recipe_of(tmp_path, data={"roles": ["vision"]})
    out = tmp_path / "out"
    out.mkdir()
    (out / "vision-state.pt").write_bytes(b"a good state of another user")

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(torch, "load", refused)
    with pytest.raises(PermissionError):
        pretrain(recipe, out, tell=told)


def test_what_fails_while_saving_is_called_by_its_name(tmp_path, monkeypatch) -> None:
    recipe = recipe_of(tmp_path, data={"roles": ["vision"]})

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(torch, "save", refused)
    with pytest.raises(PermissionError, match="Permission denied"):
        pretrain(recipe, tmp_path / "out", tell=told)
    # What claims the folder is written once: a kill in the second role cannot tear it.
    (tmp_path / "out" / "recipe.yaml").chmod(0o444)
    kept = (tmp_path / "out" / "recipe.yaml").stat().st_mtime_ns
    with pytest.raises(PermissionError, match="Permission denied"):
        pretrain(recipe, tmp_path / "out", tell=told)
    assert (tmp_path / "out" / "recipe.yaml").stat().st_mtime_ns == kept
