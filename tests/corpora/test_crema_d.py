"""CREMA-D: names of files and the publisher's list, folds by actor, clips that are broken."""

import os
from collections import Counter
from pathlib import Path

import pytest

from claip_emo.corpora import folders
from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.check import check, is_good
from claip_emo.corpora.crema_d import CODES, CORPUS, DROPPED, expected, fold_of
from claip_emo.corpora.load import load_corpus
from claip_emo.corpora.published import Place, read_fold
from claip_emo.recipe import DataRecipe
from tests.corpora.trees import make_tree

SENTENCES = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")


def every_take() -> list[str]:
    """The 91 x 82 takes that were planned: one sentence has three levels of each emotion."""
    levels = {("IEO", code): ("LO", "MD", "HI") for code in CODES if code != "NEU"}
    return [
        f"{actor}_{sentence}_{code}_{level}"
        for actor in range(1001, 1092)
        for sentence in SENTENCES
        for code in CODES
        for level in levels.get((sentence, code), ("XX",))
    ]


def released() -> list[str]:
    """As many of them as were released, of every class and in every fold."""
    names = every_take()
    lost = {1: "ANG ANG ANG DIS DIS DIS FEA FEA FEA HAP HAP HAP NEU", 2: "NEU " * 3 + "SAD " * 3}
    lost[5] = "NEU"
    for fold, codes in lost.items():
        for code in codes.split():
            names.remove(
                next(n for n in names if fold_of(int(n[:4])) == fold and f"TIE_{code}" in n)
            )
    return names


def empty_files(folder: Path, names: list[str], suffix: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}{suffix}").touch()


def test_a_list_as_large_as_the_publishers_agrees(tmp_path: Path) -> None:
    names = released()
    assert len(every_take()) == 91 * 82
    assert len(names) == 7442
    rows = [f'{n},"{name}"\n' for n, name in enumerate(names, start=1)]
    (tmp_path / "SentenceFilenames.csv").write_text(
        '"Stimulus_Number","Filename"\n' + "".join(rows)
    )
    report = check("crema_d", Place(tmp_path), decode=False)
    assert report["agrees"]
    assert not is_good(report)  # there is no clip
    assert len(report["missing"]) == 7438
    assert set(report["dropped"]) == set(DROPPED)
    tested = {fold: parts["test"]["n"] for fold, parts in report["folds"].items()}
    assert tested == {"1": 1463, "2": 1470, "3": 1476, "4": 1474, "5": 1555}
    third = report["folds"]["3"]["test"]["per_class"]  # 18 actors of whom nothing is lacking
    assert third == dict.fromkeys(CODES.values(), 18 * 14) | {"neutral": 18 * 12}


def test_published_counts_add_up() -> None:
    total = 7442 - 4
    for fold in CORPUS.folds:
        counts = expected(None, fold)
        assert counts is not None
        assert counts["train"] + counts["test"] == sum(counts["all"].values()) == total
    assert sum(expected(None, fold)["test"] for fold in CORPUS.folds) == total


def test_folds_are_runs_of_eighteen_actors_and_the_last_has_nineteen() -> None:
    sizes = Counter(map(fold_of, range(1001, 1092)))
    assert sizes == {1: 18, 2: 18, 3: 18, 4: 18, 5: 19}
    edges = [1001, 1018, 1019, 1054, 1055, 1072, 1073, 1090, 1091]
    assert [fold_of(actor) for actor in edges] == [1, 1, 2, 3, 4, 4, 5, 5, 5]


def test_a_made_tree(tmp_path: Path) -> None:
    root = make_tree("crema_d", tmp_path / "crema")
    corpus = read_fold("crema_d", Place(root), 2)
    assert corpus.labels.names == ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
    first = corpus.samples[0]
    assert first.id == "1001_TIE_ANG_XX"
    assert (first.label, first.speaker, first.split, first.fold) == ("anger", "1001", "train", None)
    assert first.path == root / "VideoFlash/1001_TIE_ANG_XX.flv"
    assert first.audio_path == root / "AudioWAV/1001_TIE_ANG_XX.wav"
    assert first.extra == {"statement": "TIE", "intensity": "unspecified", "sex": "male"}
    tested = corpus.part("test")
    assert {(s.speaker, s.fold) for s in tested} == {("1019", 2)}
    assert tested.counts() == dict.fromkeys(corpus.labels, 1)
    assert not {s.speaker for s in tested} & {s.speaker for s in corpus.part("train")}


def test_validation_is_split_off_by_actor(tmp_path: Path) -> None:
    root = make_tree("crema_d", tmp_path)
    corpus = load_corpus(DataRecipe(corpus="crema_d", root=str(root), fold=1), seed=3)
    speakers = {p: {s.speaker for s in corpus.part(p)} for p in ("train", "validation", "test")}
    assert [len(speakers[part]) for part in speakers] == [2, 1, 1]
    assert len(set.union(*speakers.values())) == 4


def test_sound_alone_is_the_clip(tmp_path: Path) -> None:
    root = make_tree("crema_d", tmp_path, form="sound", people=2)
    corpus = read_fold("crema_d", Place(root), 1)
    assert {s.path.parent.name for s in corpus} == {"AudioWAV"}
    assert {s.audio_path for s in corpus} == {None}


def test_pictures_alone_have_their_own_sound(tmp_path: Path) -> None:
    root = make_tree("crema_d", tmp_path, form="video", people=2)
    for place in (Place(root), Place(root, clips=root / "VideoFlash")):
        corpus = read_fold("crema_d", place, 1)
        assert {(s.path.suffix, s.audio_path) for s in corpus} == {(".flv", None)}


def test_a_sound_without_its_picture_is_a_missing_clip(tmp_path: Path) -> None:
    empty_files(tmp_path / "VideoFlash", ["1001_DFA_ANG_XX"], ".flv")
    empty_files(tmp_path / "AudioWAV", ["1001_DFA_ANG_XX", "1002_IEO_SAD_LO"], ".wav")
    report = check("crema_d", Place(tmp_path), decode=False)
    assert report["missing"] == ["1002_IEO_SAD_LO"]


def test_the_broken_ones_are_left_out_with_their_reason(tmp_path: Path) -> None:
    empty_files(tmp_path / "VideoFlash", [*DROPPED, "1076_MTI_ANG_XX", "1064_IEO_DIS_HI"], ".flv")
    listing = CORPUS.list_fold(Place(tmp_path), 5)
    assert listing.dropped == DROPPED
    assert [(s.id, s.split) for s in listing.samples] == [
        ("1064_IEO_DIS_HI", "train"),
        ("1076_MTI_ANG_XX", "test"),
    ]
    assert listing.samples[0].extra["intensity"] == "high"


def test_other_files_are_no_clips_and_odd_rows_are_told(tmp_path: Path) -> None:
    names = ["1001_DFA_ANG_XX", "readme", "1095_DFA_ANG_XX", "._1001_DFA_DIS_XX"]
    empty_files(tmp_path / "VideoFlash", names, ".FLV")
    (tmp_path / "SentenceFilenames.csv").write_text('"Filename"\n"1001_DFA_ANG_XX"\n"1095_X"\n')
    listing = CORPUS.list_fold(Place(tmp_path), 1)
    assert [s.id for s in listing.samples] == ["1001_DFA_ANG_XX"]
    assert listing.samples[0].path.exists()
    assert listing.bad_labels == {"1095_X": "1095_X"}


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({}, "there is no clip of CREMA-D. It should hold: VideoFlash/1001_DFA_ANG_XX.flv"),
        ({"SentenceFilenames.csv": "a,b\n1,2\n"}, "its header lacks Filename"),
    ],
)
def test_what_is_no_crema_d(tmp_path: Path, made: dict[str, str], says: str) -> None:
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CorpusError, match=says):
        CORPUS.list_fold(Place(tmp_path), 1)
    with pytest.raises(CorpusError, match="does not exist"):
        CORPUS.list_fold(Place(tmp_path / "nowhere"), 1)


def test_every_folder_is_listed_once(tmp_path: Path, monkeypatch) -> None:
    root = make_tree("crema_d", tmp_path, people=2)
    seen = Counter()
    scandir = os.scandir

    def counted(path):
        seen[Path(path)] += 1
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", counted)
    assert len(CORPUS.list_fold(Place(root), 1).samples) == 12
    assert seen == {root / "VideoFlash": 1, root / "AudioWAV": 1}
