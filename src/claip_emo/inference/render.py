"""The video again, with boxes, labels and bars drawn on it, upright and with its sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from claip_emo.inference.looking import picture_end_s
from claip_emo.inference.overlay import Overlay
from claip_emo.inference.timeline_result import Timeline
from claip_emo.media.clip import ahead
from claip_emo.media.container import MediaError, open_media
from claip_emo.media.encode import encode
from claip_emo.media.picture import Frame
from claip_emo.media.source import open_source
from claip_emo.whole_files import written

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
AHEAD = 4
MADE_BY = "Drawn by claip-emo"

Progress = Callable[[float, float], None]


def render(
    timeline: Timeline,
    out: Path,
    *,
    audio: str | Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Draw a timeline on its video.

    Every frame is kept at its time and in its size, turned as it is tagged.

    Args:
        timeline: of a file that is still there.
        out: the new video, written whole or not at all; mp4, m4v, mov or mkv.
        audio: the sound file that the timeline was made with, where it was another.
        progress: is told how many of how many seconds are done.

    Raises:
        MediaError: if there is no picture to draw on, or the video cannot be written.
        ValueError: if the new video would be the old one, or of another kind.
    """
    check_out(out, timeline.path)
    source = open_source(timeline.path, audio_path=audio)
    end_s = picture_end_s(source)

    def drawn() -> Iterator[tuple[float, Frame]]:
        overlay = None
        for index, picture in ahead(source.frames(range(len(source.times_s))), AHEAD):
            overlay = overlay or Overlay(timeline, *picture.shape[:2])
            time_s = float(source.times_s[index])
            yield time_s, overlay.draw(picture, time_s)
            if progress is not None:
                progress(time_s, end_s)

    with written(out) as partial:
        encode(partial, drawn(), source, end_s, comment=MADE_BY)


def check_out(out: Path, path: str | Path) -> None:
    """Refuse to write what would be of no use.

    Raises:
        ValueError: naming the mend.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{out}: a rendered video is named {', '.join(SUFFIXES)}.")
    if out.exists() and Path(path).exists() and out.samefile(path):
        raise ValueError(f"{out} is the video itself: give the rendered one another name.")


def check_folder_of_videos(folder: Path) -> None:
    """Refuse what is no folder.

    Raises:
        ValueError: naming the mend.
    """
    if folder.suffix.lower() in SUFFIXES or (folder.exists() and not folder.is_dir()):
        raise ValueError(f"{folder}: several videos need a folder (--render).")


def is_rendered(path: Path) -> bool:
    """Say whether a video is one that was drawn here."""
    try:
        with open_media(str(path)) as container:
            said = {name.lower(): text for name, text in container.metadata.items()}
    except MediaError:
        return False
    return said.get("comment") == MADE_BY
