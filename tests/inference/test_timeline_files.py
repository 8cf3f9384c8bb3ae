"""Files of a timeline, read back."""

import csv
import io
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from claip_emo.inference.abstention import ALWAYS, Abstention
from claip_emo.inference.outputs import names_of
from claip_emo.inference.timeline_figure import MOST_LANES, clock
from claip_emo.inference.timeline_files import (
    WRITERS,
    WriteCsv,
    WriteJson,
    WriteSrt,
    WriteVtt,
    write_all,
)
from claip_emo.inference.timeline_result import (
    ScoredWindow,
    Segment,
    Stretch,
    Timeline,
    TimelinePerson,
    segments_of,
)
from claip_emo.inference.windows import Curve, curve_of, spans_of

LABELS = ("happiness", "sadness", "neutral")
CUE = re.compile(r"(\d\d+):(\d\d):(\d\d)([.,])(\d{3}) --> (\d\d+):(\d\d):(\d\d)([.,])(\d{3})")


def stretch(begin_s: float, end_s: float, labels=LABELS, seed: int = 0) -> Stretch:
    spans = np.array(spans_of(begin_s, end_s, 2.0, 0.5))
    scores = np.random.default_rng(seed).dirichlet(np.full(len(labels), 0.4), len(spans))
    windows = [
        ScoredWindow(float(begin), float(end), labels[int(row.argmax())], row, ("video",))
        for (begin, end), row in zip(spans, scores, strict=True)
    ]
    curve = curve_of(spans, scores, 0.5)
    segments = segments_of(curve, windows, labels, ALWAYS, 2.0)
    return Stretch(begin_s, end_s, tuple(windows), curve, segments, spans[:, 0], None)


def made(*people: list[tuple[float, float]], labels=LABELS, path: str = "a/talk.mp4") -> Timeline:
    """A timeline of people who are in sight for some spans each."""
    everybody = tuple(
        TimelinePerson(
            number, tuple(stretch(*span, labels, 10 * number + k) for k, span in enumerate(spans))
        )
        for number, spans in enumerate(people, 1)
    )
    end_s = max((person.last_s for person in everybody), default=0.0)
    return Timeline(path, labels, 2.0, 0.5, end_s, everybody, (3.0,), ("the face is small",))


TWO = made([(0.0, 7.25), (9.0, 12.0)], [(1.5, 6.0)])


def cues(text: str, point: str) -> list[tuple[float, float, str]]:
    """What a player sees: start and end in seconds, and the words."""
    found = []
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        at = next((n for n, line in enumerate(lines) if "-->" in line), None)
        if at is None:
            continue
        parts = CUE.fullmatch(lines[at]).groups()
        assert parts[3] == parts[8] == point
        times = [
            int(h) * 3600 + int(m) * 60 + int(s) + int(ms) / 1000
            for h, m, s, _, ms in (parts[:5], parts[5:])
        ]
        assert len(lines) == at + 2
        found.append((*times, lines[at + 1]))
    return found


@pytest.mark.parametrize(("writer", "point"), [(WriteVtt(), "."), (WriteSrt(), ",")])
def test_cues_are_the_segments(writer, point: str) -> None:
    found = cues(writer.text(TWO), point)
    wanted = [(p.id, segment) for p in TWO.people for segment in p.segments]
    assert len(found) == len(wanted) > 3
    assert [start for start, _, _ in found] == sorted(start for start, _, _ in found)
    said = {
        (round(s.start_s, 3), round(s.end_s, 3), f"Person {number}: {s.label} {s.score:.0%}")
        for number, s in wanted
    }
    assert set(found) == said
    assert all(start < end for start, end, _ in found)


def test_one_person_has_no_number() -> None:
    said = [words for _, _, words in cues(WriteVtt().text(made([(0.0, 5.0)])), ".")]
    assert all(words.split()[0] in LABELS for words in said)


def test_a_vtt_begins_as_players_want_it() -> None:
    assert WriteVtt().text(TWO).startswith("WEBVTT\n\n00:00:00.000 --> ")
    assert WriteVtt().text(made()) == "WEBVTT\n"


def test_an_srt_counts_its_cues() -> None:
    blocks = WriteSrt().text(TWO).strip().split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == [str(n + 1) for n in range(len(blocks))]
    assert WriteSrt().text(made()) == ""


@pytest.mark.parametrize("start_s", [59.9996, 3599.9999, 3600.0, 7325.5, 360_000.0])
def test_hours(start_s: float) -> None:
    timeline = made([(start_s, start_s + 3)])
    for writer, point in ((WriteVtt(), "."), (WriteSrt(), ",")):
        found = cues(writer.text(timeline), point)
        assert found[0][0] == pytest.approx(start_s, abs=6e-4)
        assert found[-1][1] == pytest.approx(start_s + 3, abs=6e-4)
        assert all(int(m) < 60 for m in re.findall(r":(\d\d)", writer.text(timeline)))


def test_markup_in_labels_neither_begins_a_tag_nor_ends_a_cue() -> None:
    labels = ("<b>joy</b>", "fear & awe", "a\n\n00:00 --> 9")
    timeline = made([(0.0, 20.0)], labels=labels)
    words = {words.rpartition(" ")[0] for _, _, words in cues(WriteVtt().text(timeline), ".")}
    assert words <= {"&lt;b&gt;joy&lt;/b&gt;", "fear &amp; awe", "a 00:00 --&gt; 9"}
    assert len(words) > 1
    for _, _, said in cues(WriteSrt().text(timeline), ","):
        assert "<" not in said
        assert "-->" not in said
        assert "&amp;" not in said  # SubRip has no names of signs: players would show them


def test_csv_has_a_row_for_each_person_and_window() -> None:
    rows = list(csv.DictReader(io.StringIO(WriteCsv().text(TWO))))
    wanted = [(p.id, window) for p in TWO.people for window in p.windows]
    assert len(rows) == len(wanted)
    for row, (number, window) in zip(rows, wanted, strict=True):
        assert int(row["person"]) == number
        assert float(row["start_s"]) == pytest.approx(window.start_s, abs=6e-4)
        assert float(row["end_s"]) == pytest.approx(window.end_s, abs=6e-4)
        scores = {name: float(row[f"score_{name}"]) for name in LABELS}
        assert list(scores.values()) == pytest.approx(window.scores.tolist(), abs=1e-6)
        assert row["label"] == max(scores, key=scores.get)


def test_csv_quotes_what_needs_it() -> None:
    timeline = made([(0.0, 3.0)], labels=('a,"b', "c\nd"))
    rows = list(csv.reader(io.StringIO(WriteCsv().text(timeline))))
    assert rows[0][4:] == ['score_a,"b', "score_c\nd"]
    assert {len(row) for row in rows} == {6}


def test_json_is_what_is_printed() -> None:
    found = json.loads(WriteJson().text(TWO))
    assert found == json.loads(json.dumps(TWO.to_dict()))
    assert set(found) == {
        "path", "duration_s", "window_s", "hop_s", "people", "warnings", "error",
    }  # fmt: skip
    first = found["people"][0]
    assert set(first) == {"id", "first_s", "last_s", "segments", "windows"}
    assert (first["first_s"], first["last_s"]) == (0, 12)
    assert set(first["segments"][0]) == {"start_s", "end_s", "label", "score"}
    assert set(first["windows"][0]) == {"start_s", "end_s", "scores", "modalities"}
    for person in found["people"]:
        for segment, after in zip(person["segments"], person["segments"][1:], strict=False):
            assert segment["end_s"] <= after["start_s"]
            assert 0 <= segment["score"] <= 1


def test_a_failed_file_is_an_object_too() -> None:
    failed = Timeline("b.mp4", LABELS, 2.0, 0.5, error="b.mp4: nothing.")
    assert failed.to_dict()["people"] == []
    assert failed.to_dict()["duration_s"] is None
    assert failed.to_dict()["error"] == "b.mp4: nothing."


CURVE = Curve(np.array([0, 0.5, 1.5]), np.array([[0.9, 0.1], [0.6, 0.4]]))
FACE, BOTH = ("video",), ("video", "audio")


def of_curve(abstention: Abstention = ALWAYS, used=(FACE, FACE, FACE)) -> Segment:
    """The one segment of a curve that three windows made."""
    spans = [(0.0, 0.5), (0.0, 1.5), (0.5, 1.5)]
    scores = np.array([0.7, 0.3])
    windows = [ScoredWindow(*span, "a", scores, of) for span, of in zip(spans, used, strict=True)]
    (segment,) = segments_of(CURVE, windows, ("a", "b"), abstention, 2.0)
    return segment


def test_segments_average_by_time() -> None:
    """0.9 for half a second and 0.6 for a second: 0.7."""
    segment = of_curve()
    assert (segment.start_s, segment.end_s, segment.label) == (0, 1.5, "a")
    assert segment.score == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("limits", "used", "said"),
    [
        ({"v": 0.69}, (FACE, FACE, FACE), "a"),
        ({"v": 0.71}, (FACE, FACE, FACE), "uncertain"),
        ({"v": 0.71, "av": 0.5}, (BOTH, BOTH, FACE), "a"),  # most of its windows heard something
        ({"v": 0.71, "av": 0.5}, (FACE, BOTH, FACE), "uncertain"),
    ],
)
def test_a_segment_abstains_by_what_most_of_its_windows_used(limits, used, said: str) -> None:
    segment = of_curve(Abstention(limits), used)
    assert segment.label == said
    assert segment.score == pytest.approx(0.7)


@pytest.mark.parametrize(
    "path", ["a/talk.mp4", "$x_1$ [b] 名前.mp4", "x" * 200 + ".mp4", "\udcff.mp4", "line\nend.mp4"]
)
@pytest.mark.filterwarnings("error")
def test_all_files_are_written_whatever_the_name(tmp_path, path: str) -> None:
    timeline = made([(0.0, 5.0)], path=path)
    written = write_all(timeline, tmp_path, "talk")
    assert [file.name for file in written] == [
        "talk.json", "talk.csv", "talk.vtt", "talk.srt", "talk.png",
    ]  # fmt: skip
    assert {*tmp_path.iterdir()} == {*written}
    assert json.loads((tmp_path / "talk.json").read_text("utf-8"))["people"]
    assert cv2.imread(str(tmp_path / "talk.png")).shape[1] > 600


def test_lines_end_alike_on_every_system(tmp_path) -> None:
    write_all(made([(0.0, 3.0)]), tmp_path, "a")
    for extension in ("csv", "json", "vtt", "srt"):
        assert b"\r" not in (tmp_path / f"a.{extension}").read_bytes()


def test_figures_have_a_lane_for_each_of_a_few_people(tmp_path) -> None:
    (png,) = [writer for writer in WRITERS if writer.extension == "png"]
    heights = []
    for count in (1, 3, MOST_LANES + 3, MOST_LANES):
        path = png.write(made(*[[(0.0, 3.0)]] * count), tmp_path, "a")
        heights.append(cv2.imread(str(path)).shape[0])
    assert heights[1] > 1.5 * heights[0]
    assert heights[2] == heights[3]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"), (8.5, "8.5 s"), (60, "1:00"), (125, "2:05"), (3725, "1:02:05"),
        (119.9999, "2:00"), (3599.9999, "1:00:00"),
    ],
)  # fmt: skip
def test_clocks(seconds: float, said: str) -> None:
    assert clock(seconds) == said


def test_names_are_given_once() -> None:
    paths = ["a/talk.mp4", "b/talk.mkv", "c/Talk.mp4", "c/talk-2.mp4", "d/x.tar.gz", ".hidden"]
    names = names_of(paths)
    assert names == ["talk", "talk-2", "Talk-3", "talk-2-2", "x.tar", "hidden"]
    assert len({name.casefold() for name in names}) == len(names)


def test_a_folder_that_is_here_has_a_name(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert names_of(["."]) == [tmp_path.name]
    assert names_of([Path("/")]) == ["clip"]
