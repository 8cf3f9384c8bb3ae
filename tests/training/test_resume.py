"""Killed, interrupted, out of space: the same command goes on and ends with the same weights."""

import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from claip_emo.model.checkpoint_folder import written_whole
from claip_emo.recipe_files import parse_recipe
from claip_emo.training.fit import Interrupted, train
from claip_emo.training.trainer import ClaipEmoTrainer, newest_checkpoint

from ..processes import run_python
from .conftest import described, small

# Imports everything once and forks for each run: it trains as the command does, and is killed
# (signal 9) where it begins a step, or the validation behind it.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from claip_emo.recipe_files import load_recipe
from claip_emo.training import fit
from claip_emo.training.trainer import ClaipEmoTrainer

for recipe, out, method, step in json.loads(sys.argv[1]):
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    begin = getattr(ClaipEmoTrainer, method)
    def kill(self, *rest, **more):
        if self.state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return begin(self, *rest, **more)
    setattr(ClaipEmoTrainer, method, kill)
    fit.train(load_recipe(recipe), Path(out), device="cpu")
    sys.exit()
"""
KILLS = {
    (None, "training_step", 2): None,
    (None, "training_step", 6): 4,
    (3, "training_step", 6): 6,
    (2, "evaluate", 4): 2,
}
"""Steps between two saves, what is begun, at which step: the checkpoint that is there then."""


def weights(out: Path) -> dict[str, bytes]:
    return {
        name: (out / "model" / name).read_bytes()
        for name in ("adapter_model.safetensors", "towers.safetensors")
    }


def validations(out: Path) -> int:
    return (out / "history.jsonl").read_text().count("validation")


def losses(out: Path) -> list[tuple[str, int, float]]:
    rows = [json.loads(line) for line in (out / "history.jsonl").open()]
    return [(row["event"], row["step"], row["loss"]) for row in rows]


def killed(clips: Path, folder: Path) -> Iterator[tuple[tuple, dict, Path]]:
    """Yield each of KILLS with the recipe and the folder of the run that was killed."""
    runs, told = [], []
    for number, kill in enumerate(KILLS):
        save_every, method, step = kill
        recipe = described(clips, save_every_steps=save_every)
        path, out = folder / f"{number}.yaml", folder / f"run{number}"
        path.write_text(yaml.safe_dump(recipe))
        runs.append((kill, recipe, out))
        told.append((str(path), str(out), method, step))
    done = run_python(KILLED, json.dumps(told))
    assert [line for line in done.stdout.splitlines() if line.lstrip("-").isdigit()] == (
        ["-9"] * len(KILLS)
    ), done.stderr
    yield from runs


def test_killed_it_goes_on(clips, tmp_path, quiet, uninterrupted) -> None:
    """In the middle of an epoch of 4 steps, or while it validates: what follows is the same.

    What is saved at the end of an epoch is saved after its validation, not before.
    """
    for kill, recipe, out in killed(clips, tmp_path):
        assert not (out / "model").exists(), kill
        found = newest_checkpoint(out / "training_state")
        assert (found and int(found.name.split("-")[1])) == KILLS[kill], kill
        train(parse_recipe(recipe), out, device="cpu", console=quiet)
        assert weights(out) == weights(uninterrupted), kill
        assert losses(out) == losses(uninterrupted), kill
        assert validations(out) == validations(uninterrupted), kill


def test_ctrl_c_saves_the_step_and_goes_on(
    clips, tmp_path, quiet, uninterrupted, monkeypatch
) -> None:
    step = ClaipEmoTrainer.training_step

    def interrupt(self, *rest, **more):
        if self.state.global_step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *rest, **more)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(ClaipEmoTrainer, "training_step", interrupt)
        with pytest.raises(Interrupted, match="same command goes on"):
            train(small(clips), out, device="cpu", console=quiet)
    assert newest_checkpoint(out / "training_state").name == "checkpoint-6"
    train(small(clips), out, device="cpu", console=quiet)
    assert weights(out) == weights(uninterrupted)


def test_a_half_written_checkpoint_is_passed_over(clips, tmp_path, quiet, uninterrupted) -> None:
    state = tmp_path / "state"
    good = state / "checkpoint-4"
    good.mkdir(parents=True)
    source = newest_checkpoint(uninterrupted / "training_state")
    for file in source.iterdir():
        (good / file.name).write_bytes(file.read_bytes())
    broken = state / "checkpoint-8"
    broken.mkdir()
    (broken / "trainer_state.json").write_text("{}")
    (broken / "trained.safetensors").write_bytes((good / "trained.safetensors").read_bytes()[:999])
    (state / ".checkpoint-12.partial-x").mkdir()
    assert newest_checkpoint(state) == good


@contextmanager
def limited(nbytes: int) -> Iterator[None]:
    """Limit files to so many bytes: writing more fails as on a full disk."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_while_a_checkpoint_is_written(clips, tmp_path, quiet, command) -> None:
    """Everything is trained, so that the optimiser's state is the one file that does not fit."""
    recipe = described(clips)
    recipe["model"]["adaptation"] = "full"
    whole = train(parse_recipe(recipe), tmp_path / "whole", device="cpu", console=quiet).out
    initial = max(file.stat().st_size for file in (whole / "model").iterdir())
    state = newest_checkpoint(whole / "training_state")
    largest = (state / "optimizer.pt").stat().st_size
    assert largest > 1.5 * initial
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    out = tmp_path / "run"
    with limited((largest + initial) // 2):
        failed = command("train", path, "--out", out, "--device", "cpu")
    assert failed.returncode == 1, failed.stderr
    assert "disk is full" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert newest_checkpoint(out / "training_state") is None
    assert not list((out / "training_state").glob(".*partial*"))
    train(parse_recipe(recipe), out, device="cpu", console=quiet)
    assert weights(out) == weights(whole)


def test_writing_whole_keeps_the_former_when_it_fails(tmp_path) -> None:
    target = tmp_path / "model"
    with written_whole(target) as folder:
        (folder / "a").write_text("old")

    def fail() -> None:
        with written_whole(target) as folder:
            (folder / "a").write_text("new")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail()
    assert (target / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    with written_whole(target) as folder:
        (folder / "a").write_text("new")
    assert (target / "a").read_text() == "new"


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path) -> None:
    former = tmp_path / ".model.former"
    former.mkdir()
    (former / "a").write_text("old")
    with pytest.raises(RuntimeError), written_whole(tmp_path / "model"):
        raise RuntimeError
    assert (tmp_path / "model" / "a").read_text() == "old"
