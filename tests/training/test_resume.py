"""Killed, interrupted, out of space: the same command goes on and ends with the same weights."""

import json
from pathlib import Path

import pytest
import yaml

from claip_emo.model.checkpoint_folder import written_whole
from claip_emo.recipe_files import parse_recipe
from claip_emo.training.fit import Interrupted, train
from claip_emo.training.trainer import ClaipEmoTrainer, newest_checkpoint

from ..processes import run_python
from .conftest import described, small

# Trains as the command does, and is killed (signal 9) at the start of a step.
KILLED = """
import os, signal, sys
from pathlib import Path
from claip_emo.recipe_files import load_recipe
from claip_emo.training import fit
from claip_emo.training.trainer import ClaipEmoTrainer

step = ClaipEmoTrainer.training_step
def kill(self, *rest, **more):
    if self.state.global_step == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *rest, **more)
ClaipEmoTrainer.training_step = kill
fit.train(load_recipe(sys.argv[1]), Path(sys.argv[2]), device="cpu")
"""


def weights(out: Path) -> dict[str, bytes]:
    return {
        name: (out / "model" / name).read_bytes()
        for name in ("adapter_model.safetensors", "towers.safetensors")
    }


def losses(out: Path) -> list[tuple[str, int, float]]:
    rows = [json.loads(line) for line in (out / "history.jsonl").open()]
    return [(row["event"], row["step"], row["loss"]) for row in rows]


@pytest.fixture(scope="module")
def uninterrupted(clips, tmp_path_factory) -> Path:
    return train(small(clips), tmp_path_factory.mktemp("runs") / "whole", device="cpu").out


@pytest.mark.parametrize(("save_every", "killed_at"), [(None, 2), (None, 6), (3, 6)])
def test_kill_9_in_mid_epoch(
    clips, tmp_path, quiet, uninterrupted, killed_at: int, save_every: int | None
) -> None:
    """4 steps an epoch: killed in the first or second, resumed from its start or from step 3."""
    recipe = described(clips, save_every_steps=save_every)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    out = tmp_path / "run"
    killed = run_python(KILLED, str(path), str(out), str(killed_at))
    assert killed.returncode == -9, killed.stderr
    assert not (out / "model").exists()
    found = newest_checkpoint(out / "training_state")
    expected = {(2, None): None, (6, None): 4, (2, 3): None, (6, 3): 6}[(killed_at, save_every)]
    assert (found and int(found.name.split("-")[1])) == expected
    train(parse_recipe(recipe), out, device="cpu", console=quiet)
    assert weights(out) == weights(uninterrupted)
    assert losses(out) == losses(uninterrupted)


def test_ctrl_c_saves_the_step_and_goes_on(
    clips, tmp_path, quiet, uninterrupted, monkeypatch
) -> None:
    import os
    import signal

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


# Trains by the command line with files limited to so many bytes: writing more fails as on a full
# disk.
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv = ["claip-emo", *sys.argv[2:]]
from claip_emo.cli.main import main
main()
"""


def test_a_full_disk_while_a_checkpoint_is_written(clips, tmp_path, quiet) -> None:
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
    limit = str((largest + initial) // 2)
    failed = run_python(LIMITED, limit, "train", str(path), "--out", str(out), "--device", "cpu")
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
