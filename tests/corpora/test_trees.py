"""The made trees are real files, the same for the same seed, and broken only where asked."""

from pathlib import Path

import pytest

from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.check import check
from claip_emo.corpora.probe import probe
from claip_emo.corpora.published import NAMES, Place, published, read_fold
from claip_emo.media.clip import load_clip
from tests.corpora.trees import BREAKAGES, FORMS, bad_id, clip_ids, make_tree

KINDS = [(name, form) for name in NAMES for form in FORMS[name]]
SMALL = {"dfew": 2, "mafw": 2, "crema_d": 1, "ravdess": 1, "meld": 1, "lists": 2}


def place_of(name: str, root: Path, form: str) -> Place:
    return Place(root, label_order=(form,) if name == "lists" else None)


@pytest.mark.parametrize(("name", "form"), KINDS)
def test_every_tree_is_read_whole_and_every_clip_decodes(tmp_path, name, form) -> None:
    root = make_tree(name, tmp_path / "t", form=form, per_class=SMALL[name], people=2)
    place = place_of(name, root, form)
    for fold in (1, 2) if name != "meld" else (1,):
        corpus = read_fold(name, place, fold)
        assert corpus.part("train").samples
        tested = corpus.part("test")
        assert set(tested.counts().values()) == {1}
        assert all(sample.fold == fold for sample in tested)
    for sample in corpus.samples[::5]:
        told = probe(sample.path, sample.audio_path)
        assert told.error is None
        assert told.has_sound
        assert not told.warnings
    sample = corpus.samples[-1]
    clip = load_clip(sample.path, audio_path=sample.audio_path)
    assert clip.has_audio
    assert clip.has_video == (form != "sound")
    assert clip.duration_s == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("name", ["dfew", "mafw", "lists"])
def test_breakages_of_split_files_are_told_clip_by_clip(tmp_path, name) -> None:
    form = FORMS[name][-1]  # folders of frames with sounds beside them
    lost, junk, odd, twice, silent = ids = clip_ids(name, per_class=2, form=form)[:5]
    happens = dict(zip(("missing", "broken", "bad_label", "duplicate", "silent"), ids, strict=True))
    root = make_tree(
        name,
        tmp_path / "t",
        per_class=2,
        form=form,
        **{what: [clip] for what, clip in happens.items()},
    )
    report = check(name, place_of(name, root, form))
    assert report["missing"] == [lost]
    assert report["unreadable"] == [junk]
    assert list(report["bad_labels"]) == [odd]
    assert report["duplicates"] == [twice]
    assert report["without_sound"] == [silent]
    assert not report["agrees"]


def test_a_tree_of_mafw_has_its_three_editions(tmp_path) -> None:
    root = make_tree("mafw", tmp_path / "t", per_class=2)
    numbers = {
        variant: len(read_fold("mafw", Place(root, variant=variant), 2))
        for variant in published("mafw").variants
    }
    assert numbers == {"single": 22, "with_caption": 20, "compound": 30}
    raw = (root / "single/with_caption/set_1/train.txt").read_bytes()
    assert raw.endswith(b"\r\n")
    assert raw.decode("gb18030").split("\r\n")[0].count("\t") == 3
    with pytest.raises(UnicodeDecodeError):
        raw.decode("utf-8")


def test_a_tree_of_dfew_numbers_its_classes_as_the_official_files_do(tmp_path) -> None:
    root = make_tree("dfew", tmp_path / "t", per_class=2, folds=(1, 5))
    folder = root / "EmoLabel_DataSplit" / "test(single-labeled)"
    assert sorted(file.name for file in folder.iterdir()) == ["set_1.csv", "set_5.csv"]
    rows = (folder / "set_1.csv").read_text().splitlines()
    assert rows[:2] == ["video_name,label", "00001,1"]
    assert {row.split(",")[1] for row in rows[1:]} == set("1234567")


def test_the_seed_decides(tmp_path) -> None:
    def content(root: Path) -> dict[str, bytes]:
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    made = [
        content(make_tree("dfew", tmp_path / str(n), per_class=2, people=1, seed=seed))
        for n, seed in enumerate((0, 0, 1))
    ]
    assert made[0] == made[1]
    assert made[0].keys() == made[2].keys()
    assert made[0]["Clip/original/1.mp4"] != made[2]["Clip/original/1.mp4"]
    assert made[0]["Clip/original/1.mp4"] != made[0]["Clip/original/2.mp4"]


def test_classes_that_are_drawn_alike_are_not_the_same_clips(tmp_path) -> None:
    root = make_tree("mafw", tmp_path / "t", per_class=2, people=1)
    clips = [path.read_bytes() for path in (root / "clips").iterdir()]
    assert len(clips) == len(set(clips)) == 30


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"form": "tape"}, "is kept as original, clip_224x224, clip_224x224_16f, not as 'tape'"),
        ({"lost": ["00001"]}, f"Breakages are {', '.join(BREAKAGES)}, not lost"),
        ({"missing": ["00099"]}, "There is no clip 00099 in this tree"),
        ({"per_class": 1}, "Folds need two clips per class"),
    ],
)
def test_trees_that_cannot_be_made(tmp_path, told, says) -> None:
    with pytest.raises(ValueError, match=says):
        make_tree("dfew", tmp_path / "t", **told)
    assert not (tmp_path / "t").exists()


def test_a_clip_of_sound_alone_cannot_be_silent(tmp_path) -> None:
    clip = clip_ids("ravdess", form="sound")[0]
    with pytest.raises(ValueError, match="has sound"):
        make_tree("ravdess", tmp_path / "t", form="sound", silent=[clip])


@pytest.mark.parametrize(
    ("name", "odd_label", "tested", "missing_at"),
    [("crema_d", "XYZ", 5, "{root}/VideoFlash/{lost}.flv"), ("ravdess", "09", 7, "/{lost}.mp4")],
)
def test_breakages_of_named_files_are_told_clip_by_clip(
    tmp_path: Path, name: str, odd_label: str, tested: int, missing_at: str
) -> None:
    """Corpora without split files: the label is a part of the name."""
    lost, junk, odd, twice, silent = ids = clip_ids(name)[:5]
    happens = dict(zip(("missing", "broken", "bad_label", "duplicate", "silent"), ids, strict=True))
    root = make_tree(name, tmp_path, **{what: [clip] for what, clip in happens.items()})
    report = check(name, Place(root))
    assert report["missing"] == [lost]
    assert report["unreadable"] == [junk]
    assert report["bad_labels"] == {bad_id(name, odd): odd_label}
    assert report["duplicates"] == [twice]
    assert report["without_sound"] == [silent]
    assert report["folds"]["1"]["test"]["n"] == tested  # all but the one of unknown label
    with pytest.raises(CorpusError) as caught:
        read_fold(name, Place(root), 1)
    text = str(caught.value)
    assert f"{lost}: there is no file " in text
    assert missing_at.format(root=root, lost=lost) in text
    assert f"{twice} is named twice" in text
    assert f"unknown label {odd_label!r}" in text
