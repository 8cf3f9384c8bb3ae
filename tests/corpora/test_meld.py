"""MELD: three tables, ids that repeat between them, two clips that nobody has."""

import csv
from pathlib import Path

import pytest

from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.check import check
from claip_emo.corpora.load import load_corpus
from claip_emo.corpora.meld import CODES, CORPUS, DROPPED, expected
from claip_emo.corpora.published import FoldMissingError, Place, read_fold
from claip_emo.labels import SEVEN
from claip_emo.recipe import DataRecipe
from tests.corpora.trees import clip_ids, make_tree

HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,"
    "Season,Episode,StartTime,EndTime"
)
PAGE = {  # as the publisher's page has it
    "train": "anger 1109 disgust 271 fear 268 joy 1743 neutral 4710 sadness 683 surprise 1205",
    "dev": "anger 153 disgust 22 fear 40 joy 163 neutral 470 sadness 111 surprise 150",
    "test": "anger 345 disgust 68 fear 50 joy 402 neutral 1256 sadness 208 surprise 281",
}


def tables(folder: Path, *, encoding: str = "utf-8", **rows: str) -> Path:
    for part in ("train", "dev", "test"):
        text = f"{HEADER}\n{rows.get(part, '')}"
        (folder / f"{part}_sent_emo.csv").write_bytes(text.encode(encoding))
    return folder


def row(emotion: str, dialogue: int, utterance: int, line: str = "Hey.") -> str:
    return f'1,{line},Ross,{emotion},neutral,{dialogue},{utterance},4,7,"0:1,2","0:1,3"\n'


def test_tables_as_large_as_the_publishers_agree(tmp_path: Path) -> None:
    for part, counts in PAGE.items():
        words = counts.split()
        broken = {"train": (125, 3), "dev": (110, 7)}.get(part)
        lines = [row("neutral", *broken)] if broken else []
        numbers = iter(n for n in range(20_000) if (n // 12, n % 12) != broken)
        for emotion, count in zip(words[::2], map(int, words[1::2]), strict=True):
            lost = 1 if broken and emotion == "neutral" else 0
            lines += [
                row(emotion, n // 12, n % 12)
                for _, n in zip(range(count - lost), numbers, strict=False)
            ]
        tables_of = tmp_path / f"{part}_sent_emo.csv"
        tables_of.write_text(HEADER + "\n" + "".join(lines))
    report = check("meld", Place(tmp_path), decode=False)
    assert report["agrees"]
    assert report["dropped"] == DROPPED
    numbers = {part: counts["n"] for part, counts in report["folds"]["1"].items()}
    assert numbers == {"train": 9989 - 1, "validation": 1109 - 1, "test": 2610}
    assert report["folds"]["1"]["test"]["per_class"]["happiness"] == 402
    assert len(report["missing"]) == 13_706


def test_published_counts() -> None:
    counts = expected(None, 1)
    assert counts is not None
    assert counts["train"]["happiness"] == 1743
    assert counts["validation"]["neutral"] == 470 - 1
    assert counts["test"]["disgust"] == 68
    assert list(CODES.values()) == list(SEVEN)


@pytest.mark.parametrize("form", ["flat", "archives"])
def test_a_made_tree(tmp_path: Path, form: str) -> None:
    root = make_tree("meld", tmp_path, form=form)
    corpus = read_fold("meld", Place(root), 1)
    assert corpus.labels is SEVEN
    assert [len(corpus.part(p)) for p in ("train", "validation", "test")] == [14, 7, 7]
    ids = [s.id for s in corpus]
    assert {"train/dia0_utt0", "dev/dia0_utt0", "test/dia0_utt0"} <= set(ids)
    assert len(ids) == len(set(ids))
    first = corpus.samples[0]
    assert (first.label, first.split, first.fold, first.speaker) == (
        "happiness",
        "train",
        None,
        None,
    )
    assert first.extra == {
        "speaker": "Ross",
        "sentiment": "positive",
        "utterance": "Oh my God, he’s lost it. He’s totally lost it.",
        "season": "4",
        "episode": "7",
    }
    quoted = corpus.samples[1].extra["utterance"]
    assert quoted == '"Wanted. Female roommate, non-smoker, non-ugly." Nice!'
    assert {s.fold for s in corpus.part("test")} == {1}


def test_the_official_validation_part_is_used(tmp_path: Path) -> None:
    root = make_tree("meld", tmp_path)
    corpus = load_corpus(DataRecipe(corpus="meld", root=str(root)), seed=1)
    assert {s.id.partition("/")[0] for s in corpus.part("validation")} == {"dev"}
    assert len(corpus.part("train")) == 14


def test_two_clips_that_nobody_has_are_left_out_with_their_reason(tmp_path: Path) -> None:
    root = make_tree("meld", tmp_path)
    assert (root / "train_splits/dia125_utt3.mp4").exists()
    listing = CORPUS.list_fold(Place(root), 1)
    assert listing.dropped == DROPPED
    report = check("meld", Place(root))
    assert not report["missing"]
    assert not report["unreadable"]


def test_breakages_are_told_clip_by_clip(tmp_path: Path) -> None:
    lost, junk, odd, twice, silent = clip_ids("meld")[:5]
    root = make_tree(
        "meld",
        tmp_path,
        missing=[lost, "dev/dia0_utt1"],
        broken=[junk],
        bad_label=[odd],
        duplicate=[twice],
        silent=[silent],
    )
    report = check("meld", Place(root))
    assert report["missing"] == ["dev/dia0_utt1", lost]
    assert report["unreadable"] == [junk]
    assert report["bad_labels"] == {odd: "excited"}
    assert report["duplicates"] == [twice]
    assert report["without_sound"] == [silent]
    assert report["folds"]["1"]["train"]["n"] == 13
    with pytest.raises(CorpusError, match="train/dia0_utt0: there is no file"):
        read_fold("meld", Place(root), 1)


def test_plain_folders_of_the_parts(tmp_path: Path) -> None:
    tables(tmp_path, train=row("joy", 0, 0), dev=row("fear", 0, 0), test=row("anger", 0, 0))
    for part in ("train", "dev", "test"):
        (tmp_path / "videos" / part).mkdir(parents=True)
        (tmp_path / "videos" / part / "dia0_utt0.mp4").touch()
    corpus = read_fold("meld", Place(tmp_path, clips=tmp_path / "videos"), 1)
    assert [s.path.parent.name for s in corpus] == ["train", "dev", "test"]


def test_a_copy_that_went_through_a_spreadsheet(tmp_path: Path) -> None:
    told = row(" Joy ", 3, 4, '"It’s ""him""…"')
    tables(tmp_path, encoding="cp1252", train=told, dev="\n", test=row("anger", 0, 0))
    first = CORPUS.list_fold(Place(tmp_path), 1).samples[0]
    assert (first.id, first.label) == ("train/dia3_utt4", "happiness")
    assert first.extra["utterance"] == 'It’s "him"…'
    assert first.path == tmp_path / "train_splits" / "dia3_utt4.mp4"


def test_a_row_cut_short_is_told_as_a_bad_label(tmp_path: Path) -> None:
    tables(tmp_path, train="1,Hey.,Ross\n" + row("joy", 0, 1))
    listing = CORPUS.list_fold(Place(tmp_path), 1)
    assert listing.bad_labels == {"train/dia_utt": ""}
    assert [s.id for s in listing.samples] == ["train/dia0_utt1"]


def test_a_good_row_counts_though_one_of_its_name_is_bad(tmp_path: Path) -> None:
    tables(tmp_path, train=row("joyful", 0, 1) + row("joy", 0, 1))
    listing = CORPUS.list_fold(Place(tmp_path), 1)
    assert listing.bad_labels == {"train/dia0_utt1": "joyful"}
    assert listing.duplicates == ("train/dia0_utt1",)
    assert [s.label for s in listing.samples] == ["happiness"]


def test_what_is_no_meld(tmp_path: Path) -> None:
    with pytest.raises(FoldMissingError, match="there is no table of MELD"):
        CORPUS.list_fold(Place(tmp_path), 1)
    tables(tmp_path)
    (tmp_path / "dev_sent_emo.csv").unlink()
    with pytest.raises(CorpusError, match=r"missing are dev_sent_emo\.csv"):
        CORPUS.list_fold(Place(tmp_path), 1)
    (tmp_path / "dev_sent_emo.csv").write_text("Utterance,Emotion\nHey.,joy\n")
    with pytest.raises(CorpusError, match="its header lacks Dialogue_ID, Utterance_ID"):
        CORPUS.list_fold(Place(tmp_path), 1)
    (tmp_path / "dev_sent_emo.csv").write_text(f'{HEADER}\n1,"{"x" * (csv.field_size_limit() + 1)}')
    with pytest.raises(CorpusError, match="take the publisher's file again"):
        CORPUS.list_fold(Place(tmp_path), 1)
    with pytest.raises(CorpusError, match="has no fold 2"):
        read_fold("meld", Place(tmp_path), 2)
