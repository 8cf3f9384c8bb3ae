"""claip-emo calibrate: a trained checkpoint, labelled clips, and what comes of them."""

import csv
import json
import shutil

import pytest

from claip_emo.evaluation.calibration import FEWEST_CLIPS

FILES = {"calibration.json", "calibration.html", "calibration.md", "calibration.png"}


@pytest.fixture
def own(run_folder, tmp_path):
    """A copy of the run: it is calibrated in place."""
    return shutil.copytree(run_folder, tmp_path / "run")


def part_of(clips, path, keep) -> str:
    """Write the rows of a table that are to be kept."""
    with clips.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(
            row | {"path": str(clips.parent / row["path"])} for row in rows if keep(row)
        )
    return str(path)


def ask(model, table, *more) -> tuple:
    return ("calibrate", "--model", model, "--table", table, "--workers", "0",
            "--face-detector", "none", *more)  # fmt: skip


def test_a_run_is_calibrated_in_place_and_shows_it(command, own, clips, tmp_path) -> None:
    former = json.loads((own / "model" / "config.json").read_text())
    done = command(*ask(own, clips, "--abstain-target", "0.2", "--json"))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["protocol"] == "cross_fitted"
    assert list(said["modalities"]) == ["av", "v", "a"]
    config = json.loads((own / "model" / "config.json").read_text())
    for there, part in said["modalities"].items():
        assert config["temperature"][there] == part["temperature"]["after"] != 1.0
        assert part["temperature"]["before"] == 1.0
        assert config["abstain_below"].get(there) == part["abstain_below"]
        assert (part["fitted_on"], part["judged_on"], len(part["folds"])) == (28, 28, 4)
    changed = {key for key in config if config[key] != former.get(key)}
    assert changed == {"temperature", "abstain_below"}
    assert {path.name for path in (own / "calibration").iterdir()} == FILES
    report = (own / "report.html").read_text()
    assert "Calibrated since" in report
    assert f"{100 * said['modalities']['a']['after']['calibration_error']['value']:.1f} %" in report

    file = next((clips.parent / "clips").glob("*.mp4"))
    asked = ("predict", file, "--model", own, "--face-detector", "none", "--json")
    plain = json.loads(command(*asked).stdout)
    highest = max(plain["scores"].values())
    for abstain in ("auto", "0", "1"):
        done = command(*asked, "--abstain", abstain)
        assert done.returncode == 0, done.stderr
        limit = config["abstain_below"].get("av", 1.0) if abstain == "auto" else float(abstain)
        label = "uncertain" if highest < limit else plain["label"]
        assert json.loads(done.stdout) == plain | {"label": label}
    table = command(*asked[:-1], "--abstain", "1").stdout
    assert "uncertain" in table
    assert f"{plain['label']} {highest:.2f}" in table
    wrong = command(*asked, "--abstain", "often")
    assert (wrong.returncode, "a score between 0 and 1" in wrong.stderr) == (2, True)


def test_a_copy_is_judged_on_another_table(command, run_folder, clips, tmp_path) -> None:
    before = {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}
    fitting = part_of(clips, tmp_path / "fit.csv", lambda row: row["split"] != "test")
    judging = part_of(clips, tmp_path / "judge.csv", lambda row: row["split"] == "test")
    out = tmp_path / "told"
    both_and_voices = ("--modality", "audio", "--modality", "av")
    done = command(
        *ask(run_folder, fitting, "--held-out", judging, "--out", out, *both_and_voices),
        "--abstain-target", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 -> " in done.stdout
    assert str(out / "calibration" / "calibration.html") in done.stderr
    found = json.loads((out / "calibration" / "calibration.json").read_text())
    assert list(found["modalities"]) == ["av", "a"]
    parts = found["modalities"].values()
    assert {(part["fitted_on"], part["judged_on"]) for part in parts} == {(21, 7)}
    config = json.loads((out / "config.json").read_text())
    after = {there: part["temperature"]["after"] for there, part in found["modalities"].items()}
    assert config["temperature"] == {**after, "v": 1.0}
    assert before == {path: path.read_bytes() for path in before}


def test_wrong_clips_and_places_are_answered(command, own, clips, tmp_path, monkeypatch) -> None:
    in_the_box = command("calibrate", "--table", clips)
    assert (in_the_box.returncode, "--out DIR" in in_the_box.stderr) == (2, True)
    few = command(*ask(own, clips, "--split", "test"))
    assert (few.returncode, f"at least {FEWEST_CLIPS} clips" in few.stderr) == (2, True)
    shared = command(*ask(own, clips, "--held-out", "test"))
    assert shared.returncode == 2
    assert "7 of the clips to judge on are those to fit on" in shared.stderr
    assert "--split and --held-out" in shared.stderr
    missing = command(*ask(own, clips, "--held-out", tmp_path / "no.csv"))
    assert (missing.returncode, "no.csv does not exist" in missing.stderr) == (2, True)
    taken = command(*ask(own, clips, "--out", tmp_path))
    assert (taken.returncode, "holds no checkpoint" in taken.stderr) == (2, True)
    monkeypatch.setattr("os.access", lambda *_: False)
    locked = command(*ask(own, clips))
    assert (locked.returncode, "cannot be written into; --out DIR" in locked.stderr) == (2, True)
    assert not (own / "calibration").exists()
