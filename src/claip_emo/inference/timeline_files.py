"""A timeline becomes files: a table, JSON, subtitles to play beside the video, and a figure."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

from claip_emo.inference.timeline_result import Segment, Timeline
from claip_emo.whole_files import written


class Writer(ABC):
    """Writes one kind of file of a timeline."""

    extension: str

    def write(self, timeline: Timeline, folder: Path, name: str) -> Path:
        """Write ``name`` with the extension into a folder, whole or not at all."""
        path = folder / f"{name}.{self.extension}"
        with written(path) as partial:
            self.fill(timeline, partial)
        return path

    @abstractmethod
    def fill(self, timeline: Timeline, path: Path) -> None:
        """Write the content of the file."""


class TextWriter(Writer):
    """Writes one kind of text."""

    @abstractmethod
    def text(self, timeline: Timeline) -> str:
        """Return the content of the file."""

    def fill(self, timeline: Timeline, path: Path) -> None:
        """Write the content of the file, as UTF-8."""
        # Names of files may hold what is no character; JSON has the same names for it.
        path.write_text(self.text(timeline), "utf-8", "backslashreplace", newline="")


class WriteJson(TextWriter):
    """The object that ``predict --timeline --json`` prints."""

    extension = "json"

    def text(self, timeline: Timeline) -> str:
        """Return the content of the file."""
        return json.dumps(timeline.to_dict(), ensure_ascii=False, indent=1) + "\n"


class WriteCsv(TextWriter):
    """A row for each person and window: ``person, start_s, end_s, label, score_NAME...``."""

    extension = "csv"

    def text(self, timeline: Timeline) -> str:
        """Return the content of the file."""
        rows = io.StringIO()
        table = csv.writer(rows, lineterminator="\n")
        scores = [f"score_{name}" for name in timeline.labels]
        table.writerow(["person", "start_s", "end_s", "label", *scores])
        for person in timeline.people:
            for window in person.windows:
                times = (f"{time_s:.3f}" for time_s in (window.start_s, window.end_s))
                values = (f"{value:.6f}" for value in window.scores)
                table.writerow([person.id, *times, window.label, *values])
        return rows.getvalue()


class WriteVtt(TextWriter):
    """WebVTT: a cue for each segment."""

    extension = "vtt"

    def text(self, timeline: Timeline) -> str:
        """Return the content of the file."""
        cues = [
            f"{_clock(segment.start_s, '.')} --> {_clock(segment.end_s, '.')}\n{said}\n"
            for segment, said in _cues(timeline, "&lt;", "&gt;", "&amp;")
        ]
        return "\n".join(["WEBVTT\n", *cues])


class WriteSrt(TextWriter):
    """SubRip: the same with numbers, for players that know no WebVTT."""

    extension = "srt"

    def text(self, timeline: Timeline) -> str:
        """Return the content of the file."""
        return "\n".join(
            f"{number}\n{_clock(segment.start_s, ',')} --> {_clock(segment.end_s, ',')}\n{said}\n"
            for number, (segment, said) in enumerate(_cues(timeline, "‹", "›", "&"), 1)
        )


class WritePng(Writer):
    """A figure: what each person shows over time."""

    extension = "png"

    def fill(self, timeline: Timeline, path: Path) -> None:
        """Draw the figure."""
        from claip_emo.inference.timeline_figure import draw  # seconds of matplotlib

        draw(timeline, path)


KEYS = frozenset(("people", "window_s", "hop_s"))
"""By which the JSON of a timeline is known."""

# The JSON first: by it a later run knows that the others are a timeline's.
WRITERS: tuple[Writer, ...] = (WriteJson(), WriteCsv(), WriteVtt(), WriteSrt(), WritePng())


def write_all(timeline: Timeline, folder: Path, name: str) -> list[Path]:
    """Write all kinds of files of a timeline, ``NAME.csv .json .vtt .srt .png``, into a folder."""
    return [writer.write(timeline, folder, name) for writer in WRITERS]


def _cues(
    timeline: Timeline, less: str, greater: str, ampersand: str
) -> Iterable[tuple[Segment, str]]:
    """Yield segments with what is shown to them, in the order of time.

    What stands for the signs < > & neither begins markup nor ends a cue.
    """
    several = len(timeline.people) > 1
    signs = str.maketrans({"<": less, ">": greater, "&": ampersand})

    def said(segment: Segment, number: int) -> str:
        label = " ".join(segment.label.translate(signs).split())
        return f"{f'Person {number}: ' * several}{label} {segment.score:.0%}"

    cues = [
        (segment, said(segment, person.id))
        for person in timeline.people
        for segment in person.segments
    ]
    return sorted(cues, key=lambda cue: (cue[0].start_s, cue[0].end_s))


def _clock(seconds: float, point: str) -> str:
    """Return hours:minutes:seconds.milliseconds, with the given decimal point."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}{point}{thousandths:03d}"
