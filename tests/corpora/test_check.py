"""Checking a corpus: counts beside the published ones, and what is wrong, clip by clip."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from claip_emo.corpora import check as checking
from claip_emo.corpora import dfew
from claip_emo.corpora import probe as probing
from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.check import check, is_good
from claip_emo.corpora.probe import probe
from claip_emo.corpora.published import FoldMissingError, Place
from claip_emo.corpora.synthetic import make_clip
from claip_emo.labels import SEVEN
from tests.conftest import SHARED
from tests.media.make_media import tone, write

SPLITS = SHARED / "data" / "splits"
MADE = {"size_px": 32, "fps": 5, "duration_s": 0.6}
needs_splits = pytest.mark.skipif(not SPLITS.is_dir(), reason="needs the split files")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("made")
    kinds = {"both": {}, "silent": {"with_audio": False}, "heard": {"with_video": False}}
    return {
        kind: make_clip(folder / f"{kind}.mp4", person=0, emotion="anger", **MADE, **which)
        for kind, which in kinds.items()
    }


@pytest.fixture
def tree(tmp_path: Path, made) -> Path:
    """Two folds of fourteen clips, seven of them tested in the first, the others in the second."""
    halves = [range(1, 8), range(8, 15)]
    for fold, (test, train) in enumerate([halves, halves[::-1]], start=1):
        for part, numbers in (("train", train), ("test", test)):
            rows = "".join(f"{number},{(number - 1) % 7 + 1}\n" for number in numbers)
            file = split_file(tmp_path, part, fold)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("video_name,label\n" + rows)
    clips = tmp_path / "Clip" / "original"
    clips.mkdir(parents=True)
    for number in range(1, 15):
        shutil.copy(made["both"], clips / f"{number}.mp4")
    return tmp_path


def split_file(root: Path, part: str, fold: int) -> Path:
    return root / "EmoLabel_DataSplit" / f"{part}(single-labeled)" / f"set_{fold}.csv"


@pytest.fixture
def small(monkeypatch) -> None:
    """Publish the counts of the tree: one clip per class, part and fold."""
    one = dict.fromkeys(SEVEN, 1)
    corpus = dfew.CORPUS.__class__(
        **{
            name: getattr(dfew.CORPUS, name) for name in dfew.CORPUS.__dataclass_fields__
        } | {"expected": lambda variant, fold: {"train": one, "test": one}}
    )  # fmt: skip
    monkeypatch.setattr(dfew, "CORPUS", corpus)


def test_a_whole_corpus(tree: Path, small) -> None:
    report = check("dfew", Place(tree))
    one = {"n": 7, "per_class": dict.fromkeys(SEVEN, 1)}
    parts = {"train": one, "test": one}
    assert report["folds"] == report["expected"] == {"1": parts, "2": parts}
    assert report["absent_folds"] == [3, 4, 5]
    assert report["agrees"] is True
    assert is_good(report)
    for key in ("missing", "unreadable", "without_sound", "duplicates"):
        assert report[key] == []
    for key in ("bad_labels", "dropped", "errors", "together"):
        assert report[key] == {}


def test_everything_that_is_wrong_clip_by_clip(tree: Path, small, made) -> None:
    clips = tree / "Clip" / "original"
    (clips / "3.mp4").unlink()
    (clips / "4.mp4").write_bytes(b"")
    (clips / "5.mp4").write_text("not a video\n" * 50)
    half = (clips / "6.mp4").read_bytes()
    (clips / "6.mp4").write_bytes(half[: len(half) // 2])  # its index is at the end
    shutil.copy(made["silent"], clips / "7.mp4")
    shutil.copy(made["heard"], clips / "8.mp4")
    train = split_file(tree, "train", 1)
    train.write_text(train.read_text().replace("9,2\n", "9,8\n") + "10,3\n1,1\n")
    report = check("dfew", Place(tree))
    assert report["missing"] == ["00003"]
    assert report["unreadable"] == ["00004", "00005", "00006"]
    assert "empty" in report["errors"]["00004"]
    assert report["without_sound"] == ["00007"]
    assert report["bad_labels"] == {"00009": "8"}
    assert report["duplicates"] == ["00001", "00010"]
    assert report["folds"]["1"]["train"]["n"] == 6
    assert report["folds"]["1"]["train"]["per_class"]["sadness"] == 0
    assert report["folds"]["1"]["test"]["n"] == 7  # the leak is in the test part
    assert report["agrees"] is False
    assert not is_good(report)


@pytest.mark.parametrize(
    ("damage", "agrees"),
    [
        (lambda tree: (tree / "Clip/original/1.mp4").unlink(), True),
        (lambda tree: (tree / "Clip/original/1.mp4").write_bytes(b"x" * 99), True),
        (lambda tree: append(tree, "8,1\n"), False),
        (lambda tree: append(tree, "99,9\n"), False),
        (lambda tree: append(tree, "99,1\n"), False),
        (lambda tree: split_file(tree, "train", 2).write_text("1,1\n2,2\n7,7\n"), False),
    ],
    ids=["missing", "broken", "twice", "label", "more", "less"],
)
def test_each_fault_alone_is_a_fault(tree: Path, small, damage, agrees: bool) -> None:
    damage(tree)
    report = check("dfew", Place(tree))
    assert report["agrees"] is agrees
    assert not is_good(report)


def append(tree: Path, text: str) -> None:
    with split_file(tree, "train", 1).open("a") as file:
        file.write(text)


def test_silence_alone_is_no_fault(tree: Path, small, made) -> None:
    shutil.copy(made["silent"], tree / "Clip/original/1.mp4")
    report = check("dfew", Place(tree))
    assert report["without_sound"] == ["00001"]
    assert is_good(report)


def test_a_clip_is_opened_once_for_all_folds(tree: Path, monkeypatch) -> None:
    opened: list[Path] = []

    def counted(path: Path, audio_path: Path | None = None):
        opened.append(path)
        return probe(path, audio_path)

    told: list[tuple[int, int]] = []
    monkeypatch.setattr(probing, "probe", counted)
    check("dfew", Place(tree), progress=lambda done, total: told.append((done, total)))
    assert len(opened) == len(set(opened)) == 14
    assert told == [(number, 14) for number in range(1, 15)]


def test_folds(tree: Path) -> None:
    assert list(check("dfew", Place(tree), [2], decode=False)["folds"]) == ["2"]
    with pytest.raises(FoldMissingError, match="fold 3"):
        check("dfew", Place(tree), [1, 3], decode=False)
    with pytest.raises(CorpusError, match="no fold 6"):
        check("dfew", Place(tree), [6], decode=False)
    with pytest.raises(CorpusError, match="no variant"):
        check("dfew", Place(tree, variant="x"), decode=False)
    with pytest.raises(FoldMissingError, match="fold 1"):  # of all that are looked for, the first
        check("dfew", Place(tree / "Clip"), decode=False)


def test_without_decoding_nothing_is_opened(tree: Path) -> None:
    (tree / "Clip/original/1.mp4").write_bytes(b"")
    report = check("dfew", Place(tree), decode=False)
    assert report["unreadable"] == []


def test_several_processes_tell_the_same(tree: Path, monkeypatch) -> None:
    (tree / "Clip/original/5.mp4").write_bytes(b"")
    alone = check("dfew", Place(tree), processes=1)
    monkeypatch.setattr(probing, "FEW", 3)
    monkeypatch.setattr(probing, "CHUNK", 2)
    assert check("dfew", Place(tree), processes=2) == alone
    assert alone["unreadable"] == ["00005"]


def test_sound_in_another_file(tmp_path: Path, made) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    cv2.imwrite(str(frames / "1.jpg"), np.zeros((8, 8, 3), np.uint8))
    assert probe(frames).has_sound is False
    assert probe(frames).error is None
    assert probe(frames, made["heard"]).has_sound is True
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"x" * 100)
    assert "broken.wav" in probe(frames, broken).error
    assert probe(made["silent"], made["heard"]).has_sound is True


def test_what_can_be_opened_may_hold_nothing(tmp_path: Path, made) -> None:
    assert probe(made["heard"]).error is None
    (tmp_path / "empty").mkdir()
    assert "no image" in probe(tmp_path / "empty").error
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "1.jpg").write_bytes(b"x" * 100)
    assert "1 of 1 images cannot be read" in probe(bad).error
    cv2.imwrite(str(bad / "2.jpg"), np.zeros((8, 8, 3), np.uint8))
    assert probe(bad).error is None  # what can be read is used
    assert any("1 of 2 images" in text for text in probe(bad).warnings)


def test_counts_over_the_parts_are_told_and_compared(tmp_path: Path) -> None:
    folder = tmp_path / "single/no_caption/set_1"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text("00001.mp4 anger\n00002.mp4 fear\n")
    (folder / "test.txt").write_text("00003.mp4 anger\n")
    report = check("mafw", Place(tmp_path))
    assert report["variant"] == "single"
    assert report["expected"] == {"1": {"train": {"n": 7333}, "test": {"n": 1839}}}
    both = report["together"]["1"]
    assert (both["n"], both["per_class"]["anger"], both["per_class"]["fear"]) == (3, 2, 1)
    assert (both["expected"]["n"], both["expected"]["per_class"]["anger"]) == (9172, 1390)
    assert report["agrees"] is False


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        ({"n": 3, "per_class": {"a": 1, "b": 2}}, {"n": 3}, True),
        ({"n": 3, "per_class": {"a": 1, "b": 2}}, {"n": 4}, False),
        ({"n": 3, "per_class": {"a": 1, "b": 2}}, {"n": 3, "per_class": {"b": 2, "a": 1}}, True),
        ({"n": 3, "per_class": {"a": 1, "b": 2}}, {"n": 3, "per_class": {"a": 2, "b": 1}}, False),
        ({"n": 3, "per_class": {"a": 3, "b": 0}}, {"n": 3, "per_class": {"a": 3}}, True),
        (None, {"n": 3}, False),
    ],
)
def test_counts_are_compared_as_far_as_they_are_published(found, expected, same: bool) -> None:
    assert checking._same(found, expected) is same


REAL = [
    ("dfew", "dfew", None, None, 9356, 2341),
    ("mafw", "mafw", None, None, 7333, 1839),
    ("mafw", "mafw", "with_caption", None, 6423, 1611),
    ("mafw", "mafw", "compound", None, 7178, 1818),
    ("lists", "lists", "mafw", "mafw", 7320, 1836),
    ("lists", "lists", "dfew", "dfew", 9356, 2341),
]


@needs_splits
@pytest.mark.parametrize(("name", "folder", "variant", "order", "train", "test"), REAL)
def test_real_split_files_alone(name, folder, variant, order, train: int, test: int) -> None:
    place = Place(SPLITS / folder, variant=variant, label_order=(order,) if order else None)
    report = check(name, place)
    counts = report["folds"]["1"]
    assert (counts["train"]["n"], counts["test"]["n"]) == (train, test)
    assert report["agrees"] is True  # as for the files
    assert len(report["missing"]) == train + test
    assert not is_good(report)
    if name == "dfew":
        assert list(counts["test"]["per_class"].items()) == [
            ("happiness", 489), ("sadness", 379), ("neutral", 534), ("anger", 435),
            ("surprise", 294), ("disgust", 29), ("fear", 181),
        ]  # fmt: skip


@needs_splits
@pytest.mark.parametrize("order", ["mafw_alphabetical", "mafw_dfer_clip"])
def test_a_wrong_order_shows_in_the_counts(order: str) -> None:
    place = Place(SPLITS / "lists", variant="mafw", label_order=(order,))
    assert check("lists", place, decode=False)["agrees"] is False


def test_sound_alone_that_is_silent_throughout_is_nothing(tmp_path) -> None:
    quiet, late = tmp_path / "quiet.wav", tmp_path / "late.wav"
    silence = np.zeros(48_000 * 3, np.float32)
    write(quiet, None, silence)
    write(late, None, np.concatenate([silence, tone(0.5)]))

    assert probe(late).error is None
    assert probe(quiet).error is not None
    assert "silent" in str(probe(quiet).error)
