"""Folders, patterns and lists become clips, each once."""

import os
from pathlib import Path

import pytest

from claip_emo.inference.batch_inputs import InputError, clips_of


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "b.mp4", "a.wav", "notes.docx", ".hidden.mp4", "deep/er/c.webm", "deep/d.MP4",
        "deep/.cache/e.mp4", "frames/1.png", "frames/2.png", "frames/voice.wav",
        "deep/frames/1.jpg", "[odd]/f.mp4",
    ):  # fmt: skip
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def here(paths) -> list[str]:
    return [os.path.abspath(path) for path in paths]


ALL = [
    "in/[odd]/f.mp4", "in/a.wav", "in/b.mp4", "in/deep/d.MP4", "in/deep/er/c.webm",
    "in/deep/frames", "in/frames",
]  # fmt: skip


def test_a_folder_is_all_that_is_in_it(tree) -> None:
    assert clips_of(["in"]) == clips_of([str(tree / "in")]) == here(ALL)


def test_one_file_has_one_name_wherever_it_is_named(tree, monkeypatch) -> None:
    (wanted,) = clips_of(["in/b.mp4", "./in/b.mp4", str(tree / "in" / "b.mp4"), "in/../in/b.mp4"])
    monkeypatch.chdir(tree / "in")
    assert clips_of(["b.mp4"]) == [wanted]
    monkeypatch.chdir(tree / "in" / "deep")
    assert clips_of(["b.mp4"]) != [wanted]


def test_texts_among_what_a_pattern_matches_are_no_lists(tree) -> None:
    (tree / "in" / "LICENSE.txt").write_text("Whoever\nreads this")
    (tree / "in" / "more.csv").write_text("video\n1")
    assert clips_of(["in/*"]) == here(sorted([*ALL, "in/notes.docx"]))
    (tree / "in" / "more.csv").write_text("path\nb.mp4")
    assert clips_of(["in/*.csv"]) == here(["in/b.mp4"])


def test_links_to_folders_are_not_followed_into_circles(tree) -> None:
    (tree / "in" / "loop").symlink_to(tree / "in")
    (tree / "in" / "link.mp4").symlink_to(tree / "in" / "b.mp4")
    assert clips_of(["in"]) == here(sorted([*ALL, "in/link.mp4"]))


def test_patterns(tree) -> None:
    assert clips_of(["in/*.mp4"]) == here(["in/b.mp4"])
    assert clips_of(["in/**/*.[mM][pP]4"]) == here(["in/[odd]/f.mp4", "in/b.mp4", "in/deep/d.MP4"])
    assert clips_of(["in/f*"]) == here(["in/frames"])
    with pytest.raises(InputError, match="no file has such a name"):
        clips_of(["in/*.avi"])


def test_a_name_with_brackets_is_a_name_where_there_is_such_a_file(tree) -> None:
    assert clips_of(["in/[odd]"]) == here(["in/[odd]/f.mp4"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "id,path,label\n1,b.mp4,joy\n2,deep/d.MP4,\n\n3,,\n"),
        ("list.csv", "\ufeffpath\nb.mp4\ndeep/d.MP4\n"),
        ("list.csv", 'file\n"b.mp4"\ndeep/d.MP4\r\n'),
        ("list.tsv", "path\tlabel\nb.mp4\tjoy\ndeep/d.MP4\tfear"),
        ("list.txt", "b.mp4\n\ndeep/d.MP4\r\n"),
    ],
)
def test_lists(tree, name: str, text: str) -> None:
    (tree / "in" / name).write_bytes(text.encode())
    assert clips_of([f"in/{name}"]) == here(["in/b.mp4", "in/deep/d.MP4"])


def test_a_list_may_name_other_places_and_what_is_missing(tree) -> None:
    (tree / "in" / "list.txt").write_text(f"{tree / 'in' / 'a.wav'}\nmissing.mp4\nb, c.mp4\n")
    found = clips_of(["in/list.txt"])
    assert found == here(["in/a.wav", "in/missing.mp4", "in/b, c.mp4"])


def test_a_list_without_paths_says_which_columns_it_has(tree) -> None:
    (tree / "in" / "list.csv").write_text("video,label\nb.mp4,joy\n")
    with pytest.raises(InputError, match=r"none of its columns is named 'path' \(.* video, label"):
        clips_of(["in/list.csv"])
    (tree / "in" / "list.csv").write_text("")
    with pytest.raises(InputError, match="they are none"):
        clips_of(["in/list.csv"])


def test_each_once_in_the_order_in_which_they_are_named(tree) -> None:
    rest = [path for path in ALL if path != "in/b.mp4"]
    assert clips_of(["in/b.mp4", "in", "in/a.wav"]) == here(["in/b.mp4", *rest])
    assert clips_of(["missing.mp4", "in/b.mp4", "missing.mp4"]) == here(["missing.mp4", "in/b.mp4"])


def test_a_picture_hides_nothing(tree) -> None:
    (tree / "in" / "b.mp4").unlink()
    (tree / "in" / "cover.jpg").touch()
    rest = [path for path in ALL if path not in ("in/a.wav", "in/b.mp4")]
    assert sorted(clips_of(["in"])) == here(sorted(["in", *rest]))  # with a.wav for its sound
    (tree / "in" / "second.wav").touch()
    assert clips_of(["in"]) == here(sorted(["in/a.wav", "in/second.wav", *rest]))


def test_an_empty_folder_is_nothing(tree) -> None:
    (tree / "empty").mkdir()
    assert clips_of(["empty"]) == []
