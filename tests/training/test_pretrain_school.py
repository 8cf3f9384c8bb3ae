"""The arithmetic of pre-training: rates, groups, a step, what is drawn, and the best epoch."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from claip_emo.data.voice_world import VoiceWorld
from claip_emo.model.towers import DUAL_PREFIX
from claip_emo.training.pretrain import School, optimisers, pretrain, schedule
from claip_emo.training.pretrain_courses import FaceCourse, VoiceCourse
from claip_emo.training.pretrain_network import Learner, Lesson
from claip_emo.training.pretrain_samples import VoiceSamples

from .test_pretrain import RATE, TOWER, made, recipe_of, told  # noqa: F401 (a fixture)


def test_the_rate_rises_in_a_twentieth_of_the_steps_and_falls_as_a_cosine() -> None:
    rates = [schedule(step, 40) for step in range(41)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[21] == pytest.approx(0.5)  # half of the 38 steps that are left
    assert rates[30] == pytest.approx(0.5 * (1 + math.cos(math.pi * 28 / 38)))
    assert rates[40] == pytest.approx(0)
    assert schedule(0, 1) == 1.0  # a course of one step learns


@pytest.mark.parametrize("role", ["vision", "audio"])
def test_matrices_of_the_tower_decay_and_nothing_else(tmp_path, role) -> None:
    recipe = recipe_of(tmp_path)
    settings = {"vision": recipe.faces, "audio": recipe.voices}[role]
    settings = settings.model_copy(update={"learning_rate": 0.3, "weight_decay": 0.02})
    learner = Learner(role, TOWER, recipe.language, ["a happy face"], teacher_width=2)
    of_tower, of_text = optimisers(learner, settings, 0.004)

    found = {
        id(parameter): (group["peak"], group["weight_decay"])
        for optimiser in (of_tower, of_text)
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    words = ("language.text_model.", "language.text_projection.", "language.logit_scale")
    for name, parameter in learner.named_parameters():
        matrix = 0.02 if parameter.ndim > 1 else 0.0
        by_hand = (0.004, 0.0) if name.startswith(words) else (0.3, matrix)
        assert found.pop(id(parameter)) == by_hand, name
    assert not found
    assert isinstance(of_tower, torch.optim.SGD if role == "vision" else torch.optim.AdamW)
    if role == "vision":
        assert all(g["momentum"] == 0.9 and g["nesterov"] for g in of_tower.param_groups)
    assert isinstance(of_text, torch.optim.AdamW)


def school_of(tmp_path, monkeypatch, losses: dict[str, float]) -> School:
    """Return a school whose losses are so many times the sum of all weights of the head."""
    recipe = recipe_of(tmp_path)
    school = School(FaceCourse(recipe, tmp_path), recipe, tmp_path, told, lambda *_: None)
    monkeypatch.setattr(
        school.learner, "losses",
        lambda *_: {name: by * school.learner.head.weight.sum() for name, by in losses.items()},
    )  # fmt: skip
    return school


ANY = Lesson(torch.zeros(0), torch.zeros(0), [], torch.zeros(0))


def test_a_step_weighs_the_losses(tmp_path, monkeypatch) -> None:
    school = school_of(tmp_path, monkeypatch, {"labels": 0.1, "captions": 0.06})
    assert school.course.weights == {"labels": 1.0, "captions": 0.5}
    total = school.learner.head.weight.sum().item()
    returned = school._step(ANY, 0)

    gradient = school.learner.head.weight.grad
    torch.testing.assert_close(gradient, torch.full_like(gradient, 0.1 + 0.5 * 0.06))
    assert returned == pytest.approx({"labels": 0.1 * total, "captions": 0.06 * total})


def test_a_large_gradient_is_cut_to_five(tmp_path, monkeypatch) -> None:
    school = school_of(tmp_path, monkeypatch, {"labels": 1000.0})
    school._step(ANY, 0)

    gradient = school.learner.head.weight.grad
    assert gradient.norm().item() == pytest.approx(5, rel=1e-4)
    assert gradient.std() < 1e-6


def test_a_step_goes_by_the_rate_of_its_place(tmp_path, monkeypatch) -> None:
    school = school_of(tmp_path, monkeypatch, {"labels": 0.1})
    weight = school.learner.head.weight
    before = weight.detach().clone()
    step = school.steps // 2
    school._step(ANY, step)

    settings = school.course.settings
    rate = settings.learning_rate * schedule(step, school.steps)
    by_hand = before - rate * 1.9 * (0.1 + settings.weight_decay * before)  # Nesterov's first step
    torch.testing.assert_close(weight.detach(), by_hand)
    rates = {group["lr"] for group in school.optimisers[1].param_groups}
    assert rates == {1e-3 * schedule(step, school.steps)}


def test_the_average_follows_the_weights(tmp_path, monkeypatch) -> None:
    school = school_of(tmp_path, monkeypatch, {"labels": 0.1})
    seen = []
    for step in range(3):
        school._step(ANY, step)
        seen.append(school.learner.head.weight.detach().clone())

    # Half an epoch of three batches is less than two steps, which are the least.
    by_hand = seen[0] / 4 + seen[1] / 4 + seen[2] / 2
    torch.testing.assert_close(school.average.module.head.weight.detach(), by_hand)


def voices_of(tmp_path, **changes) -> VoiceSamples:
    recipe = recipe_of(tmp_path)
    changed = recipe.voices.model_copy(update=changes)
    return VoiceCourse(recipe.model_copy(update={"voices": changed}), tmp_path, told).samples


@pytest.mark.parametrize(("duration_s", "last_s"), [(0.5, 0.1), (0.4, 0.4), (0.3, 0.3)])
def test_a_window_begins_where_it_ends_within_a_voice_or_anywhere(
    tmp_path, monkeypatch, duration_s, last_s
) -> None:
    """A window has 0.4 s; what is not longer is gone round from any place."""
    samples = voices_of(tmp_path)
    count = round(duration_s * RATE)
    places = np.arange(count, dtype=np.float32)
    monkeypatch.setattr(VoiceWorld, "__call__", lambda *_: places)
    windows: list[Tensor] = []

    def hear(waveforms: Tensor) -> Tensor:
        windows.append(waveforms[0])
        return torch.zeros(1, 1, 8, 8)

    monkeypatch.setattr(samples.processor, "hear", hear)
    for epoch in range(200):
        samples[epoch, 0]
    starts = torch.stack(windows)[:, 0]
    assert torch.equal(torch.stack(windows), (starts[:, None] + torch.arange(0.4 * RATE)) % count)
    assert starts.min() < 0.05 * last_s * RATE
    assert 0.95 * last_s * RATE < starts.max() <= last_s * RATE


@pytest.mark.parametrize("axis", [1, 2])
def test_masks_hide_an_eighth_of_time_or_frequency_at_most(tmp_path, axis) -> None:
    plain = voices_of(tmp_path)
    hiding = voices_of(tmp_path, **{["time_masks", "frequency_masks"][axis - 1]: 1})
    widest = 0
    for epoch in range(20):
        mel, hidden = (samples[epoch, 3]["mel"] for samples in (plain, hiding))
        lines = (mel != hidden).any(dim=3 - axis)[0]  # of time or frequency
        assert torch.all(hidden.transpose(1, axis)[0, lines] == mel.mean())
        assert torch.equal(hidden.transpose(1, axis)[0, ~lines], mel.transpose(1, axis)[0, ~lines])
        widest = max(widest, int(lines.sum()))
    assert 0.75 * mel.shape[axis] / 8 < widest <= mel.shape[axis] / 8


def test_the_weights_of_the_best_epoch_are_kept(tmp_path, monkeypatch) -> None:
    scores = iter([(0.2, 0.3), (0.5, 0.4), (0.6, 0.2), (0.5, 0.3)])

    def examine(*_) -> dict[str, float]:
        war, uar = next(scores)
        return {"war": war, "uar": uar, "zero_shot_war": 0.0, "zero_shot_uar": 0.0}

    monkeypatch.setattr(FaceCourse, "examine", examine)
    recipe = recipe_of(tmp_path, data={"roles": ["vision"]})
    recipe = recipe.model_copy(update={"faces": recipe.faces.model_copy(update={"epochs": 4})})
    averages = []

    def on_epoch(*_) -> None:
        averages.append(torch.load(tmp_path / "out" / "vision-state.pt")["average"])

    (done,) = pretrain(recipe, tmp_path / "out", tell=told, on_epoch=on_epoch)

    assert (done.epoch, done.scores["war"]) == (2, 0.5)
    for name, value in load_file(done.folder / "model.safetensors").items():
        tower = f"module.tower.{name.removeprefix(DUAL_PREFIX)}"
        second, *_, last = [a.get(tower, a.get(f"module.language.{name}")) for a in averages[1:]]
        assert torch.equal(value, second), name
        if value.is_floating_point() and value.numel() > 1:
            assert not torch.equal(value, last), name
