"""A run beside published results: the figures of facts, their order, and what can be compared."""

import json
import re
from pathlib import Path

import pytest

from claip_emo.evaluation.folds import summarise_folds
from claip_emo.evaluation.latex import escape
from claip_emo.evaluation.peers import PEERS, beside, peers_of, size_of
from claip_emo.evaluation.predictions import Predictions
from claip_emo.evaluation.report import write_report

from .test_folds import made, write_fold
from .test_report import EVIL, Page, rows, run

SCORED = {"modality": "audiovisual", "war": 0.7, "uar": 0.6, "n": 2341}
DFEW = {
    "corpus_name": "dfew",
    "fold": 1,
    "selection": "validation",
    "backbone": "vit-l14",
    "adaptation": "lora",
    "parameters": {"total": 341_630_000, "trainable": 8_196_000},
}


def notes(facts: dict, scored: dict = SCORED, folds: dict | None = None) -> str:
    found = beside(facts, scored, folds, None)
    assert found is not None
    return " ".join(found["notes"])


@pytest.mark.parametrize(
    ("corpus", "method", "war", "uar"),
    [
        ("dfew", "CLAIP-Emo ViT-L/14", 80.14, None),
        ("dfew", "MMA-DFER", 77.51, 67.01),
        ("dfew", "HiCMAE-B", 75.01, 63.76),
        ("dfew", "S4D / UniLearn", 76.68, 66.8),
        ("dfew", "FineCLIPER", 76.21, 65.98),
        ("dfew", "HumanOmni", 82.46, 74.86),
        ("mafw", "CLAIP-Emo ViT-L/14", 61.18, None),
        ("mafw", "MMA-DFER", 58.52, 44.11),
        ("mafw", "HiCMAE-B", 56.17, 42.65),
        ("mafw", "S4D / UniLearn", 58.44, None),
        ("mafw", "FineCLIPER", 56.91, 45.01),
        ("mafw", "HumanOmni", 68.40, 52.94),
        ("crema_d", "HiCMAE-B", 84.89, 84.91),
        ("ravdess", "HiCMAE", 87.99, None),
    ],
)
def test_what_is_published(corpus: str, method: str, war: float, uar: float | None) -> None:
    (peer,) = [peer for peer in peers_of(corpus) if peer.method == method]
    assert (peer.war, peer.uar) == (war, uar)
    assert re.fullmatch(r"2\d{3}\.\d{5}", peer.arxiv)


def test_how_many_are_published() -> None:
    assert {name: len(peers) for name, peers in PEERS.items()} == {
        "dfew": 6, "mafw": 6, "crema_d": 1, "ravdess": 1,
    }  # fmt: skip


def test_protocols_are_told_as_far_as_they_are_known() -> None:
    said = {peer.method: peer.protocol for peer in peers_of("dfew")}
    assert said["CLAIP-Emo ViT-L/14"] == "five folds; epoch picked on the test fold (released code)"
    assert said["MMA-DFER"] == "five folds, their mean; last epoch (released code)"
    assert said["HumanOmni"] == said["FineCLIPER"] == said["HiCMAE-B"] == "not known"
    (hicmae,) = peers_of("ravdess")
    assert hicmae.protocol.startswith("folds not known; epoch not known, the last or the best")
    assert hicmae.trainable_m is None


@pytest.mark.parametrize(
    ("corpus", "variant"),
    [("meld", None), ("table", None), (None, None), (3, None), ("mafw", "compound"),
     ("mafw", "with_caption"), ("mafw", 3)],
)  # fmt: skip
def test_nothing_is_compared_that_is_another_task(corpus, variant) -> None:
    facts = {"corpus_name": corpus, "corpus_variant": variant}
    assert beside(facts, SCORED, None, None) is None


def test_the_single_classes_of_mafw_are_compared() -> None:
    for facts in ({"corpus_name": "mafw"}, {"corpus_name": "mafw", "corpus_variant": "single"}):
        assert "9,156 remain of 9,172" in notes(facts | {"fold": 1}, SCORED | {"n": 1839})


def test_rows_are_in_the_order_of_their_war_and_the_baseline_is_first() -> None:
    baseline = {"war": 0.99, "uar": 0.3, "n": 2341, "interval_95": None, "folds": {}, "mean": None}
    found = beside(DFEW, SCORED | {"war": 0.7655}, None, baseline)["rows"]
    assert [row["method"] for row in found] == [
        "zero-shot, nothing trained", "HumanOmni", "CLAIP-Emo ViT-L/14", "MMA-DFER",
        "S4D / UniLearn", "This run (vit-l14, lora)", "FineCLIPER", "HiCMAE-B",
    ]  # fmt: skip
    (own,) = [row for row in found if row["kind"] == "own"]
    assert own["war"] == pytest.approx(76.55)
    assert own["size"] == "8.2 of 341.6 M"
    assert own["protocol"] == "fold 1 alone; epoch picked on a validation part"
    assert found[0]["protocol"] == "2,341 clips; no epoch"


def test_of_several_folds_the_mean_is_compared() -> None:
    folds = {"folds": {fold: {} for fold in "12345"}, "mean": {"war": 0.5, "uar": 0.4}}
    found = beside(DFEW | {"fold": None}, SCORED | {"n": 11697}, folds, None)
    own = next(row for row in found["rows"] if row["kind"] == "own")
    assert (own["war"], own["uar"]) == (50, 40)
    assert own["protocol"].startswith("all 5 folds, their mean; ")
    assert found["notes"][0] == "Its figures are the mean over all five folds."
    assert "published" not in " ".join(found["notes"])
    found = beside(DFEW, SCORED | {"n": 11000}, folds, None)
    assert "697 of the 11,697 published test clips of these folds" in " ".join(found["notes"])
    some = {"folds": {fold: {} for fold in "13"}, "mean": {"war": 0.5, "uar": 0.4}}
    assert "Only two folds of five were tested" in notes(DFEW, SCORED, some)


@pytest.mark.parametrize(
    ("selection", "says"),
    [
        ("validation", "Its test clips chose nothing; those of CLAIP-Emo ViT-L/14 chose the epoch"),
        ("last", "Its test clips chose nothing"),
        ("best_on_test", "on the very clips that are tested, as in CLAIP-Emo ViT-L/14: it has an"),
        (None, "How its epoch was chosen is not known"),
    ],
)
def test_who_chose_the_epoch(selection, says: str) -> None:
    assert says in notes(DFEW | {"selection": selection})


@pytest.mark.parametrize(
    ("facts", "n", "says", "not_says"),
    [
        ({}, 2341, "Only one fold of five was tested", "published"),
        ({}, 2300, "41 of the 2,341 published test clips of this fold were not scored", "where"),
        (
            {},
            2342,
            "2,342 test clips were scored where 2,341 are published for this fold",
            "not scored",
        ),
        ({"fold": 5}, 2335, "1 of the 2,336 published test clips", "where"),
        ({"fold": None}, 2000, "Which fold was tested is not known", "published"),
        ({"fold": 9}, 2000, "Only one fold", "published"),
        ({"projection": {}}, 2000, "It was trained on another corpus", "2,341"),
    ],
)
def test_which_clips_were_scored(facts: dict, n: int, says: str, not_says: str) -> None:
    text = notes(DFEW | facts, SCORED | {"n": n})
    assert says in text
    assert not_says not in text.replace("published figures", "")


@pytest.mark.parametrize(
    ("trainable", "total", "says"),
    [(8.2, 341.6, "8.2 of 341.6 M"), (20.0, None, "20.0 M"), (None, 7000.0, "7 B in all"),
     (None, None, None), (120.0, 7000.0, "120.0 of 7 B")],
)  # fmt: skip
def test_sizes(trainable, total, says) -> None:
    assert size_of(trainable, total) == says


def test_the_section_stands_in_all_three_files(tmp_path) -> None:
    text = write_report(run(tmp_path, rows(), **DFEW)).read_text()
    assert Page(text).sections[:2] == ["peers", "modalities"]
    markdown, tex = (tmp_path / "report.md").read_text(), (tmp_path / "report.tex").read_text()
    for page in (text, markdown, tex):
        assert page.index("HumanOmni") < page.index("MMA-DFER") < page.index("HiCMAE-B")
        assert "66.80" in page
        assert "epoch picked on the test fold (released code)" in page
        assert "2,271 of the 2,341 published test clips of this fold" in page
    assert '<a href="https://arxiv.org/abs/2409.06154">' in text
    own = json.loads((tmp_path / "metrics.json").read_text())
    assert (
        f"| **This run (vit-l14, lora)** | AV | {100 * own['war']:.2f} | {100 * own['uar']:.2f} | "
        "8.2 of 341.6 M | – | fold 1 alone; epoch picked on a validation part |"
    ) in markdown


def test_no_section_for_other_corpora(tmp_path) -> None:
    text = write_report(run(tmp_path, rows(), corpus_name="table")).read_text()
    assert "peers" not in Page(text).sections
    assert "HumanOmni" not in text + (tmp_path / "report.md").read_text()
    assert (tmp_path / "report.tex").read_text().count(r"\begin{table}") == 1


def test_a_run_that_hears_only(tmp_path) -> None:
    write_report(run(tmp_path, rows(modality="a"), **DFEW))
    assert "| **This run (vit-l14, lora)** | A |" in (tmp_path / "report.md").read_text()


def tables(tex: str) -> list[list[list[str]]]:
    """Read LaTeX tables naively: the cells of each row of each tabular."""
    found = []
    for body in re.findall(r"\\begin\{tabular\}\{(.*?)\}\n(.*?)\\end\{tabular\}", tex, re.DOTALL):
        lines = [line for line in body[1].splitlines() if line.endswith(r"\\")]
        found.append([re.split(r"(?<!\\)&", line.removesuffix(r"\\").strip()) for line in lines])
    return found


def test_latex_of_folds_and_peers(tmp_path) -> None:
    for fold in (1, 2):
        write_fold(tmp_path, fold, made(fold, 30), title=EVIL, corpus_name="dfew")
    found = summarise_folds(tmp_path)
    tex = (tmp_path / "report.tex").read_text()
    own, peers = tables(tex)
    assert {len(row) for row in own} == {4}
    assert {len(row) for row in peers} == {7}
    assert len(own) == 1 + 2 + 2
    assert len(peers) == 1 + 7
    cells = [cell.strip() for cell in own[1]]
    row = found["folds"]["1"]
    assert cells == ["Fold 1", "30", f"{100 * row['war']:.2f}", f"{100 * row['uar']:.2f}"]
    mean, deviation = found["mean"]["war"], found["deviation"]["war"]
    assert own[3][2].strip() == rf"{100 * mean:.2f} $\pm$ {100 * deviation:.2f}"
    for kind in ("toprule", "bottomrule", "begin{table}", "end{table}", "begin{tabular}"):
        assert tex.count(f"\\{kind}") == 2
    assert r"\textless{}script\textgreater{}" in tex
    assert "<script" not in tex
    # Nothing special stands bare: braces close, and no comment swallows the rest of a line.
    bare = re.sub(r"\\[{}%&#_$\\]", "", tex.split("\n\n", 1)[1])
    assert bare.count("{") == bare.count("}")
    assert "%" not in bare
    assert "_" not in bare
    assert "#" not in bare


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (r"a_b & 50 % #1 {x} $y$", r"a\_b \& 50 \% \#1 \{x\} \$y\$"),
        ("\\input~^", r"\textbackslash{}input\textasciitilde{}\textasciicircum{}"),
        ("one\ntwo\x00 \x1b[0m", "one two [0m"),
        ("fünf – sechs", "fünf -- sechs"),
    ],
)
def test_names_are_escaped_in_latex(text: str, says: str) -> None:
    assert escape(text) == says


def test_the_baseline_of_one_fold(tmp_path: Path) -> None:
    own = rows()
    (tmp_path / "zero-shot").mkdir()
    other = Predictions.concat([rows(hit=0.1, seed=3), rows(hit=0.1, seed=4, modality="v")])
    other.write(tmp_path / "zero-shot" / "predictions.parquet")
    write_report(run(tmp_path, own, **DFEW))
    right = other.for_modality("av")
    war = 100 * (right.predicted_index == right.label_index).mean()
    table = (tmp_path / "report.md").read_text().partition("| method |")[2].splitlines()
    assert table[2].startswith(f"| zero-shot, nothing trained | AV | {war:.2f} |")
    assert tables((tmp_path / "report.tex").read_text())[0][1][0].strip() == (
        "zero-shot, nothing trained"
    )
