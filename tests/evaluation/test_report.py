"""The page: self-contained, true to the figures, safe, and complete where parts are missing."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from claip_emo.evaluation.predictions import Predictions, PredictionsError, metrics
from claip_emo.evaluation.report import (
    read_history,
    surest_mistakes,
    thumbnail_name,
    write_report,
)
from claip_emo.labels import SEVEN, LabelSet

EVIL = "<script>alert(1)</script>|x"


def rows(labels=SEVEN, modality: str = "av", count: int = 70, hit: float = 0.7, seed: int = 0):
    rng = np.random.default_rng(seed)
    true = np.arange(count) % len(labels)
    said = np.where(rng.random(count) < hit, true, rng.integers(0, len(labels), count))
    logits = rng.normal(size=(count, len(labels)))
    logits[np.arange(count), said] += 4
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Predictions.from_rows(
        labels,
        ids=[f"clips/c{i}" for i in range(count)],
        paths=[f"c{i}.mp4" for i in range(count)],
        folds=[None] * count,
        modality=modality,
        true_labels=[labels[i] for i in true],
        logits=logits,
        scores=scores,
    )


def run(folder: Path, predictions: Predictions, **facts) -> Path:
    predictions.write(folder / "predictions.parquet")
    if facts:
        (folder / "run.json").write_text(json.dumps(facts))
    return folder


class Page(HTMLParser):
    """Collects the confusion matrix and everything that is loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.counts: list[int] = []
        self.loaded: list[str] = []
        self.sections: list[str] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        found = dict(attrs)
        if "data-count" in found:
            self.counts.append(int(found["data-count"]))
        if tag != "a":
            self.loaded += [v for k, v in attrs if k in ("src", "href") and v]
        if tag == "section":
            self.sections.append(found["id"])
        self.scripts += tag == "script"


def test_the_page_says_what_the_figures_say(tmp_path) -> None:
    scored = Predictions.concat(
        [rows(hit=0.9), rows(modality="v", hit=0.5), rows(modality="a", hit=0.4)]
    )
    history = [
        {"event": "train", "step": 1, "epoch": 0.5, "loss": 2.0, "learning_rate": 1e-3},
        {"event": "validation", "step": 2, "epoch": 1, "loss": 1.5, "war": 0.4, "uar": 0.4,
         "best": True},
    ]  # fmt: skip
    lines = [json.dumps(row) for row in history]
    (tmp_path / "history.jsonl").write_text("\n".join(lines) + '\n{"step": 3, "ev')
    page_path = write_report(run(tmp_path, scored, title="Trial", selection="validation", seed=1))
    text = page_path.read_text()
    page = Page(text)
    found = metrics(scored)
    assert page.counts == [c for row in found["confusion"]["matrix"] for c in row]
    assert f"{100 * found['war']:.1f} %" in text
    assert (
        f"95 % interval {' to '.join(f'{100 * v:.1f} %' for v in found['interval_95']['uar'])}"
        in text
    )
    for values in found["per_class"].values():
        assert f"{100 * values['f1']:.1f} %" in text
    assert f"{100 * found['calibration_error']:.1f} %" in text
    for part in found["by_modality"].values():
        assert f"{100 * part['war']:.1f} %" in text
    assert page.sections == [
        "modalities", "confusion", "classes", "curves", "calibration", "mistakes", "run", "words",
    ]  # fmt: skip
    assert "epoch 1" in text
    assert json.loads((tmp_path / "metrics.json").read_text())["war"] == found["war"]
    markdown = (tmp_path / "report.md").read_text()
    assert f"| WAR | {100 * found['war']:.1f} % |" in markdown
    matrix = re.findall(r"^\| happiness \|([ 0-9|]+)\|$", markdown, re.MULTILINE)
    assert [int(c) for c in matrix[0].split("|")] == found["confusion"]["matrix"][0]


def test_nothing_is_loaded_from_elsewhere(tmp_path) -> None:
    wrong = surest_mistakes(rows())[0]["id"]
    (tmp_path / "thumbnails").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "thumbnails" / thumbnail_name(wrong))
    page = Page(write_report(run(tmp_path, rows())).read_text())
    assert page.scripts == 0
    assert any(v.startswith("data:image/jpeg;base64,") for v in page.loaded)
    assert [v for v in page.loaded if not v.startswith(("data:", "#"))] == []
    text = (tmp_path / "report.html").read_text()
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    links = set(re.findall(r'\bhref="(http[^"]*)"', text))
    assert links == {"https://arxiv.org/abs/2509.14527"}
    assert re.search(r'<img [^>]*alt="A frame of ', text)


def test_ids_stand_once_and_are_what_is_referred_to(tmp_path) -> None:
    history = [{"event": "validation", "step": 1, "epoch": 1, "loss": 1, "war": 0.5, "uar": 0.5}]
    (tmp_path / "history.jsonl").write_text("\n".join(map(json.dumps, history)))
    text = write_report(run(tmp_path, rows())).read_text()
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    referred = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)|labelledby="([^"]*)"', text)
    assert {name for names in referred for name in names if name} <= set(ids)


def test_names_of_users_are_escaped(tmp_path) -> None:
    labels = LabelSet([EVIL, "b"])
    scored = rows(labels, count=10, hit=0.5)
    facts = dict.fromkeys(("title", "corpus", "corpus_note", "backbone", "selection"), EVIL)
    facts |= {"counts": {EVIL: 1}, "versions": {EVIL: EVIL}, EVIL: EVIL, "command": EVIL}
    (tmp_path / "history.jsonl").write_text(
        json.dumps({"event": "validation", "step": 1, "epoch": 1, "loss": EVIL, "war": 0.5})
    )
    text = write_report(run(tmp_path, scored, **facts)).read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 8
    markdown = (tmp_path / "report.md").read_text()
    assert "<script" not in re.sub("`[^`]*`", "", markdown)
    body = [line for line in markdown.splitlines() if line.startswith("| &lt;script")]
    assert body
    assert all("\\|x" in line for line in body)


def test_many_classes(tmp_path) -> None:
    labels = LabelSet([f"class {i}" for i in range(43)])
    page = Page(write_report(run(tmp_path, rows(labels, count=86))).read_text())
    assert len(page.counts) == 43**2
    assert "matrix many" in (tmp_path / "report.html").read_text()


def test_an_absent_class_no_mistakes_and_only_sound(tmp_path) -> None:
    labels = LabelSet(["a", "b", "c"])
    only = rows(LabelSet(["a", "b"]), modality="a", count=8, hit=1.1)
    wider = Predictions.from_rows(
        labels,
        ids=only.ids,
        paths=only.paths,
        folds=only.folds,
        modality="a",
        true_labels=["ab"[i] for i in only.label_index],
        logits=np.pad(only.logits, ((0, 0), (0, 1)), constant_values=-9),
        scores=np.pad(only.scores, ((0, 0), (0, 1))),
    )
    text = write_report(run(tmp_path, wider)).read_text()
    assert "It made none." in text
    assert "Only the audio was scored." in text
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["per_class"]["c"]["recall"] is None
    assert found["uar"] == 1
    assert re.search(r'<th scope="row">c</th>.*\n<td [^>]*data-name="Recall">–</td>', text)
    assert "Gain of using both" not in text


def test_the_metrics_of_other_predictions_are_written_anew(tmp_path) -> None:
    path = tmp_path / "metrics.json"
    good = metrics(rows())
    kept = good | {"interval_95": {"war": [0.1, 0.2], "uar": [0.1, 0.2]}, "mine": 1}
    path.write_text(json.dumps(kept))
    assert "10.0 % to 20.0 %" in write_report(run(tmp_path, rows())).read_text()
    assert json.loads(path.read_text()) == kept
    others = json.dumps(metrics(rows(hit=0.2))), json.dumps(good | {"n": 3})
    for stale in ('{"war": 0.1, ', "[]", '{"by_modality": 3}', *others):
        path.write_text(stale)
        write_report(tmp_path)
        assert json.loads(path.read_text()) == good


@pytest.mark.parametrize(
    "facts",
    [
        {"parameters": {"trainable": 3}, "counts": {}, "seconds": None, "version": None},
        {"parameters": None, "counts": [1], "seconds": "long", "versions": "many", "title": None},
        {"parameters": {"total": 1, "trainable": 0, "share": None}, "selection": 3, "folds": [1]},
    ],
)
def test_facts_of_any_shape_are_no_reason_to_fail(tmp_path, facts: dict) -> None:
    page = Page(write_report(run(tmp_path, rows(), **facts)).read_text())
    assert page.sections[0] == "modalities"
    (tmp_path / "run.json").write_text("{broken")
    assert "run" not in Page(write_report(tmp_path).read_text()).sections


def test_the_note_of_a_constructed_corpus_stands_before_the_figures(tmp_path) -> None:
    text = write_report(run(tmp_path, rows(), corpus_note="Drawn & made.")).read_text()
    assert text.index('<p class="notice">Drawn &amp; made.</p>') < text.index('class="tiles"')
    assert "> Drawn &amp; made." in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("selection", "epoch", "says"),
    [
        ("validation", "2", "the test part chose nothing"),
        ("last", "3", "The last epoch was kept"),
        ("best_on_test", "2", "picked by its score on these very test clips"),
    ],
)
def test_how_the_epoch_was_picked(tmp_path, selection: str, epoch: str, says: str) -> None:
    history = [
        {"event": "validation", "step": e, "epoch": e, "loss": 1 / e, "war": w, "uar": w, "best": b}
        for e, w, b in ((1, 0.4, True), (2, 0.5, True), (3, 0.45, False))
    ]
    (tmp_path / "history.jsonl").write_text("\n".join(map(json.dumps, history)))
    text = write_report(run(tmp_path, rows(), selection=selection)).read_text()
    assert f"Kept: epoch {epoch}, with" in text
    assert f"kept (epoch {epoch})" in text
    assert says in text
    assert text.count('<p class="notice">') == (selection == "best_on_test")


@pytest.mark.parametrize(("part", "other"), [("test", "validation"), ("validation", "test")])
def test_the_curves_name_the_part_that_was_watched(tmp_path, part: str, other: str) -> None:
    history = [
        {"event": "validation", "part": part, "step": e, "epoch": e, "loss": 1 / e, "war": 0.5,
         "uar": 0.5, "best": True}
        for e in (1, 2)
    ]  # fmt: skip
    (tmp_path / "history.jsonl").write_text("\n".join(map(json.dumps, history)))
    text = write_report(run(tmp_path, rows(), selection="best_on_test")).read_text()
    said = f"Kept: epoch 2, with a WAR of 50.0 % on the {part} part"
    assert said in text
    assert said in (tmp_path / "report.md").read_text()
    assert f"Loss of the training and {part} part, by epoch" in text
    assert f"WAR and UAR of the {part} part, by epoch" in text
    assert f"{part} part</text>" in text
    section = text[text.index('id="curves"') : text.index('id="calibration"')]
    assert f"{other} part" not in section


def test_what_a_projection_left_out_stands_before_the_figures(tmp_path) -> None:
    told = {"counts_as": {"joy": "happiness"}, "excluded": {"<b>": 3}, "n_excluded": 3,
            "dropped": []}  # fmt: skip
    text = write_report(run(tmp_path, rows(), projection=told)).read_text()
    place = text.index("3 clips of &lt;b&gt;.")
    assert place < text.index('class="tiles"')
    assert "3 clips of &lt;b>." in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    "lines",
    [
        [{"event": "train", "step": 1, "epoch": 0.5, "loss": 2.0}],
        [
            {"event": "train", "step": 1, "epoch": 0.5, "loss": 2.0},
            {"event": "validation", "step": 1, "best": True, "war": 0.5},
        ],
        [{"event": "validation", "step": 1, "epoch": 1}],
        [{"event": "validation", "step": 1, "best": True}],
        [{"event": "train", "step": 1, "epoch": 1, "loss": float("nan")}, {"step": 2}],
    ],
)
def test_a_history_with_gaps(tmp_path, lines: list) -> None:
    (tmp_path / "history.jsonl").write_text("\n".join(map(json.dumps, lines)))
    text = write_report(run(tmp_path, rows())).read_text()
    assert ("curves" in Page(text).sections) == ("loss" in lines[0] and lines[0]["loss"] == 2)


def test_a_history_that_a_kill_cut_short(tmp_path) -> None:
    path = tmp_path / "history.jsonl"
    assert read_history(path) == []
    path.write_bytes(b'{"step": 1}\n{"event": "no step"}\n{"step": 2, "event": "tr\xc3')
    assert read_history(path) == [{"step": 1}]


def test_what_is_no_run_names_the_commands(tmp_path) -> None:
    with pytest.raises(PredictionsError, match=r"claip-emo train .*claip-emo evaluate"):
        write_report(tmp_path)


def test_the_surest_mistakes_come_first() -> None:
    scored = rows(hit=0.5)
    found = surest_mistakes(scored, 5)
    assert [m["score"] for m in found] == sorted((m["score"] for m in found), reverse=True)
    wrong = scored.predicted_index != scored.label_index
    assert found[0]["score"] == pytest.approx(scored.scores[wrong].max())
    assert all(m["label"] != m["predicted"] for m in found)
    assert all(m["label"] in dict(m["scores"]) for m in found)


def test_thumbnails_have_names_of_their_own() -> None:
    names = {thumbnail_name(i) for i in ("a/b", "a-b", "../../etc/passwd", "ü", "a" * 300, "")}
    assert len(names) == 6
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+\.jpg", name) for name in names)


def test_confidence_is_shown_with_its_interval_and_what_being_sure_gains(tmp_path) -> None:
    told = {"value": 0.05, "interval_95": [0.02, 0.08]}
    part = {
        "judged_on": 60,
        "temperature": {"before": 1.0, "after": 2.5},
        "before": {"calibration_error": {"value": 0.31, "interval_95": [0.2, 0.4]}},
        "after": {"calibration_error": told},
        "change": {"calibration_error": {"value": -0.26, "interval_95": [-0.3, -0.2]}},
    }
    scored = rows(hit=0.6)
    text = write_report(run(tmp_path, scored)).read_text()
    assert "Calibrated since" not in text
    low, high = re.search(r"95 % interval (\S+) % to (\S+) %\)\.</p>\n<div", text).groups()
    error = json.loads((tmp_path / "metrics.json").read_text())["calibration_error"]
    assert float(low) < 100 * error < float(high)
    sure = scored.scores.max(axis=1) >= 0.9
    right = (scored.predicted_index == scored.label_index)[sure].mean()
    answered = f"| 0.9 | {100 * sure.mean():.1f} % | {100 * right:.1f} % |"
    assert answered in (tmp_path / "report.md").read_text()

    (tmp_path / "calibration").mkdir()
    kept = tmp_path / "calibration" / "calibration.json"
    kept.write_text(json.dumps({"modalities": {"v": part, "a": {"judged_on": 0}}}))
    text = write_report(tmp_path).read_text()
    for said in ("Calibrated since", "1 → 2.5", "31.0 %", "5.0 %", "−26.0", "calibration.html"):
        assert said in text
    assert "| face alone | 60 | 1 → 2.5 |" in (tmp_path / "report.md").read_text()
    for broken in ("{", "[]", '{"modalities": {"v": {"after": 1}}}'):
        kept.write_text(broken)
        assert "Calibrated since" not in write_report(tmp_path).read_text()
