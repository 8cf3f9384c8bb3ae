"""Rendered videos: boxes where the faces are, nothing where nobody is, times as they were."""

from pathlib import Path

import numpy as np
import pytest

from claip_emo.inference import overlay
from claip_emo.inference import render as module
from claip_emo.inference.abstention import ALWAYS
from claip_emo.inference.colours import OF_EMOTIONS, OTHERS, colours_of
from claip_emo.inference.overlay import between
from claip_emo.inference.render import check_out, render
from claip_emo.inference.timeline_result import (
    ScoredWindow,
    Stretch,
    Timeline,
    TimelinePerson,
    segments_of,
)
from claip_emo.inference.windows import curve_of
from claip_emo.media.decode import MediaError
from claip_emo.media.source import open_source

from ..media.made_people import Head, scene
from ..media.make_media import click_times, clicks, write
from .made_timelines import FPS, WINDOW_S, Seeing, seeing, video, voiced

A = Head(1, 60, 30, 50)
LARGE = {"height": 480, "width": 640}  # so that lines are some px thick and bars leave room


def made_of(path, **how) -> Timeline:
    return seeing().timeline(path, **{"window_s": WINDOW_S} | how)


def frames_of(path: Path) -> list[np.ndarray]:
    source = open_source(path)
    return [frame for _, frame in source.frames(range(len(source.times_s)))]


def colour(name: str) -> np.ndarray:
    (found,) = colours_of((name,))
    return np.array([int(found[i : i + 2], 16) for i in (1, 3, 5)])


def near(frame: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Pixels of about one colour: the video's halves its resolution."""
    return np.abs(frame.astype(int) - wanted).max(axis=-1) < 60


def is_framed(frame: np.ndarray, box: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether there is a line of a colour along all four sides of a box."""
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    hit = near(frame, wanted)
    height, width = hit.shape
    sides = []
    for x in (x0, x1):
        if 2 <= x < width - 2:
            part = hit[max(y0, 0) : min(y1, height), x - 2 : x + 3].any(axis=1)
            sides.append(part.mean())
    for y in (y0, y1):
        if 2 <= y < height - 2:
            part = hit[y - 2 : y + 3, max(x0, 0) : min(x1, width)].any(axis=0)
            sides.append(part.mean())
    return len(sides) >= 2 and min(sides) > 0.6


def at(timeline: Timeline, time_s: float):
    """The box and the label of the only person at a time."""
    stretch = next(
        s for p in timeline.people for s in p.stretches if s.start_s <= time_s < s.end_s
    )  # fmt: skip
    label = next(s.label for s in stretch.segments if s.start_s <= time_s < s.end_s)
    return between(time_s, stretch.times_s, stretch.boxes_px), label


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """Two seconds of somebody who walks, and one of a wall."""
    folder = tmp_path_factory.mktemp("walk")
    steps = [(1, [Head(1, 240 + 8 * n, 120, 150)], 0) for n in range(16)]
    path = video(folder / "walk.mkv", [*steps, (8, [], 3)], voiced(3.0), **LARGE)
    timeline = made_of(path)
    render(timeline, folder / "out.mp4")
    return path, timeline, folder / "out.mp4"


def test_boxes_are_where_the_face_is_in_the_colour_of_its_label(walk) -> None:
    _, timeline, out = walk
    frames, times = frames_of(out), open_source(out).times_s
    for number in (0, 5, 10, 15):
        box, label = at(timeline, times[number] + 1e-3)
        assert is_framed(frames[number], box, colour(label))
        assert not is_framed(frames[number], box + 20, colour(label))


def test_nothing_is_drawn_where_nobody_is(walk) -> None:
    path, _, out = walk
    old, new = frames_of(path)[16:], frames_of(out)[16:]
    for one, other in zip(old, new, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 3
    assert np.abs(frames_of(path)[3].astype(int) - frames_of(out)[3]).mean() > 8


def test_frames_keep_their_number_their_times_and_the_sound(walk) -> None:
    path, _, out = walk
    old, new = open_source(path), open_source(out)
    np.testing.assert_allclose(new.times_s, old.times_s, atol=2e-3)
    assert new.duration_s == pytest.approx(old.duration_s, abs=1 / FPS)
    assert new.sound_s == pytest.approx(old.sound_s, abs=0.05)


def test_sound_is_in_its_place(tmp_path) -> None:
    path = video(tmp_path / "a.mp4", [(16, [A], 0)], clicks(2.0, [0.5, 1.5]))
    timeline = seeing().timeline(path, modality="video", window_s=WINDOW_S)
    render(timeline, tmp_path / "b.mp4")
    source = open_source(tmp_path / "b.mp4")
    heard = source.sound([source.sound_s], 48_000)[0]
    assert click_times(heard) == pytest.approx([0.5, 1.5], abs=0.004)


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_what_is_tagged_as_turned_is_upright(tmp_path, degrees: int) -> None:
    upright = [scene([Head(1, 200, 120, 150)], height=640, width=480)] * 8
    stored = np.stack([np.rot90(frame, -degrees // 90) for frame in upright])
    path = write(tmp_path / "a.mp4", np.ascontiguousarray(stored), fps=FPS, rotation=degrees)
    assert np.abs(frames_of(path)[0].astype(int) - upright[0]).mean() < 8
    timeline = made_of(path)
    render(timeline, tmp_path / "b.mp4")
    frames = frames_of(tmp_path / "b.mp4")
    assert frames[0].shape == (640, 480, 3)
    box, label = at(timeline, 0.3)
    assert is_framed(frames[2], box, colour(label))


@pytest.mark.parametrize("shape", [(121, 161), (61, 83)])
def test_odd_sizes(tmp_path, shape: tuple[int, int]) -> None:
    frames = np.stack([scene([Head(1, 20, 14, 30)], height=shape[0], width=shape[1])] * 8)
    path = write(tmp_path / "a.mkv", frames, codec="ffv1", fps=FPS)
    render(made_of(path), tmp_path / "b.mp4")
    assert frames_of(tmp_path / "b.mp4")[0].shape == (shape[0] + 1, shape[1] + 1, 3)


def test_two_people_have_a_box_each(tmp_path) -> None:
    both = [Head(1, 80, 60, 130), Head(2, 450, 180, 120)]
    timeline = made_of(video(tmp_path / "a.mkv", [(16, both, 0)], **LARGE), faces="all")
    render(timeline, tmp_path / "b.mp4")
    frame = frames_of(tmp_path / "b.mp4")[8]
    for person in timeline.people:
        (stretch,) = person.stretches
        label = next(s.label for s in stretch.segments if s.start_s <= 1.01 < s.end_s)
        assert is_framed(frame, between(1.0, stretch.times_s, stretch.boxes_px), colour(label))


def test_a_folder_of_frames_becomes_a_video(tmp_path) -> None:
    import cv2

    (tmp_path / "frames").mkdir()
    for number in range(10):
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), scene([A])[..., ::-1])
    render(made_of(tmp_path / "frames"), tmp_path / "b.mp4")
    new = open_source(tmp_path / "b.mp4")
    np.testing.assert_allclose(new.times_s, np.arange(10) / 25, atol=1e-3)


def test_what_is_drawn_moves_between_the_pictures_looked_at() -> None:
    times, rows = np.array([1.0, 2.0, 4.0]), np.array([[0.0], [10.0], [30.0]])
    found = [float(between(t, times, rows)[0]) for t in (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 9.0)]
    assert found == [0, 0, 5, 10, 20, 30, 30]


def test_bars_are_as_long_as_the_scores(monkeypatch) -> None:
    """Seen in the panel itself: the width of each bar is its share of a whole one."""
    model = Seeing()
    labels = model.config.label_set.names
    timeline = Timeline("a", labels, 1.0, 0.5, 1.0)
    drawer = overlay.Overlay(timeline, overlay.SHORT_PX, overlay.SHORT_PX)
    scores = np.array([0.5, 0.25, 0.0, 0.1, 0.05, 0.05, 0.05])
    panel = drawer._panel(overlay.InSight(None, labels[0], 0.5, scores, None))
    for place, (label, score) in enumerate(zip(labels, scores, strict=True)):
        middle = overlay.EDGE + round((place + 0.5) * overlay.ROW)
        row = np.abs(panel[middle, :, :3].astype(int) - colour(label)).max(axis=-1) < 3
        assert row.sum() == pytest.approx(max(1, score * overlay.BAR), abs=3)


def changed(height: int, width: int, box) -> np.ndarray:
    """Where one picture with one person, whose face is in a box, is drawn on."""
    windows = [ScoredWindow(0.0, 1.0, "neutral", np.full(7, 1 / 7), ("video",))]
    curve = curve_of(np.array([[0.0, 1.0]]), windows[0].scores[None], 0.5)
    labels = Seeing().config.label_set.names
    segments = segments_of(curve, windows, labels, ALWAYS, 1.0)
    boxes = np.array([box], np.float32)
    one = Stretch(0.0, 1.0, tuple(windows), curve, segments, np.array([0.5]), boxes)
    timeline = Timeline("a", labels, 1.0, 0.5, 1.0, (TimelinePerson(1, (one,)),))
    grey = np.full((height, width, 3), 128, np.uint8)
    return (overlay.Overlay(timeline, height, width).draw(grey, 0.5) != grey).any(axis=-1)


def test_bars_do_not_cover_a_small_picture() -> None:
    large, small = changed(480, 640, (40, 40, 90, 90)), changed(90, 120, (40, 30, 90, 80))
    assert large[240:].mean() > 0.1
    assert not small[:, :35].any()
    assert small[:, 38:92].any()


def test_labels_do_not_leave_the_picture() -> None:
    """As many columns of a label are seen at the right edge as elsewhere."""
    middle, edge = (
        changed(480, 640, (x, 200, x + 60, 260))[150:195].any(axis=0) for x in (300, 570)
    )
    assert edge.sum() == middle.sum() > 60
    sides = 60 * 2 * 3  # what a box has in the rows above its lower edge, about
    for y in (200, 10, -20, -40):
        shown = changed(480, 640, (300, y, 420, y + 120))
        assert shown[: max(y, 0) + 60].sum() - sides > 1000


def test_colours_are_one_for_each() -> None:
    labels = [*OF_EMOTIONS, "boredom", "joy", "pride"]
    assert colours_of(labels)[: len(OF_EMOTIONS)] == tuple(OF_EMOTIONS.values())
    assert colours_of(labels)[len(OF_EMOTIONS) :] == OTHERS[:3]
    many = [f"label {n}" for n in range(20)]
    assert len(colours_of(many)) == 20


def test_the_video_itself_is_not_overwritten(walk, tmp_path) -> None:
    path, timeline, _ = walk
    link = tmp_path / "link.mkv"
    link.symlink_to(path)
    before = path.read_bytes()
    for out in (path, link):
        with pytest.raises(ValueError, match="is the video itself"):
            render(timeline, out)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["out.avi", "out", "out.txt", "out.mp4.png"])
def test_other_kinds_of_files_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"is named \.mp4, \.m4v, \.mov, \.mkv"):
        check_out(Path(name), "a.mkv")
    check_out(Path("out.MP4"), "a.mkv")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MediaError])
def test_what_is_broken_off_leaves_nothing(walk, tmp_path, monkeypatch, error) -> None:
    _, timeline, _ = walk
    out = tmp_path / "out.mp4"
    out.write_bytes(b"before")
    drawn = []

    def broken(self, picture, time_s):
        drawn.append(time_s)
        if len(drawn) == 4:
            raise error("enough")
        return picture

    monkeypatch.setattr(module.Overlay, "draw", broken)
    with pytest.raises(error):
        render(timeline, out)
    assert out.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_sound_alone_cannot_be_drawn_on(tmp_path) -> None:
    path = write(tmp_path / "a.wav", None, voiced(1.0))
    with pytest.raises(MediaError, match="no picture in it to draw on"):
        render(made_of(path), tmp_path / "b.mp4")
    assert [file.name for file in tmp_path.iterdir()] == ["a.wav"]
