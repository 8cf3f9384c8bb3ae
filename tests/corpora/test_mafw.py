"""MAFW: three editions, captions in GB18030, and the ways its folders are unpacked."""

from pathlib import Path

import pytest

from claip_emo.corpora import mafw
from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.published import FoldMissingError, Place, published, read_fold
from tests.conftest import SHARED
from tests.corpora.files import touch

SPLITS = SHARED / "data" / "splits" / "mafw"
HICMAE = [
    "anger",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
    "contempt",
    "anxiety",
    "helplessness",
    "disappointment",
]
needs_splits = pytest.mark.skipif(not SPLITS.is_dir(), reason="needs the split files")


def split(
    root: Path, train: str, test: str, *, folder: str = "single/no_caption", fold: int = 1,
    encoding: str = "utf-8",
) -> Path:  # fmt: skip
    for part, text in (("train", train), ("test", test)):
        path = root / folder / f"set_{fold}" / f"{part}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(encoding))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return split(
        tmp_path / "MAFW", "00025.mp4 anger\r\n00028.mp4 contempt\r\n", "00031.mp4 neutral\r\n"
    )


def test_the_single_classes(root: Path) -> None:
    listing = mafw.list_fold(Place(root), 1)
    assert [(s.id, s.split, s.label, s.fold) for s in listing.samples] == [
        ("00025", "train", "anger", None),
        ("00028", "train", "contempt", None),
        ("00031", "test", "neutral", 1),
    ]
    assert published("mafw").labels(Place(root)).names == tuple(HICMAE)


@pytest.mark.parametrize("encoding", ["gb18030", "utf-8", "utf-8-sig"])
def test_captions_are_kept(tmp_path: Path, encoding: str) -> None:
    # The last captions hold a character that GB2312 lacks, quotation marks, and a separator
    # (U+2028) that is no end of a line.
    text = (
        '00025.mp4\tanger\t一个男人大声讲话。紧皱眉头。\tA man "talks".\n'
        "00028.mp4\tfear\t王喆\u2028\tOne\n00029.mp4\tfear\t\t\n"
    )
    root = split(
        tmp_path, text, "00030.mp4\tneutral\tx\ty\n", folder="single/with_caption",
        encoding=encoding,
    )  # fmt: skip
    place = Place(root, variant="with_caption")
    listing = mafw.list_fold(place, 1)
    assert [dict(s.extra) for s in listing.samples][:2] == [
        {"caption_zh": "一个男人大声讲话。紧皱眉头。", "caption_en": 'A man "talks".'},
        {"caption_zh": "王喆", "caption_en": "One"},
    ]
    assert [s.label for s in listing.samples] == ["anger", "fear", "fear"]
    assert dict(listing.bad_labels) == {"00030": "neutral"}  # no clip with captions is neutral
    assert published("mafw").labels(place).names == tuple(n for n in HICMAE if n != "neutral")


def test_compound_classes_are_43_in_a_fixed_order() -> None:
    names = published("mafw").labels(Place(Path(), variant="compound")).names
    assert len(names) == 43
    assert names[:11] == tuple(HICMAE)
    for name in names:
        parts = [HICMAE.index(part) for part in name.split("_")]
        assert parts == sorted(set(parts))
    places = [[HICMAE.index(part) for part in name.split("_")] for name in names]
    assert places == sorted(places, key=lambda place: (len(place), place))


@pytest.mark.parametrize(
    ("variant", "folder"),
    [
        (None, "single/no_caption"),
        ("single", "single"),
        ("compound", "compound/no_caption"),
        ("compound", "compound"),
        ("with_caption", "single/with_caption"),
    ],
)
def test_with_and_without_the_level_of_captions(tmp_path: Path, variant, folder: str) -> None:
    split(tmp_path, "00001.mp4\tanger\n", "00002.mp4\tfear\n", folder=folder)
    listing = mafw.list_fold(Place(tmp_path, variant=variant), 1)
    assert [s.id for s in listing.samples] == ["00001", "00002"]


@pytest.mark.parametrize("clip", ["clips/00025.mp4", "data/clips/00025.mp4", "frames/00025",
                                  "data/frames/00025", "clips/25.avi"])  # fmt: skip
def test_every_place_of_a_clip(root: Path, clip: str, tmp_path: Path) -> None:
    touch(tmp_path, clip)  # beside the folder of the splits
    assert mafw.list_fold(Place(root), 1).samples[0].path == tmp_path / clip
    touch(root, clip)
    assert mafw.list_fold(Place(root), 1).samples[0].path == root / clip
    for named in (tmp_path, (tmp_path / clip).parent):
        found = mafw.list_fold(Place(root, clips=named), 1).samples[0].path
        assert found == tmp_path / clip


def test_the_publishers_folder_above_is_taken_too(tmp_path: Path) -> None:
    split(tmp_path / "Train & Test Set", "00001.mp4 anger\n", "00002.mp4 fear\n")
    touch(tmp_path, "clips/00001.mp4")
    assert mafw.list_fold(Place(tmp_path), 1).samples[0].path == tmp_path / "clips" / "00001.mp4"


def test_frames_have_their_sound_beside_them(root: Path) -> None:
    touch(root, "frames/00025", "frames/00028", "audio_16k/00025.wav")
    sounds = [s.audio_path for s in mafw.list_fold(Place(root), 1).samples]
    assert sounds == [root / "audio_16k" / "00025.wav", None, None]


def test_what_is_wrong_is_told(root: Path) -> None:
    split(root, "00025.mp4 Anger\n26.mp4 angry\n27.mp4\n25.mp4 fear\n", "00025.mp4 anger\n")
    listing = mafw.list_fold(Place(root), 1)
    assert [(s.id, s.split, s.label) for s in listing.samples] == [("00025", "test", "anger")]
    assert listing.duplicates == ("00025",)
    assert dict(listing.bad_labels) == {"00026": "angry", "00027": ""}
    with pytest.raises(CorpusError, match=r"00025 is named twice[\s\S]*unknown label 'angry'"):
        read_fold("mafw", Place(root), 1)


def test_what_is_not_there_is_told(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FoldMissingError, match=r"fold 2 of MAFW, single"):
        mafw.list_fold(Place(root), 2)
    with pytest.raises(FoldMissingError, match=r"fold 1 of MAFW, compound"):
        mafw.list_fold(Place(root, variant="compound"), 1)
    (root / "single/no_caption/set_1/test.txt").unlink()
    with pytest.raises(CorpusError, match=r"test\.txt is missing"):
        mafw.list_fold(Place(root), 1)
    with pytest.raises(CorpusError, match="single, with_caption, compound"):
        mafw.list_fold(Place(root, variant="captions"), 1)
    (root / "single/no_caption/set_1/test.txt").write_bytes(b"00025.mp4 anger \xff\xff\n")
    with pytest.raises(CorpusError, match="neither UTF-8 nor GB18030"):
        mafw.list_fold(Place(root), 1)


def test_published_counts() -> None:
    expected = published("mafw").expected
    sizes = [(7333, 1839), (7335, 1837), (7339, 1833), (7340, 1832), (7341, 1831)]
    per_class = [1390, 639, 625, 1242, 1138, 1470, 1072, 236, 916, 262, 182]
    for fold, (train, test) in enumerate(sizes, start=1):
        counts = expected("single", fold)
        assert (counts["train"], counts["test"]) == (train, test)
        assert dict(counts["all"]) == dict(zip(HICMAE, per_class, strict=True))
        assert train + test == sum(per_class) == 9172
    assert expected("with_caption", 1) == {"train": 6423, "test": 1611}
    assert expected("with_caption", 2) is None
    assert expected("compound", 1) == {"train": 7178, "test": 1818, "all": 8996}


@needs_splits
@pytest.mark.parametrize(
    ("variant", "train", "test", "classes"),
    [("single", 7333, 1839, 11), ("with_caption", 6423, 1611, 10), ("compound", 7178, 1818, 43)],
)
def test_the_real_files_of_fold_1(variant: str, train: int, test: int, classes: int) -> None:
    place = Place(SPLITS, variant=variant)
    listing = mafw.list_fold(place, 1)
    parts = [s.split for s in listing.samples]
    assert (parts.count("train"), parts.count("test")) == (train, test)
    assert not listing.duplicates
    assert not listing.bad_labels
    labels = published("mafw").labels(place)
    assert {s.label for s in listing.samples} == set(labels)  # none is missing, none too many
    assert len(labels) == classes
    if variant == "single":
        found = [sum(s.label == name for s in listing.samples) for name in HICMAE]
        assert found == [1390, 639, 625, 1242, 1138, 1470, 1072, 236, 916, 262, 182]
    if variant == "with_caption":
        assert all(len(s.extra) == 2 and all(s.extra.values()) for s in listing.samples)
        first = next(s for s in listing.samples if s.id == "00025")
        assert first.extra["caption_zh"] == "一个男人大声讲话。紧皱眉头，右侧嘴角下拉。"
        assert first.extra["caption_en"].startswith("A man talks loudly.")
