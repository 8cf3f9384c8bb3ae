"""A timeline, end to end: who is in it when, what is encoded how often, and what is told."""

import gc
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from claip_emo import EmotionRecognizer
from claip_emo.inference import looking
from claip_emo.inference import timeline as module
from claip_emo.inference.predictor import ModelPredictor
from claip_emo.inference.voice import pieces
from claip_emo.inference.windows import spans_of
from claip_emo.media import decode, following
from claip_emo.media.appearance import look_of
from claip_emo.media.clip import Clip
from claip_emo.media.shots import thumbnail
from claip_emo.media.source import Source, open_source
from claip_emo.media.weakness import EVERYBODYS_SOUND, NO_FACE
from claip_emo.model.description import ModalityError
from claip_emo.model.scoring import NO_FRAMES, score_clips

from ..media.made_people import Chins, Head, scene
from ..media.make_media import write
from .made_timelines import FPS, FRAMES, PIECE_S, WINDOW_S, seeing, shown, video, voiced
from .test_many import made

A, B = Head(1), Head(2)
LEFT, RIGHT = Head(1, 14, 30, 56), Head(2, 100, 40, 44)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("timelines")


@pytest.fixture(scope="module")
def talk(folder):
    """Four seconds of one person who speaks."""
    return video(folder / "talk.mkv", [(32, [A], 0)], voiced(4.0))


@pytest.fixture(scope="module")
def cuts(folder):
    """A person, another at the same place, and the first again: cuts at 2.375 and 3.875 s."""
    return video(folder / "cuts.mkv", [(19, [A], 0), (12, [B], 0), (13, [A], 0)], voiced(5.5))


def made_of(path, recognizer=None, **how):
    recognizer = recognizer or seeing()
    return recognizer.timeline(path, **{"window_s": WINDOW_S} | how), recognizer.predictor


def everything(timeline):
    """All windows and segments, as spans."""
    for person in timeline.people:
        yield from ((window.start_s, window.end_s) for window in person.windows)
        yield from ((segment.start_s, segment.end_s) for segment in person.segments)


def test_one_person_from_start_to_end(talk) -> None:
    timeline, model = made_of(talk)
    (person,) = timeline.people
    assert timeline.warnings == ()
    assert timeline.duration_s == pytest.approx(4, abs=0.01)
    spans = [(window.start_s, window.end_s) for window in person.windows]
    np.testing.assert_allclose(spans, spans_of(0, 4, WINDOW_S, 0.5), atol=2e-3)
    assert all(window.modalities == ("video", "audio") for window in person.windows)
    assert all(window.scores.sum() == pytest.approx(1) for window in person.windows)
    segments = list(person.segments)
    assert segments[0].start_s == 0
    assert segments[-1].end_s == pytest.approx(4, abs=2e-3)
    assert all(a.end_s == b.start_s for a, b in pairwise(segments))
    assert {segment.label for segment in segments} <= {*timeline.labels}
    (stretch,) = person.stretches
    assert len(stretch.times_s) == len(stretch.boxes_px) == 32
    x, y, width, height = A.box[:4]
    side = stretch.boxes_px[5, 2] - stretch.boxes_px[5, 0]
    assert side == pytest.approx(height * (1 + 2 * model.settings.face_margin), rel=0.05)
    middle = (stretch.boxes_px[5, :2] + stretch.boxes_px[5, 2:]) / 2
    np.testing.assert_allclose(middle, (x + width / 2, y + height / 2), atol=2)


def test_each_crop_and_each_piece_is_encoded_once(talk) -> None:
    """Though each is in up to four windows."""
    timeline, model = made_of(talk, hop_s=0.25)
    assert len(model.crops) == 32
    assert len(model.sounds) == len(list(pieces(open_source(talk), 48_000, PIECE_S))) == 16
    assert len(list(timeline.people[0].windows)) == 13


def noted(monkeypatch) -> list[list[int]]:
    """Which frames are decoded, call by call."""
    decoded, read = [], decode.read_frames

    def reading(track, wanted, *arguments):
        decoded.append(list(wanted))
        return read(track, wanted, *arguments)

    monkeypatch.setattr(decode, "read_frames", reading)
    return decoded


def test_the_file_is_decoded_once(talk, monkeypatch) -> None:
    decoded = noted(monkeypatch)
    detector = Chins()
    made_of(talk, seeing(detector=detector))
    assert decoded == [list(range(32))]
    assert detector.calls == 32


def test_where_nobody_is_found_it_is_decoded_twice_and_no_more(folder, monkeypatch) -> None:
    path = video(folder / "nobody.mkv", [(16, [], 0)])
    decoded = noted(monkeypatch)
    monkeypatch.setattr(decode, "recount", lambda _: pytest.fail("all of it was decoded"))
    timeline, _ = made_of(path)
    assert len(decoded) == 2
    assert NO_FACE in timeline.warnings
    assert timeline.people[0].stretches[0].boxes_px is None


@pytest.fixture(scope="module")
def walk(folder):
    """Somebody who speaks and comes nearer."""
    steps = [(1, [Head(1, 10 + 3 * n, 30, 32 + 2 * n)], 0) for n in range(24)]
    return video(folder / "walk.mkv", steps, voiced(3.0))


@pytest.mark.parametrize("modality", ["av", "video", "audio"])
def test_scores_are_those_of_windows_one_by_one(walk, modality: str) -> None:
    model, processor = made()
    predictor = ModelPredictor(model, processor, "fp32")
    crops, encode = [], predictor.encode

    def encoding(frames=NO_FRAMES, sounds=()):
        crops.extend(frames)
        return encode(frames, sounds)

    predictor.encode = encoding
    recognizer = EmotionRecognizer(predictor, face_detector="none")
    recognizer.reader.detector = Chins()
    timeline = recognizer.timeline(walk, window_s=1.5, hop_s=0.5, modality=modality)
    source, settings = open_source(walk), processor.settings
    times = timeline.people[0].stretches[0].times_s
    heard = list(pieces(source, settings.sampling_rate_hz, settings.audio_s))
    assert len(crops) == len(times) * (modality != "audio")
    scores = []
    for window in timeline.people[0].windows:
        wanted = window.start_s + 1.5 / settings.num_frames * np.arange(settings.num_frames)
        centre, piece = min(heard, key=lambda p: abs(p[0] - (window.start_s + window.end_s) / 2))
        frames = shown_s = None
        if modality != "audio":
            near = np.abs(wanted[:, None] - times).argmin(axis=1)
            frames, shown_s = np.stack(crops[: len(times)])[near][None], times[near][None]
        sounds = (piece,) if modality != "video" else ()
        spans = ((centre, centre + 1),) if sounds else ()
        clip = Clip("c", frames, shown_s, sounds, spans, 1.0)
        mask = {"av": "av", "video": "v", "audio": "a"}[modality]
        wanted_row = score_clips(predictor, [clip], mask).probabilities[0]
        np.testing.assert_allclose(window.scores, wanted_row, atol=1e-5)
        scores.append(wanted_row)
    assert np.ptp(scores, axis=0).max() > 1e-4


@pytest.mark.parametrize("faces", ["main", "all"])
@pytest.mark.parametrize("window_s", [0.5, 1.0, 2.0])
def test_nothing_crosses_a_cut(cuts, faces: str, window_s: float) -> None:
    timeline, _ = made_of(cuts, faces=faces, window_s=window_s, hop_s=window_s / 4)
    found = list(timeline.cuts_s)
    assert len(found) == 2
    assert [2.25, 3.75] < found <= [2.375 + window_s / FRAMES, 3.875 + window_s / FRAMES]
    for start_s, end_s in everything(timeline):
        for cut_s in (2.375, 3.875):
            assert end_s <= cut_s + 2e-3 or start_s >= cut_s - 2e-3


def test_two_people_in_three_shots(cuts) -> None:
    timeline, model = made_of(cuts)
    first, second = timeline.people
    assert (first.id, second.id) == (1, 2)
    np.testing.assert_allclose(shown(timeline), [(0, 5.5), (2.375, 3.875)], atol=2e-3)
    assert [len(stretch.times_s) for stretch in first.stretches] == [19, 13]
    assert len(model.crops) == 44
    one, other = (np.mean([w.scores for w in p.windows], axis=0) for p in timeline.people)
    assert np.abs(one - other).max() > 0.01


def test_where_nobody_is_looked_for_shots_are_apart_all_the_same(cuts) -> None:
    recognizer = seeing()
    recognizer.reader.detector = None
    timeline, _ = made_of(cuts, recognizer)
    (everybody,) = timeline.people
    assert len(everybody.stretches) == 3
    for start_s, end_s in everything(timeline):
        assert not any(start_s < cut_s - 2e-3 and end_s > cut_s + 2e-3 for cut_s in (2.375, 3.875))


def test_main_is_the_largest_and_all_is_everybody(folder) -> None:
    path = video(folder / "two.mkv", [(24, [LEFT, RIGHT], 0)], voiced(3.0))
    main, model = made_of(path)
    assert shown(main) == [pytest.approx((0, 3), abs=2e-3)]
    assert main.people[0].stretches[0].boxes_px[:, 2].max() < 90
    assert len(model.crops) == 24
    everybody, model = made_of(path, faces="all")
    assert len(everybody.people) == 2
    assert len(model.crops) == 48
    assert EVERYBODYS_SOUND in main.warnings
    assert EVERYBODYS_SOUND in everybody.warnings
    one = [window.scores for window in everybody.people[0].windows]
    np.testing.assert_allclose(one, [w.scores for w in main.people[0].windows], atol=1e-6)


def test_a_sound_that_nobody_hears_is_not_everybodys(folder) -> None:
    path = video(folder / "mute.mkv", [(16, [LEFT, RIGHT], 0)], np.zeros(96_000, np.float32))
    timeline, _ = made_of(path, faces="all")
    assert EVERYBODYS_SOUND not in timeline.warnings
    assert "the sound is silent" in timeline.warnings
    windows = [window for person in timeline.people for window in person.windows]
    assert {window.modalities for window in windows} == {("video",)}


def test_sound_that_ends_before_the_picture_is_not_heard_any_more(folder) -> None:
    path = video(folder / "short.mkv", [(48, [A], 0)], voiced(2.0))
    timeline, _ = made_of(path)
    used = {w.start_s: w.modalities for w in timeline.people[0].windows}
    assert used[0.5] == ("video", "audio")
    assert used[4.0] == ("video",)


def test_sound_alone(folder) -> None:
    path = write(folder / "voice.wav", None, voiced(3.2))
    timeline, model = made_of(path)
    (person,) = timeline.people
    spans = [(window.start_s, window.end_s) for window in person.windows]
    np.testing.assert_allclose(spans, spans_of(0, 3.2, WINDOW_S, 0.5), atol=1e-6)
    assert {window.modalities for window in person.windows} == {("audio",)}
    assert model.crops == []
    assert person.stretches[0].boxes_px is None


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_one_modality_of_both(talk, modality: str) -> None:
    timeline, model = made_of(talk, modality=modality)
    windows = list(timeline.people[0].windows)
    assert {window.modalities for window in windows} == {(modality,)}
    assert bool(model.crops) == (modality == "video")
    assert bool(model.sounds) == (modality == "audio")


def test_what_a_model_does_not_read_is_refused(talk) -> None:
    with pytest.raises(ModalityError):
        made_of(talk, seeing("v"), modality="audio")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"window_s": 0.05}, "0.1 to 60 s long, not 0.05 s"),
        ({"window_s": 61}, "--window"),
        ({"window_s": float("nan")}, "--window"),
        ({"hop_s": 0.0}, "--hop"),
        ({"hop_s": -1.0}, "--hop"),
        ({"hop_s": float("inf")}, "--hop"),
        ({"hop_s": 1.5}, "after 0.03125 to 1 s, not 1.5 s"),
        ({"faces": "some"}, "main or all, not 'some'"),
    ],
)
def test_choices_that_are_none_are_refused(talk, how: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        made_of(talk, **how)


def test_progress_ascends_to_the_end(talk) -> None:
    told = []
    made_of(talk, progress=lambda done_s, total_s: told.append((done_s, total_s)))
    done = [done_s for done_s, _ in told]
    assert done == sorted(done)
    assert {round(total_s, 1) for _, total_s in told} == {8.0}
    assert 7.5 < done[-1] <= told[-1][1]


def test_boxes_are_in_px_of_the_whole_frame_however_large_that_is(talk, monkeypatch) -> None:
    plain, _ = made_of(talk)
    monkeypatch.setattr(looking, "FACE_SOURCE_PX", 80)  # half of its size
    small, _ = made_of(talk)
    boxes = [t.people[0].stretches[0].boxes_px for t in (plain, small)]
    np.testing.assert_allclose(boxes[1], boxes[0], atol=8)
    assert small.warnings == plain.warnings


class Endless(Source):
    """The same picture again and again, each time another array."""

    def __init__(self, count: int) -> None:
        self.path, self.notes, self.sound_s, self.longest_px = "endless", [], None, 160
        self.times_s = np.arange(count) / FPS
        self.duration_s = count / FPS
        self.picture = scene([A])

    def frames(self, wanted, **how):
        for index in sorted(wanted):
            yield index, self.picture.copy()

    def sound(self, spans, rate):
        return []

    sound_track = None

    def recount(self) -> bool:
        return False


def test_memory_does_not_grow_with_the_length(monkeypatch) -> None:
    """A second of pictures takes 460 kB: of 17 more seconds not even the crops are held."""
    look, thumb = look_of(scene([A]), np.array(A.box, np.float32)), thumbnail(scene([A]))
    monkeypatch.setattr(following, "look_of", lambda *_: look)
    monkeypatch.setattr(following, "thumbnail", lambda _: thumb)
    peaks = []
    for count in (60, 60, 200):
        monkeypatch.setattr(module, "open_source", lambda *_, n=count, **__: Endless(n))
        gc.collect()
        recognizer = seeing()
        recognizer.predictor.crops = type("Forgetful", (list,), {"__iadd__": lambda s, _: s})()
        tracemalloc.start()
        timeline, _ = made_of("endless", recognizer)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(timeline.people[0].stretches[0].times_s) == count
    assert peaks[2] - peaks[1] < 250_000
