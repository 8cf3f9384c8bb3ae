"""Timelines of many files, with what is written of each; a bad file is a row with its error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from claip_emo.inference.outputs import check_folder, names_of
from claip_emo.inference.reader import ModalityChoice
from claip_emo.inference.recognizer import EmotionRecognizer
from claip_emo.inference.render import (
    SUFFIXES,
    check_folder_of_videos,
    check_out,
    is_rendered,
    render,
)
from claip_emo.inference.result import explained
from claip_emo.inference.timeline import FacesChoice, check_windows
from claip_emo.inference.timeline_files import KEYS, WRITERS, write_all
from claip_emo.inference.timeline_result import Timeline

Progress = Callable[[str, float, float], None]
"""Is told what is done, and how many of how many seconds of it."""


@dataclass(frozen=True, slots=True)
class TimelineChoices:
    """How timelines are made, and what is written of them.

    Attributes:
        window_s: length of the windows.
        hop_s: from one to the next.
        faces: whom to follow.
        modality: what is used.
        out: folder of ``NAME.csv .json .vtt .srt .png``; None: nothing is written.
        rendered: of one file the new video, of several a folder for them; None: none is made.
    """

    window_s: float = 2.0
    hop_s: float = 0.5
    faces: FacesChoice = "main"
    modality: ModalityChoice = "av"
    out: Path | None = None
    rendered: Path | None = None

    def check(self, paths: Sequence[Path]) -> None:
        """Refuse choices that are none, before work begins.

        Raises:
            ValueError: naming the mend.
        """
        check_windows(self.window_s, self.hop_s, self.faces)
        if self.out is not None:
            suffixes = [f".{writer.extension}" for writer in WRITERS]
            check_folder(self.out, paths, suffixes, KEYS)
        if self.rendered is None:
            return
        if len(paths) == 1:
            check_out(self.rendered, paths[0])
        else:
            check_folder_of_videos(self.rendered)
        given = {path.resolve() for path in paths}
        for video in self.videos(paths):
            if video is None or len(paths) == 1:
                continue
            if video.resolve() in given:
                raise ValueError(f"{video} is one of the files: give the new videos a folder.")
            if video.exists() and not is_rendered(video):
                raise ValueError(f"{video} is there already: give the new videos another folder.")

    def videos(self, paths: Sequence[Path]) -> list[Path | None]:
        """Return where the rendered video of each file belongs."""
        if self.rendered is None:
            return [None] * len(paths)
        if len(paths) == 1:
            return [self.rendered]
        return [self.rendered / f"{name}{SUFFIXES[0]}" for name in names_of(paths)]


def timelines(
    recognizer: EmotionRecognizer,
    paths: Sequence[Path],
    choices: TimelineChoices,
    progress: Progress = lambda what, done_s, total_s: None,
) -> Iterator[Timeline]:
    """Make the timelines of files, and write what is asked for, one file after the other.

    Yields:
        One for each file, in their order; one with an error where there is none, or where it could
        not be written.

    Raises:
        ModalityError: if the model does not read the modality that is asked for.
    """
    recognizer.reader.mask(choices.modality)
    for path, name, video in zip(paths, names_of(paths), choices.videos(paths), strict=True):
        found = Timeline(str(path), recognizer.labels.names, choices.window_s, choices.hop_s)
        try:
            found = recognizer.timeline(
                path,
                window_s=choices.window_s,
                hop_s=choices.hop_s,
                faces=choices.faces,
                modality=choices.modality,
                progress=lambda done_s, total_s: progress("Recognising", done_s, total_s),
            )
            if choices.out is not None:
                choices.out.mkdir(parents=True, exist_ok=True)
                write_all(found, choices.out, name)
            if video is not None:
                check_out(video, path)
                video.parent.mkdir(parents=True, exist_ok=True)
                render(found, video, progress=lambda done, total: progress("Drawing", done, total))
        except Exception as error:  # whatever one file does, the others go on
            found = replace(found, error=explained(str(path), error))
        yield found
