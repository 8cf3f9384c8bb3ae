"""Community lists: the order of their integers must be named, their paths are another machine's."""

from pathlib import Path

import pytest

from claip_emo.corpora import lists
from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.published import FoldMissingError, Place, published, read_fold
from claip_emo.labels import SEVEN
from tests.conftest import SHARED
from tests.corpora.files import touch

SPLITS = SHARED / "data" / "splits" / "lists"
MAFW = ("mafw",)
LINE = "data/MAFW/data/frames/{0} data/MAFW/data/audio_16k/{0}.wav {1}\n"


def write(root: Path, train: str, test: str, *, name: str = "mafw_split01_{part}.csv") -> Path:
    for part, text in (("train", train), ("test", test)):
        path = root / name.format(part=part)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    train = LINE.format("00025", 0) + LINE.format("00028", 10)
    return write(tmp_path / "lists", train, LINE.format("00031", 4))


def labels(root: Path, *order: str) -> list[str]:
    return [s.label for s in lists.list_fold(Place(root, label_order=order), 1).samples]


def test_the_order_must_be_named(root: Path) -> None:
    with pytest.raises(CorpusError, match="three orders of MAFW") as caught:
        lists.list_fold(Place(root), 1)
    for known in ("--label-order", "dfew", "mafw_alphabetical", "mafw_dfer_clip"):
        assert known in str(caught.value)
    with pytest.raises(CorpusError, match="no label order 'hicmae'"):
        labels(root, "hicmae")
    with pytest.raises(CorpusError, match="twice"):
        labels(root, "anger,anger")


def test_an_order_gives_the_names(root: Path) -> None:
    """Integers 0, 10 and 4."""
    assert labels(root, "mafw") == ["anger", "disappointment", "neutral"]
    assert labels(root, "mafw_alphabetical") == ["anger", "surprise", "disgust"]
    assert labels(root, "mafw_dfer_clip") == ["happiness", "disappointment", "surprise"]
    eleven = [f"c{number}" for number in range(11)]
    assert labels(root, *eleven) == ["c0", "c10", "c4"]
    assert labels(root, ", ".join(eleven)) == ["c0", "c10", "c4"]


def test_known_orders_are_those_in_circulation() -> None:
    assert lists.ORDERS["dfew"] == SEVEN
    assert lists.ORDERS["mafw_dfer_clip"].names == (
        "happiness",
        "sadness",
        "neutral",
        "anger",
        "surprise",
        "disgust",
        "fear",
        "contempt",
        "anxiety",
        "helplessness",
        "disappointment",
    )
    assert lists.ORDERS["mafw_alphabetical"].names == (
        "anger",
        "anxiety",
        "contempt",
        "disappointment",
        "disgust",
        "fear",
        "happiness",
        "helplessness",
        "neutral",
        "sadness",
        "surprise",
    )


@pytest.mark.parametrize(
    "lies",
    ["{base}/data/MAFW/data", "{base}/MAFW/data", "{base}/data", "{base}"],
)
def test_the_longest_end_of_a_path_is_taken(root: Path, tmp_path: Path, lies: str) -> None:
    for base in (root, tmp_path / "elsewhere"):
        touch(Path(lies.format(base=base)), "frames/00025", "audio_16k/00025.wav")
    touch(root, "frames/00031")  # a shorter end
    inside = lists.list_fold(Place(root, label_order=MAFW), 1).samples
    assert inside[0].path == Path(lies.format(base=root)) / "frames/00025"
    assert inside[0].audio_path == Path(lies.format(base=root)) / "audio_16k/00025.wav"
    place = Place(root, clips=tmp_path / "elsewhere", label_order=MAFW)
    outside = lists.list_fold(place, 1).samples
    assert outside[0].path == Path(lies.format(base=tmp_path / "elsewhere")) / "frames/00025"
    assert outside[1].path == tmp_path / "elsewhere/data/MAFW/data/frames/00028"  # missing
    assert outside[1].audio_path is None


def test_absolute_paths_are_taken_as_they_are_or_by_their_ends(tmp_path: Path) -> None:
    there = tmp_path / "disk" / "frames" / "00001"
    touch(tmp_path, "disk/frames/00001", "lists/frames/00002")
    text = f"{there} none.wav 0\n/home/somebody/data/frames/00002 x.wav 1\n"
    root = write(tmp_path / "lists", text, "C:\\data\\frames\\00003 y.wav 2\n")
    samples = lists.list_fold(Place(root, label_order=MAFW), 1).samples
    assert samples[0].path == there
    assert samples[1].path == root / "frames/00002"
    assert [s.id for s in samples] == ["00001", "00002", "00003"]


@pytest.mark.parametrize("clip", ["00025.mp4", "25.mp4", "00025"])
def test_the_publishers_clips_serve_as_well_as_frames(root: Path, tmp_path: Path, clip: str):
    touch(tmp_path / "clips", clip)
    place = Place(root, clips=tmp_path / "clips", label_order=MAFW)
    sample = lists.list_fold(place, 1).samples[0]
    assert sample.path == tmp_path / "clips" / clip


def test_a_video_in_the_place_of_frames_keeps_its_own_sound(root: Path, tmp_path: Path) -> None:
    touch(tmp_path, "frames/00025.mp4", "frames/00028", "audio_16k/00025.wav", "audio_16k/28.wav")
    place = Place(root, clips=tmp_path, label_order=MAFW)
    first, second, _ = lists.list_fold(place, 1).samples
    assert (first.path.name, first.audio_path) == ("00025.mp4", None)
    assert (second.path.name, second.audio_path) == ("00028", tmp_path / "audio_16k" / "28.wav")


@pytest.mark.parametrize(
    ("name", "variant", "fold"),
    [
        ("mafw_split01_{part}.csv", "mafw", 1),
        ("mafw_split05_{part}.csv", "mafw", 5),
        ("MAFW-fold2-{part}.txt", "mafw", 2),
        ("mafw_compound_split03_{part}.csv", "mafw_compound", 3),
        ("mafw_{part}.csv", "mafw", 1),
        ("{part}.csv", "lists", 1),
        ("split02/{part}.csv", "lists", 2),
        ("set_4/dfew_{part}.csv", "dfew", 4),
    ],
)
def test_names_of_lists(tmp_path: Path, name: str, variant: str, fold: int) -> None:
    write(tmp_path, LINE.format("00001", 0), LINE.format("00002", 1), name=name)
    (tmp_path / "notes.csv").write_text("x")
    place = Place(tmp_path, label_order=MAFW)
    assert published("lists").variant_of(place) == variant
    assert len(lists.list_fold(place, fold).samples) == 2
    with pytest.raises(FoldMissingError):
        lists.list_fold(place, fold % 5 + 1)


def test_lists_of_two_corpora_are_told_apart(root: Path) -> None:
    line = "data/DFEW/clip_jpg_256/00001 data/DFEW/audio_16k/1.wav 6\n"
    write(root, line, line.replace("1", "2"), name="dfew_split01_{part}.csv")
    with pytest.raises(CorpusError, match=r"lists of dfew, mafw: name one with --variant"):
        labels(root, "mafw")
    place = Place(root, variant="dfew", label_order=("dfew",))
    assert [s.label for s in lists.list_fold(place, 1).samples] == ["fear", "fear"]
    with pytest.raises(CorpusError, match="no lists of 'meld', only of dfew, mafw"):
        lists.list_fold(Place(root, variant="meld", label_order=MAFW), 1)


def test_what_is_wrong_is_told(root: Path) -> None:
    text = LINE.format("00025", 0) * 2 + LINE.format("00040", 11) + LINE.format("00041", "anger")
    write(root, text + "00042\n", LINE.format("00031", 4))
    listing = lists.list_fold(Place(root, label_order=MAFW), 1)
    assert [s.id for s in listing.samples] == ["00025", "00031"]
    assert listing.duplicates == ("00025",)
    assert dict(listing.bad_labels) == {"00040": "11", "00041": "anger", "00042": ""}
    with pytest.raises(CorpusError, match="unknown label '11'"):
        read_fold("lists", Place(root, label_order=MAFW), 1)


def test_what_is_not_there_is_told(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there are no lists"):
        lists.list_fold(Place(tmp_path, label_order=MAFW), 1)
    (root / "mafw_split01_test.csv").unlink()
    with pytest.raises(CorpusError, match="fold 1 has no list to test"):
        lists.list_fold(Place(root, label_order=MAFW), 1)
    with pytest.raises(CorpusError, match="is a file; name the folder"):
        lists.list_fold(Place(root / "mafw_split01_train.csv", label_order=MAFW), 1)


def test_lists_with_the_number_of_frames_or_without_sound(tmp_path: Path) -> None:
    root = write(tmp_path, "a/00001 16 3\nb/00001 4\n", "c/00002.mp4 5\n")
    samples = lists.list_fold(Place(root, label_order=MAFW), 1).samples
    assert [(s.label, s.audio_path) for s in samples] == [
        ("happiness", None), ("neutral", None), ("sadness", None),
    ]  # fmt: skip
    assert [s.id for s in samples] == ["a/00001", "b/00001", "00002"]  # two are named 00001


def test_published_counts_depend_on_the_corpus_and_its_order(root: Path) -> None:
    corpus = published("lists")
    community = corpus.published_counts(Place(root, label_order=MAFW), 1)
    assert (community["train"], community["test"]) == (7320, 1836)
    assert sum(community["all"].values()) == 9156
    other = corpus.published_counts(Place(root, label_order=("mafw_dfer_clip",)), 1)
    assert (other["train"], other["test"]) == (7333, 1839)
    renamed = corpus.published_counts(Place(root, label_order=tuple("abcdefghijk")), 1)
    assert renamed == {"train": 7320, "test": 1836, "all": 9156}
    assert "train" not in corpus.published_counts(Place(root, label_order=MAFW), 2)


@pytest.mark.skipif(not SPLITS.is_dir(), reason="needs the lists beside the checkout")
@pytest.mark.parametrize(("corpus", "train", "test"), [("mafw", 7320, 1836), ("dfew", 9356, 2341)])
def test_the_real_lists_of_fold_1(corpus: str, train: int, test: int) -> None:
    place = Place(SPLITS, variant=corpus, label_order=(corpus,))
    listing = lists.list_fold(place, 1)
    parts = [s.split for s in listing.samples]
    assert (parts.count("train"), parts.count("test")) == (train, test)
    assert not listing.duplicates
    assert not listing.bad_labels


@pytest.mark.skipif(not SPLITS.is_dir(), reason="needs the lists beside the checkout")
@pytest.mark.parametrize("corpus", ["mafw", "dfew"])
def test_lists_and_official_files_name_the_same_clips_alike(corpus: str) -> None:
    """So the order called mafw is that of the lists, and dfew's copy counts from 0."""
    place = Place(SPLITS, variant=corpus, label_order=(corpus,))
    listed = {s.id: (s.label, s.split) for s in lists.list_fold(place, 1).samples}
    own = published(corpus).list_fold(Place(SPLITS.parent / corpus), 1).samples
    official = {s.id: (s.label, s.split) for s in own}
    assert set(listed) <= set(official)
    assert all(official[name][0] == label for name, (label, _) in listed.items())
    assert len(official) - len(listed) == (16 if corpus == "mafw" else 0)
