"""Many files: the rows of single calls, in order, whatever one of the files does."""

import itertools
import threading
from contextlib import suppress

import cv2
import numpy as np
import pytest
import torch

from claip_emo import ClaipEmoModel, EmotionRecognizer
from claip_emo.inference import reader as reading
from claip_emo.inference import recognizer as module
from claip_emo.inference.pipeline import MOST_READERS, AbandonedError
from claip_emo.labels import SEVEN
from claip_emo.media.decode import MediaError
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.description import ModalityError
from claip_emo.model.precision import best_precision
from claip_emo.model.processing import ClaipEmoProcessor

from ..media.make_media import ramp, tone, write


class Found:
    """Sees a face that moves with the brightness of the picture."""

    name = "found"

    def detect(self, frame):
        place = float(frame.mean()) / 16
        return np.array([[place, place + 2, 30, 36, 0.9]], np.float32)


def made(**changes) -> tuple[ClaipEmoModel, ClaipEmoProcessor]:
    torch.manual_seed(0)
    backbone = resolve("tiny-clip")
    model = ClaipEmoModel(configure(backbone, SEVEN, num_frames=3, **changes))
    return model, ClaipEmoProcessor.for_backbone(backbone, num_frames=3, audio_s=0.5)


@pytest.fixture(scope="module")
def recognizer() -> EmotionRecognizer:
    found = EmotionRecognizer.of_model(*made(), face_detector="none", precision="fp32")
    found.reader.detector = Found()
    return found


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 96, 3), dtype=np.uint8)
    frames = folder / "frames"
    frames.mkdir()
    for index, frame in enumerate(ramp(8)):
        cv2.imwrite(str(frames / f"{index}.png"), frame)
    (folder / "empty").mkdir()
    (folder / "text.mp4").write_text("not a video\n" * 30)
    return [
        write(folder / "both.mp4", ramp(20), tone(0.8)),
        write(folder / "sound.wav", None, tone(0.4, hertz=900)),
        folder / "missing.mp4",
        write(folder / "noise.mp4", noise, tone(1.6, hertz=200)),
        folder / "text.mp4",
        write(folder / "mute.mp4", ramp(30)),
        frames,
        folder / "empty",
        write(folder / "short.mp4", ramp(2), tone(0.1)),
    ]


def alone(recognizer, path, **how):
    """The row of a single call, and the error it raises."""
    try:
        return recognizer(path, **how), None
    except MediaError as error:
        return None, str(error)


def assert_same(row, single) -> None:
    assert row.scores == pytest.approx(single.scores, abs=1e-6)
    for name in ("path", "label", "duration_s", "face_rate", "modalities", "warnings", "error"):
        assert getattr(row, name) == getattr(single, name)
    if single.faces is not None:
        assert np.array_equal(row.faces.boxes_px, single.faces.boxes_px)
        assert np.array_equal(row.faces.times_s, single.faces.times_s)


@pytest.mark.parametrize("batch_size", [1, 3, 50])
@pytest.mark.parametrize("modality", ["av", "video"])
def test_rows_are_those_of_single_calls(recognizer, paths, modality, batch_size) -> None:
    rows = list(recognizer.many(iter(paths), modality=modality, batch_size=batch_size))
    assert [row.path for row in rows] == [str(path) for path in paths]
    labels = set()
    for row, path in zip(rows, paths, strict=True):
        single, error = alone(recognizer, path, modality=modality)
        assert row.error == error
        if single is not None:
            assert_same(row, single)
            labels.add(max(row.scores.values()))
    assert len(labels) > 3  # rows that tell the files apart


def test_clips_of_several_files_are_scored_at_once(recognizer, paths, monkeypatch) -> None:
    scored = []
    score = recognizer.predictor.score
    monkeypatch.setattr(
        recognizer.predictor,
        "score",
        lambda clips, mask: scored.append(len(clips)) or score(clips, mask),
    )
    good = [paths[0], paths[1], paths[8]]
    list(recognizer.many(good * 2, batch_size=50))
    assert scored == [6]
    scored.clear()
    list(recognizer.many([paths[1]] * 5, batch_size=2))
    assert scored == [2, 2, 1]


@pytest.mark.parametrize(("files", "threads"), [(1, 2), (2, 1)])
def test_each_picture_has_one_thread_where_files_are_read_at_once(
    recognizer, paths, monkeypatch, files, threads
) -> None:
    seen, load = set(), reading.load_clip
    monkeypatch.setattr(
        reading, "load_clip", lambda *a, **k: seen.add(cv2.getNumThreads()) or load(*a, **k)
    )
    former = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        rows = recognizer.many([paths[1]] * files)
        next(rows)
        rows.close()  # before its end
        assert seen == {threads}
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(former)


def test_only_what_the_towers_fail_on_has_an_error(recognizer, paths, monkeypatch) -> None:
    score = recognizer.predictor.score

    def failing(clips, mask):
        if any("noise" in clip.path for clip in clips):
            raise RuntimeError("out of memory")
        return score(clips, mask)

    monkeypatch.setattr(recognizer.predictor, "score", failing)
    rows = list(recognizer.many(paths, batch_size=50))
    assert [row.path for row in rows] == [str(path) for path in paths]
    for row, path in zip(rows, paths, strict=True):
        if path.name == "noise.mp4":
            assert str(path) in row.error
            assert "RuntimeError: out of memory" in row.error
            continue
        single, error = alone(recognizer, path)
        assert row.error == error
        if single is not None:
            assert_same(row, single)


def test_files_are_opened_as_there_is_room(recognizer, paths, monkeypatch) -> None:
    opened, load = [], reading.load_clip
    monkeypatch.setattr(reading, "load_clip", lambda *a, **k: opened.append(a[0]) or load(*a, **k))
    taken = itertools.count()
    rows = recognizer.many((paths[1] for _ in taken), batch_size=2)
    next(rows)
    readers = min(torch.get_num_threads(), MOST_READERS)
    most = 2 + 2 + readers  # a batch, and what waits behind it
    assert len(opened) <= most
    assert next(taken) <= most + 1
    rows.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("claip-emo-reader")]


def test_closing_in_the_middle_of_a_file_ends_reading(recognizer, paths, monkeypatch) -> None:
    begun, ended = threading.Event(), threading.Event()
    calls = []

    class Noted(module.Pace):
        def end(self):
            super().end()
            ended.set()

    class Slow(Found):
        def detect(self, frame):
            calls.append(threading.current_thread())
            begun.set()
            assert ended.wait(5)
            return super().detect(frame)

    monkeypatch.setattr(module, "Pace", Noted)
    monkeypatch.setattr(recognizer.reader, "detector", Slow())
    rows = recognizer.many([paths[1], paths[0], paths[0], paths[0]], batch_size=1)
    assert next(rows).error is None
    assert begun.wait(5)
    rows.close()
    assert len(calls) == len(set(calls))  # no thread looked at a second frame
    assert not [t for t in threading.enumerate() if t.name.startswith("claip-emo-reader")]


def test_reading_pauses_while_the_cpu_scores(recognizer, paths, monkeypatch) -> None:
    paces, waited = [], []

    class Noted(module.Pace):
        def __init__(self):
            super().__init__()
            paces.append(self)

    def wait():
        with suppress(AbandonedError):
            paces[0].wait()

    def scoring(*arguments):
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.05)
        waited.append(waiting.is_alive())
        return score(*arguments)

    score = recognizer.predictor.score
    monkeypatch.setattr(module, "Pace", Noted)
    monkeypatch.setattr(recognizer.predictor, "score", scoring)
    assert [row.error for row in recognizer.many(paths[:2], batch_size=1)] == [None, None]
    assert waited == [True, True]


def test_only_a_file_alone_is_decoded_and_looked_at_at_once(recognizer, paths, monkeypatch) -> None:
    load, depths = reading.load_clip, []
    monkeypatch.setattr(
        reading,
        "load_clip",
        lambda *given, **how: depths.append(how["frames_ahead"]) or load(*given, **how),
    )
    recognizer(paths[0])
    assert len(list(recognizer.many(paths[:1]))) == 1
    assert depths == [reading.FRAMES_AHEAD] * 2
    assert len(list(recognizer.many(paths[:2]))) == 2
    assert depths[2:] == [0, 0]
    assert list(recognizer.many([])) == []


def test_wrong_questions_are_told_at_once(recognizer) -> None:
    def nothing():
        pytest.fail("no file is taken")
        yield

    faces = EmotionRecognizer.of_model(*made(modality="v"), face_detector="none", precision="fp32")
    with pytest.raises(ModalityError, match="reads faces only"):
        faces.many(nothing(), modality="audio")
    with pytest.raises(ValueError, match="at least 1, not 0"):
        recognizer.many(nothing(), batch_size=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "auto"])
def test_the_towers_are_merged_in_the_precision_asked_for(precision, monkeypatch) -> None:
    asked = []
    merge = ClaipEmoModel.merge
    monkeypatch.setattr(
        ClaipEmoModel, "merge", lambda self, to: asked.append(to) or merge(self, "fp32")
    )
    model, processor = made()
    EmotionRecognizer.of_model(model, processor, face_detector="none", precision=precision)
    wanted = best_precision("cpu", model.config) if precision == "auto" else precision
    assert asked == [wanted]


def test_int8_is_refused_beyond_the_cpu() -> None:
    model, processor = made()
    with pytest.raises(ValueError, match="CPU only"):
        EmotionRecognizer.of_model(
            model.to("meta"), processor, face_detector="none", precision="int8"
        )


@pytest.mark.parametrize("good", range(5))
def test_rows_of_the_files_before_a_failing_list_are_given(recognizer, paths, good: int) -> None:
    def listed():
        yield from [paths[0], paths[1], paths[8], paths[0]][:good]
        raise OSError("the share is gone")

    rows = []
    with pytest.raises(OSError, match="the share is gone"):
        rows.extend(row.path for row in recognizer.many(listed(), batch_size=2))
    assert len(rows) == good


def test_int8_scores_of_a_file_do_not_follow_from_its_neighbours(paths) -> None:
    """Activations share a scale in every call: a loud neighbour would make a file's rough."""
    quick = EmotionRecognizer.of_model(*made(), face_detector="none", precision="int8")
    good = [paths[0], paths[1], paths[3], paths[5], paths[8]]
    for row, path in zip(quick.many(good, batch_size=50), good, strict=True):
        assert row.scores == quick(path).scores
