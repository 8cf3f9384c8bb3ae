"""DFEW: official files and copies, integers from 0 and from 1, every way its clips lie on disk."""

import os
from pathlib import Path

import pytest

from claip_emo.corpora import dfew
from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.published import FoldMissingError, Place, published, read_fold
from claip_emo.labels import SEVEN
from tests.conftest import SHARED
from tests.corpora.files import touch

SPLITS = SHARED / "data" / "splits" / "dfew"
OFFICIAL = "EmoLabel_DataSplit/{part}(single-labeled)/set_{fold}.csv"
COPY = "EmoLabel_DataSplit/{part}(single-labeled)/{part}_set_{fold}.csv"
TRAIN = {1: 1, 2: 2, 3: 3, 10: 4, 11697: 5}  # id -> label, from 1
TEST = {4: 6, 5: 7, 6: 1}


def split(root: Path, fold: int = 1, *, name: str = OFFICIAL, **parts: str | bytes) -> Path:
    for part, text in parts.items():
        path = root / name.format(part=part, fold=fold)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def csv(rows: dict[int, int], *, shift: int = 0, pattern: str = "{}", header: bool = True) -> str:
    lines = ["video_name,label"] if header else []
    lines += [f"{pattern.format(name)},{label + shift}" for name, label in rows.items()]
    return "\n".join(lines) + "\n"


@pytest.fixture
def official(tmp_path: Path) -> Path:
    return split(tmp_path, train=csv(TRAIN), test=csv(TEST))


def read(root: Path, fold: int = 1, **options) -> list[tuple[str, str, str]]:
    listing = dfew.list_fold(Place(root, **options), fold)
    return [(s.id, str(s.split), s.label) for s in listing.samples]


NAMED = [
    ("00001", "train", "happiness"),
    ("00002", "train", "sadness"),
    ("00003", "train", "neutral"),
    ("00010", "train", "anger"),
    ("11697", "train", "surprise"),
    ("00004", "test", "disgust"),
    ("00005", "test", "fear"),
    ("00006", "test", "happiness"),
]


def test_official_files_count_from_1_and_are_tested_in_their_fold(official: Path) -> None:
    assert read(official) == NAMED
    samples = dfew.list_fold(Place(official), 1).samples
    assert {s.fold for s in samples if s.split == "test"} == {1}
    assert {s.fold for s in samples if s.split == "train"} == {None}


@pytest.mark.parametrize("shift", [0, -1])
@pytest.mark.parametrize("name", [OFFICIAL, COPY, "{part}_set_{fold}.csv"])
def test_what_a_file_holds_tells_and_not_its_name(tmp_path: Path, name: str, shift: int) -> None:
    root = split(tmp_path, name=name, train=csv(TRAIN, shift=shift), test=csv(TEST, shift=shift))
    assert read(root) == NAMED


def test_both_parts_tell_together(tmp_path: Path) -> None:
    """The training part alone, 1 to 5, could be either."""
    split(tmp_path, train=csv(TRAIN), test=csv(TEST))
    split(tmp_path, 2, train=csv(TRAIN, shift=0), test="video_name,label\n4,0\n")
    assert read(tmp_path)[0] == ("00001", "train", "happiness")
    assert read(tmp_path, 2)[0] == ("00001", "train", "sadness")


@pytest.mark.parametrize(
    "text",
    [
        "1,7\n00002,1\n",
        "video_name,label\r\n00001,7\r\n2,1\r\n",
        "\ufeffvideo_name,label\n1,7\n2,1\n",
        "video_name;label\n1;7\n2;1\n",
        "label,video_name\n7,1\n1,2\n",
        " video_name , label \n 1 , 7 \n\n 2 ,1 ",
        '"video_name","label"\n"1","7"\n"2","1"\n',
        "name,emotion\n1.mp4,7\n00002.mp4,1\n",
        "video_name,label,\n1,7.0,\n2,1.0,\n",
    ],
    ids=["bare", "crlf", "bom", "semicolon", "reversed", "spaces", "quoted", "names", "excel"],
)
def test_files_as_people_pass_them_on(tmp_path: Path, text: str) -> None:
    split(tmp_path, train=text, test="video_name,label\n9,2\n")
    assert read(tmp_path) == [
        ("00001", "train", "fear"),
        ("00002", "train", "happiness"),
        ("00009", "test", "sadness"),
    ]


def test_the_folders_are_spelled_either_way(tmp_path: Path) -> None:
    root = split(tmp_path, train=csv(TRAIN), test=csv(TEST))
    expected = read(root)
    for part in ("train", "test"):
        folder = root / "EmoLabel_DataSplit" / f"{part}(single-labeled)"
        folder.rename(folder.with_name(f"{part}(single_labeled)"))
    assert read(root) == expected


def test_a_file_that_could_be_either_is_refused_with_its_mend(tmp_path: Path) -> None:
    split(tmp_path, train="1,1\n2,2\n", test="3,6\n")
    with pytest.raises(CorpusError, match=r"run from 1 to 6.*--label-order 1-7") as caught:
        read(tmp_path)
    assert "data.label_order" in str(caught.value)
    assert [label for *_, label in read(tmp_path, label_order=("1-7",))] == [
        "happiness", "sadness", "disgust",
    ]  # fmt: skip
    assert [label for *_, label in read(tmp_path, label_order=("0-6",))] == [
        "sadness", "neutral", "fear",
    ]  # fmt: skip
    with pytest.raises(CorpusError, match="is 1-7 or 0-6, not 'mafw'"):
        read(tmp_path, label_order=("mafw",))


@pytest.mark.parametrize("said", ["0", "8", "-1", "happy", "", "1.5"])
def test_a_bad_label_is_told_and_does_not_shift_the_others(tmp_path: Path, said: str) -> None:
    rows = csv(TEST) + csv({7: 7}, header=False) + f"8,{said}\n"
    split(tmp_path, train=csv(TRAIN), test=rows)
    listing = dfew.list_fold(Place(tmp_path), 1)
    assert dict(listing.bad_labels) == {"00008": said}
    assert [(s.id, s.split, s.label) for s in listing.samples] == [
        *NAMED, ("00007", "test", "fear"),
    ]  # fmt: skip


def test_a_7_in_a_copy_that_counts_from_0_is_a_bad_label(tmp_path: Path) -> None:
    split(tmp_path, train="1,0\n2,0\n3,7\n", test="4,6\n")
    assert dict(dfew.list_fold(Place(tmp_path), 1).bad_labels) == {"00003": "7"}


def test_a_clip_named_twice_is_kept_once_and_in_the_test_part(tmp_path: Path) -> None:
    split(tmp_path, train=csv(TRAIN) + "00001,1\n5,7\n", test=csv(TEST))
    listing = dfew.list_fold(Place(tmp_path), 1)
    assert sorted(listing.duplicates) == ["00001", "00005"]
    assert [(s.id, s.split, s.label) for s in listing.samples] == NAMED


@pytest.mark.parametrize(
    "clip",
    [
        "Clip/original/1.mp4",
        "Clip/original/00001.mp4",
        "Clip/jpg_256/00001",
        "Clip/clip_224x224/00001",
        "Clip/clip_224x224/1.mp4",
        "Clip/clip_224x224_16f/00001",
        "clip_jpg_256/00001",
        "original/1.avi",
    ],
)
def test_every_place_of_a_clip(tmp_path: Path, clip: str) -> None:
    root = split(tmp_path / "DFEW", train=csv(TRAIN), test=csv(TEST))
    touch(root, clip)
    assert dfew.list_fold(Place(root), 1).samples[0].path == root / clip
    elsewhere = tmp_path / "elsewhere"
    touch(elsewhere, clip)
    holding = elsewhere / clip
    for named in (elsewhere, holding.parent):
        found = dfew.list_fold(Place(root, clips=named), 1).samples[0].path
        assert found == holding
    if clip.startswith("Clip/"):
        found = dfew.list_fold(Place(root, clips=elsewhere / "Clip"), 1).samples[0].path
        assert found == holding


def test_original_videos_are_preferred_and_clips_may_lie_beside_the_folder(tmp_path: Path) -> None:
    root = split(tmp_path / "labels", train=csv(TRAIN), test=csv(TEST))
    touch(tmp_path, "Clip/clip_224x224/00001")
    assert dfew.list_fold(Place(root), 1).samples[0].path.parent.name == "clip_224x224"
    touch(root, "Clip/jpg_256/00001")  # nearer
    assert dfew.list_fold(Place(root), 1).samples[0].path.parent.name == "jpg_256"
    touch(root, "Clip/original/1.mp4")
    assert dfew.list_fold(Place(root), 1).samples[0].path.parent.name == "original"


@pytest.mark.parametrize("sound", ["audio_16k/1.wav", "Clip/wav/00001.wav", "audio/1.flac"])
def test_sounds_beside_folders_of_frames(official: Path, sound: str) -> None:
    touch(official, "Clip/jpg_256/00001", "Clip/jpg_256/00002", sound)
    first, second = dfew.list_fold(Place(official), 1).samples[:2]
    assert first.audio_path == official / sound
    assert second.audio_path is None


def test_original_videos_have_their_own_sound(official: Path) -> None:
    touch(official, "Clip/original/1.mp4", "Clip/audio_16k/1.wav")
    assert dfew.list_fold(Place(official), 1).samples[0].audio_path is None


def test_the_sounds_of_a_neighbour_are_not_taken(tmp_path: Path) -> None:
    root = split(tmp_path / "DFEW", train=csv(TRAIN), test=csv(TEST))
    touch(root, "jpg_256/00001")
    touch(tmp_path, "audio/1.wav", "wav/1.wav")
    assert dfew.list_fold(Place(root), 1).samples[0].audio_path is None


def test_folders_are_listed_and_files_not_asked_for(official: Path, monkeypatch) -> None:
    touch(official, *(f"Clip/jpg_256/{number:05d}" for number in TRAIN), "audio_16k/1.wav")
    scanned: list[str] = []
    scandir, stat = os.scandir, os.stat

    def counted(path):
        scanned.append(str(path))
        return scandir(path)

    def refused(path, *more, **named):
        assert "jpg_256/" not in str(path), f"a file was asked for: {path}"
        return stat(path, *more, **named)

    monkeypatch.setattr(os, "scandir", counted)
    monkeypatch.setattr(os, "stat", refused)
    listing = dfew.list_fold(Place(official), 1)
    assert sum("jpg_256" in path for path in scanned) == 1
    assert len(scanned) == len(set(scanned)) < 20
    assert listing.samples[4].path.name == "11697"


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="does not exist"):
        dfew.list_fold(Place(tmp_path / "no"), 1)
    with pytest.raises(FoldMissingError, match="no split files of fold 1"):
        dfew.list_fold(Place(tmp_path), 1)
    split(tmp_path, train=csv(TRAIN))
    with pytest.raises(CorpusError, match="its test file is missing") as caught:
        dfew.list_fold(Place(tmp_path), 1)
    assert not isinstance(caught.value, FoldMissingError)
    split(tmp_path, test=csv(TEST))
    with pytest.raises(CorpusError, match=r"--clips .*no does not exist"):
        dfew.list_fold(Place(tmp_path, clips=tmp_path / "no"), 1)


def test_fold_1_is_not_taken_for_fold_11(tmp_path: Path) -> None:
    split(tmp_path, 11, train=csv(TRAIN), test=csv(TEST))
    with pytest.raises(FoldMissingError):
        dfew.list_fold(Place(tmp_path), 1)


def test_a_fold_is_read_to_train_on(official: Path) -> None:
    with pytest.raises(CorpusError, match=r"8 clips are missing[\s\S]*00001: there is no file"):
        read_fold("dfew", Place(official), 1)
    touch(official, *(f"Clip/original/{number}.mp4" for number in [*TRAIN, *TEST][:-1]))
    corpus = read_fold("dfew", Place(official), 1, missing="skip")
    assert corpus.labels == SEVEN
    assert [s.id for s in corpus] == [name for name, *_ in NAMED[:-1]]
    with pytest.raises(CorpusError, match="no variant 'x'"):
        read_fold("dfew", Place(official, variant="x"), 1)


def test_published_counts_are_a_partition() -> None:
    corpus = published("dfew")
    whole = (2445, 1894, 2669, 2173, 1469, 145, 902)
    sizes = {1: (9356, 2341), 2: (9356, 2341), 3: (9357, 2340), 4: (9358, 2339), 5: (9361, 2336)}
    tested = dict.fromkeys(SEVEN, 0)
    for fold in corpus.folds:
        counts = corpus.expected(None, fold)
        assert (sum(counts["train"].values()), sum(counts["test"].values())) == sizes[fold]
        for name, all_ in zip(SEVEN, whole, strict=True):
            assert counts["train"][name] + counts["test"][name] == all_
            tested[name] += counts["test"][name]
    assert tuple(tested.values()) == whole


@pytest.mark.skipif(not SPLITS.is_dir(), reason="needs the split files beside the checkout")
def test_the_real_files_of_fold_1() -> None:
    listing = dfew.list_fold(Place(SPLITS), 1)
    assert len(listing.samples) == 11_697
    assert not listing.duplicates
    assert not listing.bad_labels
    tested = [s.label for s in listing.samples if s.split == "test"]
    assert len(listing.samples) - len(tested) == 9356
    assert [tested.count(name) for name in SEVEN] == [489, 379, 534, 435, 294, 29, 181]
