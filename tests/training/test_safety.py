"""What must not be lost, accepted in silence, or saved: each of these was once wrong."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from claip_emo import ClaipEmoModel, ClaipEmoProcessor
from claip_emo.labels import SEVEN
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.checkpoint_folder import CheckpointError
from claip_emo.recipe_files import RecipeError, parse_recipe
from claip_emo.training.fit import Interrupted, train
from claip_emo.training.initial import continue_from
from claip_emo.training.trainer import ClaipEmoTrainer, NonFiniteLossError, newest_checkpoint

from .conftest import described, small
from .test_resume import weights


def test_ctrl_c_in_the_last_step_of_an_epoch(
    clips, tmp_path, quiet, uninterrupted, monkeypatch
) -> None:
    step = ClaipEmoTrainer.training_step

    def interrupt(self, *rest, **more):
        if self.state.global_step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *rest, **more)

    out, recipe = tmp_path / "run", small(clips, save_every_steps=100)
    with monkeypatch.context() as patch:
        patch.setattr(ClaipEmoTrainer, "training_step", interrupt)
        with pytest.raises(Interrupted):
            train(recipe, out, device="cpu", console=quiet)
    assert newest_checkpoint(out / "training_state").name == "checkpoint-4"
    train(recipe, out, device="cpu", console=quiet)
    assert weights(out) == weights(uninterrupted)


def test_gradients_that_are_not_finite_reach_no_weight(clips, tmp_path, quiet, monkeypatch) -> None:
    step = ClaipEmoTrainer.training_step
    before = signal.getsignal(signal.SIGINT)

    def broken(self, model, *rest, **more):
        loss = step(self, model, *rest, **more)
        if self.state.global_step == 3:  # the last step of the epoch: a save follows
            next(p for p in model.parameters() if p.grad is not None).grad.fill_(float("nan"))
        return loss

    monkeypatch.setattr(ClaipEmoTrainer, "training_step", broken)
    with pytest.raises(NonFiniteLossError, match="gradient is not finite at step 3") as caught:
        train(small(clips), tmp_path / "r", device="cpu", console=quiet)
    assert str(caught.value).count("clips/person") == 2  # 14 clips: the last batch has two
    assert newest_checkpoint(tmp_path / "r" / "training_state") is None
    assert not (tmp_path / "r" / "model").exists()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": {"processor": {"mel_mode": "rand_trunc"}}}, r"model\.processor\.mel_mode"),
        ({"data": {"split": {"test": {"speaker": ["person03"]}}}}, r"data\.split"),
        ({"train": {"init": "elsewhere"}}, r"train\.init"),
    ],
)
def test_a_changed_recipe_is_never_taken_for_the_same(
    clips, uninterrupted, change: dict, says: str
) -> None:
    recipe = described(clips)
    for section, values in change.items():
        for key, value in values.items():
            merged = recipe[section].get(key, {}) | value if isinstance(value, dict) else value
            recipe[section][key] = merged
    with pytest.raises(RecipeError, match=says):
        train(parse_recipe(recipe), uninterrupted, device="cpu")


def test_a_full_disk_leaves_no_half_recipe(clips, tmp_path, quiet, monkeypatch) -> None:
    write = Path.write_text

    def full(self, text, *rest, **more):
        if "recipe.yaml" in self.name:
            write(self, text[:40], *rest, **more)
            raise OSError(28, "No space left on device", str(self))
        return write(self, text, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            train(small(clips, epochs=1), tmp_path / "r", device="cpu", console=quiet)
    assert list((tmp_path / "r").iterdir()) == []
    train(small(clips, epochs=1), tmp_path / "r", device="cpu", console=quiet)


def test_one_random_tower_beside_one_of_the_hub_is_stored() -> None:
    half = replace(resolve("tiny-clip"), vision_source="somebody/clip")
    assert configure(half, SEVEN).store_towers
    assert not configure(resolve("vit-b32"), SEVEN).store_towers
    assert configure(resolve("vit-b32"), SEVEN, adaptation="full").store_towers


@pytest.mark.parametrize("changed", [False, True])
def test_towers_that_are_no_longer_their_source_s_are_stored(changed: bool) -> None:
    config = configure(resolve("tiny-clip"), SEVEN, adaptation="frozen")
    config.store_towers = False  # as for towers of the hub
    model = ClaipEmoModel(config)
    former = ClaipEmoModel(configure(resolve("tiny-clip"), SEVEN, adaptation="full"))
    former.load_state_dict(model.state_dict())
    if changed:
        with torch.no_grad():
            next(former.audio_tower.parameters()).add_(1.0)
    continue_from(model, former)
    assert model.config.store_towers is changed
    assert torch.equal(next(model.audio_tower.parameters()), next(former.audio_tower.parameters()))


def test_another_alpha_is_another_model(uninterrupted, clips, tmp_path, quiet, caplog) -> None:
    recipe = described(clips, epochs=1)
    recipe["model"]["lora"] = {"alpha": 8}
    with pytest.raises(CheckpointError, match="alpha is 32, this one's 8"):
        train(parse_recipe(recipe), tmp_path / "r", init=uninterrupted, console=quiet)
    recipe = described(clips, epochs=1)
    recipe["model"]["processor"] = recipe["model"]["processor"] | {"mel_mode": "rand_trunc"}
    train(parse_recipe(recipe), tmp_path / "s", init=uninterrupted, device="cpu", console=quiet)
    assert "mel_mode (fusion -> rand_trunc)" in caplog.text
    assert ClaipEmoProcessor.from_pretrained(tmp_path / "s").settings.mel_mode == "rand_trunc"


def test_what_no_tower_can_do_is_refused(clips, tmp_path, quiet) -> None:
    recipe = described(clips, epochs=1, gradient_checkpointing=True)
    recipe["model"]["backbone"] = "tiny"
    with pytest.raises(RecipeError, match="no tower of tiny can do it"):
        train(parse_recipe(recipe), tmp_path / "r", device="cpu", console=quiet)


def test_one_tower_that_can_do_it_is_enough(clips, tmp_path, quiet) -> None:
    recipe = described(clips, epochs=1, gradient_checkpointing=True)
    recipe["model"]["modality"] = "a"  # HTS-AT alone
    train(parse_recipe(recipe), tmp_path / "r", device="cpu", console=quiet)


def plain(clips: Path, **train_settings: object) -> dict:
    """A recipe without any draw but the order and the windows."""
    recipe = described(clips, epochs=1, **train_settings)
    recipe["model"] |= {"adaptation": "frozen"}
    recipe["augment"] = {
        "randaugment_layers": 0, "crop_scale": [1.0, 1.0], "flip": 0.0, "erase": 0.0, "mixup": 0.0,
        "cutmix": 0.0, "time_masks": 0, "frequency_masks": 0,
    }  # fmt: skip
    recipe["protocol"] |= {"selection": "last"}
    return recipe


def trained(recipe: dict, out: Path, quiet) -> dict[str, torch.Tensor]:
    train(parse_recipe(recipe), out, device="cpu", console=quiet)
    newest = newest_checkpoint(out / "training_state")
    return load_file(newest / "trained.safetensors")


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_settings_of_the_loss_and_the_step_have_their_effect(clips, tmp_path, quiet) -> None:
    """Accumulated halves are the whole batch; what changes the loss or the step changes weights."""
    settings = {"batch_size": 7, "learning_rate": 1e-3, "warmup_epochs": 0, "label_smoothing": 0.0}
    settings["precision"] = "fp32"  # sums of bf16 depend on how many are summed
    whole = trained(plain(clips, **settings), tmp_path / "whole", quiet)
    halves = plain(clips, **settings | {"batch_size": 1, "accumulation": 7})
    assert apart(trained(halves, tmp_path / "halves", quiet), whole) < 2e-4
    for name, change in {
        "smoothed": {"label_smoothing": 0.3},
        "sampled": {"balance": "sampling"},
        "clipped": {"max_grad_norm": 1e-6},
    }.items():
        other = trained(plain(clips, **settings | change), tmp_path / name, quiet)
        assert apart(other, whole) > 2e-4, name


def test_class_weights_weigh_rare_classes_more(clips, tmp_path, quiet, monkeypatch) -> None:
    """The loss of a step equals the weighted cross-entropy of its logits, computed by hand."""
    lines = clips.read_text().splitlines()
    rows = [line.replace("clips/person", f"{clips.parent}/clips/person", 1) for line in lines[1:]]
    few = [r for r in rows if ",train," not in r or "person00" not in r or "_anger_" in r]
    table = tmp_path / "clips.csv"
    table.write_text("\n".join([lines[0], *few]) + "\n")
    seen = []
    compute = ClaipEmoTrainer.compute_loss

    def watched(self, model, inputs, *rest, **more):
        labels = inputs["labels"].clone()
        loss, outputs = compute(self, model, inputs, return_outputs=True)
        seen.append((labels, outputs.logits.detach(), float(loss.detach())))
        return loss

    monkeypatch.setattr(ClaipEmoTrainer, "compute_loss", watched)
    recipe = plain(table, batch_size=4, balance="class_weights", label_smoothing=0.0)
    recipe["data"]["labels"] = list(SEVEN)
    train(parse_recipe(recipe), tmp_path / "r", device="cpu", console=quiet)
    counts = torch.tensor([1.0, 1, 1, 2, 1, 1, 1])  # anger has two clips to train on
    weight = counts.sum() / (7 * counts)
    for labels, logits, loss in seen:
        each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        assert loss == pytest.approx(float((weight[labels] * each).mean()), rel=1e-5)
    assert len(seen) == 2
