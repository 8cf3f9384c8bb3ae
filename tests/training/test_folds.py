"""A run for each fold, then one table; what is done is not done again."""

import json
import os
from statistics import mean, stdev

import numpy as np
import pytest

from claip_emo.corpora.base import CorpusError
from claip_emo.evaluation.predictions import Predictions
from claip_emo.metrics import summarise
from claip_emo.recipe_files import RecipeError, parse_recipe
from claip_emo.training import folds as module
from claip_emo.training.folds import chosen_folds, finished, train_folds

from .conftest import described


@pytest.fixture(scope="module")
def folded(clips, tmp_path_factory):
    """The clips of four people; three of them are tested on in a fold each."""
    lines = clips.read_text().splitlines()
    rows = ["path,label,speaker,fold"]
    for line in lines[1:]:
        path, label, _, speaker, *_ = line.split(",")
        fold = {"person01": "1", "person02": "2", "person03": "3"}.get(speaker, "")
        rows.append(f"{clips.parent / path},{label},{speaker},{fold}")
    table = tmp_path_factory.mktemp("folds") / "clips.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def recipe_of(table, **train):
    return parse_recipe(described(table, epochs=1, **train))


@pytest.fixture(scope="module")
def done(folded, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "three"
    recipe = parse_recipe(described(folded, epochs=1) | {"protocol": {}})
    return recipe, out, train_folds(recipe, [1, 2, 3], out, device="cpu")


def test_folds_are_named_or_all(folded, clips) -> None:
    recipe = recipe_of(folded)
    assert chosen_folds(recipe, "all") == [1, 2, 3]
    assert chosen_folds(recipe, "3, 1,3") == [1, 3]
    with pytest.raises(RecipeError, match="no fold 4, 9; folds are 1, 2, 3"):
        chosen_folds(recipe, "9,4")
    with pytest.raises(RecipeError, match="numbers such as 1,3"):
        chosen_folds(recipe, "1-3")
    with pytest.raises(RecipeError, match="no folds"):
        chosen_folds(recipe_of(clips), "all")
    with pytest.raises(CorpusError, match="does not exist"):
        chosen_folds(recipe_of("/nowhere.csv"), "all")
    assert chosen_folds(parse_recipe({"data": {"corpus": "dfew"}}), "all") == [1, 2, 3, 4, 5]


def test_every_clip_is_tested_in_its_own_fold(done, folded) -> None:
    _, out, _ = done
    fold_of = {}
    for fold in (1, 2, 3):
        rows = Predictions.read(out / f"fold-{fold}" / "predictions.parquet")
        assert set(rows.folds) == {fold}
        assert all(f"person0{fold}" in name for name in rows.ids)
        fold_of |= dict.fromkeys(rows.ids, fold)
        facts = json.loads((out / f"fold-{fold}" / "run.json").read_text())
        assert facts["fold"] == fold
        assert facts["counts"]["test"] == 7
        assert facts["counts"]["train"] + facts["counts"]["validation"] == 21
    pooled = Predictions.read(out / "predictions.parquet").for_modality("av")
    assert dict(zip(pooled.ids, pooled.folds, strict=True)) == fold_of
    assert len(pooled) == 21


def test_the_table_has_the_mean_and_the_pooled(done) -> None:
    _, out, summary = done
    assert json.loads((out / "folds.json").read_text()) == summary
    wars, uars = [], []
    for fold in (1, 2, 3):
        rows = Predictions.read(out / f"fold-{fold}" / "predictions.parquet").for_modality("av")
        scored = summarise(rows.label_index, rows.predicted_index, 7)
        assert summary["folds"][str(fold)]["war"] == pytest.approx(scored.war)
        assert summary["folds"][str(fold)]["uar"] == pytest.approx(scored.uar)
        wars.append(scored.war)
        uars.append(scored.uar)
    assert summary["mean"] == pytest.approx({"war": mean(wars), "uar": mean(uars)})
    assert summary["deviation"] == pytest.approx({"war": stdev(wars), "uar": stdev(uars)})
    pooled = Predictions.read(out / "predictions.parquet").for_modality("av")
    right = pooled.predicted_index == pooled.label_index
    assert summary["pooled"]["war"] == pytest.approx(right.mean())
    recalls = [right[pooled.label_index == c].mean() for c in range(7)]
    assert summary["pooled"]["uar"] == pytest.approx(np.mean(recalls))
    assert (out / "report.html").read_text().count("fold") > 3


def test_what_is_finished_is_not_done_again(done, monkeypatch) -> None:
    recipe, out, summary = done
    monkeypatch.setattr(module, "train", None)  # would fail if it were called
    assert train_folds(recipe, [1, 2, 3], out, device="cpu") == summary
    assert finished(out / "fold-2", recipe.of_fold(2))
    assert not finished(out / "fold-2", recipe.of_fold(3))


def test_a_killed_fold_is_done_and_the_others_stay(done, monkeypatch, quiet) -> None:
    recipe, out, summary = done
    trained = []

    def train(recipe, folder, **options):
        trained.append(recipe.data.fold)
        return original(recipe, folder, **options)

    original = module.train
    monkeypatch.setattr(module, "train", train)
    os.remove(out / "fold-2" / "report.html")  # killed before the page was written
    (out / "folds.json").unlink()
    again = train_folds(recipe, [1, 2, 3], out, device="cpu", console=quiet)
    assert trained == [2]
    assert again == summary


def test_one_fold_has_no_deviation(folded, tmp_path, quiet) -> None:
    summary = train_folds(recipe_of(folded), [2], tmp_path / "one", device="cpu", console=quiet)
    assert set(summary["folds"]) == {"2"}
    assert summary["deviation"] == {"war": None, "uar": None}
