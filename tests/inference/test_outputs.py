"""Results have a name each, and take the place of nothing that is not theirs."""

import json
from pathlib import Path

import pytest

from claip_emo.inference.explain import KEYS as EXPLAINED
from claip_emo.inference.outputs import check_folder, shown_name
from claip_emo.inference.timeline_files import KEYS

SUFFIXES = (".json", ".csv", ".srt", ".png")


@pytest.fixture
def video(tmp_path) -> Path:
    path = tmp_path / "videos" / "talk.mp4"
    path.parent.mkdir()
    path.write_bytes(b"a video")
    return path


def result(folder: Path, of: Path, keys=KEYS) -> None:
    folder.mkdir(exist_ok=True)
    described = {"path": str(of)} | dict.fromkeys(keys)
    (folder / "talk.json").write_text(json.dumps(described))
    (folder / "talk.srt").write_text("1")


def test_a_new_folder_and_one_with_its_own_results(video, tmp_path) -> None:
    for folder in (tmp_path / "new", video.parent):
        check_folder(folder, [video], SUFFIXES, KEYS)
        result(folder, video)
        check_folder(folder, [video], SUFFIXES, KEYS)


def test_a_path_may_be_written_otherwise(video, tmp_path, monkeypatch) -> None:
    result(tmp_path / "out", video)
    monkeypatch.chdir(tmp_path)
    check_folder(tmp_path / "out", [Path("videos/talk.mp4")], SUFFIXES, KEYS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_that_are_no_results_are_kept(video, suffix: str) -> None:
    (video.parent / f"talk{suffix}").write_text("[1]")
    with pytest.raises(ValueError, match=rf"talk\{suffix} is there already, and is no such result"):
        check_folder(video.parent, [video], SUFFIXES, KEYS)
    check_folder(video.parent, [video.with_name("other.mp4")], SUFFIXES, KEYS)


def test_results_of_another_kind_or_of_another_file_are_kept(video, tmp_path) -> None:
    result(tmp_path / "out", video, EXPLAINED)
    with pytest.raises(ValueError, match="is no such result"):
        check_folder(tmp_path / "out", [video], SUFFIXES, KEYS)
    result(tmp_path / "out", tmp_path / "elsewhere" / "talk.mp4")
    with pytest.raises(ValueError, match=r"is of .*elsewhere"):
        check_folder(tmp_path / "out", [video], SUFFIXES, KEYS)


def test_figures_do_not_make_a_folder_of_sounds_one_of_frames(tmp_path) -> None:
    sound = tmp_path / "a.wav"
    sound.write_bytes(b"a sound")
    with pytest.raises(ValueError, match="is what is read"):
        check_folder(tmp_path, [sound], SUFFIXES, KEYS)
    (tmp_path / "b.mp4").write_bytes(b"a video")
    check_folder(tmp_path, [sound], SUFFIXES, KEYS)


def test_nothing_is_written_among_the_frames_that_are_read(tmp_path) -> None:
    (tmp_path / "1.png").write_bytes(b"an image")
    with pytest.raises(ValueError, match="is what is read"):
        check_folder(tmp_path, [tmp_path], SUFFIXES, KEYS)


def test_a_file_is_no_folder(video) -> None:
    with pytest.raises(ValueError, match="is a file; give a folder"):
        check_folder(video, [video], SUFFIXES, KEYS)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a/talk.mp4", "talk.mp4"), ("a/" + "x" * 30 + ".mp4", "…xxxxxx.mp4"),
        ("$x$.mp4", r"\$x\$.mp4"), ("\udcff.mp4", r"\udcff.mp4"[-10:]),
    ],
)  # fmt: skip
def test_names_are_shown_by_their_end(path: str, shown: str) -> None:
    assert shown_name(path, 10) == shown
