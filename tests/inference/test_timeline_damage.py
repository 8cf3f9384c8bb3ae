"""Timelines of damaged recordings: what cannot be decoded is told, and nothing is made up."""

import cv2
import numpy as np
import pytest

from claip_emo.inference.timeline_result import Timeline
from claip_emo.media import decode

from ..media.made_people import Head, scene
from .made_timelines import FPS, WINDOW_S, seeing, video, voiced

A = Head(1)


@pytest.fixture
def talk(tmp_path):
    return video(tmp_path / "talk.mkv", [(32, [A], 0)], voiced(4.0))


def damaged(monkeypatch, path, keep) -> Timeline:
    """The timeline of a file of which only some frames come out, in the order of ``keep``."""
    read = decode.read_frames

    def some(track, wanted, convert, **how):
        found = dict(read(track, wanted, convert, **how))
        yield from ((index, found[index]) for index in keep if index in found)

    monkeypatch.setattr(decode, "read_frames", some)
    return seeing().timeline(path, window_s=WINDOW_S)


def test_a_person_ends_where_the_damage_begins(talk, monkeypatch) -> None:
    timeline = damaged(monkeypatch, talk, range(14))
    assert timeline.people[0].last_s == pytest.approx(14 / FPS, abs=0.01)
    assert timeline.duration_s == pytest.approx(4, abs=0.05)
    assert "damaged: 18 pictures could not be looked at" in timeline.warnings


def test_pictures_that_come_too_late_are_lost(talk, monkeypatch) -> None:
    """A jump in a broken file leaves some out, which are decoded after all others."""
    timeline = damaged(monkeypatch, talk, [*range(10), *range(13, 32), 10, 11, 12])
    (stretch,) = timeline.people[0].stretches
    assert (np.diff(stretch.times_s) > 0).all()
    assert len(stretch.times_s) == 29
    assert "damaged: 3 pictures could not be looked at" in timeline.warnings


def test_images_that_cannot_be_read_are_told(tmp_path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(16):
        cv2.imwrite(str(frames / f"{index:02}.png"), scene([A])[..., ::-1])
    (frames / "09.png").write_bytes(b"no image")
    timeline = seeing().timeline(frames, window_s=WINDOW_S)
    assert "damaged: 1 picture could not be looked at" in timeline.warnings
