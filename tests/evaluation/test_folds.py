"""Folds become one table: against naive figures, and against folds that do not fit together."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.metrics import accuracy_score, recall_score

from claip_emo.evaluation.folds import refresh_report, summarise_folds
from claip_emo.evaluation.predictions import Predictions, PredictionsError, metrics
from claip_emo.evaluation.report import picture_names, surest_mistakes, write_report
from claip_emo.labels import SEVEN, LabelSet

from .test_report import Page

SIZES = {1: 40, 2: 61, 3: 23}
KINDS = ("av", "v", "a")


def made(fold: int, count: int, *, labels=SEVEN, kinds=KINDS, hit=0.6, seed=0) -> Predictions:
    rng = np.random.default_rng([seed, fold])
    weights = np.arange(1, len(labels) + 1)  # some classes are rarer than others
    true = rng.choice(len(labels), size=count, p=weights / weights.sum())
    parts = []
    for kind in kinds:
        said = np.where(rng.random(count) < hit, true, rng.integers(0, len(labels), count))
        logits = rng.normal(size=(count, len(labels)))
        logits[np.arange(count), said] += 6
        scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        ids = [f"{fold}/c{i}" for i in range(count)]
        parts.append(Predictions.from_rows(
            labels, ids=ids, paths=[f"{name}.mp4" for name in ids], folds=[None] * count,
            modality=kind, true_labels=[labels[i] for i in true], logits=logits, scores=scores,
        ))  # fmt: skip
    return Predictions.concat(parts)


def write_fold(out: Path, fold: int, rows: Predictions, best: int = 2, **facts) -> Path:
    folder = out / f"fold-{fold}"
    folder.mkdir(parents=True)
    rows.write(folder / "predictions.parquet")
    told = {"title": "Trial", "fold": fold, "selection": "validation", "seed": 0, "seconds": 1.5,
            "counts": {"train": 9, "test": 3}, "backbone": "tiny"}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(told | facts))
    history = [
        {"event": "validation", "part": "validation", "step": e, "epoch": e, "war": 0.5,
         "uar": 0.5, "loss": 1.0, "best": e <= best}
        for e in (1, 2, 3)
    ]  # fmt: skip
    (folder / "history.jsonl").write_text("\n".join(map(json.dumps, history)))
    return folder


@pytest.fixture
def three(tmp_path) -> Path:
    for fold, count in SIZES.items():
        write_fold(tmp_path, fold, made(fold, count), best=fold)
    return tmp_path


def naive(rows: Predictions, kind: str) -> tuple[float, float]:
    part = rows.for_modality(kind)
    true, said = part.label_index, part.predicted_index
    recall = recall_score(true, said, labels=np.unique(true), average="macro")
    return accuracy_score(true, said), recall


def test_figures_against_scikit_learn(three: Path) -> None:
    found = summarise_folds(three)
    parts = {fold: made(fold, count) for fold, count in SIZES.items()}
    pooled = Predictions.concat(list(parts.values()))
    assert json.loads((three / "folds.json").read_text()) == found
    for kind, name in (("av", "audiovisual"), ("v", "video"), ("a", "audio")):
        of_kind = found["by_modality"][name]
        for place, key in enumerate(("war", "uar")):
            each = [naive(part, kind)[place] for part in parts.values()]
            assert [of_kind["folds"][str(f)][key] for f in parts] == pytest.approx(each)
            assert of_kind["mean"][key] == pytest.approx(statistics.mean(each))
            assert of_kind["deviation"][key] == pytest.approx(statistics.stdev(each))
            assert of_kind["pooled"][key] == pytest.approx(naive(pooled, kind)[place])
            low, high = of_kind["pooled"]["interval_95"][key]
            assert low <= of_kind["pooled"][key] <= high
        assert of_kind["pooled"]["n"] == sum(SIZES.values())
    for key in ("mean", "deviation", "pooled"):
        assert found[key] == found["by_modality"]["audiovisual"][key]
    assert {f: row["n"] for f, row in found["folds"].items()} == {
        str(f): n for f, n in SIZES.items()
    }
    assert [row["epoch"] for row in found["folds"].values()] == [1, 2, 3]
    assert found["selection"] == "validation"
    assert (found["complete"], found["missing"], found["differ"]) == (True, [], [])
    # The two means of recalls are not the same, which is why both are named.
    assert found["mean"]["uar"] != pytest.approx(found["pooled"]["uar"], abs=1e-4)


def test_mean_and_deviation_by_hand(tmp_path) -> None:
    labels = LabelSet(["a", "b"])

    def rows(fold: int, said: str, true: str) -> Predictions:
        scores = np.array([[0.9, 0.1] if letter == "a" else [0.1, 0.9] for letter in said])
        ids = [f"{fold}-{i}" for i in range(len(said))]
        return Predictions.from_rows(
            labels, ids=ids, paths=ids, folds=[None] * len(ids), modality="av",
            true_labels=list(true), logits=np.log(scores), scores=scores,
        )  # fmt: skip

    write_fold(tmp_path, 1, rows(1, "aaab", "aaaa"))  # WAR 3/4; only a is there: UAR 3/4
    write_fold(tmp_path, 2, rows(2, "ab", "ab"))  # WAR 1, UAR 1
    found = summarise_folds(tmp_path)
    assert found["mean"] == {"war": 0.875, "uar": 0.875}
    assert found["deviation"]["war"] == pytest.approx(0.125 * 2**0.5)
    assert found["pooled"]["war"] == pytest.approx(5 / 6)
    assert found["pooled"]["uar"] == pytest.approx((4 / 5 + 1) / 2)


def test_one_fold_has_no_deviation(tmp_path) -> None:
    write_fold(tmp_path, 2, made(2, 20))
    found = summarise_folds(tmp_path)
    assert found["deviation"] == {"war": None, "uar": None}
    assert found["mean"]["war"] == found["pooled"]["war"]
    text = (tmp_path / "report.html").read_text()
    assert "± " not in text.partition("Beside")[0]


def test_what_is_written(three: Path) -> None:
    summarise_folds(three)
    rows = Predictions.read(three / "predictions.parquet")
    assert {name.split("/")[0] for name in rows.ids} == {"1", "2", "3"}
    assert all(name.startswith(f"{f}/") for name, f in zip(rows.ids, rows.folds, strict=True))
    assert json.loads((three / "metrics.json").read_text()) == metrics(rows)
    facts = json.loads((three / "run.json").read_text())
    assert facts["folds"] == [1, 2, 3]
    assert facts["seconds"] == 4.5
    assert facts["counts"] == {"test": 124}
    assert "fold" not in facts
    assert facts["backbone"] == "tiny"
    assert not list(three.glob(".partial*"))


def test_the_page_shows_the_folds(three: Path) -> None:
    found = summarise_folds(three)
    for name in ("report.html", "report.md", "report.tex"):
        text = (three / name).read_text()
        for row in found["folds"].values():
            assert f"{100 * row['war']:.2f}" in text
            assert f"{100 * row['uar']:.2f}" in text
        assert f"{100 * found['mean']['uar']:.2f}" in text
        assert f"{100 * found['deviation']['uar']:.2f}" in text
        assert f"{100 * found['pooled']['uar']:.2f}" in text
        assert "the test part chose nothing" in text
    text = (three / "report.html").read_text()
    assert Page(text).sections[0] == "folds"
    assert 'aria-label="WAR and UAR of each fold, with their means"' in text
    assert ">epoch<" not in text  # no learning curves: they are those of the folds
    lines = (three / "report.md").read_text().splitlines()
    row = found["folds"]["2"]
    assert f"| 2 | 61 | {100 * row['war']:.2f} | {100 * row['uar']:.2f} | 2 |" in lines


def test_a_page_of_other_predictions_has_no_folds(three: Path) -> None:
    summarise_folds(three)
    made(9, 30).write(three / "predictions.parquet")
    assert "folds" not in Page(write_report(three).read_text()).sections


def test_numbers_not_letters_order_the_folds(tmp_path) -> None:
    for fold in (10, 2, 1):
        write_fold(tmp_path, fold, made(fold, 10))
    (tmp_path / "fold-x").mkdir()
    assert list(summarise_folds(tmp_path)["folds"]) == ["1", "2", "10"]


def test_unfinished_folds_are_named(tmp_path) -> None:
    write_fold(tmp_path, 1, made(1, 20))
    write_fold(tmp_path, 2, made(2, 20))
    (tmp_path / "fold-2" / "predictions.parquet").unlink()
    (tmp_path / "fold-3").mkdir()
    found = summarise_folds(tmp_path)
    assert (found["complete"], found["missing"]) == (False, [2, 3])
    assert "fold 1; folds 2 and 3 not finished" in (tmp_path / "report.md").read_text().lower()
    assert summarise_folds(tmp_path, wanted=(1, 4))["missing"] == [4]


def test_the_folds_of_a_published_corpus_are_known(tmp_path) -> None:
    write_fold(tmp_path, 4, made(4, 20), corpus_name="dfew")
    assert summarise_folds(tmp_path)["missing"] == [1, 2, 3, 5]


def test_nothing_finished(tmp_path) -> None:
    (tmp_path / "fold-1").mkdir()
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(PredictionsError, match=r"no finished fold.*--folds all"):
            summarise_folds(folder)


def test_a_clip_in_two_folds_is_an_error(tmp_path) -> None:
    write_fold(tmp_path, 1, made(1, 20))
    write_fold(tmp_path, 2, made(1, 20))
    with pytest.raises(PredictionsError, match="'1/c0' is tested in fold 1 and in fold 2"):
        summarise_folds(tmp_path)
    assert not (tmp_path / "folds.json").exists()


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (made(2, 9, labels=LabelSet(["joy", "rage"])), "of one experiment"),
        (made(2, 9, labels=LabelSet(SEVEN.names[::-1])), "of one experiment"),
        (made(2, 9, kinds=("av",)), "score them alike"),
        (made(2, 9).take([]), "has no rows"),
    ],
)
def test_folds_that_do_not_fit_together(tmp_path, other: Predictions, says: str) -> None:
    write_fold(tmp_path, 1, made(1, 9))
    write_fold(tmp_path, 2, other)
    with pytest.raises(PredictionsError, match=says):
        summarise_folds(tmp_path)


def test_folds_that_were_not_run_alike_are_told(tmp_path) -> None:
    for fold, backbone in ((1, "tiny"), (2, "vit-b32")):
        write_fold(tmp_path, fold, made(fold, 20), backbone=backbone, commit=f"c{fold}")
    found = summarise_folds(tmp_path)
    assert found["differ"] == ["backbone"]
    facts = json.loads((tmp_path / "run.json").read_text())
    assert "backbone" not in facts
    assert facts["commit"] == "c1; c2"
    assert "they differ in backbone" in (tmp_path / "report.html").read_text()
    for fold, rank in ((1, 8), (2, 4)):
        recipe = {"name": "x", "data": {"fold": fold, "workers": fold},
                  "model": {"lora": {"rank": rank}}}  # fmt: skip
        (tmp_path / f"fold-{fold}" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert summarise_folds(tmp_path)["differ"] == ["model.lora.rank"]


def test_pictures_of_the_surest_mistakes_come_from_the_folds(three: Path) -> None:
    for fold, count in SIZES.items():
        for mistake in surest_mistakes(made(fold, count)):
            for name in picture_names(mistake["id"]):
                path = three / f"fold-{fold}" / name
                path.parent.mkdir(exist_ok=True)
                Image.new("RGB", (8, 8)).save(path, "png")
    for stale in ("thumbnails/stale.jpg", "explanations/stale.webp", "explanations/stale.json"):
        (three / stale).parent.mkdir(exist_ok=True)
        (three / stale).write_bytes(b"")
    summarise_folds(three)
    rows = Predictions.read(three / "predictions.parquet")
    pictures = [*three.glob("thumbnails/*"), *three.glob("explanations/*")]
    assert {str(path.relative_to(three)) for path in pictures} == {
        name for mistake in surest_mistakes(rows) for name in picture_names(mistake["id"])
    }


@pytest.mark.parametrize("where", ["folds", "whole"])
def test_zero_shot_is_the_first_row(three: Path, where: str) -> None:
    parts = {fold: made(fold, count, hit=0.2, seed=5) for fold, count in SIZES.items()}
    if where == "folds":
        for fold, part in parts.items():
            (three / f"fold-{fold}" / "zero-shot").mkdir()
            part.write(three / f"fold-{fold}" / "zero-shot" / "predictions.parquet")
    else:  # of the whole corpus, also of clips that no finished fold tests
        (three / "zero-shot").mkdir()
        every = Predictions.concat([*parts.values(), made(4, 30, seed=5)])
        every.write(three / "zero-shot" / "predictions.parquet")
    found = summarise_folds(three)["zero_shot"]
    each = [naive(part, "av") for part in parts.values()]
    assert found["n"] == sum(SIZES.values())
    assert found["mean"]["war"] == pytest.approx(statistics.mean(war for war, _ in each))
    assert found["mean"]["uar"] == pytest.approx(statistics.mean(uar for _, uar in each))
    pooled = naive(Predictions.concat(list(parts.values())), "av")
    assert (found["war"], found["uar"]) == pytest.approx(pooled)
    first = f"{100 * found['mean']['war']:.2f} | {100 * found['mean']['uar']:.2f}"
    markdown = (three / "report.md").read_text()
    table = markdown.partition("| fold | clips |")[2].splitlines()
    assert table[2] == f"| zero-shot, nothing trained (mean of 3 folds) | 124 | {first} | |"
    beside = markdown.partition("## Face, voice, and both")[2].splitlines()
    assert beside[4].startswith(f"| zero-shot, nothing trained | {100 * pooled[0]:.1f} %")
    tex = (three / "report.tex").read_text()
    assert tex.index("zero-shot, nothing trained") < tex.index("Fold 1")


def test_figures_of_zero_shot_are_enough(three: Path) -> None:
    for fold, war in ((1, 0.2), (2, 0.3), (3, 0.4)):
        (three / f"fold-{fold}" / "zero-shot").mkdir()
        (three / f"fold-{fold}" / "zero-shot" / "metrics.json").write_text(
            json.dumps({"war": war, "uar": war / 2, "n": SIZES[fold]})
        )
    found = summarise_folds(three)["zero_shot"]
    assert found["mean"] == pytest.approx({"war": 0.3, "uar": 0.15})
    assert found["war"] is None
    assert "(mean of 3 folds) | 124 | 30.00 | 15.00 | |" in (three / "report.md").read_text()


def test_a_broken_baseline_is_none(three: Path) -> None:
    (three / "zero-shot").mkdir()
    (three / "zero-shot" / "predictions.parquet").write_bytes(b"no")
    (three / "zero-shot" / "metrics.json").write_text('{"war": 1}')
    assert summarise_folds(three)["zero_shot"] is None


def test_the_report_of_folds_sums_them_up_anew(three: Path) -> None:
    summarise_folds(three)
    write_fold(three, 5, made(5, 30))
    assert refresh_report(three) == three / "report.html"
    assert json.loads((three / "folds.json").read_text())["folds"]["5"]["n"] == 30
    single = three / "fold-5"
    assert refresh_report(single) == single / "report.html"
    assert not (single / "folds.json").exists()
