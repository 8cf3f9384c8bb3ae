"""Every cell of an ablation is run once, whatever happens in between, and becomes a row."""

import csv
import json
import sys
from pathlib import Path

import pytest
import yaml

from claip_emo.cli.main import main
from claip_emo.corpora.base import CorpusError
from claip_emo.evaluation.predictions import Predictions
from claip_emo.recipe_files import RecipeError
from claip_emo.training import ablate as room
from claip_emo.training.ablate import _runs, ablate
from claip_emo.training.fit import Interrupted, train
from claip_emo.training.trainer import NonFiniteLossError

from ..processes import run_python
from .conftest import described
from .test_cells import ISSUE, plan


@pytest.fixture
def recipe(clips, tmp_path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(described(clips, epochs=1)))
    return path


@pytest.fixture
def command(monkeypatch, capfd):
    """Run ``claip-emo ablate`` in this process; return its exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["claip-emo", "ablate", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return call


def table(out: Path) -> dict[str, dict[str, str]]:
    with (out / "ablation.csv").open(newline="") as file:
        return {row["cell"]: row for row in csv.DictReader(file)}


def test_made_clips_are_shared_by_all_cells_of_a_seed(tmp_path) -> None:
    found = plan("rank=2 data.synthetic.people=9", seeds=[0, 3])
    roots = {run.folder: run.recipe.data.root for run in _runs(found, tmp_path)}
    assert roots == {
        "base": f"{tmp_path}/clips",
        "rank-2": f"{tmp_path}/clips",
        "data.synthetic.people-9": f"{tmp_path}/data.synthetic.people-9/clips",
        "base_seed-3": f"{tmp_path}/clips-seed-3",
        "rank-2_seed-3": f"{tmp_path}/clips-seed-3",
        "data.synthetic.people-9_seed-3": f"{tmp_path}/data.synthetic.people-9_seed-3/clips",
    }
    axis = plan("seed=0,1")
    assert [run.recipe.train.seed for run in _runs(axis, tmp_path)] == [0, 1]


@pytest.fixture(scope="module")
def finished(clips, tmp_path_factory):
    """Three cells, each trained for one epoch; several tests look at them."""
    folder = tmp_path_factory.mktemp("ablation")
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(described(clips, epochs=1) | {"protocol": {}}))
    out = folder / "out"
    return path, out, ablate(plan("temporal=mean fusion=gated", path), out, device="cpu")


def test_every_cell_is_a_run_and_a_row(finished, clips) -> None:
    _, out, done = finished
    assert done["errors"] == {}
    assert list(table(out)) == ["base", "temporal-mean", "fusion-gated"]
    assert (out / "ablation.png").is_file()
    assert (out / "report.html").is_file()
    for slug, row in table(out).items():
        figures = json.loads((out / slug / "metrics.json").read_text())
        facts = json.loads((out / slug / "run.json").read_text())
        assert float(row["war"]) == pytest.approx(figures["war"])
        assert float(row["uar"]) == pytest.approx(figures["uar"])
        low, high = figures["interval_95"]["war"]
        assert (float(row["war_low"]), float(row["war_high"])) == pytest.approx((low, high))
        assert float(row["war_video"]) == pytest.approx(figures["by_modality"]["video"]["war"])
        assert int(row["trainable"]) == facts["parameters"]["trainable"]
        assert facts["command"]
        stored = yaml.safe_load((out / slug / "model" / "recipe.yaml").read_text())
        assert stored["data"]["root"] == str(clips)
    assert int(table(out)["temporal-mean"]["trainable"]) < int(table(out)["base"]["trainable"])
    mean = yaml.safe_load((out / "temporal-mean" / "recipe.yaml").read_text())
    assert mean["model"]["temporal"] == "mean"


def test_what_is_finished_is_not_done_again(finished, quiet, monkeypatch) -> None:
    path, out, done = finished
    trained = []
    monkeypatch.setattr(room, "train", lambda recipe, folder, **_: trained.append(folder.name))
    again = ablate(plan("temporal=mean fusion=gated", path), out, device="cpu", console=quiet)
    assert trained == []
    assert again["rows"] == done["rows"]
    # One further value: only its cell is run. An unfinished one is run again.
    (out / "temporal-mean" / "report.html").rename(out / "kept.html")
    more = plan("temporal=mean,lstm fusion=gated", path)
    found = ablate(more, out, device="cpu", console=quiet)
    (out / "kept.html").rename(out / "temporal-mean" / "report.html")
    assert trained == ["temporal-mean", "temporal-lstm"]
    assert [row["cell"] for row in found["rows"] if row["error"] == "not run yet"] == [
        "temporal-lstm"  # the stand-in leaves no run behind
    ]


def test_another_recipe_in_the_folder_is_refused(finished, quiet) -> None:
    path, out, _ = finished
    before = (out / "ablation.json").read_bytes()
    other = plan("temporal=mean", path, changes=["train.batch_size=7"])
    with pytest.raises(RecipeError, match=r"another recipe.*train\.batch_size"):
        ablate(other, out, device="cpu", console=quiet)
    assert (out / "ablation.json").read_bytes() == before


def test_a_cell_that_fails_is_a_row_and_the_others_go_on(
    recipe, tmp_path, command, monkeypatch
) -> None:
    real = train

    def fails(described, out, **more):
        if out.name == "rank-2":
            raise NonFiniteLossError("The loss is nan at step 3.")
        return real(described, out, **more)

    monkeypatch.setattr(room, "train", fails)
    words = (recipe, "--over", "rank=2", "temporal=mean", "--out", tmp_path / "o")
    code, _, said = command(*words, "--device", "cpu")
    assert code == 1
    assert "rank-2 failed: The loss is nan at step 3." in said
    rows = table(tmp_path / "o")
    assert rows["rank-2"]["error"] == "rank-2: The loss is nan at step 3."
    assert rows["rank-2"]["war"] == ""
    assert rows["temporal-mean"]["war"]
    assert rows["temporal-mean"]["error"] == ""
    monkeypatch.setattr(room, "train", real)  # the same command tries it again
    code, out, _ = command(*words, "--device", "cpu", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["errors"] == {}
    assert {row["cell"]: row["error"] for row in found["rows"]} == {
        "base": None, "rank-2": None, "temporal-mean": None,
    }  # fmt: skip


def test_a_corpus_that_cannot_be_used_ends_it_at_once(recipe, tmp_path, command) -> None:
    out = tmp_path / "o"
    code, _, said = command(recipe, "--over", "rank=2,4", "--out", out, "--data", "nowhere.csv")
    assert code == 2
    assert "nowhere.csv" in said
    assert "Traceback" not in said
    assert not (out / "ablation.csv").exists()
    varied = plan(f"data.root=nowhere.csv,{recipe}", recipe)
    with pytest.raises(CorpusError):
        ablate(plan("rank=2", recipe, changes=["data.root=nowhere.csv"]), tmp_path / "p")
    assert [axis.key for axis in varied.axes] == ["data.root"]


def test_a_corpus_that_is_varied_may_fail_alone(recipe, tmp_path, quiet) -> None:
    done = ablate(plan("data.root=nowhere.csv", recipe), tmp_path / "o", console=quiet)
    assert len(done["errors"]) == 1
    assert "nowhere.csv" in next(iter(done["errors"].values()))
    assert done["rows"][0]["war"] is not None


def test_ctrl_c_ends_the_whole_and_goes_on(recipe, tmp_path, quiet, monkeypatch) -> None:
    real, begun = train, []

    def interrupted(described, out, **more):
        begun.append(out.name)
        if out.name == "rank-2":
            raise Interrupted("Interrupted and saved.")
        return real(described, out, **more)

    cells = plan("rank=2 temporal=mean", recipe)
    monkeypatch.setattr(room, "train", interrupted)
    with pytest.raises(Interrupted):
        ablate(cells, tmp_path / "o", device="cpu", console=quiet)
    assert begun == ["base", "rank-2"]
    rows = table(tmp_path / "o")  # of what was there: the base
    assert rows["base"]["war"]
    assert rows["temporal-mean"]["error"] == "not run yet"


# Runs the command and is killed (signal 9) in the second step of the second cell.
KILLED = """
import os, signal, sys
from claip_emo.training.trainer import ClaipEmoTrainer

step = ClaipEmoTrainer.training_step
def kill(self, *rest, **more):
    if "rank-2" in self.args.output_dir and self.state.global_step == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *rest, **more)
ClaipEmoTrainer.training_step = kill
sys.argv = ["claip-emo", *sys.argv[1:]]
from claip_emo.cli.main import main
main()
"""


def test_killed_in_the_middle_it_goes_on_where_it_was(recipe, tmp_path, command) -> None:
    out = tmp_path / "o"
    words = [str(recipe), "--over", "rank=2", "--out", str(out), "--device", "cpu",
             "--set", "train.save_every_steps=1"]  # fmt: skip
    killed = run_python(KILLED, "ablate", *words)
    assert killed.returncode == -9, killed.stderr
    assert table(out)["base"]["war"]
    first = (out / "base" / "metrics.json").stat().st_mtime_ns
    assert (out / "rank-2" / "training_state" / "checkpoint-2").is_dir()
    code, _, said = command(*words)
    assert code == 0, said
    assert "2 cells; 1 done already, 1 to do." in said
    assert (out / "base" / "metrics.json").stat().st_mtime_ns == first
    assert all(row["war"] and not row["error"] for row in table(out).values())
    steps = [json.loads(line) for line in (out / "rank-2" / "history.jsonl").open()]
    trained = [row["step"] for row in steps if row["event"] == "train"]
    assert trained == sorted(set(trained))


def test_seeds_are_runs_of_their_own_and_one_row(recipe, tmp_path, quiet) -> None:
    done = ablate(
        plan("temporal=mean", recipe, seeds=[0, 5]), tmp_path / "o", device="cpu", console=quiet
    )
    folders = {path.name for path in (tmp_path / "o").iterdir() if path.is_dir()}
    assert folders == {"base", "temporal-mean", "base_seed-5", "temporal-mean_seed-5"}
    stored = yaml.safe_load((tmp_path / "o" / "base_seed-5" / "recipe.yaml").read_text())
    assert stored["train"]["seed"] == 5
    base = done["rows"][0]
    wars = [
        json.loads((tmp_path / "o" / name / "metrics.json").read_text())["war"]
        for name in ("base", "base_seed-5")
    ]
    assert base["war"] == pytest.approx(sum(wars) / 2)
    assert base["seeds"] == "0 5"
    assert done["rows"][1]["war_gain"] is not None


def test_a_cell_of_one_modality_reads_and_scores_that_one(recipe, tmp_path, quiet) -> None:
    done = ablate(plan("modality=v,a", recipe), tmp_path / "o", device="cpu", console=quiet)
    assert done["errors"] == {}
    for kind in ("v", "a"):
        rows = Predictions.read(tmp_path / "o" / f"modality-{kind}" / "predictions.parquet")
        assert set(rows.modality) == {kind}
        assert len(rows) == 7
    rows = {row["cell"]: row for row in done["rows"]}
    assert rows["modality-v"]["war_audio"] is None
    assert rows["modality-v"]["war"] == rows["modality-v"]["war_video"]
    assert rows["modality-v"]["modality"] == "v"
    assert rows["modality-a"]["trainable"] < rows["modality-v"]["trainable"]
    assert rows["modality-v"]["war_gain"] is not None


def test_the_command_as_the_documentation_writes_it(command) -> None:
    code, out, _ = command("recipes/demo.yaml", "--over", *ISSUE.split(), "--dry-run", "--json")
    assert code == 0
    assert len(json.loads(out)["cells"]) == 14
    first, *rest = ISSUE.split()
    each = [word for axis in ISSUE.split() for word in ("--over", axis)]
    for words in (
        ["demo", "--dry-run", "--json", "--over", first, *rest, "--out", "x"],
        ["--over", first, "--dry-run", "--json", "demo", *rest],
        ["demo", *each, "--dry-run", "--json"],
    ):  # fmt: skip
        code, again, _ = command(*words)
        assert code == 0
        assert json.loads(again) == json.loads(out)
    code, out, said = command("demo", "--over", "rank=2,4", "--dry-run", "--seeds", "0,1")
    assert "3 cells, 2 seeds each" in said
    assert "rank-4" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["demo", "--over", "rank=2"], "--out DIR"),
        (["demo", "--out", "x"], "Name what is varied"),
        (["demo", "--over", "smell=2", "--out", "x"], "unknown axis 'smell'"),
        (["demo", "--over", "rank=2", "more", "--out", "x"], "The recipe stands first"),
        (["--over", "rank=2", "temporal=mean", "demo", "--out", "x"], "The recipe stands first"),
        (["nothing", "--over", "rank=2", "--out", "x"], "No recipe 'nothing'"),
        (["demo", "--over", "rank=two", "--out", "x"], "model.lora.rank"),
        (["demo", "--over", "rank=2", "--out", "x", "--seeds", "a"], "--seeds takes numbers"),
    ],
)
def test_mistakes_are_answered(command, words: list[str], says: str) -> None:
    code, _, said = command(*words)
    assert code == 2
    assert says in said.replace("\n", " ")
    assert "Traceback" not in said
