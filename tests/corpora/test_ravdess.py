"""RAVDESS: what file names say, one form of each take, folds by actor."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from claip_emo.corpora import folders
from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.check import check, is_good
from claip_emo.corpora.published import Place, read_fold
from claip_emo.corpora.ravdess import CODES, CORPUS, expected, fold_of
from tests.corpora.trees import clip_ids, make_tree


def speech(actor: int, modality: str = "01") -> list[str]:
    """The 60 takes of an actor: nobody is strongly neutral."""
    return [
        f"{modality}-01-{emotion}-{level}-{statement}-{repetition}-{actor:02d}"
        for emotion in CODES
        for level in (("01",) if emotion == "01" else ("01", "02"))
        for statement in ("01", "02")
        for repetition in ("01", "02")
    ]


def empty_files(folder: Path, names: list[str], suffix: str = ".mp4") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}{suffix}").touch()


def test_the_whole_corpus_agrees(tmp_path: Path) -> None:
    for actor in range(1, 25):
        folder = tmp_path / f"Video_Speech_Actor_{actor:02d}" / f"Actor_{actor:02d}"
        empty_files(folder, [*speech(actor), *speech(actor, "02")])
    report = check("ravdess", Place(tmp_path), decode=False)
    assert report["agrees"]
    assert is_good(report)
    assert list(report["folds"]) == ["1", "2", "3", "4", "5", "6"]
    parts = report["folds"]["6"]
    assert (parts["train"]["n"], parts["test"]["n"]) == (1200, 240)
    assert parts["test"]["per_class"] == dict.fromkeys(CODES.values(), 32) | {"neutral": 16}
    assert report["expected"]["6"] == parts


def test_a_take_too_few_is_told_by_the_counts(tmp_path: Path) -> None:
    for actor in range(1, 25):
        empty_files(tmp_path / f"Actor_{actor:02d}", speech(actor)[: 59 if actor == 7 else 60])
    report = check("ravdess", Place(tmp_path), decode=False)
    assert not report["agrees"]
    assert report["folds"]["2"]["test"]["n"] == 239
    assert report["expected"]["2"]["test"]["n"] == 240


def test_folds_test_four_actors_each_two_women_and_two_men() -> None:
    by_fold = {fold: [a for a in range(1, 25) if fold_of(a) == fold] for fold in CORPUS.folds}
    assert by_fold[1] == [1, 2, 3, 4]
    assert by_fold[6] == [21, 22, 23, 24]
    assert {len(actors) for actors in by_fold.values()} == {4}
    for fold in CORPUS.folds:
        counts = expected(None, fold)
        assert counts is not None
        whole = {name: counts["train"][name] + counts["test"][name] for name in counts["test"]}
        assert whole == dict.fromkeys(CODES.values(), 192) | {"neutral": 96}


@pytest.mark.parametrize("form", ["archives", "folders"])
def test_a_made_tree(tmp_path: Path, form: str) -> None:
    root = make_tree("ravdess", tmp_path / "r", form=form)
    corpus = read_fold("ravdess", Place(root), 2)
    assert corpus.labels.names == tuple(CODES.values())
    assert len(corpus) == 32  # the same takes without sound lie beside them
    clip = next(s for s in corpus if s.id == "01-01-08-01-01-01-05")
    assert (clip.label, clip.speaker, clip.split, clip.fold) == ("surprise", "05", "test", 2)
    assert clip.path.name == f"{clip.id}.mp4"
    assert clip.audio_path is None
    assert clip.extra == {
        "sex": "male",
        "intensity": "normal",
        "statement": "01",
        "repetition": "01",
    }
    assert {s.speaker for s in corpus.part("train")} == {"01", "09", "13"}


def test_sound_alone_is_the_clip_only_where_there_is_no_picture(tmp_path: Path) -> None:
    root = make_tree("ravdess", tmp_path / "r", form="sound", people=2)
    corpus = read_fold("ravdess", Place(root), 1)
    assert {s.path.suffix for s in corpus} == {".wav"}
    assert corpus.samples[0].id == "03-01-01-01-01-01-01"
    empty_files(root / "Video_Speech_Actor_01" / "Actor_01", speech(1))
    both = CORPUS.list_fold(Place(root), 1)
    there = {s.id for s in both.samples if s.path.exists()}
    assert there == set(speech(1))
    lost = [s for s in both.samples if not s.path.exists()]
    assert {s.speaker for s in lost} == {"05"}  # its sound is there, so its pictures are missing
    assert lost[0].path == root / "Actor_05" / "01-01-01-01-01-01-05.mp4"


def test_pictures_without_sound_stand_for_a_clip_that_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "Video_Speech_Actor_03" / "Actor_03"
    empty_files(folder, ["02-01-05-02-01-01-03"])
    with pytest.raises(CorpusError, match=r"there is no file .*Actor_03/01-01-05-02-01-01-03\.mp4"):
        read_fold("ravdess", Place(tmp_path), 1)


def test_songs_and_other_files_are_no_clips(tmp_path: Path) -> None:
    empty_files(tmp_path / "Actor_01", ["01-01-03-02-01-01-01", "01-02-03-02-01-01-01", "notes"])
    empty_files(tmp_path / "Actor_01", ["01-01-04-02-01-01-25"])
    empty_files(tmp_path / "Actor_01", ["01-01-04-02-01-01-01"], ".txt")
    empty_files(tmp_path / "Actor_01" / "frames", ["01-01-04-02-01-01-01"])
    (clip,) = CORPUS.list_fold(Place(tmp_path), 1).samples
    assert (clip.id, clip.label) == ("01-01-03-02-01-01-01", "happiness")
    assert clip.extra["intensity"] == "strong"


def test_an_archive_unpacked_twice_is_told(tmp_path: Path) -> None:
    root = make_tree("ravdess", tmp_path / "r", people=1)
    shutil.copytree(root / "Video_Speech_Actor_01", root / "copy")
    listing = CORPUS.list_fold(Place(root), 1)
    assert listing.duplicates == tuple(clip_ids("ravdess", people=1))
    assert len(listing.samples) == 8


def test_clips_may_lie_elsewhere(tmp_path: Path) -> None:
    root = make_tree("ravdess", tmp_path / "r", people=1)
    (tmp_path / "empty").mkdir()
    actor = root / "Video_Speech_Actor_01" / "Actor_01"
    assert len(CORPUS.list_fold(Place(tmp_path / "empty", clips=actor), 1).samples) == 8
    with pytest.raises(CorpusError, match=r"there is no clip of RAVDESS\. It should hold: Video_"):
        CORPUS.list_fold(Place(tmp_path / "empty"), 1)
    with pytest.raises(CorpusError, match=r"--clips .* does not exist"):
        CORPUS.list_fold(Place(root, clips=tmp_path / "nowhere"), 1)


def test_every_folder_is_listed_once(tmp_path: Path, monkeypatch) -> None:
    root = make_tree("ravdess", tmp_path, people=2)
    seen = Counter()
    scandir = os.scandir

    def counted(path):
        seen[Path(path)] += 1
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", counted)
    assert len(CORPUS.list_fold(Place(root), 1).samples) == 16
    assert set(seen.values()) == {1}
    assert len(seen) == 5  # the root, two archives, an actor in each
