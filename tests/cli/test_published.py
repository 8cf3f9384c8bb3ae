"""Published corpora in their official layouts: check, train two folds, evaluate, report."""

import json
from pathlib import Path

import pytest

from claip_emo.evaluation.predictions import Predictions

from ..corpora.trees import make_tree

pytestmark = pytest.mark.usefixtures("plain_figures")

SMALL = (
    "--backbone", "tiny", "--device", "cpu", "--set", "train.epochs=1", "--set",
    "train.warmup_epochs=0", "--set", "train.batch_size=4", "--set", "data.workers=0", "--set",
    "data.face_detector=none", "--set", "augment.randaugment_layers=0", "--set",
    "model.processor={num_frames: 2, frame_stride: 2, audio_s: 0.5}",
)  # fmt: skip
WAYS = {
    "dfew": ("dfew", "dfew", ()),
    "mafw": ("mafw", "mafw", ()),
    "mafw with captions": ("mafw", "mafw", ("with_caption",)),
    "mafw compound": ("mafw_compound", "mafw", ("compound",)),
    "crema_d": ("crema_d", "crema_d", ()),
    "ravdess": ("ravdess", "ravdess", ()),
    "meld": ("meld", "meld", ()),
    "lists": ("csv", "lists", ()),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_corpus_goes_all_the_way(command, tmp_path, way: str) -> None:
    recipe, corpus, variant = WAYS[way]
    folds = [1] if corpus == "meld" or variant else [1, 2]
    root = make_tree(corpus, tmp_path / corpus)
    edition = [word for name in variant for word in ("--variant", name)]
    order = ["--label-order", "dfew"] if corpus == "lists" else []
    chosen = ",".join(map(str, folds))

    checked = command(
        "corpus", "check", corpus, root, *edition, *order, "--folds", chosen, "--json"
    )
    found = json.loads(checked.stdout)
    assert found["missing"] == found["unreadable"] == found["duplicates"] == []
    assert set(found["folds"]) == set(chosen.split(","))
    assert checked.returncode == 1  # a made tree is smaller than what was published
    assert not found["agrees"]

    changes = [word for name in variant for word in ("--set", f"data.variant={name}")]
    if corpus == "lists":
        changes += ["--set", "data.corpus=lists", "--set", "data.label_order=dfew"]
    out = tmp_path / "run"
    train = ("train", recipe, "--data", root, "--folds", chosen, "--out", out, *SMALL, *changes)
    done = command(*train)
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "folds.json").read_text())
    assert set(summary["folds"]) == set(found["folds"])
    for fold in folds:
        rows = Predictions.read(out / f"fold-{fold}" / "predictions.parquet").for_modality("av")
        assert len(rows) == found["folds"][str(fold)]["test"]["n"]
        per_class = found["folds"][str(fold)]["test"]["per_class"]
        true = [rows.labels[index] for index in rows.label_index]
        assert {name: true.count(name) for name in rows.labels} == per_class
    assert "Mean over folds" in done.stderr

    scored = tmp_path / "scored"
    again = command(
        "evaluate", "--model", out / "fold-1", "--corpus", corpus, "--data", root, "--fold", 1,
        *edition, *order, "--out", scored, "--device", "cpu", "--face-detector", "none",
        "--workers", 0, "--explain", 0, "--json",
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["war"] == pytest.approx(summary["folds"]["1"]["war"])
    for folder in (out, scored):
        (folder / "report.html").unlink()
        assert command("report", folder).returncode == 0
        assert (folder / "report.html").stat().st_size > 10_000
        assert (folder / "report.tex").is_file()
    beside = "MMA-DFER" in (out / "report.md").read_text()
    assert beside == (corpus in ("dfew", "mafw") and not variant)


@pytest.fixture(scope="module")
def dfew(tmp_path_factory) -> Path:
    return make_tree("dfew", tmp_path_factory.mktemp("dfew") / "DFEW")


def test_a_dry_run_says_what_would_be_done(command, dfew, tmp_path) -> None:
    dry = ("train", "recipes/dfew.yaml", "--data", dfew, "--backbone", "tiny-clip", "--dry-run")
    done = command(*dry, "--folds", "1,2", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["recipe"]["train"]["batch_size"] == 32
    assert found["learning_rates"]["peak"] == pytest.approx(4e-5)
    assert found["learning_rates"]["paper"] == pytest.approx(4e-5)
    assert len(found["learning_rates"]["by_epoch"]) == 100
    assert set(found["data"]) == {"1", "2"}
    shown = command(*dry)
    assert shown.returncode == 0, shown.stderr
    for words in (
        "tiny-clip",
        "fold 1, train",
        "happiness",
        "lora_vision",
        "steps",
        "GiB",
        "4e-05",
    ):
        assert words in shown.stdout
    assert command("train", "dfew", "--data", dfew, "--dry-run", "--folds", "9").returncode == 2
    assert found["problems"] == []
    missing = command("train", "dfew", "--data", dfew)
    assert missing.returncode == 2
    assert "--out" in missing.stderr


def test_a_dry_run_without_the_corpus(command, tmp_path) -> None:
    """What is published says how long it would take; what is missing is told."""
    done = command("train", "recipes/dfew.yaml", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["problems"]) == 1
    assert "--data" in found["problems"][0]
    assert found["data"] == {}
    assert 4.92e6 < found["parameters"]["trainable"] < 4.93e6
    # 9,356 clips of fold 1, less 15 % that validate, in batches of 32.
    assert found["steps_per_epoch"] == -(-round(9356 * 0.85) // 32) == 249
    small = ("--dry-run", "--backbone", "tiny-clip")
    shown = command("train", "recipes/dfew.yaml", *small)
    assert shown.returncode == 0
    for words in ("problem", "--data", "lora_vision", "249 per epoch", "peak 4e-05", "GiB"):
        assert words in shown.stdout
    table = command("train", "csv", *small, "--json")
    assert json.loads(table.stdout)["steps_per_epoch"] is None
    assert "not known" in command("train", "csv", *small).stdout

    # Split files without clips: counted all the same.
    root = make_tree("mafw", tmp_path / "mafw")
    for clip in (root / "clips").iterdir():
        clip.unlink()
    found = json.loads(command("train", "mafw", "--data", root, *small, "--json").stdout)
    assert "33 clips are missing" in found["problems"][0]
    parts = found["data"]["1"]
    assert sum(part["n"] for part in parts.values()) == 33
    assert parts["test"]["n"] == 11


@pytest.fixture(scope="module")
def of_dfew(dfew, tmp_path_factory) -> Path:
    from claip_emo.recipe_files import parse_recipe
    from claip_emo.training.fit import train

    recipe = {
        "data": {"corpus": "dfew", "root": str(dfew), "face_detector": "none", "workers": 0},
        "model": {"backbone": "tiny", "processor": {"num_frames": 2, "audio_s": 0.5}},
        "train": {"epochs": 1, "warmup_epochs": 0, "batch_size": 4},
        "protocol": {"selection": "last"},
    }
    return train(parse_recipe(recipe), tmp_path_factory.mktemp("run") / "r", device="cpu").out


def test_a_model_of_one_corpus_on_another(command, of_dfew, tmp_path) -> None:
    """RAVDESS's calm counts as neutral, MAFW's further classes are left out and counted."""
    other = make_tree("mafw", tmp_path / "mafw")
    score = (
        "evaluate", "--model", of_dfew, "--corpus", "mafw", "--data", other, "--device", "cpu",
        "--face-detector", "none", "--workers", 0,
    )  # fmt: skip
    refused = command(*score, "--out", tmp_path / "no")
    assert refused.returncode == 2
    assert "--across" in refused.stderr
    done = command(*score, "--across", "--out", tmp_path / "e", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "e" / "run.json").read_text())
    excluded = facts["projection"]["excluded"]
    assert set(excluded) == {
        "contempt", "anxiety", "helplessness", "disappointment",
    }  # fmt: skip
    rows = Predictions.read(tmp_path / "e" / "predictions.parquet")
    assert set(rows.labels) == {
        "happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear",
    }  # fmt: skip
    found = json.loads(
        command("corpus", "check", "mafw", other, "--folds", "1", "--json").stdout
    )["folds"]["1"]["test"]  # fmt: skip
    assert json.loads(done.stdout)["n"] + sum(excluded.values()) == found["n"]
    assert all(found["per_class"][name] == count for name, count in excluded.items())


def test_wrong_usage_of_evaluate(command, of_dfew, dfew, tmp_path) -> None:
    for words in (
        (),
        ("--corpus", "dfew"),
        ("--corpus", "dfew", "--data", dfew, "--table", "x.csv"),
        ("--corpus", "dfwe", "--data", dfew),
        ("--corpus", "dfew", "--data", dfew, "--fold", 9),
        ("--corpus", "mafw", "--data", dfew),
        ("--table", tmp_path / "no.csv"),
    ):
        done = command("evaluate", "--model", of_dfew, *words, "--out", tmp_path / "e")
        assert done.returncode == 2, words
        assert "Traceback" not in done.stderr
