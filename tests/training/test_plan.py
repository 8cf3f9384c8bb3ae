"""What a dry run says is what a run does."""

import json

import pytest

from claip_emo.recipe_files import load_recipe, parse_recipe
from claip_emo.training.fit import train
from claip_emo.training.plan import plan

from .conftest import described


@pytest.mark.parametrize(("accumulation", "batch_size"), [(1, 4), (2, 3), (3, 5)])
def test_the_plan_is_what_the_run_does(
    clips, tmp_path, quiet, accumulation: int, batch_size: int
) -> None:
    recipe = parse_recipe(
        described(clips, epochs=2, accumulation=accumulation, batch_size=batch_size)
    )
    found = plan(recipe)
    run = train(recipe, tmp_path / "r", device="cpu", console=quiet)
    history = [json.loads(line) for line in (run.out / "history.jsonl").open()]
    steps = [row for row in history if row["event"] == "train"]
    assert found["steps"] == len(steps) == 2 * found["steps_per_epoch"]
    ends = [steps[found["steps_per_epoch"] - 1], steps[-1]]
    assert found["learning_rates"]["by_epoch"] == pytest.approx([r["learning_rate"] for r in ends])
    facts = json.loads((run.out / "run.json").read_text())
    assert found["parameters"] == facts["parameters"]
    assert found["batch"] == facts["batch"] == batch_size * accumulation
    counts = {part: row["n"] for part, row in found["data"]["1"].items()}
    assert counts == facts["counts"]
    assert found["data"]["1"]["test"]["per_class"]["anger"] == 1
    assert not (tmp_path / "s").exists()


def test_the_full_size_is_counted_without_its_weights(clips) -> None:
    found = plan(load_recipe("csv", [f"data.root={clips}", "model.backbone=vit-l14"]))
    assert 8.19e6 < found["parameters"]["trainable"] < 8.2e6
    assert set(found["weights_missing"]) == {
        "openai/clip-vit-large-patch14",
        "laion/clap-htsat-fused",
    }
    assert found["learning_rates"]["paper"] == pytest.approx(found["learning_rates"]["peak"])
    memory = found["memory_gib"]
    assert memory["weights"] == pytest.approx(4 * found["parameters"]["total"] / 2**30, rel=0.01)
    assert memory["optimizer"] == pytest.approx(2 * memory["gradients"], abs=0.002)


def test_the_memory_follows_batch_precision_and_checkpointing(clips) -> None:
    def activations(*changes: str) -> float:
        told = [f"data.root={clips}", "model.modality=v", "train.batch_size=2"]
        told += ["train.precision=fp32", *changes]  # auto would be another where there is bf16
        return plan(load_recipe("csv", told))["memory_gib"]["activations"]

    plain = activations()
    assert activations("train.batch_size=4") == pytest.approx(2 * plain, rel=0.05)
    assert activations("train.precision=bf16") < 0.9 * plain
    assert activations("train.gradient_checkpointing=true") < 0.15 * plain  # a third are inputs
    assert activations("model.adaptation=frozen") < 0.1 * plain  # nothing below the heads is kept
    # Most of a clip is its sixteen frames; one of them is a sixteenth of that.
    assert activations("model.temporal=mean", "augment.frames=1") < 0.5 * plain
