"""The table, the figure and the page of an ablation: right, safe, and complete where parts lack."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from claip_emo.evaluation.ablation import size, summarise_ablation
from claip_emo.evaluation.ablation_figure import Mark, _apart, draw, to_svg
from claip_emo.evaluation.ablation_table import ablation_rows, baseline_row
from claip_emo.evaluation.predictions import Predictions, PredictionsError
from claip_emo.intervals import bootstrap_difference
from claip_emo.labels import SEVEN
from claip_emo.metrics import war_of

EVIL = "<script>alert(1)</script>"
AXES = [
    {"name": "rank", "key": "model.lora.rank", "values": ["2", "8", "32"], "base": "8"},
    {
        "name": "temporal",
        "key": "model.temporal",
        "values": ["mean", "lstm"],
        "base": "transformer",
    },
]


def said(hits: np.ndarray, seed: int = 0) -> Predictions:
    """Predictions that are right where ``hits`` says so, for clips of seven emotions in turn."""
    count = len(hits)
    true = np.arange(count) % 7
    shown = np.where(hits, true, (true + 1 + seed) % 7)
    logits = np.zeros((count, 7))
    logits[np.arange(count), shown] = 4
    parts = [
        Predictions.from_rows(
            SEVEN, ids=[f"c{i}" for i in range(count)], paths=[f"{i}.mp4" for i in range(count)],
            folds=[None] * count, modality=kind, true_labels=[SEVEN[i] for i in true],
            logits=logits, scores=np.exp(logits) / np.exp(logits).sum(1, keepdims=True),
        )
        for kind in ("av", "v")
    ]  # fmt: skip
    return Predictions.concat(parts)


def write_cell(out: Path, folder: str, hits: np.ndarray, trainable: int, seed: int = 0) -> None:
    (out / folder).mkdir(parents=True)
    said(hits, seed).write(out / folder / "predictions.parquet")
    facts = {"parameters": {"trainable": trainable, "total": 4 * trainable, "share": 0.25},
             "seconds": 10.0, "seed": seed}  # fmt: skip
    (out / folder / "run.json").write_text(json.dumps(facts))


def cell(slug: str, values: dict, seeds=(0,), stands_for=None) -> dict:
    runs = [{"folder": slug if not s else f"{slug}_seed-{s}", "seed": s} for s in seeds]
    return {"slug": slug, "values": values, "stands_for": stands_for or [slug], "runs": runs}


def write_plan(out: Path, cells: list[dict], **more) -> Path:
    plan = {
        "title": "Trial", "note": None, "selection": "validation", "metric": "war",
        "design": "one-at-a-time", "axes": AXES, "lora_alpha": 32, "reference": "base",
        "combinations": len(cells), "cells": cells, "command": "claip-emo ablate trial",
        "commit": None, "version": "0", "errors": {}, **more,
    }  # fmt: skip
    (out / "ablation.json").write_text(json.dumps(plan))
    return out


@pytest.fixture
def trial(tmp_path) -> Path:
    """Five cells: clearly better, clearly worse, the same as the base, failed, not run."""
    base = np.arange(140) % 2 == 0
    better = base.copy()
    better[1:80:2] = True
    worse = base.copy()
    worse[0:100:2] = False
    write_cell(tmp_path, "base", base, 8000)
    write_cell(tmp_path, "rank-2", worse, 2000)
    write_cell(tmp_path, "rank-32", better, 32_000)
    write_cell(tmp_path, "temporal-mean", base, 1000)
    cells = [
        cell("base", {"rank": "8", "temporal": "transformer"}, stands_for=["base", "rank=9"]),
        cell("rank-2", {"rank": "2", "temporal": "transformer"}),
        cell("rank-32", {"rank": "32", "temporal": "transformer"}),
        cell("temporal-mean", {"rank": "8", "temporal": "mean"}),
        cell("temporal-lstm", {"rank": "8", "temporal": "lstm"}),
        cell("late", {"rank": None, "temporal": "late"}),
    ]
    return write_plan(tmp_path, cells, errors={"temporal-lstm": f"The loss is nan. {EVIL}"})


def test_the_table_says_what_the_predictions_say(trial) -> None:
    summarise_ablation(trial)
    with (trial / "ablation.csv").open(newline="") as file:
        rows = {row["cell"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["base", "rank-2", "rank-32", "temporal-mean", "temporal-lstm", "late"]
    assert float(rows["base"]["war"]) == 0.5
    assert float(rows["rank-2"]["war"]) == pytest.approx(20 / 140)
    assert float(rows["rank-2"]["war_video"]) == pytest.approx(20 / 140)
    assert rows["rank-2"]["war_audio"] == ""
    assert rows["rank-32"]["rank"] == "32"
    assert rows["late"]["rank"] == ""
    assert int(rows["rank-32"]["trainable"]) == 32_000
    assert float(rows["rank-32"]["war_gain"]) == pytest.approx(40 / 140)
    assert rows["base"]["war_gain"] == ""
    assert float(rows["temporal-mean"]["war_gain"]) == 0
    assert "loss is nan" in rows["temporal-lstm"]["error"]
    assert rows["temporal-lstm"]["war"] == ""
    assert rows["late"]["error"] == "not run yet"
    assert rows["base"]["error"] == ""
    for row in rows.values():
        if row["war"]:
            assert float(row["war_low"]) <= float(row["war"]) <= float(row["war_high"])


def test_differences_are_paired_clip_by_clip(trial) -> None:
    rows = {row["cell"]: row for row in ablation_rows(trial)}
    tables = {
        name: Predictions.read(trial / name / "predictions.parquet").for_modality("av")
        for name in ("base", "rank-32")
    }
    expected = bootstrap_difference(
        tables["base"].label_index, tables["rank-32"].predicted_index,
        tables["base"].predicted_index, war_of, num_classes=7,
    )  # fmt: skip
    found = rows["rank-32"]
    assert (found["war_gain_low"], found["war_gain_high"]) == pytest.approx(expected)
    # The same right and wrong: the difference is known to be none, whatever the whiskers.
    same = rows["temporal-mean"]
    assert same["war_gain_low"] == same["war_gain_high"] == 0
    assert same["war_low"] < same["war_high"]


def test_seeds_are_averaged_and_clips_redrawn_whole(tmp_path) -> None:
    every = np.ones(70, bool)
    half = np.arange(70) % 2 == 0
    write_cell(tmp_path, "base", every, 1000)
    write_cell(tmp_path, "base_seed-1", half, 1000, seed=1)
    write_cell(tmp_path, "rank-2", half, 500)
    write_cell(tmp_path, "rank-2_seed-1", half, 500, seed=1)
    cells = [
        cell("base", {"rank": "8", "temporal": "transformer"}, (0, 1)),
        cell("rank-2", {"rank": "2", "temporal": "transformer"}, (0, 1)),
    ]
    base, rank = ablation_rows(write_plan(tmp_path, cells))
    assert base["war"] == pytest.approx(0.75)
    assert base["war_sd"] == pytest.approx(np.std([1.0, 0.5], ddof=1))
    assert rank["war_sd"] == 0
    assert base["seeds"] == "0 1"
    assert base["clips"] == 70
    assert base["seconds"] == 20
    # Seed by seed: 0.5 against 1, 0.5 against 0.5.
    assert rank["war_gain"] == pytest.approx(-0.25)
    # rank-2 says the same with both seeds: the interval is that of 70 clips, not of 140.
    write_cell(tmp_path / "one", "base", every, 1000)
    write_cell(tmp_path / "one", "rank-2", half, 500)
    _, alone = ablation_rows(
        write_plan(tmp_path / "one", [c | {"runs": c["runs"][:1]} for c in cells])
    )
    width = rank["war_high"] - rank["war_low"]
    assert width == pytest.approx(alone["war_high"] - alone["war_low"], rel=0.1)
    summarise_ablation(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "trained with 2 seeds" in page
    assert "± 35.4" in page
    # One of two seeds done: its score is shown, and that more is to come.
    (tmp_path / "rank-2_seed-1" / "run.json").unlink()
    _, rank = ablation_rows(tmp_path)
    assert (rank["seeds"], rank["error"]) == ("0", "not run yet")
    assert rank["war_gain"] == pytest.approx(-0.5)


def test_cells_on_other_clips_are_not_compared(tmp_path) -> None:
    write_cell(tmp_path, "base", np.ones(14, bool), 10)
    write_cell(tmp_path, "rank-2", np.ones(14, bool), 10, seed=5)
    cells = [
        cell("base", {"rank": "8", "temporal": "transformer"}),
        cell("rank-2", {"rank": "2", "temporal": "transformer"}),
    ]
    cells[1]["runs"] = [{"folder": "rank-2", "seed": 5}]
    _, row = ablation_rows(write_plan(tmp_path, cells))
    assert row["war"] == 1
    assert row["war_gain"] is None


def test_the_page_is_self_contained_safe_and_says_what_the_intervals_allow(trial) -> None:
    summarise_ablation(trial)
    page = (trial / "report.html").read_text()
    assert (
        "Of 3 changes, 1 scores above the recipe as it is and 1 below it; 1 cannot be told" in page
    )
    assert "The highest in the table is rank 32, 78.6 %." in page
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert not re.search(r'(?:src|url)\s*[=(]\s*["\']?(?!#)', page.replace("url(#", ""))
    assert set(re.findall(r'href="([^"#]+)"', page)) == {
        "base/report.html", "rank-2/report.html", "rank-32/report.html",
        "temporal-mean/report.html", "https://arxiv.org/abs/2509.14527",
    }  # fmt: skip
    assert "trained once with seed 0" in page
    assert "+28.6" in page
    assert "2 of the 3 differences in WAR exclude zero" in page
    assert "alpha is 32 at every rank" in page
    assert "base stands for 2 of them" in page
    assert "1 of 6 cells failed" in page
    rank = page[page.index("model.lora.rank</code>") : page.index("model.temporal</code>")]
    settings = re.findall(r'<th scope="row">(?:<a[^>]*>)?([^<]*)', rank)
    assert settings == ["2", "8", "32"]  # the base among them, in the order of the axis
    assert rank.count('class="reference"') == 1
    with Image.open(trial / "ablation.png") as picture:
        assert picture.width > 1000
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50
    assert not list(trial.glob(".partial*"))


def test_the_baseline_is_the_first_row(trial) -> None:
    before = summarise_ablation(trial)
    assert "nothing trained" not in (trial / "report.html").read_text()
    hits = np.arange(70) % 5 == 0
    write_cell(trial / "base", "zero-shot", hits, trainable=0)
    assert summarise_ablation(trial) == before  # the table of the cells has none of it
    first = baseline_row(trial)
    assert first.keys() == before[0].keys()
    assert (first["cell"], first["rank"], first["trainable"]) == ("base/zero-shot", None, 0)
    assert first["war"] == pytest.approx(0.2)
    assert first["war_gain"] == pytest.approx(0.2 - before[0]["war"])
    page = (trial / "report.html").read_text()
    assert page.index("zero-shot, nothing trained") < page.index('class="axis"')
    assert 'href="base/zero-shot/report.html"' in page


def test_a_grid_has_a_column_for_each_axis(trial) -> None:
    plan = json.loads((trial / "ablation.json").read_text())
    write_plan(trial, plan["cells"][:4], design="grid")
    summarise_ablation(trial)
    page = (trial / "report.html").read_text()
    assert "Of 3 other cells, 1 scores above the recipe's own cell" in page.replace("&#39;", "'")
    assert '<th scope="col">rank</th><th scope="col">temporal</th>' in page
    assert "rank 32" in page  # in the legend of the figure
    assert "--design grid" not in page


def test_before_anything_is_done_the_page_says_so(tmp_path) -> None:
    cells = [cell("base", {"rank": "8", "temporal": "transformer"})]
    summarise_ablation(write_plan(tmp_path, cells, errors={"base": "No space"}))
    page = (tmp_path / "report.html").read_text()
    assert "0 of 1 cells are done" in page
    assert "No space" in page
    with pytest.raises(PredictionsError, match="holds no ablation"):
        summarise_ablation(tmp_path / "nowhere")


def mark(trainable: int, score: float, label: str, group: str = "rank", order=None) -> Mark:
    return Mark(trainable, score, score - 0.05, score + 0.05, group, label, label == "base", order)


def test_points_of_the_same_size_stand_side_by_side() -> None:
    marks = [mark(1000, 0.5, str(i)) for i in range(5)] + [mark(9000, 0.6, "far")]
    figure = draw(marks, "WAR")
    places = _apart(figure.axes[0], marks)
    assert len({round(x, 6) for x in places}) == 6
    assert places[5] == pytest.approx(9000)
    assert np.exp(np.log(places[:5]).mean()) == pytest.approx(1000)


def test_labels_do_not_cover_each_other() -> None:
    rng = np.random.default_rng(0)
    marks = [
        mark(int(1000 * 1.3**i), 0.5 + 0.02 * rng.random(), f"label {i}") for i in range(12)
    ] + [mark(1500 + i, 0.51, f"same {i}", "fusion") for i in range(4)]
    figure = draw(marks, "WAR")
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    assert len(boxes) == len(marks)
    covered = sum(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert covered == 0
    assert {text.get_text() for text in figure.axes[0].texts} == {m.label for m in marks}


def test_no_share_is_above_one_on_the_axis() -> None:
    """Labels that stand upright above a whisker make the frame higher, not the scale."""
    marks = [mark(1000 + i, 0.98, f"a rather long label {i}") for i in range(6)]
    figure = draw(marks, "WAR")
    axes = figure.axes[0]
    assert axes.get_ylim()[1] > 1.05
    ticks = list(axes.get_yticks())
    assert len(ticks) > 1
    assert max(ticks) <= 1


def test_the_figure_takes_the_colours_of_the_page() -> None:
    svg = to_svg(draw([mark(10, 0.5, "base", "base"), mark(20, 0.6, "4", order=4.0)], "WAR"))
    assert svg.startswith("<svg")
    assert "var(--accent)" in svg
    assert "WAR on the test part" in svg


@pytest.mark.parametrize(
    ("count", "text"),
    [(940, "940"), (204_439, "204 k"), (4_926_983, "4.93 M"), (999_700, "1 M")],
)
def test_sizes_are_readable(count: int, text: str) -> None:
    assert size(count) == text
