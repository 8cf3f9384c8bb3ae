"""claip-emo corpus: what it prints and how it ends."""

import json
import shutil
from pathlib import Path

import pytest

from claip_emo.corpora.published import NAMES
from claip_emo.corpora.synthetic import make_clip

from ..corpora.test_voted_faces import picture, row
from ..corpora.test_voted_faces import write as write_faces

KEYS = {
    "corpus", "folds", "expected", "missing", "unreadable", "without_sound", "duplicates",
    "bad_labels", "dropped", "absent_folds", "agrees",
}  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make_clip(path, person=0, emotion="fear", size_px=32, fps=5, duration_s=0.6)


@pytest.fixture
def own(tmp_path: Path, clip) -> Path:
    """A list of a corpus of which nothing is published: it can be without fault."""
    for part, number in (("train", 1), ("test", 2)):
        (tmp_path / f"films_split01_{part}.csv").write_text(f"clips/{number}.mp4 none {number}\n")
        (tmp_path / "clips").mkdir(exist_ok=True)
        shutil.copy(clip, tmp_path / "clips" / f"{number}.mp4")
    return tmp_path


ORDER = ("--label-order", "calm,happy,sad")


def test_a_good_corpus_ends_with_0(command, own) -> None:
    done = command("corpus", "check", "lists", own, *ORDER, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report) >= KEYS
    assert report["folds"]["1"]["train"] == {
        "n": 1, "per_class": {"calm": 0, "happy": 1, "sad": 0},
    }  # fmt: skip
    assert report["missing"] == report["unreadable"] == report["without_sound"] == []
    shown = command("corpus", "check", "lists", own, *ORDER)
    assert shown.returncode == 0
    assert "lists, films, fold 1" in shown.stdout
    assert "No counts are published" in shown.stdout


@pytest.mark.parametrize("fault", ["missing", "unreadable", "duplicates", "bad_labels"])
def test_each_fault_ends_with_1(command, own, fault: str) -> None:
    if fault == "missing":
        (own / "clips/2.mp4").unlink()
    elif fault == "unreadable":
        (own / "clips/2.mp4").write_bytes(b"no video")
    else:
        row = "clips/1.mp4 none 1\n" if fault == "duplicates" else "clips/1.mp4 none 9\n"
        name = "films_split01_train.csv"
        old = (own / name).read_text() if fault == "duplicates" else ""
        (own / name).write_text(old + row)
    done = command("corpus", "check", "lists", own, *ORDER, "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    clip = "1" if fault in ("duplicates", "bad_labels") else "2"
    assert list(report[fault]) == [clip]
    assert [
        key for key in ("missing", "unreadable", "duplicates", "bad_labels") if report[key]
    ] == [fault]
    shown = command("corpus", "check", "lists", own, *ORDER)
    assert shown.returncode == 1
    assert f": {clip}" in shown.stdout


def test_a_clip_without_sound_is_told_and_no_fault(command, own) -> None:
    make_clip(own / "clips/2.mp4", person=0, emotion="fear", size_px=32, fps=5, duration_s=0.6,
              with_audio=False)  # fmt: skip
    done = command("corpus", "check", "lists", own, *ORDER)
    assert done.returncode == 0
    assert "1 without sound: 2" in done.stdout


def test_differences_are_marked_beside_the_published_counts(command, tmp_path) -> None:
    for part, text in (("train", "1,1\n2,7\n"), ("test", "3,1\n")):
        (tmp_path / f"{part}_set_1.csv").write_text("video_name,label\n" + text)
    done = command("corpus", "check", "dfew", tmp_path, "--folds", "1")
    assert done.returncode == 1
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.split()}
    assert rows["happiness"] == ["1", "≠", "1956", "1", "≠", "489"]
    assert rows["all"] == ["2", "≠", "9356", "1", "≠", "2341"]
    assert "3 missing: 00001, 00002, 00003" in done.stdout
    assert "The counts or labels differ" in done.stdout
    assert "No split files of folds" not in done.stdout  # they were not asked for


def test_split_files_alone_are_enough_for_the_counts(command, tmp_path) -> None:
    rows = [f"{number},{number % 7}" for number in range(30)]
    (tmp_path / "train_set_2.csv").write_text("\n".join(rows[:20]))
    (tmp_path / "test_set_2.csv").write_text("\n".join(rows[20:]))
    done = command("corpus", "check", "dfew", tmp_path)
    assert done.returncode == 1
    assert "30 missing: 00000, 00001" in done.stdout
    assert "and 20 more" in done.stdout
    assert "No split files of folds 1, 3, 4, 5." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lists", "{own}"], "--label-order"),
        (["lists", "{own}", *ORDER, "--folds", "2"], "no lists of fold 2"),
        (["lists", "{own}", *ORDER, "--folds", "7"], "no fold 7"),
        (["lists", "{own}", *ORDER, "--folds", "1,two"], "such as 1,2"),
        (["lists", "{own}", *ORDER, "--folds", ""], "such as 1,2"),
        (["lists", "{own}", *ORDER, "--variant", "mafw"], "only of films"),
        (["lists", "{own}", *ORDER, "--clips", "nowhere"], "--clips nowhere does not exist"),
        (["list", "{own}"], "Did you mean 'lists'"),
        (["dfew", "{own}"], "no split files of fold 1"),
        (["dfew", "{own}/nowhere"], "does not exist"),
        (["dfew"], "PATH"),
    ],
)
def test_wrong_usage_is_told_and_ends_with_2(command, own, arguments, says: str) -> None:
    done = command("corpus", "check", *(a.format(own=own) for a in arguments), "--json")
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_corpora_are_listed(command) -> None:
    done = command("corpus", "list", "--json")
    assert done.returncode == 0
    known = json.loads(done.stdout)
    assert [corpus["name"] for corpus in known] == list(NAMES)
    for corpus in known:
        assert all(corpus[key] for key in ("title", "url", "licence", "layout"))
    shown = command("corpus", "list").stdout
    for corpus in known:
        assert corpus["url"] in shown


def test_voted_faces_become_a_table_that_is_scored(command, run_folder, tmp_path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    write_faces(
        root / "faces_more.parquet",
        [
            row(f"{number}.jpg", "test", image=picture(number), **{name: 8, "contempt": 2})
            for number, name in enumerate(("happiness", "anger"))
        ],
    )
    done = command("corpus", "faces", root, "--out", tmp_path / "faces")
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "faces" / "test.csv") in done.stderr

    scored = command(
        "evaluate", "--model", run_folder, "--table", tmp_path / "faces" / "test.csv",
        "--face-detector", "none", "--explain", 0, "--out", tmp_path / "scored", "--json",
    )  # fmt: skip
    assert scored.returncode == 0, scored.stderr
