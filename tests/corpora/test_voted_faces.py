"""Votes are the targets; what is no face is left out; what is broken is named."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claip_emo.corpora import voted_faces
from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.table import read_table
from claip_emo.corpora.voted_faces import BALLOT, read_voted_faces, unpack_faces
from claip_emo.labels import SEVEN
from claip_emo.media.clip import ClipSpec, load_clip

from ..conftest import SHARED

REAL = SHARED / "data"
# FER+'s order of the columns is not ours.
FER_PLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")


def picture(seed: int, shape=(48, 48), ending=".png") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    return cv2.imencode(ending, pixels)[1].tobytes()


def pixels_of(image: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_UNCHANGED)


def row(name: str, part: str, label: str = "anger", *, image: bytes | None = None, **votes: int):
    told = {"name": name, "part": part, "label": label}
    if image is not None:
        told["image"] = image
    columns = [f"votes_{e}" for e in FER_PLUS] + ["votes_contempt", "votes_unknown", "votes_NF"]
    return told | {c: votes.get(c.removeprefix("votes_"), 0) for c in columns}


def write(path: Path, rows: list[dict]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write(
        folder / "faces_more.parquet",
        [
            row("a.jpg", "test", image=picture(0), happiness=7, fear=2, contempt=1),
            row("b.jpg", "select", image=picture(1), anger=10),
            row("c.jpg", "test", image=picture(2), sadness=5, neutral=5),
            row("d.jpg", "test", image=picture(3), NF=5, anger=5),
            row("e.jpg", "test", image=picture(4), contempt=4, unknown=6),
            row("f.jpg", "test", image=picture(5), NF=4, anger=1, contempt=5),
        ],
    )
    write(
        folder / "faces.parquet",
        [
            {"name": "x.jpg", "label": "anger", "image": picture(10, ending=".jpg")},
            {"name": "no votes.jpg", "label": "anger", "image": b"nothing"},
            {"name": "x.jpg", "label": "surprise", "image": picture(11)},
            {"name": "y.jpg", "label": "fear", "image": picture(12)},
        ],
    )
    write(
        folder / "face_votes.parquet",
        [
            row("y.jpg", "pairs", "fear", fear=9, surprise=1),
            row("x.jpg", "train", "surprise", surprise=10),
            row("x.jpg", "train", "anger", anger=6, disgust=4),
        ],
    )
    return folder


def change(path: Path, make) -> None:
    write(path, make(pq.read_table(path).to_pylist()))


def test_votes_are_in_the_order_of_the_seven_and_no_faces_are_left_out(root, caplog) -> None:
    with caplog.at_level(logging.INFO, voted_faces.__name__):
        faces = read_voted_faces(root, "test")
    assert faces.names == ("a.jpg", "c.jpg", "f.jpg")
    assert len(faces) == 3
    assert (faces.votes.dtype, faces.pixels.dtype) == (np.int64, np.uint8)
    # happiness, sadness, neutral, anger, surprise, disgust, fear
    assert faces.votes.tolist() == [[7, 0, 0, 0, 0, 0, 2], [0, 5, 5, 0, 0, 0, 0],
                                    [0, 0, 0, 1, 0, 0, 0]]  # fmt: skip
    np.testing.assert_allclose(faces.targets[0], [7 / 9, 0, 0, 0, 0, 0, 2 / 9], rtol=1e-6)
    assert faces.targets.dtype == np.float32
    np.testing.assert_allclose(faces.targets.sum(axis=1), 1, rtol=1e-6)
    assert faces.majority.tolist() == [0, -1, 3]
    assert faces.majority.dtype == np.int64
    for place, seed in enumerate((0, 2, 5)):
        assert np.array_equal(faces.pixels[place], pixels_of(picture(seed)))
    assert "2 of 5 pictures are left out: 1 are no faces, 1 have no vote" in caplog.text


def test_votes_find_their_picture_by_name_and_label(root) -> None:
    train = read_voted_faces(root, "train")
    assert train.names == ("x.jpg", "x.jpg")
    assert train.majority.tolist() == [SEVEN.index_of("surprise"), SEVEN.index_of("anger")]
    assert np.array_equal(train.pixels[0], pixels_of(picture(11)))
    assert np.array_equal(train.pixels[1], pixels_of(picture(10, ending=".jpg")))
    assert read_voted_faces(root, "pairs").names == ("y.jpg",)
    assert read_voted_faces(root, "select").majority.tolist() == [SEVEN.index_of("anger")]


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (b"", "a.jpg cannot be read"),
        (b"no picture", "a.jpg cannot be read"),
        (picture(0, ending=".jpg")[:700], "a.jpg cannot be read"),
        (picture(0, (48, 47)), "a.jpg is 47 x 48 px"),
        (picture(0, (48, 48, 3)), "a.jpg is not grey"),
    ],
)
def test_a_bad_picture_is_named_beside_all_others(root, image, says) -> None:
    path = root / "faces_more.parquet"

    def spoil(rows):
        rows[0]["image"], rows[5]["image"] = image, b"neither"
        return rows

    change(path, spoil)
    with pytest.raises(CorpusError, match=says) as raised:
        read_voted_faces(root, "test")
    assert str(path) in str(raised.value)
    assert "f.jpg cannot be read" in str(raised.value)


def test_what_is_missing_is_named(root, tmp_path) -> None:
    with pytest.raises(CorpusError, match=r"faces_more\.parquet does not exist"):
        read_voted_faces(tmp_path / "elsewhere", "test")
    with pytest.raises(CorpusError, match="no part 'tests'"):
        read_voted_faces(root, "tests")
    more = root / "faces_more.parquet"
    change(more, lambda rows: [r for r in rows if r["part"] == "select"])
    with pytest.raises(CorpusError, match="no face of the part 'test'"):
        read_voted_faces(root, "test")
    change(
        more, lambda rows: [r | {"votes_fear": None if r["name"] == "b.jpg" else 1} for r in rows]
    )
    with pytest.raises(CorpusError, match="column votes_fear: 1 rows are empty"):
        read_voted_faces(root, "select")
    change(more, lambda rows: [r | {"votes_fear": "many"} for r in rows])
    with pytest.raises(CorpusError, match="votes_fear: it must be whole numbers, not string"):
        read_voted_faces(root, "select")
    for column in ("image", "votes_fear", "votes_NF", "part"):
        change(more, lambda rows, c=column: [{k: v for k, v in r.items() if k != c} for r in rows])
    with pytest.raises(CorpusError, match="lacks the columns part, votes_fear, votes_NF, image"):
        read_voted_faces(root, "test")
    more.write_bytes(b"PAR1, or not")
    with pytest.raises(CorpusError, match="cannot be read as Parquet"):
        read_voted_faces(root, "test")


def test_votes_without_their_face_are_named(root) -> None:
    change(root / "faces.parquet", lambda rows: rows[:2])
    with pytest.raises(CorpusError, match=r"no face x\.jpg labelled surprise"):
        read_voted_faces(root, "train")
    (root / "faces.parquet").unlink()
    with pytest.raises(CorpusError, match=r"faces\.parquet does not exist"):
        read_voted_faces(root, "train")


def test_unpacked_faces_are_a_corpus_of_readable_pictures(root, tmp_path) -> None:
    told = []
    table = unpack_faces(root, "test", tmp_path / "out", lambda *counts: told.append(counts))
    assert table == tmp_path / "out" / "test.csv"
    assert table.read_text() == (
        "path,label,split\ntest/a.png,happiness,test\ntest/f.png,anger,test\n"
    )
    assert told == [(1, 2), (2, 2)]
    assert sorted(p.name for p in (tmp_path / "out").rglob("*")) == [
        "a.png", "f.png", "test", "test.csv"]  # fmt: skip
    corpus = read_table(table, labels=SEVEN)
    assert [(s.label, s.split) for s in corpus] == [("happiness", "test"), ("anger", "test")]
    clip = load_clip(corpus.samples[0].path, ClipSpec(size_px=48), detector=None)
    assert clip.warnings == ()
    assert not clip.has_audio
    assert len(np.unique(clip.frame_times_s)) == 1
    assert (clip.frames == pixels_of(picture(0))[:, :, None]).all()


def test_two_faces_of_one_name_become_two_files(root, tmp_path) -> None:
    table = unpack_faces(root, "train", tmp_path)
    assert table.read_text().splitlines()[1:] == [
        "train/x.png,surprise,test", "train/x_2.png,anger,test"]  # fmt: skip
    assert pixels_of((tmp_path / "train/x.png").read_bytes())[0, 0] == pixels_of(picture(11))[0, 0]


def test_faces_are_not_unpacked_again_unless_they_differ(root, tmp_path) -> None:
    table = unpack_faces(root, "test", tmp_path)
    first = tmp_path / "test" / "a.png"
    began = first.stat().st_ino, table.stat().st_ino
    unpack_faces(root, "test", tmp_path)
    assert (first.stat().st_ino, table.stat().st_ino) == began
    good = first.read_bytes()
    for spoil in (lambda: first.write_bytes(good[:100]), lambda: first.write_bytes(picture(99)),
                  first.unlink, lambda: table.write_text("path,label,split\ntest/a.png,fear,test\n"
                                                         "test/f.png,fear,test\n")):  # fmt: skip
        spoil()
        unpack_faces(root, "test", tmp_path)
        assert first.read_bytes() == good
        assert "a.png,happiness" in table.read_text()


@pytest.mark.parametrize("earlier", [False, True])
def test_faces_are_unpacked_whole_or_not_at_all(root, tmp_path, earlier) -> None:
    out = tmp_path / "out"
    if earlier:
        unpack_faces(root, "test", out)
    before = {p.relative_to(out): p.is_file() and p.read_bytes() for p in out.rglob("*")}
    change(root / "faces_more.parquet", lambda rows: [r | {"image": picture(7)} for r in rows])

    def interrupt(done, _):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack_faces(root, "test", out, interrupt)
    assert before == {p.relative_to(out): p.is_file() and p.read_bytes() for p in out.rglob("*")}
    unpack_faces(root, "test", out)
    assert (pixels_of((out / "test/a.png").read_bytes()) == pixels_of(picture(7))).all()


@pytest.mark.parametrize("own", ["test/holiday.png", "test.csv"])
def test_nothing_of_somebody_else_is_replaced(root, tmp_path, own) -> None:
    (tmp_path / own).parent.mkdir(exist_ok=True)
    (tmp_path / own).write_text("mine")
    with pytest.raises(CorpusError, match="remove it or name another folder"):
        unpack_faces(root, "test", tmp_path)
    assert (tmp_path / own).read_text() == "mine"
    if own == "test.csv":
        (tmp_path / own).unlink()
        unpack_faces(root, "test", tmp_path)
        (tmp_path / "test" / "more.txt").write_text("mine")
        (tmp_path / "test" / "a.png").unlink()
        with pytest.raises(CorpusError, match="remove it"):
            unpack_faces(root, "test", tmp_path)


@pytest.mark.skipif(not (REAL / "faces_more.parquet").is_file(), reason="the faces are not here")
def test_the_real_faces() -> None:
    faces = read_voted_faces(REAL, "test")
    assert faces.pixels.shape == (1729, 48, 48)
    assert set(BALLOT) <= set(pq.read_schema(REAL / "face_votes.parquet").names)
    assert np.bincount(faces.majority + 1).tolist() == [69, 412, 179, 621, 164, 223, 21, 40]
    place = faces.names.index("PublicTest_10116449.jpg")
    assert faces.votes[place].tolist() == [0, 1, 8, 1, 0, 0, 0]
