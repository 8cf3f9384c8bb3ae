"""Opening clips, many at once, to find out which can be read before anything depends on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path

from av.error import FFmpegError

from claip_emo.corpora.base import OnProgress, Sample
from claip_emo.media.recording import hear
from claip_emo.media.source import Source, open_source
from claip_emo.media.weakness import SILENT
from claip_emo.threads import cores

FEW = 32  # clips up to which starting processes takes longer than opening them here
CHUNK = 16  # clips handed to a process at once
HEARD_HZ = 48_000
Files = tuple[Path, Path | None]  # of a clip, and of its sound


@dataclass(frozen=True, slots=True)
class Probe:
    """What opening a clip tells.

    Attributes:
        error: why nothing can be read from it; None: something can.
        has_sound: whether its packets hold sound.
        warnings: what is damaged, where it can be read all the same.
    """

    error: str | None
    has_sound: bool
    warnings: tuple[str, ...] = ()


def probe(path: Path, audio_path: Path | None = None) -> Probe:
    """Open a clip: read its packets, and decode its first frame, or sound where it has none.

    Sound alone that is silent throughout is nothing, as it is for who prepares or predicts it.

    Args:
        path: video, sound file or folder of frames.
        audio_path: sound that is kept in another file.
    """
    try:
        source = open_source(path, audio_path=audio_path)
        has_sound = source.sound_s is not None
        if _has_picture(source) or any(part.any() for part in hear(source, HEARD_HZ)):
            return Probe(None, has_sound, source.warnings)
        nothing = SILENT if has_sound else "there is neither picture nor sound in it"
        why = "; ".join(source.warnings) or nothing
        return Probe(f"{path}: {why}", has_sound)
    except (FFmpegError, OSError, ValueError, RuntimeError) as error:  # one file among many
        said = str(error)
        return Probe(said if str(path) in said else f"{path}: {said}", False)


def probe_all(
    samples: Sequence[Sample], processes: int | None = None, progress: OnProgress | None = None
) -> dict[str, Probe]:
    """Open clips, each file once though it may be in several folds.

    Args:
        samples: the clips.
        processes: that open them; None: one per core that this process may use.
        progress: told how many files are opened of how many.

    Returns:
        What opening each tells, by id.
    """
    files: list[Files] = list(dict.fromkeys((s.path, s.audio_path) for s in samples))
    found: dict[Files, Probe] = {}
    for pair, told in zip(files, _opened(files, processes), strict=True):
        found[pair] = told
        if progress is not None:
            progress(len(found), len(files))
    return {sample.id: found[sample.path, sample.audio_path] for sample in samples}


def _opened(files: Sequence[Files], processes: int | None) -> Iterator[Probe]:
    count = processes or cores()
    if count == 1 or len(files) <= FEW:
        yield from starmap(probe, files)
        return
    with ProcessPoolExecutor(count) as pool:
        yield from pool.map(probe, *zip(*files, strict=True), chunksize=CHUNK)


def _has_picture(source: Source) -> bool:
    """Whether a frame decodes: the first one, else the first of those that do."""
    if not len(source.times_s):
        return False
    for _ in source.frames([0], short_px=16):
        return True
    source.recount()
    return bool(len(source.times_s))
