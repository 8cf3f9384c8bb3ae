"""claip-emo predict --timeline: objects, exit codes and files; no traceback on any input."""

import csv
import json
import os

import cv2
import numpy as np
import pytest

from claip_emo.inference import render as rendering
from claip_emo.media.faces import Haar
from claip_emo.media.source import open_source

from ..inference.made_timelines import FPS, video, voiced
from ..media.made_people import Chins, Head
from ..media.make_media import ramp, tone, write

KEYS = {"path", "duration_s", "window_s", "hop_s", "people", "warnings", "error"}
KINDS = ("csv", "json", "vtt", "srt", "png")
TWO = [Head(1, 14, 30, 56), Head(2, 100, 40, 44)]


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    path = tmp_path_factory.mktemp("talk") / "talk.mkv"
    return video(path, [(16, TWO, 0), (8, TWO[1:], 3)], voiced(3.0))


@pytest.fixture
def chins(monkeypatch):
    """The command's detector finds made faces."""
    monkeypatch.setattr(Haar, "detect", Chins().detect.__func__)
    monkeypatch.setattr(Haar, "calls", 0, raising=False)


@pytest.fixture
def timeline(command, run_folder, chins):
    def call(*arguments):
        given = ("--model", run_folder, "--face-detector", "haar")
        done = command("predict", *arguments, *given)
        assert "Traceback" not in done.stderr + done.stdout
        return done

    return call


def rows(done) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_object_for_a_file(timeline, talk) -> None:
    done = timeline(talk, "--timeline", "--window", "1", "--hop", "0.25", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = rows(done)
    assert set(row) == KEYS
    assert (row["path"], row["error"]) == (str(talk), None)
    assert (row["window_s"], row["hop_s"]) == (1, 0.25)
    assert row["duration_s"] == pytest.approx(3, abs=0.03)
    assert [person["id"] for person in row["people"]] == list(range(1, len(row["people"]) + 1))
    for person in row["people"]:
        assert set(person) == {"id", "first_s", "last_s", "segments", "windows"}
        assert person["windows"]
        for window in person["windows"]:
            assert person["first_s"] <= window["start_s"] < window["end_s"] <= person["last_s"]
            assert sum(window["scores"].values()) == pytest.approx(1, abs=1e-5)
            assert window["modalities"] == ["video", "audio"]
        for segment in person["segments"]:
            assert set(segment) == {"start_s", "end_s", "label", "score"}
            assert segment["label"] in window["scores"]


def test_faces_all_has_everybody(timeline, talk) -> None:
    (main,) = rows(timeline(talk, "--timeline", "--json"))
    (everybody,) = rows(timeline(talk, "--timeline", "--faces", "all", "--json"))
    seen = [sum(len(p["windows"]) for p in row["people"]) for row in (main, everybody)]
    assert len(everybody["people"]) == 2
    assert seen[0] < seen[1]


def test_what_only_timelines_have_asks_for_one(timeline, talk) -> None:
    for arguments in (("--window", "1"), ("--hop", "1"), ("--faces", "main")):
        (row,) = rows(timeline(talk, *arguments, "--json"))
        assert set(row) == KEYS
    assert (row["window_s"], row["hop_s"]) == (2, 0.5)


def test_a_table_for_people(timeline, talk) -> None:
    done = timeline(talk, "--timeline", "--faces", "all")
    lines = done.stdout.splitlines()
    assert lines[0] == str(talk)
    assert lines[1].split() == ["from", "to", "person", "emotion", "score"]
    first = lines[2].split()
    assert (first[0], first[2]) == ("0:00.0", "1")
    assert any("everybody's" in line for line in lines)


def test_out_writes_all_kinds_for_each_file(timeline, talk, tmp_path) -> None:
    again = tmp_path / "b" / "talk.mkv"
    again.parent.mkdir()
    again.write_bytes(talk.read_bytes())
    out = tmp_path / "new" / "folder"
    done = timeline(talk, again, "--out", out, "--json")  # --out alone asks for timelines
    assert done.returncode == 0
    assert {file.name for file in out.iterdir()} == {
        f"{name}.{kind}" for name in ("talk", "talk-2") for kind in KINDS
    }
    first, second = rows(done)
    assert json.loads((out / "talk.json").read_text("utf-8")) == first
    assert json.loads((out / "talk-2.json").read_text("utf-8")) == second
    table = list(csv.DictReader((out / "talk.csv").open(encoding="utf-8")))
    assert len(table) == sum(len(person["windows"]) for person in first["people"])
    assert cv2.imread(str(out / "talk.png")) is not None


def test_render_to_a_file_and_to_a_folder(timeline, talk, tmp_path) -> None:
    done = timeline(talk, "--render", tmp_path / "one" / "x.mp4", "--json")
    assert done.returncode == 0, done.stderr
    new, old = open_source(tmp_path / "one" / "x.mp4"), open_source(talk)
    np.testing.assert_allclose(new.times_s, old.times_s, atol=2e-3)
    assert new.duration_s == pytest.approx(old.duration_s, abs=1 / FPS)
    sound = write(tmp_path / "voice.wav", None, tone(1.0))
    done = timeline(talk, sound, "--render", tmp_path / "many", "--json")
    assert done.returncode == 1
    assert [file.name for file in (tmp_path / "many").iterdir()] == ["talk.mp4"]
    good, bad = rows(done)
    assert good["error"] is None
    assert "no picture in it to draw on" in bad["error"]
    assert bad["people"]  # what was found is told all the same


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Files of every kind; those named bad_* yield nothing."""
    folder = tmp_path_factory.mktemp("zoo")
    write(folder / "no_sound.mp4", ramp(20))
    write(folder / "one_frame.mp4", ramp(1))
    write(folder / "one_pixel.mkv", ramp(4, 1, 1), codec="ffv1")
    write(folder / "odd.mkv", ramp(4, 33, 57), tone(0.2), codec="ffv1")
    write(folder / "ribbon.mkv", ramp(4, 2, 300), codec="ffv1")
    write(folder / "turned.mp4", ramp(20, 64, 96), tone(0.8), rotation=90)
    write(folder / "fast.mp4", ramp(60), tone(0.5), fps=120)
    write(folder / "silent.mp4", ramp(20), np.zeros(38_400, np.float32))
    write(folder / "reordered.avi", ramp(30), codec="libx264")
    write(folder / "raw.h264", ramp(12))
    write(folder / "web.webm", ramp(10), tone(0.4))
    write(folder / "late.mkv", ramp(20), tone(0.5), sound_start_s=0.6)
    times = [0.0, 0.01, 0.5, 0.52, 2.0]
    write(folder / "variable.mkv", ramp(5), tone(1.0), times_s=times)
    write(folder / "名前 ñ.mp4", ramp(8), tone(0.3))
    half = write(folder / "half.mkv", ramp(60), tone(2.4))
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    write(folder / "sound.wav", None, tone(0.8))
    (folder / "bad_empty.mp4").write_bytes(b"")
    (folder / "bad_text.mp4").write_text("not a video\n" * 30)
    cut = write(folder / "bad_cut.mp4", ramp(50), tone(2.0))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    write(folder / "bad_silence.wav", None, np.zeros(48_000, np.float32))
    return folder


def test_every_input_is_a_row(timeline, zoo, tmp_path) -> None:
    files = [*sorted(zoo.iterdir()), zoo / "bad_missing.mp4"]
    videos = tmp_path / "videos"
    done = timeline(*files, "--render", videos, "--json", "--timeline")
    assert done.returncode == 1
    found = rows(done)
    assert [row["path"] for row in found] == [str(file) for file in files]
    for row, file in zip(found, files, strict=True):
        assert set(row) == KEYS
        if file.name.startswith("bad_"):
            assert row["error"].startswith(str(file))
            assert row["people"] == []
            assert not (videos / f"{file.stem}.mp4").exists()
            continue
        assert row["people"], row
        if file.suffix == ".wav":
            assert "no picture" in row["error"]
            continue
        assert row["error"] is None, row
        new, old = open_source(videos / f"{file.stem}.mp4"), open_source(file)
        assert len(new.times_s) == len(old.times_s)
        np.testing.assert_allclose(np.diff(new.times_s), np.diff(old.times_s), atol=2e-3)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".partial")]


def test_a_folder_of_frames(timeline, tmp_path) -> None:
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(ramp(6)):
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), frame)
    done = timeline(tmp_path / "frames", "--timeline", "--render", tmp_path / "x.mp4", "--json")
    assert done.returncode == 0, done.stdout
    assert len(open_source(tmp_path / "x.mp4").times_s) == 6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--timeline", "--window", "0.01"), "--window"),
        (("--timeline", "--hop", "3"), "--hop"),
        (("--timeline", "--faces", "some"), "--faces"),
        (("--render", "out.avi"), "is named .mp4"),
        (("--out", __file__), "give a folder"),
        (("more.mp4", "--render", "out.mp4"), "several videos need a folder"),
    ],
)
def test_wrong_options_are_refused(timeline, talk, arguments, says: str) -> None:
    done = timeline(talk, *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""


def test_no_video_that_is_given_is_overwritten(timeline, talk, tmp_path) -> None:
    """Neither its own, nor another one whose name the rendered one would have."""
    done = timeline(talk, "--render", talk)
    assert done.returncode == 2
    one, other = tmp_path / "talk.mp4", tmp_path / "a" / "talk.mp4"
    other.parent.mkdir()
    for path in (one, other):
        write(path, ramp(4))
    before = one.read_bytes()
    for order in ((other, one), (one, other)):
        done = timeline(*order, "--render", tmp_path)
        assert done.returncode == 2
        assert "one of the files" in done.stderr
        assert one.read_bytes() == before


def test_files_that_no_timeline_wrote_are_kept(timeline, talk, tmp_path) -> None:
    """Such as subtitles beside their video."""
    subtitles = tmp_path / "talk.srt"
    subtitles.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello.\n")
    done = timeline(talk, "--out", tmp_path)
    assert done.returncode == 2
    assert "is no such result" in done.stderr
    assert [*tmp_path.iterdir()] == [subtitles]
    assert "Hello." in subtitles.read_text()
    subtitles.unlink()
    for _ in range(2):  # its own it writes anew
        assert timeline(talk, "--out", tmp_path).returncode == 0
    assert "Hello." not in subtitles.read_text()


def test_videos_that_are_not_drawn_here_are_kept(timeline, talk, tmp_path) -> None:
    sound = write(tmp_path / "voice.wav", None, tone(1.0))
    other = write(tmp_path / "talk.mp4", ramp(4))
    before = other.read_bytes()
    done = timeline(talk, sound, "--render", tmp_path)
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert other.read_bytes() == before
    other.unlink()
    for _ in range(2):  # its own it writes anew
        timeline(talk, sound, "--render", tmp_path)
    assert rendering.is_rendered(other)
    assert not rendering.is_rendered(talk)


def test_frames_that_are_read_are_no_place_for_results(timeline, tmp_path) -> None:
    cv2.imwrite(str(tmp_path / f"{tmp_path.name}.png"), ramp(1)[0])
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    done = timeline(tmp_path, "--out", tmp_path)
    assert done.returncode == 2
    assert "is what is read" in done.stderr
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_what_fails_while_it_is_written_is_a_row(timeline, talk, tmp_path, monkeypatch) -> None:
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rendering, "encode", full)
    done = timeline(talk, "--render", tmp_path / "x.mp4", "--json")
    assert done.returncode == 1
    assert "No space left" in rows(done)[0]["error"]
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_no_partial_file(timeline, talk, tmp_path, monkeypatch) -> None:
    def interrupted(path, *_, **__):
        path.write_bytes(b"half of a video")
        raise KeyboardInterrupt

    monkeypatch.setattr(rendering, "encode", interrupted)
    done = timeline(talk, talk.parent / "missing.mp4", "--render", tmp_path / "out", "--json")
    assert done.returncode == 130
    assert done.stdout == ""
    assert [*(tmp_path / "out").iterdir()] == []


def test_names_that_are_no_utf8_have_files(timeline, tmp_path) -> None:
    path = tmp_path / os.fsdecode(b"t\xff.mp4")
    write(tmp_path / "plain.mp4", ramp(6)).rename(path)
    done = timeline(path, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stdout
    assert len([*(tmp_path / "out").iterdir()]) == len(KINDS)
