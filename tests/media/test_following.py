"""Everybody over time: who is followed where, cuts, misses, and what is held in memory."""

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from claip_emo.media import following
from claip_emo.media.appearance import look_of
from claip_emo.media.following import LEAST_SIGHTINGS, Follower, Looked, Moment, Track
from claip_emo.media.people import People
from claip_emo.media.shots import thumbnail
from claip_emo.media.tracks import squares

from .made_people import STEP_S, Head, follow, looked

A, B = Head(1), Head(2)


class Tracked:
    """What People takes of a track."""

    def __init__(self, track: Track) -> None:
        self.gallery = track.gallery
        self.span_s = track.times_s[0], track.times_s[-1]


def people(tracks: list[Track]) -> int:
    everybody = People[Tracked]()
    for track in tracks:
        everybody.add(Tracked(track))
    return len(everybody.settle())


def shown(moments: list[Moment]) -> list[list[int]]:
    """Numbers of the tracks in each picture."""
    return [sorted(track.number for track, _ in moment.shown) for moment in moments]


def centres(moments: list[Moment], number: int) -> np.ndarray:
    """Middle of a track's square wherever it is shown, (moment, 2)."""
    boxes = [square for m in moments for track, square in m.shown if track.number == number]
    return np.array([(box[:2] + box[2:]) / 2 for box in boxes])


def test_nothing_is_followed_in_nothing() -> None:
    assert follow([]) == ([], [], [])


def test_every_picture_comes_out_once_in_order() -> None:
    pictures = [looked(n, [A], n // 20, found=[A] if n % 5 else []) for n in range(60)]
    moments, _, cuts = follow(pictures)
    assert [moment.time_s for moment in moments] == [p.time_s for p in pictures]
    assert all(m.picture is p.picture for m, p in zip(moments, pictures, strict=True))
    assert cuts == [20 * STEP_S, 40 * STEP_S]
    assert [moment.shot for moment in moments] == [0] * 20 + [1] * 20 + [2] * 20


def test_one_face_is_one_track() -> None:
    moments, (track,), cuts = follow([looked(n, [A]) for n in range(20)])
    assert shown(moments) == [[0]] * 20
    assert track.times_s == [n * STEP_S for n in range(20)]
    assert cuts == []
    x, y, width, height = A.box[:4]
    for moment in moments:
        middle, side = (x + width / 2, y + height / 2), height / 2
        wanted = [middle[0] - side, middle[1] - side, middle[0] + side, middle[1] + side]
        np.testing.assert_allclose(moment.shown[0][1], wanted, atol=1e-4)


def test_a_cut_to_another_at_the_same_place() -> None:
    moments, tracks, cuts = follow([looked(n, [A if n < 10 else B]) for n in range(20)])
    assert cuts == [10 * STEP_S]
    assert shown(moments) == [[0]] * 10 + [[1]] * 10
    assert people(tracks) == 2
    assert [(t.times_s[0], t.times_s[-1]) for t in tracks] == [(0, 1.125), (1.25, 2.375)]


def test_another_at_the_same_place_without_a_cut_is_another_track(monkeypatch) -> None:
    monkeypatch.setattr(Follower, "_is_cut", lambda *_: False)
    moments, tracks, _ = follow([looked(n, [A if n < 10 else B]) for n in range(20)])
    assert shown(moments) == [[0]] * 10 + [[1]] * 10
    assert people(tracks) == 2


def test_who_comes_back_after_a_cut_is_the_same_person() -> None:
    who = [A] * 10 + [B] * 10 + [A] * 10
    moments, tracks, cuts = follow([looked(n, [head]) for n, head in enumerate(who)])
    assert len(cuts) == 2
    assert shown(moments) == [[0]] * 10 + [[1]] * 10 + [[2]] * 10
    assert people(tracks) == 2


def test_the_same_person_elsewhere_after_a_cut_is_one_person_of_two_tracks() -> None:
    there = Head(1, 95, 45)
    pictures = [looked(n, [A if n < 10 else there], n // 10) for n in range(20)]
    moments, tracks, cuts = follow(pictures)
    assert cuts == [10 * STEP_S]
    assert shown(moments) == [[0]] * 10 + [[1]] * 10
    assert people(tracks) == 1


def test_a_jump_cut_with_the_same_face_in_its_place_is_no_track_of_two_shots() -> None:
    pictures = [looked(n, [A], 0 if n < 10 else 5) for n in range(20)]
    moments, tracks, cuts = follow(pictures)
    assert cuts == [10 * STEP_S]
    assert [len(track.times_s) for track in tracks] == [10, 10]
    assert people(tracks) == 1
    assert not any({0, 1} <= {*numbers} for numbers in shown(moments))


def test_two_side_by_side() -> None:
    both = [Head(1, 20, 36), Head(2, 95, 36)]
    moments, tracks, cuts = follow([looked(n, both if n % 2 else both[::-1]) for n in range(16)])
    assert shown(moments) == [[0, 1]] * 16
    assert people(tracks) == 2
    assert cuts == []
    for track in tracks:
        assert len({float(box[0]) for box in track.boxes}) == 1


def test_two_who_cross_keep_their_numbers() -> None:
    """The nearer one hides the other for some pictures, and is soon where the other was."""
    pictures = []
    for n in range(14):
        far, near = Head(1, 8 * n, 30), Head(2, 112 - 8 * n, 36)
        hidden = abs(far.x - near.x) < 46
        pictures.append(looked(n, [far, near], found=[near] if hidden else [near, far]))
    moments, tracks, cuts = follow(pictures)
    assert cuts == []
    assert shown(moments) == [[0, 1]] * len(pictures)
    steps = {t.number: np.diff([float(box[0]) for box in t.boxes]) for t in tracks}
    assert (steps[0] < 0).all()
    assert (steps[1] > 0).all()


@pytest.mark.parametrize(("missed", "tracks_of"), [(4, 1), (7, 1), (8, 2), (24, 2)])
def test_short_misses_are_survived(missed: int, tracks_of: int) -> None:
    """0.5 s and just less than the longest miss; more than 1 s and 3 s are not."""
    gone = range(10, 10 + missed)
    pictures = [looked(n, [A], found=[] if n in gone else None) for n in range(44)]
    moments, tracks, cuts = follow(pictures)
    assert cuts == []
    assert len(tracks) == tracks_of
    assert people(tracks) == 1
    between = [len(numbers) for numbers in shown(moments)[10 : 10 + missed]]
    assert between == [2 - tracks_of] * missed
    assert all(shown(moments)[:10])
    assert all(shown(moments)[10 + missed :])


@pytest.mark.parametrize("count", [14, 30])
def test_who_leaves_is_shown_no_longer(count: int) -> None:
    moments, _, _ = follow([looked(n, [A], found=[A] if n < 10 else []) for n in range(count)])
    assert shown(moments) == [[0]] * 10 + [[]] * (count - 10)


def test_who_appears_elsewhere_is_another_unless_they_look_alike() -> None:
    here, there = Head(0), Head(2, 110, 50)
    pictures = [looked(n, [here, there], found=[here] if n < 10 else [there]) for n in range(20)]
    assert shown(follow(pictures)[0]) == [[0]] * 10 + [[1]] * 10
    again = Head(1, 110, 50)
    pictures = [looked(n, [A, again], found=[A] if n < 10 else [again]) for n in range(20)]
    assert shown(follow(pictures)[0]) == [[0]] * 20


def test_a_missed_face_is_where_it_was_between() -> None:
    pictures = [
        looked(n, [Head(1, 20 + 3 * n, 36)], found=[] if 10 <= n < 14 else None) for n in range(24)
    ]
    moments, _, _ = follow(pictures)
    truth = 20 + 3 * np.arange(24) + A.box[2] / 2
    seen = centres(moments, 0)[:, 0]
    np.testing.assert_allclose(seen[5:-5], truth[5:-5], atol=0.2)


def test_a_flash_ends_no_track() -> None:
    pictures = [looked(n, [A]) for n in range(20)]
    white = np.full_like(pictures[0].picture, 255)
    pictures[10] = Looked(10 * STEP_S, white, np.zeros((0, 6), np.float32))
    moments, tracks, cuts = follow(pictures)
    assert cuts == []
    assert len(tracks) == 1
    assert shown(moments) == [[0]] * 20


def test_a_fast_pan_is_no_cut() -> None:
    """Somebody is followed by a camera that turns: the wall moves, and they a little."""
    pictures = [
        looked(n, [Head(1, 50 + 6 * np.sin(n), 36)], shift=14 * max(0, n - 5)) for n in range(24)
    ]
    _, tracks, cuts = follow(pictures)
    assert cuts == []
    assert len(tracks) == 1


@pytest.mark.parametrize("sightings", [1, 2])
def test_what_is_seen_once_or_twice_is_nobody(sightings: int) -> None:
    false = Head(7, 110, 10, 30)
    pictures = [
        looked(n, [A], found=[A, false] if 10 <= n < 10 + sightings else [A]) for n in range(30)
    ]
    moments, tracks, _ = follow(pictures)
    assert sightings < LEAST_SIGHTINGS
    assert shown(moments) == [[0]] * 30
    assert [len(track.times_s) for track in tracks] == [30]


def test_shots_of_one_picture_have_somebody() -> None:
    pictures = [looked(0, [A], 0), *(looked(n, [B], 1) for n in range(1, 8)), looked(8, [A], 5)]
    moments, tracks, cuts = follow(pictures)
    assert cuts == [STEP_S, 8 * STEP_S]
    assert shown(moments) == [[0], *[[1]] * 7, [2]]
    assert people(tracks) == 2


def test_a_single_picture() -> None:
    moments, tracks, _ = follow([looked(0, [A, Head(2, 110, 36, 40)])])
    assert shown(moments) == [[0, 1]]
    assert len(tracks) == 2


@pytest.mark.parametrize("step_s", [0.04, 0.125, 0.5, 2.0])
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_squares_are_those_of_a_whole_clip(step_s: float, margin: float) -> None:
    rng = np.random.default_rng(0)
    heads = [Head(1, 40 + 20 * np.sin(n / 6), 36 + rng.normal(0, 2)) for n in range(40)]
    missed = {5, 6, 17, 30} if step_s < 2 else {17}
    pictures = [
        looked(n, [head], found=[] if n in missed else None, step_s=step_s)
        for n, head in enumerate(heads)
    ]
    moments, tracks, _ = follow(pictures, step_s, margin)
    assert len(tracks) == 1
    times = np.array([p.time_s for p in pictures])
    faces = [p.faces[:, :5] for p in pictures]
    wanted, _ = squares(times, np.arange(len(times)), faces, margin=margin)
    got = np.stack([moment.shown[0][1] for moment in moments])
    np.testing.assert_allclose(got, wanted, atol=0.05)
    assert np.ptp(wanted[:, 0]) > 20


class Counted:
    """Counts pictures that are still held."""

    def __init__(self) -> None:
        self.held = self.most = 0

    def pictures(self, count: int, heads: list[Head]) -> Iterator[Looked]:
        again = looked(0, heads, height=60, width=80)
        for n in range(count):
            picture = again.picture.copy()
            self.held += 1
            self.most = max(self.most, self.held)
            weakref.finalize(picture, self.gone)
            yield Looked(n * STEP_S, picture, again.faces)
            del picture

    def gone(self) -> None:
        self.held -= 1


def test_memory_holds_a_few_pictures_however_many_there_are(monkeypatch) -> None:
    counted, latest = Counted(), 0.0
    small = looked(0, [A])
    look, thumb = look_of(small.picture, small.faces[0]), thumbnail(small.picture)
    monkeypatch.setattr(following, "look_of", lambda *_: look)  # as what takes the time
    monkeypatch.setattr(following, "thumbnail", lambda _: thumb)
    follower = Follower(STEP_S, 0.0)
    begun: list[float] = []

    def noted() -> Iterator[Looked]:
        for picture in counted.pictures(1500, [Head(1, 30, 20, 24)]):
            begun.append(picture.time_s)
            yield picture

    count = 0
    for moment in follower.follow(noted()):
        latest, count = max(latest, begun[-1] - moment.time_s), count + 1
        del moment
    gc.collect()
    assert count == 1500
    assert counted.most < 25
    assert counted.held <= 1
    assert latest < 2.1  # a second's miss, half a second of smoothing, and the next picture
    assert len(follower._looked_s) == 0


def test_tracks_are_handed_over_while_a_shot_goes_on() -> None:
    """Whoever takes them can forget them: in a shot of hours people come and go."""
    follower, handed = Follower(STEP_S, 0.0), []
    pictures = [looked(n, [], found=[A] if n % 30 < 12 else []) for n in range(150)]
    most = 0
    for _ in follower.follow(pictures):
        handed += follower.tracks
        follower.tracks.clear()
        most = max(most, len(follower._alive) + len(follower._ended))
    assert len(handed + follower.tracks) == 5
    assert most <= 2


def test_the_weight_between_two_times() -> None:
    track = Track(0)
    pictures = [looked(n, [A]) for n in range(4)]
    _, (track,), _ = follow(pictures)
    one = np.sqrt(A.box[2] * A.box[3]) * 0.9
    assert track.weight(0, 0.3) == pytest.approx(3 * one, rel=1e-5)
    assert track.weight(0.1, 0.25) == pytest.approx(one, rel=1e-5)
    assert track.weight(5, 9) == 0
