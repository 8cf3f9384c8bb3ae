"""Faces beside voices that they never met: none is shown twice, and who tests is not trained on."""

import csv
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.constructed import write_pairs
from claip_emo.corpora.table import read_table
from claip_emo.labels import SEVEN

from .test_voted_faces import picture, row, write

SPEAKERS = [f"actor{number}" for number in range(13, 19)]


@pytest.fixture
def root(tmp_path) -> Path:
    """Six actors, each with a clip of every class; five faces of a class, one shown in a clip."""
    root = tmp_path / "data"
    (root / "constructed").mkdir(parents=True)
    rows = []
    for speaker in SPEAKERS:
        for label in SEVEN:
            name = f"{speaker}-{label}.mp4"
            (root / "constructed" / name).write_bytes(b"not looked at")
            face = f"{label}0.jpg" if speaker == "actor13" else f"other-{name}.jpg"
            rows.append((name, label, speaker, face))
    with (root / "constructed" / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "speaker", "face"), *rows])
    faces, votes = [], []
    for place, label in enumerate(SEVEN):
        other, third = SEVEN[(place + 1) % 7], SEVEN[(place + 2) % 7]
        for number in range(5):
            name = f"{label}{number}.jpg"
            faces.append({"name": name, "label": "anger", "image": picture(10 * place + number)})
            # On the fifth most agree, but too few.
            shares = (5, 3, 2) if number == 4 else (7, 3, 0)
            told = dict(zip((label, other, third), shares, strict=True))
            votes.append(row(name, "train", **told))
    write(root / "faces.parquet", faces)
    write(root / "face_votes.parquet", votes)
    return root


def with_emodb(root: Path, label: str = "happiness", sound: bytes | None = b"happy") -> None:
    rows = [("03a01Fa.ogg", label, "emodb03"), ("16b10Lb.ogg", "boredom", "emodb16")]
    names, labels, speakers = (list(column) for column in zip(*rows, strict=True))
    table = {"name": names, "label": labels, "speaker": speakers, "audio": [sound, b"bored"]}
    pq.write_table(pa.table(table), root / "voices_emodb.parquet")


def rows_of(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.open()))


def test_the_table_keeps_the_parts_and_shows_each_face_once(root, tmp_path) -> None:
    table = write_pairs(root, tmp_path / "out", faces_per_class=9)  # there are three to draw

    corpus = read_table(table, labels=SEVEN)
    parts = Counter((s.split, s.path.suffix) for s in corpus)
    assert parts == {("train", ".mp4"): 14, ("validation", ".mp4"): 14, ("test", ".mp4"): 14,
                     ("train", ".png"): 21}  # fmt: skip
    speakers = {s.split: {t.speaker for t in corpus if t.split == s.split} for s in corpus}
    assert speakers["validation"] == {"actor15", "actor16"}
    assert speakers["test"] == {"actor17", "actor18"}
    assert speakers["train"] <= {"actor13", "actor14"}
    added = [s for s in corpus if s.path.suffix == ".png"]
    assert len({s.path for s in added}) == len(added)
    originals = {label: [cv2.imdecode(np.frombuffer(picture(10 * place + n), np.uint8), 0)
                         for n in range(5)] for place, label in enumerate(SEVEN)}  # fmt: skip
    for sample in added:
        assert f"-{sample.label}.mp4" in str(sample.audio_path)  # a voice of the same class
        shown = cv2.imread(str(sample.path), cv2.IMREAD_UNCHANGED)
        same = [np.array_equal(shown, face) for face in originals[sample.label]]
        # Neither the one that a clip shows, nor the one on which too few agree.
        assert sum(same[1:4]) == 1


def test_utterances_of_the_seven_classes_are_taken_too(root, tmp_path) -> None:
    with_emodb(root)
    table = write_pairs(root, tmp_path / "out", faces_per_class=3)
    heard = {(r["audio"], r["label"]) for r in rows_of(table) if r["speaker"] == "emodb03"}
    assert heard == {("voices/03a01Fa.ogg", "happiness")}
    happy = {r["speaker"] for r in rows_of(table) if r["audio"] and r["label"] == "happiness"}
    assert len(happy) > 1  # not one voice for all
    assert [p.name for p in (tmp_path / "out" / "voices").iterdir()] == ["03a01Fa.ogg"]
    assert (tmp_path / "out" / "voices" / "03a01Fa.ogg").read_bytes() == b"happy"


def test_the_same_seed_draws_the_same(root, tmp_path) -> None:
    texts = [
        write_pairs(root, tmp_path / "out", faces_per_class=1, seed=seed).read_text()
        for seed in (0, 0, 1, 2, 3)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 2


def test_a_speaker_who_is_not_there_is_named(root, tmp_path) -> None:
    with pytest.raises(CorpusError, match="no clip of actor99"):
        write_pairs(root, tmp_path / "out", faces_per_class=1, test_speakers=("actor99",))
    assert not (tmp_path / "out").exists()


def test_a_class_nobody_speaks_is_named(root, tmp_path) -> None:
    with pytest.raises(CorpusError, match=r"no voice of happiness, .* to train on"):
        write_pairs(root, tmp_path / "out", faces_per_class=1, select_speakers=SPEAKERS[:4])


def test_a_folder_that_is_a_link_is_left_by_where_it_leads(root, tmp_path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    table = write_pairs(root, tmp_path / "link" / "out", faces_per_class=1)
    assert all(sample.path.is_file() for sample in read_table(table, labels=SEVEN))


@pytest.mark.parametrize(
    ("row", "said"), [({"label": "anger"}, "correct one"), ({"sound": None}, "there is no audio")]
)
def test_an_utterance_that_contradicts_itself_or_is_silent_is_named(
    root, tmp_path, row, said
) -> None:
    with_emodb(root, **row)
    with pytest.raises(CorpusError, match=said):
        write_pairs(root, tmp_path / "out", faces_per_class=1)
    assert not list((tmp_path / "out").rglob("*.ogg"))


def test_a_table_of_your_own_is_not_overwritten(root, tmp_path) -> None:
    (tmp_path / "pairs.csv").write_text("path,label\nmine.mp4,anger\n")
    with pytest.raises(CorpusError, match="no table of pairs"):
        write_pairs(root, tmp_path, faces_per_class=1)
    assert "mine.mp4" in (tmp_path / "pairs.csv").read_text()


def test_without_the_faces_that_clips_show_none_can_be_left_out(root, tmp_path) -> None:
    clips = root / "constructed" / "clips.csv"
    clips.write_text(clips.read_text().replace(",face\n", ",picture\n"))
    with pytest.raises(CorpusError, match="no column face"):
        write_pairs(root, tmp_path / "out", faces_per_class=1)
