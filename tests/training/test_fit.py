"""A recipe becomes a run: what is written, what is chosen, what stops it."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from claip_emo import ClaipEmoModel, EmotionRecognizer
from claip_emo.corpora.base import CorpusError
from claip_emo.evaluation.predictions import Predictions
from claip_emo.model.checkpoint_folder import CheckpointError
from claip_emo.recipe_files import RecipeError, parse_recipe
from claip_emo.training.fit import train
from claip_emo.training.initial import initial_model
from claip_emo.training.trainer import ClaipEmoTrainer, NonFiniteLossError

from .conftest import described, small


def with_baseline(clips, **settings):
    """As it is by default: what needs no training is scored beside it."""
    return parse_recipe(described(clips, **settings) | {"protocol": {}})


@pytest.fixture(scope="module")
def finished(clips, tmp_path_factory):
    """One finished run, that several tests look at."""
    out = tmp_path_factory.mktemp("runs") / "a"
    return train(with_baseline(clips), out, device="cpu")


def test_a_run_leaves_what_the_design_says(finished) -> None:
    written = {path.name for path in finished.out.iterdir()}
    assert {
        "model",
        "training_state",
        "predictions.parquet",
        "metrics.json",
        "history.jsonl",
        "run.json",
        "report.html",
        "report.md",
        "thumbnails",
    } <= written
    model = {path.name for path in (finished.out / "model").iterdir()}
    assert {
        "config.json",
        "processor_config.json",
        "adapter_config.json",
        "adapter_model.safetensors",
        "towers.safetensors",
        "language-vision",
        "language-audio",
        "recipe.yaml",
        "README.md",
    } == model
    figures = json.loads((finished.out / "metrics.json").read_text())
    assert set(figures["by_modality"]) == {"audiovisual", "video", "audio"}
    assert figures["n"] == 7
    rows = Predictions.read(finished.out / "predictions.parquet")
    assert len(rows) == 21


def test_the_baseline_that_needs_no_training_is_beside_it(finished, clips, tmp_path, quiet) -> None:
    ours = Predictions.read(finished.out / "predictions.parquet")
    prior = Predictions.read(finished.out / "zero-shot" / "predictions.parquet")
    assert (prior.ids, prior.modality) == (ours.ids, ours.modality)
    assert np.abs(prior.scores - ours.scores).max() > 0.01
    facts = json.loads((finished.out / "zero-shot" / "run.json").read_text())
    assert (facts["adaptation"], facts["parameters"]["trainable"]) == ("zero-shot", 0)
    assert "zero-shot, nothing trained" in (finished.out / "report.md").read_text()
    recipe = described(clips, epochs=1) | {"protocol": {}}
    recipe["model"]["backbone"] = "tiny"  # its towers have no text encoders
    run = train(parse_recipe(recipe), tmp_path / "r", device="cpu", console=quiet)
    assert not (run.out / "zero-shot").exists()
    assert "zero-shot" not in (run.out / "report.md").read_text()


def test_the_best_epoch_of_the_validation_is_the_model(finished) -> None:
    history = [json.loads(line) for line in (finished.out / "history.jsonl").open()]
    checked = [row for row in history if row["event"] == "validation"]
    assert len(checked) == 3
    wars = [row["war"] for row in checked]
    best = [row["best"] for row in checked]
    assert best == [war > max([-1.0, *wars[:place]]) for place, war in enumerate(wars)]
    stored = load_file(finished.out / "training_state" / "best" / "trained.safetensors")
    model = ClaipEmoModel.from_pretrained(finished.out)
    trained = {n: p for n, p in model.named_parameters() if n in stored}
    assert len(trained) == len(stored) > 5
    assert all(torch.equal(p, stored[n]) for n, p in trained.items())


def test_the_logged_rates_are_the_schedule_s(finished) -> None:
    from claip_emo.training.schedule import learning_rates

    history = [json.loads(line) for line in (finished.out / "history.jsonl").open()]
    logged = [row["learning_rate"] for row in history if row["event"] == "train"]
    expected = learning_rates(
        peak=1e-2, final=1.25e-7, epochs=3, steps_per_epoch=4, warmup_epochs=0.5
    )
    assert logged == pytest.approx(expected)


def test_predictions_equal_the_recogniser_s(finished, clips) -> None:
    """What a run was scored with is what `predict` says: same model, same frames, same sound."""
    rows = Predictions.read(finished.out / "predictions.parquet").for_modality("av")
    recognizer = EmotionRecognizer.from_pretrained(finished.out, device="cpu", face_detector="none")
    for place in range(3):
        result = recognizer(rows.paths[place])
        ours = np.array([result.scores[name] for name in rows.labels])
        np.testing.assert_allclose(ours, rows.scores[place], atol=1e-4)
        assert result.label == rows.labels[int(rows.predicted_index[place])]


def test_a_finished_run_is_not_trained_again(finished, clips, monkeypatch) -> None:
    before = (finished.out / "model" / "adapter_model.safetensors").read_bytes()
    monkeypatch.setattr(ClaipEmoTrainer, "training_step", None)  # would fail if it were called
    again = train(with_baseline(clips), finished.out, device="cpu")
    assert (again.out / "model" / "adapter_model.safetensors").read_bytes() == before
    assert again.metrics["war"] == finished.metrics["war"]


def test_another_recipe_in_the_same_folder_is_refused(finished, clips) -> None:
    with pytest.raises(RecipeError, match=r"differs in train\.epochs"):
        train(with_baseline(clips, epochs=4), finished.out)


@pytest.mark.parametrize("adaptation", ["frozen", "full"])
def test_other_adaptations_and_balances_train(clips, tmp_path, quiet, adaptation: str) -> None:
    recipe = described(
        clips,
        epochs=1,
        accumulation=2,
        precision="bf16" if adaptation == "full" else "auto",
        gradient_checkpointing=True,
        balance="class_weights" if adaptation == "frozen" else "sampling",
    )
    recipe["protocol"] |= {"selection": "last"}
    recipe["model"]["adaptation"] = adaptation
    recipe["data"]["cache"] = "memory"
    run = train(parse_recipe(recipe), tmp_path / "r", device="cpu", console=quiet)
    assert 0 <= run.metrics["war"] <= 1
    history = (run.out / "history.jsonl").read_text()
    assert '"loss"' in history


def test_a_full_run_reloads_exactly(clips, tmp_path, quiet) -> None:
    recipe = described(clips, epochs=1)
    recipe["model"] |= {"adaptation": "full", "backbone": "tiny"}
    run = train(parse_recipe(recipe), tmp_path / "r", device="cpu", console=quiet)
    stored = load_file(run.out / "training_state" / "best" / "trained.safetensors")
    state = ClaipEmoModel.from_pretrained(run.out).state_dict()
    assert all(torch.equal(state[name], value) for name, value in stored.items())
    assert any("running_mean" in name for name in stored)


def test_patience_ends_a_run(clips, tmp_path, quiet) -> None:
    recipe = small(clips, epochs=8, learning_rate=1e-12, final_learning_rate=0.0, early_stopping=2)
    run = train(recipe, tmp_path / "r", device="cpu", console=quiet)
    history = [json.loads(line) for line in (run.out / "history.jsonl").open()]
    assert sum(row["event"] == "validation" for row in history) == 3


def test_going_on_from_a_checkpoint(finished, clips, tmp_path, quiet) -> None:
    recipe = small(clips, epochs=1, learning_rate=1e-12, final_learning_rate=0.0, seed=9)
    run = train(recipe, tmp_path / "r", init=finished.out, device="cpu", console=quiet)
    one, other = (ClaipEmoModel.from_pretrained(o) for o in (finished.out, run.out))
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4, msg=name)
    wider = described(clips, epochs=1)
    wider["model"]["lora"] = {"rank": 4}
    with pytest.raises(CheckpointError, match="another architecture"):
        train(parse_recipe(wider), tmp_path / "s", init=finished.out, console=quiet)


def test_a_loss_that_is_not_finite_names_the_clips(clips, tmp_path, quiet, monkeypatch) -> None:
    forward = ClaipEmoModel.forward
    calls = []

    def broken(self, *rest, **more):
        outputs = forward(self, *rest, **more)
        calls.append(1)
        if len(calls) == 3:
            outputs.logits = outputs.logits * float("nan")
        return outputs

    monkeypatch.setattr(ClaipEmoModel, "forward", broken)
    with pytest.raises(NonFiniteLossError) as caught:
        train(small(clips), tmp_path / "r", device="cpu", console=quiet)
    assert "step 2" in str(caught.value)
    assert str(caught.value).count("clips/person") == 4


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"validation_share": 0.0, "split": None}, None),
        ({"labels": ["anger", "bliss"]}, "Unknown label"),
    ],
)
def test_a_corpus_that_cannot_be_used_stops_before_training(
    clips, tmp_path, quiet, data: dict, says: str | None
) -> None:
    recipe = described(clips, epochs=1)
    table = tmp_path / "clips.csv"
    lines = clips.read_text().splitlines()
    folder = clips.parent
    rows = [line.replace("clips/person", f"{folder}/clips/person", 1) for line in lines[1:]]
    if says is None:
        rows = [row.replace(",validation,", ",train,") for row in rows]
        says = "no validation part"
    table.write_text("\n".join([lines[0], *rows]) + "\n")
    recipe["data"] |= data | {"root": str(table)}
    with pytest.raises(CorpusError, match=says):
        train(parse_recipe(recipe), tmp_path / "r", device="cpu", console=quiet)
    assert not (tmp_path / "r" / "training_state" / "initial").exists()


def test_the_kept_weights_lie_between_the_start_and_the_trained_ones(clips, tmp_path) -> None:
    a_quarter = {"interpolation": 0.25}
    models, histories = [], []
    for name, changes in (("whole", {}), ("part", a_quarter)):
        run = train(small(clips, **changes), tmp_path / name, device="cpu")
        models.append(ClaipEmoModel.from_pretrained(run.out))
        lines = map(json.loads, (run.out / "history.jsonl").read_text().splitlines())
        histories.append([line.get("loss") for line in lines])
    assert histories[0] == histories[1]
    start, _ = initial_model(small(clips), models[0].config.label_set, tmp_path / "start")
    trained, between = (model.trained_state() for model in models)
    moved = 0
    for name, value in start.trained_state().items():
        torch.testing.assert_close(between[name], torch.lerp(value, trained[name], 0.25))
        moved += not torch.allclose(value, trained[name])
    assert moved > 10
    # Killed behind the last epoch, or run again: the same.
    again = train(small(clips, **a_quarter), tmp_path / "part", device="cpu")
    last = ClaipEmoModel.from_pretrained(again.out).trained_state()
    assert all(torch.equal(last[name], value) for name, value in between.items())


@pytest.mark.parametrize("adaptation", ["lora", "full"])
def test_each_part_goes_its_own_way(adaptation, clips, tmp_path) -> None:
    shares = {"audio_tower": 0.0, "head": 0.5}
    recipes = [described(clips, epochs=1), described(clips, epochs=1, interpolation=shares)]
    for recipe in recipes:
        recipe["model"]["adaptation"] = adaptation
    models = [
        ClaipEmoModel.from_pretrained(
            train(parse_recipe(recipe), tmp_path / str(place), device="cpu").out
        )
        for place, recipe in enumerate(recipes)
    ]
    whole, part = (model.trained_state() for model in models)
    start, _ = initial_model(
        parse_recipe(recipes[0]), models[0].config.label_set, tmp_path / "start"
    )
    moved = dict.fromkeys(("vision_tower", "audio_tower", "head"), 0)
    for name, value in start.trained_state().items():
        where = name.partition(".")[0]
        moved[where] = moved.get(where, 0) + (not torch.equal(value, whole[name]))
        if value.is_floating_point():
            expected = torch.lerp(value, whole[name], shares.get(where, 1.0))
            torch.testing.assert_close(part[name], expected)
        else:  # what BatchNorm counts
            assert torch.equal(part[name], whole[name])
    assert all(moved.values())


def test_a_run_whose_recipe_is_older_than_a_key_goes_on(clips, tmp_path) -> None:
    run = train(small(clips, epochs=1), tmp_path / "r", device="cpu")
    written = run.out / "recipe.yaml"
    lines = written.read_text().splitlines(keepends=True)
    older = [line for line in lines if "interpolation" not in line]
    assert len(older) == len(lines) - 1
    written.write_text("".join(older))
    assert train(small(clips, epochs=1), tmp_path / "r", device="cpu").out == run.out
    with pytest.raises(RecipeError, match=r"differs in train\.interpolation"):
        train(small(clips, epochs=1, interpolation=0.5), tmp_path / "r", device="cpu")
