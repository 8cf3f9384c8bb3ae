"""The other commands: help, info, train, evaluate, report, backbones; and their exit codes."""

import json

import pytest
import yaml

import claip_emo

from ..training.conftest import described


def test_help_and_version(command, process) -> None:
    done = process("--help")
    assert done.returncode == 0
    for name in ("demo", "train", "evaluate", "predict", "report", "corpus", "info", "backbones"):
        assert name in done.stdout
        assert command(name, "--help").returncode == 0
    assert claip_emo.__version__ in command("--version").stdout


def test_help_loads_nothing_heavy(command) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from claip_emo.cli.main import app; "
        "print([m for m in ('torch','transformers','cv2','av','pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_info_of_a_backbone(command) -> None:
    done = command("info", "--backbone", "vit-b32", "--json")
    found = json.loads(done.stdout)
    assert 4.92e6 < found["parameters"]["trainable"] < 4.93e6
    assert found["input"]["image_size_px"] == 224
    assert found["labels"][0] == "happiness"
    assert set(found) >= {"parameters", "labels", "backbone", "input"}
    assert set(found["parameters"]) == {"total", "trainable", "share", "parts"}


def test_info_of_a_checkpoint(command, run_folder) -> None:
    done = command("info", "--model", run_folder, "--json")
    assert json.loads(done.stdout)["backbone"] == "tiny-clip"
    assert "trained" in command("info", "--model", run_folder).stdout
    assert command("info").returncode == 2
    assert command("info", "--backbone", "vit-x").returncode in (1, 2)


def test_train_then_again(command, clips, tmp_path) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text(yaml.safe_dump(described(clips, epochs=1) | {"protocol": {}}))
    out = tmp_path / "run"
    done = command("train", recipe, "--out", out, "--set", "train.epochs=2", "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert "Report:" in done.stderr
    assert (out / "report.html").is_file()
    stored = yaml.safe_load((out / "model" / "recipe.yaml").read_text())
    assert (stored["train"]["epochs"], stored["train"]["seed"]) == (2, 3)
    facts = json.loads((out / "run.json").read_text())
    assert facts["command"].startswith("claip-emo train")
    other = command("train", recipe, "--out", out)
    assert other.returncode == 2
    assert "another recipe" in other.stderr


def test_evaluate_a_table(command, run_folder, clips, tmp_path) -> None:
    out = tmp_path / "scored"
    done = command(
        "evaluate", "--model", run_folder, "--table", clips, "--out", out, "--split", "test",
        "--face-detector", "none", "--json", "--workers", "0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    trained = json.loads((run_folder / "metrics.json").read_text())
    assert found["war"] == trained["war"]
    assert found["confusion"] == trained["confusion"]
    assert (out / "report.html").is_file()


def test_report_anew(command, run_folder, tmp_path) -> None:
    (run_folder / "report.html").unlink()
    assert command("report", run_folder).returncode == 0
    assert (run_folder / "report.html").is_file()
    done = command("report", tmp_path)
    assert done.returncode == 2
    assert "claip-emo train" in done.stderr


BAD_TABLES = {
    "wrong label": "path,label,split\n{clip},bliss,train\n",
    "missing column": "path,emotion\n{clip},anger\n",
    "duplicate": "path,label,split\n{clip},anger,train\n{clip},anger,train\n",
    "missing file": "path,label,split\nnowhere.mp4,anger,train\n",
    "windows and bom": "\ufeffpath,label,split\r\n{clip},bliss,train\r\n",
    "empty": "",
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_bad_tables(command, clips, tmp_path, kind: str) -> None:
    clip = sorted((clips.parent / "clips").iterdir())[0]
    table = tmp_path / "bad.csv"
    table.write_bytes(BAD_TABLES[kind].format(clip=clip).encode())
    done = command(
        "train", "csv-tiny", "--data", table, "--out", tmp_path / "run",
        "--set", "data.labels=[anger, fear]",
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "bad.csv" in done.stderr
    if "label" in kind or "bom" in kind:
        assert "line 2" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "nothing", "--out", "x"], "No recipe 'nothing'"),
        (["train", "csv", "--out", "x"], "--data"),
        (["train", "csv", "--out", "x", "--set", "train.epoch=3"], "did you mean 'epochs'"),
        (["train", "csv"], "--out"),
        (["wrong"], "No such command"),
        (["backbones", "check", "vit-b32"], "openai/clip-vit-base-patch32"),
        (["backbones", "fetch", "vit-b32"], "backbones fetch openai/clip-vit-base-patch32 --to"),
    ],
)
def test_mistakes_are_answered(command, tmp_path, arguments: list, says: str) -> None:
    placed = [str(tmp_path / "x") if a == "x" else a for a in arguments]
    done = command(*placed)
    assert done.returncode in (1, 2)
    assert says in done.stderr.replace("\n", " ") or says in done.stderr
    assert "Traceback" not in done.stderr


def test_training_on_a_backbone_that_is_not_here_names_the_ways(command, clips, tmp_path) -> None:
    done = command("train", "csv", "--data", clips, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "claip-emo backbones fetch openai/clip-vit-base-patch32" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_is_exported_in_half_precision(command, run_folder, tmp_path) -> None:
    done = command("export", "--model", run_folder, "--out", tmp_path / "half", "--half")
    assert done.returncode == 0, done.stderr
    assert "MB" in done.stderr
    told = command("info", "--model", tmp_path / "half", "--json")
    assert told.returncode == 0, told.stderr

    wrong = command("export", "--model", run_folder, "--out", tmp_path / "other")
    assert wrong.returncode == 2
    assert "--half" in wrong.stderr


def test_how_frequent_classes_are_is_told_to_a_model(command, run_folder, clips, tmp_path) -> None:
    asked = ("prior", "--model", run_folder, "--table", clips, "--modality", "audio",
             "--workers", "0")  # fmt: skip
    done = command(*asked, "--out", tmp_path / "told", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert len(said["tried"]) == 16
    assert said["chosen"] in said["tried"]
    assert max(s["war"] + s["uar"] for s in said["tried"]) == pytest.approx(
        said["chosen"]["war"] + said["chosen"]["uar"]
    )
    config = json.loads((tmp_path / "told" / "config.json").read_text("utf-8"))
    assert list(config["logit_shift"]) == ["a"]

    wrong = command(*asked, "--out", run_folder / "model")
    assert wrong.returncode == 2
    assert "is the checkpoint itself" in wrong.stderr
    assert (run_folder / "model" / "config.json").is_file()
