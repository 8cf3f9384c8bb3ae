"""What a speech encoder teaches the tower of voices, and mixup, against values by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from claip_emo.labels import SEVEN
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.processor_settings import ProcessorSettings
from claip_emo.model.towers import resnet_columns
from claip_emo.training import pretrain_courses
from claip_emo.training.audio_teacher import AudioTeacher
from claip_emo.training.pretrain import pretrain
from claip_emo.training.pretrain_courses import VoiceCourse, mixed, standardised
from claip_emo.training.pretrain_network import Learner, Lesson
from claip_emo.training.pretrain_samples import VoiceSamples

from .test_pretrain import RATE, lines_of, made, made_voices, recipe_of, told  # noqa: F401

WIDTH = 3


class Teacher:
    """Hears of each fiftieth of a second its loudness, its roughness, and how late it is."""

    width = WIDTH

    def __init__(self) -> None:
        self.heard: list[np.ndarray] = []

    def features(self, samples: np.ndarray, rate: int) -> Tensor:
        assert rate == RATE
        self.heard.append(samples)
        pieces = torch.from_numpy(samples[: len(samples) // 960 * 960]).view(-1, 960)
        late = torch.arange(len(pieces)) / 50
        return torch.stack([pieces.square().mean(1), pieces.diff().abs().mean(1), late], dim=1)


def lesson_of(seed: int, teacher: bool = True) -> Lesson:
    draw = torch.Generator().manual_seed(seed)
    return Lesson(
        torch.rand(5, 1, 4, 3, generator=draw),
        torch.rand(5, 7, generator=draw),
        ["a", "b", "c", "d", "e"],
        torch.rand(5, 5, generator=draw),
        torch.rand(5, WIDTH, 2, generator=draw) if teacher else None,
    )


def test_mixup_blends_a_sample_and_what_is_asked_of_it_with_the_same_other() -> None:
    lesson = lesson_of(0)
    blended = mixed(lesson, 0.7, np.random.default_rng(3))

    rng = np.random.default_rng(3)
    kept, partner = rng.beta(0.7, 0.7), rng.permutation(5)
    assert abs(kept - 0.5) > 0.1
    assert (partner != np.arange(5)).sum() > 2
    assert blended.captions == lesson.captions
    for name in ("inputs", "targets", "matches", "teacher"):
        before, after = getattr(lesson, name), getattr(blended, name)
        for row, other in enumerate(partner):
            by_hand = kept * before[row] + (1 - kept) * before[other]
            torch.testing.assert_close(after[row], by_hand, msg=name)


def test_mixup_that_is_off_or_without_a_teacher() -> None:
    lesson = lesson_of(1, teacher=False)
    assert mixed(lesson, 0.0, np.random.default_rng(0)) is lesson
    assert mixed(lesson, 0.3, np.random.default_rng(0)).teacher is None


def test_features_are_standardised_over_all_frames_of_all_voices() -> None:
    long, short = torch.tensor([[1.0, 5.0], [3.0, 5.0], [5.0, 5.0]]), torch.tensor([[7.0, 5.0]])
    first, second = standardised([long, short])

    deviation = (20 / 3) ** 0.5  # of 1, 3, 5, 7, whose mean is 4
    by_hand = torch.tensor([-3.0, -1.0, 1.0, 3.0]) / deviation
    torch.testing.assert_close(torch.cat([first, second])[:, 0].float(), by_hand, rtol=0, atol=1e-3)
    assert not torch.cat([first, second])[:, 1].any()  # what never changes tells nothing
    assert first.dtype == torch.float16


@pytest.mark.parametrize("speed", [1, 2])
@pytest.mark.parametrize("duration_s", [3.0, 0.5])  # the shorter is repeated to fill the window
def test_the_teacher_says_of_each_column_what_is_said_in_it(monkeypatch, speed, duration_s) -> None:
    """The sound is the time at which it was spoken, and so is what the teacher says of it."""
    time_s = (np.arange(round(duration_s * RATE)) / RATE).astype(np.float32)
    voice = dataclasses.replace(made_voices(Path())[0], samples=time_s)
    spoken = torch.arange(round(duration_s * 50))[:, None] / 50 + 0.01  # the middle of each frame
    processor = ClaipEmoProcessor(ProcessorSettings(audio_s=0.8, audio_window_s=0.4))
    recipe = recipe_of(Path()).voices
    samples = VoiceSamples([voice], recipe, processor, 0, teacher=[spoken.half()], columns=4)
    monkeypatch.setattr(samples, "world", lambda sound, rng, others: sound[::speed].copy())
    windows = []

    def hear(waveforms: Tensor) -> Tensor:
        windows.append(waveforms[0])
        return torch.zeros(1, 1, 8, 8)

    monkeypatch.setattr(samples.processor, "hear", hear)
    for epoch in range(20):
        columns = samples[epoch, 0]["teacher"]
        assert columns.shape == (1, 4)
        by_hand = windows[-1].view(4, -1).mean(dim=1)
        torch.testing.assert_close(columns[0], by_hand, rtol=0, atol=0.005)
    assert len({float(window[0]) for window in windows}) > 10


def course_of(tmp_path: Path, monkeypatch, teacher: object = None, **voices) -> VoiceCourse:
    """Return a course of made voices, of which the first has no class."""
    first, *others = made_voices(Path())
    unclassed = dataclasses.replace(first, label=None)
    monkeypatch.setattr(
        pretrain_courses, "read_constructed_voices", lambda *_: [unclassed, *others]
    )
    recipe = recipe_of(tmp_path)
    recipe = recipe.model_copy(update={"voices": recipe.voices.model_copy(update=voices)})
    return VoiceCourse(recipe, tmp_path, told, teacher=teacher)


def test_the_teacher_hears_those_that_are_trained_on(tmp_path, monkeypatch) -> None:
    teacher = Teacher()
    course = course_of(tmp_path, monkeypatch, teacher, teacher_labels=0.0)

    taught = course.samples.voices
    assert all(heard is voice.samples for heard, voice in zip(teacher.heard, taught, strict=True))
    by_hand = np.concatenate([Teacher().features(v.samples, RATE).half() for v in taught])
    by_hand = (by_hand - by_hand.mean(0, np.float32)) / by_hand.astype(np.float32).std(0, ddof=1)
    torch.testing.assert_close(
        torch.cat(list(course.samples.teacher)).float(), torch.from_numpy(by_hand),
        rtol=0, atol=5e-3,
    )  # fmt: skip


def test_classes_are_softened_by_what_is_read_of_strangers(tmp_path, monkeypatch) -> None:
    asked, read = [], torch.rand(42, 7, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(
        pretrain_courses, "out_of_speaker", lambda *given, **_: asked.append(given) or read
    )
    course = course_of(tmp_path, monkeypatch, Teacher(), teacher_labels=0.25)

    ((features, labels, speakers, classes),), voices = asked, course.samples.voices
    heard = [Teacher().features(voice.samples, RATE).half() for voice in voices]
    by_hand = np.stack([frames.numpy().mean(axis=0, dtype=np.float32) for frames in heard])
    np.testing.assert_allclose(features.numpy(), by_hand, rtol=1e-3)
    assert labels == [None, *(SEVEN.index_of(voice.label) for voice in voices[1:])]
    assert (speakers, classes) == ([voice.speaker for voice in voices], 7)
    assert not course.samples.targets[0].any()  # a voice without a class stays without
    for row, label in list(enumerate(labels))[1:]:
        softened = 0.25 * read[row]
        softened[label] += 0.75
        torch.testing.assert_close(course.samples.targets[row], softened)


def test_losses_of_a_teacher_are_mean_squares(tmp_path, monkeypatch) -> None:
    course = course_of(
        tmp_path, monkeypatch, Teacher(), teacher_pooled=0.8, teacher_frames=0.3, teacher_labels=0.0
    )
    assert course.weights == {"labels": 1.0, "captions": 0.5, "pooled": 0.8, "frames": 0.3}
    drawn = [course.samples[0, place] for place in range(6)]
    batch = {name: torch.stack([sample[name] for sample in drawn]) for name in ("mel", "teacher")}
    keys = [(0, place) for place in range(6)]
    lesson = course.lesson(keys, batch, np.random.default_rng(0))
    torch.manual_seed(0)
    recipe = recipe_of(tmp_path)
    learner = Learner("audio", course.settings.tower, recipe.language, course.texts, WIDTH).eval()

    with torch.no_grad():
        losses = learner.losses(lesson, course.weights)
        columns = resnet_columns(learner.tower, lesson.inputs)  # (batch, width, column)
        said = lesson.teacher.unbind(-1)
        frames = torch.stack(
            [learner.as_frames(h) - s for h, s in zip(columns.unbind(-1), said, strict=True)]
        )
        pooled = learner.as_pooled(learner(lesson.inputs)) - sum(said) / len(said)
    assert losses.keys() == course.weights.keys()
    assert losses["pooled"].item() == pytest.approx(pooled.square().mean().item(), rel=1e-5)
    assert losses["frames"].item() == pytest.approx(frames.square().mean().item(), rel=1e-5)
    torch.testing.assert_close(lesson.teacher, batch["teacher"])  # mixup is off


def test_a_tower_comes_to_hear_what_its_teacher_hears(tmp_path, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(
        AudioTeacher, "from_folder", lambda *where: asked.append(where) or Teacher()
    )
    recipe = recipe_of(tmp_path, data={"roles": ["audio"]})
    changes = {"mixup": 0.3, "teacher_layer": 2, "epochs": 5}
    recipe = recipe.model_copy(update={"voices": recipe.voices.model_copy(update=changes)})
    pretrain(recipe, tmp_path / "out", audio_teacher=Path("whisper"), tell=told)

    assert asked == [(Path("whisper"), 2)]
    first, *_, last = (line["losses"] for line in lines_of(tmp_path / "out", "audio"))
    assert last["pooled"] < 0.8 * first["pooled"]
    assert last["frames"] < 0.8 * first["frames"]
