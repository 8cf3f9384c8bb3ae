"""What makes a face or a voice hard to read, and how it is told."""

import numpy as np
import pytest

from claip_emo.corpora.synthetic_voice import RATE_HZ, Voice, speak
from claip_emo.media.clip import ClipSpec, load_clip
from claip_emo.media.faces import turned_faces
from claip_emo.media.spec import ClipSpec as Spec
from claip_emo.media.weakness import (
    DARK,
    NO_FACE,
    NO_SPEECH,
    SEVERAL_FACES,
    SILENT,
    SMALL_PX,
    TURNED,
    audible,
    no_face,
    silent,
    weak_crops,
    weak_face,
    why_nothing,
)

from .made_people import Chins, Head, scene
from .make_media import tone, write

SPEC = ClipSpec(num_frames=4, stride=4, size_px=32, audio_s=1.0)
GOOD = np.full(5, 100.0), np.full(5, 0.5), np.zeros(5)


def test_a_good_face_is_not_spoken_of() -> None:
    assert weak_face(*GOOD) == []
    assert weak_face(np.zeros(0), np.zeros(0), np.zeros(0)) == []


def test_small_is_told_by_the_median() -> None:
    heights = np.array([20.0, 20, 20, 300, 300])
    assert weak_face(heights, *GOOD[1:]) == ["the face is small (20 px high)"]
    assert weak_face(heights[1:], *GOOD[1:]) == []  # 160
    assert weak_face(np.array([SMALL_PX]), *GOOD[1:]) == []


def test_dark_is_told_by_the_median() -> None:
    light = np.array([0.05, 0.1, 0.9])
    assert weak_face(GOOD[0], light, GOOD[2]) == ["the face is dark (10% of white)"]
    assert weak_face(GOOD[0], np.array([DARK]), GOOD[2]) == []


def test_turned_is_told_where_it_is_more_than_half_of_what_is_known() -> None:
    turns = np.array([0.9, 0.9, 0.9, 0.0, np.nan])
    said = ["the face is turned away in 75% of the pictures"]
    assert weak_face(*GOOD[:2], turns) == said
    assert weak_face(*GOOD[:2], np.array([0.9, 0.0, np.nan, np.nan])) == []
    assert weak_face(*GOOD[:2], np.full(4, np.nan)) == []
    assert weak_face(*GOOD[:2], np.full(4, TURNED)) == []


def crops(light: int, count: int = 4) -> np.ndarray:
    return np.full((count, 8, 8, 3), light, np.uint8)


def found(*boxes: tuple[float, ...]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 6)


def test_the_turn_of_the_face_that_is_cropped_counts() -> None:
    """Not that of the one beside it."""
    two = found((0, 0, 40, 40, 1, 0.9), (100, 0, 40, 40, 1, 0.0))
    heights = np.full(4, 40.0)
    for centre, turned in (((20, 20), True), ((120, 20), False)):
        centres = np.tile(np.array(centre, np.float32), (4, 1))
        said = weak_crops(crops(128), heights, centres, [two] * 4)
        assert any("turned" in one for one in said) == turned
        assert SEVERAL_FACES in said


@pytest.mark.parametrize(("several", "told"), [(2, False), (3, True)])
def test_several_people_in_most_of_the_pictures(several: int, told: bool) -> None:
    one, two = found((0, 0, 50, 50, 1, 0)), found((0, 0, 50, 50, 1, 0), (60, 0, 50, 50, 1, 0))
    faces = [two] * several + [one] * (4 - several)
    said = weak_crops(crops(128), np.full(4, 50.0), np.full((4, 2), 25.0), faces)
    assert said == [SEVERAL_FACES] * told


def test_pictures_without_a_face_say_nothing_of_its_turn() -> None:
    faces = [found(), found((0, 0, 50, 50, 1, 0.9)), found(), found()]
    said = weak_crops(crops(128), np.full(4, 50.0), np.full((4, 2), 25.0), faces)
    assert said == ["the face is turned away in 100% of the pictures"]


def test_the_middle_of_the_crop_is_what_is_dark() -> None:
    ringed = crops(255)
    ringed[:, 2:6, 2:6] = 10
    faces = [found((0, 0, 50, 50, 1, 0))] * 4
    (said,) = weak_crops(ringed, np.full(4, 50.0), np.full((4, 2), 25.0), faces)
    assert "dark" in said


def test_audible_and_silent() -> None:
    quiet, faint = np.zeros(9, np.float32), np.full(9, 1.01e-4, np.float32)
    assert not audible([])
    assert not audible([quiet, np.zeros(0, np.float32)])
    assert audible([quiet, -faint])
    assert silent((0, 10), [(0, 10)]) == SILENT
    assert silent((0, 100), [(0, 10), (0, 10), (50, 60)]) == (
        f"{SILENT} in the 20 of 100 s that are listened to"
    )
    assert silent(None, []) == SILENT


def test_no_face_is_told_only_where_somebody_looked() -> None:
    assert [no_face(rate) for rate in (None, 0.0, 0.1)] == [[], [NO_FACE], []]


def test_why_there_is_nothing() -> None:
    assert why_nothing([], Spec()) == "no picture and no sound could be found in it."
    assert why_nothing([], Spec(audio=False)) == "no picture could be found in it."
    assert "go by (cut; silent)" in why_nothing(["cut", "silent"], Spec())


@pytest.fixture
def voiced() -> np.ndarray:
    rng = np.random.default_rng(0)
    return speak(Voice.drawn(rng), "happiness", rng, 1.0)


def clip_of(path, heads, sound, *, light: float = 1.0, facts: bool = True, **how):
    picture = scene(heads, **how)
    bars = (np.abs(picture.astype(int) - (255, 0, 255)).max(axis=-1) < 60)[..., None]
    frames = np.where(bars, picture, (picture * light).astype(np.uint8))
    write(path, np.repeat(frames[None], 8, axis=0), sound, codec="ffv1", fps=8)
    return load_clip(path, SPEC, detector=Chins(), facts=facts)


def test_a_clip_without_weaknesses(tmp_path, voiced) -> None:
    assert clip_of(tmp_path / "a.mkv", [Head(1)], voiced).warnings == ()


def test_clips_say_their_weaknesses(tmp_path, voiced) -> None:
    path = tmp_path / "a.mkv"
    (small,) = clip_of(path, [Head(1, height=30)], voiced).warnings
    assert small.startswith("the face is small (3")
    (dark,) = clip_of(path, [Head(1)], voiced, light=0.15).warnings
    assert dark.startswith("the face is dark")
    two = clip_of(path, [Head(1, 10), Head(2, 90)], voiced)
    assert two.warnings == (SEVERAL_FACES,)
    assert clip_of(path, [Head(1)], tone(1.0, RATE_HZ, 150.0)).warnings == (NO_SPEECH,)
    mute = clip_of(path, [Head(1)], np.zeros(RATE_HZ, np.float32))
    assert [warning for warning in mute.warnings if warning != SILENT] == []


def test_facts_are_told_only_if_asked_for(tmp_path) -> None:
    path, noise = tmp_path / "a.mkv", tone(1.0, RATE_HZ, 150.0)
    plain = clip_of(path, [Head(1, height=30), Head(2, 90)], noise, light=0.1, facts=False)
    told = clip_of(path, [Head(1, height=30), Head(2, 90)], noise, light=0.1)
    assert plain.warnings == ()
    assert len(told.warnings) >= 3
    assert np.array_equal(plain.frames, told.frames)
    assert np.array_equal(plain.face_boxes_px, told.face_boxes_px)


def test_a_detector_of_boxes_knows_of_no_turns() -> None:
    faces = turned_faces(Chins(), scene([Head(1), Head(2, 110)]))
    assert faces.shape == (2, 6)
    assert np.isnan(faces[:, 5]).all()
    assert turned_faces(Chins(), scene([])).shape == (0, 6)


def test_a_detector_of_turns_is_asked_for_them() -> None:
    class Turned(Chins):
        def detect_turned(self, frame):
            return np.hstack([self.detect(frame), [[0.5]]]).astype(np.float32)

    assert turned_faces(Turned(), scene([Head(1)]))[0, 5] == 0.5
