"""Faces over time with a detector that is told what to find, and the real ones."""

import logging
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from claip_emo.media.clip import ClipSpec, load_clip
from claip_emo.media.faces import HAAR_PIXELS, FaceModelError, Haar, YuNet, make_detector
from claip_emo.media.picture import square
from claip_emo.media.recording import load_recording
from claip_emo.media.tracks import iou, join, squares
from claip_emo.media.weakness import NO_FACE

from ..conftest import SHARED
from .make_media import ramp, tone, write

YUNET = SHARED / "models" / "yunet_2026may.onnx"
REAL = sorted((SHARED / "data" / "real").glob("*.mp4"))
SPEC = ClipSpec(num_frames=4, stride=4, size_px=32)


def faces(*boxes: tuple[float, ...]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 5)


class Told:
    """Finds what it is told, call by call."""

    name = "told"

    def __init__(self, found: list[np.ndarray]) -> None:
        self.found = found
        self.calls = 0

    def detect(self, frame: np.ndarray) -> np.ndarray:
        self.calls += 1
        return self.found[(self.calls - 1) % len(self.found)]


def test_overlap() -> None:
    one, other = faces((0, 0, 10, 10, 1), (5, 0, 10, 10, 1))
    assert iou(one, other) == pytest.approx(50 / 150)
    assert iou(one, faces((20, 0, 5, 5, 1))[0]) == 0


def test_boxes_are_joined_by_overlap_through_a_miss() -> None:
    times = np.arange(5) * 0.16
    found = [
        faces((0, 0, 10, 10, 0.9), (50, 0, 10, 10, 0.9)),
        faces((52, 0, 10, 10, 0.9), (1, 0, 10, 10, 0.9)),
        faces(),
        faces((3, 0, 10, 10, 0.9)),
        faces((4, 0, 10, 10, 0.9)),
    ]
    tracks = join(times, found)
    assert [track.frames for track in tracks] == [[0, 1, 3, 4], [0, 1]]


def test_the_long_and_large_face_is_chosen() -> None:
    times = np.arange(4) * 0.16
    small, large = (0, 0, 10, 10, 1.0), (50, 50, 30, 30, 1.0)
    boxes, found = squares(times, np.arange(4), [faces(small, large)] * 4)
    assert found.all()
    np.testing.assert_allclose(boxes[0], [50, 50, 80, 80])
    often = [faces(small), faces(small), faces(small, large), faces(small)]
    boxes, found = squares(times, np.arange(4), often)
    np.testing.assert_allclose(boxes[2], [0, 0, 10, 10])


def test_the_square_has_the_height_of_the_box_and_its_margin() -> None:
    boxes, _ = squares(np.zeros(1), np.arange(1), [faces((10, 20, 30, 40, 1))], margin=0.25)
    # centre (25, 40), side 40 * 1.5 = 60
    np.testing.assert_allclose(boxes[0], [-5, 10, 55, 70])


def test_missed_frames_take_the_interpolated_place() -> None:
    times = np.arange(5) * 0.01  # so close that smoothing hardly matters: use wide spacing below
    times = times * 60
    found = [faces((0, 0, 20, 20, 1)), faces(), faces((8, 0, 20, 20, 1)), faces(), faces()]
    boxes, hit = squares(times, np.arange(len(times)), found)
    assert hit.tolist() == [True, False, True, False, False]
    assert not np.isnan(boxes).any()
    left = boxes[:, 0]
    assert (np.diff(left) > 0).any()
    assert left[1] == pytest.approx(4, abs=1.5)
    assert left[4] == pytest.approx(8, abs=1.0)


def test_smoothing_calms_a_jitter() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(40) * 0.08
    noise = rng.normal(0, 4, 40)
    found = [faces((50 + n, 50, 40, 40, 1)) for n in noise]
    boxes, _ = squares(times, np.arange(len(times)), found)
    assert boxes[:, 0].std() < 0.5 * noise.std()
    assert boxes[:, 0].mean() == pytest.approx((50 + noise).mean(), abs=1)


def test_views_far_apart_have_a_person_each() -> None:
    times = np.array([0, 0.1, 0.2, 30, 30.1, 30.2])
    found = [faces((0, 0, 10, 10, 1))] * 3 + [faces((70, 70, 20, 20, 1))] * 3
    boxes, hit = squares(times, np.arange(len(times)), found)
    assert hit.all()
    np.testing.assert_allclose(boxes[[0, 5]], [[0, 0, 10, 10], [70, 70, 90, 90]], atol=1e-3)


def test_a_crop_outside_the_picture_repeats_its_border() -> None:
    picture = np.zeros((10, 10, 3), np.uint8)
    picture[:, 0] = 200
    crop = square(picture, np.array([-5, 0, 5, 10], np.float32), 10)
    assert (crop[:, :6] == 200).all()
    assert (crop[:, 6:] == 0).all()


def test_the_face_is_cropped_out_of_the_clip(tmp_path) -> None:
    frames = np.zeros((40, 96, 96, 3), np.uint8)
    frames[:, 20:60, 30:70] = 210
    path = write(tmp_path / "a.mkv", frames, codec="ffv1")
    detector = Told([faces((30, 20, 40, 40, 1))])
    clip = load_clip(path, SPEC, detector=detector)
    assert clip.frames.min() > 200
    assert clip.face_rate == 1.0
    np.testing.assert_allclose(clip.face_boxes_px[0, 0], [30, 20, 70, 60])
    assert detector.calls == len(np.unique(clip.frame_times_s))  # once per distinct frame


def test_half_of_the_frames_have_a_face(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", ramp(32))
    detector = Told([faces((10, 10, 30, 30, 1)), faces()])
    clip = load_clip(path, SPEC, detector=detector)
    assert clip.face_rate == 0.5


def test_no_face_at_all_is_the_whole_frame_and_is_told(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", ramp(20, 64, 128), tone(0.8))
    clip = load_clip(path, SPEC, detector=Told([faces()]))
    assert clip.face_rate == 0.0
    assert NO_FACE in clip.warnings
    np.testing.assert_allclose(clip.face_boxes_px[0, 0], [32, 0, 96, 64])


def test_a_recording_looks_at_every_fourth_frame(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", ramp(20))
    detector = Told([faces((10, 10, 30, 30, 1))])
    recording = load_recording(path, SPEC, detector=detector)
    assert detector.calls == 5
    assert recording.frames.shape == (20, 32, 32, 3)
    assert recording.face_rate == 1.0


def test_none_is_no_detector() -> None:
    assert make_detector("none") is None


def test_haar_finds_nothing_in_a_ramp_and_can_be_pickled() -> None:
    detector = pickle.loads(pickle.dumps(Haar()))
    assert detector.detect(ramp(1)[0]).shape == (0, 5)


@pytest.mark.parametrize("shape", [(1080, 1920), (1920, 1080), (202, 360), (90, 60)])
def test_haar_looks_at_few_pixels_and_tells_of_all(shape) -> None:
    class Cascade:
        def detectMultiScale3(self, grey, *_, **__):  # noqa: N802 - OpenCV's name
            seen.append(grey.shape)
            height, width = grey.shape
            box = [width // 4, height // 4, width // 2, height // 2]
            return np.array([box]), None, np.array([[2.0]])

    seen = []
    detector = Haar()
    detector._local.cascade = Cascade()
    (found,) = detector.detect(np.zeros((*shape, 3), np.uint8))
    assert np.prod(seen[0]) <= min(np.prod(shape), HAAR_PIXELS * 1.01)
    assert np.prod(seen[0]) >= min(np.prod(shape), HAAR_PIXELS) * 0.99
    height, width = shape
    expected = [width / 4, height / 4, width / 2, height / 2]
    np.testing.assert_allclose(found[:4], expected, atol=0.01 * max(shape))
    assert 0.5 < found[4] < 1


def test_one_detector_serves_many_threads() -> None:
    detector, pictures = Haar(), list(ramp(8, 240, 320))
    with ThreadPoolExecutor(4) as pool:
        assert [found.shape for found in pool.map(detector.detect, pictures)] == [(0, 5)] * 8


@pytest.mark.parametrize("detector", [Haar(), *([YuNet(YUNET)] if YUNET.is_file() else [])])
@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (5, 3), (33, 2000)])
def test_pictures_of_any_shape_are_looked_at(detector, shape: tuple[int, int]) -> None:
    assert detector.detect(np.zeros((*shape, 3), np.uint8)).shape == (0, 5)


def test_auto_falls_back_on_haar_and_says_that_it_is_weaker(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        assert make_detector("auto").name == "haar"
    assert "weaker" in caplog.text
    assert "--face-model" in caplog.text


def test_yunet_without_its_file_names_the_ways_to_get_it() -> None:
    with pytest.raises(FaceModelError, match=r"--face-model FILE or CLAIP_EMO_FACE_MODEL"):
        make_detector("yunet")


@pytest.mark.parametrize("kind", ["auto", "yunet"])
def test_a_model_file_that_is_missing_or_broken(tmp_path, kind: str, monkeypatch) -> None:
    with pytest.raises(FaceModelError, match="no such YuNet model file"):
        make_detector(kind, tmp_path / "nowhere.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    monkeypatch.setenv("CLAIP_EMO_FACE_MODEL", str(broken))
    with pytest.raises(FaceModelError, match="no YuNet model"):
        make_detector(kind)


def test_a_file_from_the_hub_must_be_the_published_one(tmp_path, monkeypatch) -> None:
    import huggingface_hub

    altered = tmp_path / "yunet.onnx"
    altered.write_bytes(b"altered")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(altered))
    with pytest.raises(FaceModelError, match="sha256"):
        make_detector("auto")


@pytest.mark.parametrize("path", REAL if YUNET.is_file() else [], ids=lambda p: Path(p).stem)
def test_yunet_finds_the_face_of_real_recordings(path) -> None:
    clip = load_clip(path, ClipSpec(), detector=make_detector("yunet", YUNET))
    assert clip.face_rate == 1.0
    centres = (clip.face_boxes_px[..., :2] + clip.face_boxes_px[..., 2:]) / 2
    assert centres.std(axis=(0, 1)).max() < 60  # px: it follows one person, smoothly


@pytest.mark.parametrize("path", REAL[-1:], ids=lambda p: Path(p).stem)
def test_haar_finds_a_frontal_face(path) -> None:
    assert load_clip(path, SPEC, detector=make_detector("haar")).face_rate > 0.5
