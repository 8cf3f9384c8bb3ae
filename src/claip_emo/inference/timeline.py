"""A recording becomes a timeline: decoded once, each crop and each piece of sound encoded once.

Pictures are looked at on a grid of ``window_s`` / T; faces are found and followed while they pass
(``media.following``), and all that stays of them are features for as long as a window needs them.
So memory does not grow with the length of the recording.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from claip_emo.inference.abstention import ALWAYS, Abstention
from claip_emo.inference.looking import FacesChoice, Looker, picture_end_s
from claip_emo.inference.predictor import Predictor
from claip_emo.inference.reader import Reader
from claip_emo.inference.stretches import Passage, Scorer
from claip_emo.inference.timeline_result import Timeline, TimelinePerson
from claip_emo.inference.voice import listen
from claip_emo.inference.windows import Window, Windower, spans_of
from claip_emo.media.decode import MediaError
from claip_emo.media.faces import FaceDetector
from claip_emo.media.people import People
from claip_emo.media.source import Source, open_source
from claip_emo.media.spec import ClipSpec
from claip_emo.media.weakness import (
    EVERYBODYS_SOUND,
    NO_FACE,
    NO_SPEECH,
    silent,
    weak_face,
    why_nothing,
)
from claip_emo.model.description import Modality

Progress = Callable[[float, float], None]
"""Is told how many of how many seconds of picture and sound are done."""


def make_timeline(
    predictor: Predictor,
    reader: Reader,
    path: str | Path,
    modality: Modality,
    *,
    window_s: float = 2.0,
    hop_s: float = 0.5,
    faces: FacesChoice = "main",
    audio: str | Path | None = None,
    abstention: Abstention = ALWAYS,
    progress: Progress | None = None,
) -> Timeline:
    """Find out who felt what, when.

    Args:
        predictor: its parts turn crops and sound into scores.
        reader: what the towers want to see, and what finds faces.
        path: a video, a sound file, or a folder of frames.
        modality: what is scored of it.
        window_s: length of a window; T frames of it are looked at.
        hop_s: from one window to the next, at most a window.
        faces: ``all`` follows everybody, ``main`` the largest face of each moment.
        audio: a sound file that belongs to a silent video.
        abstention: says what is named ``uncertain``.
        progress: is told how far it is.

    Raises:
        MediaError: if the file yields nothing that is scored.
        ValueError: if windows and hops are of no use.
    """
    check_windows(window_s, hop_s, faces)
    spec = reader.spec(modality)
    source = open_source(path, video=spec.video, audio=spec.audio, audio_path=audio)
    work = _Work(predictor, source, spec, modality, abstention, window_s, hop_s, progress)
    work.listen()
    passages = work.look(reader.detector, faces) if len(source.times_s) else []
    if not passages:
        passages = work.sound_alone()
    return work.timeline(str(path), passages)


def check_windows(window_s: float, hop_s: float, faces: str) -> None:
    """Refuse choices that are none.

    Raises:
        ValueError: naming the choice and its mend.
    """
    if not 0.1 <= window_s <= 60:
        raise ValueError(f"A window is 0.1 to 60 s long, not {window_s:g} s (--window).")
    if not window_s / 32 <= hop_s <= window_s:
        raise ValueError(
            f"Windows of {window_s:g} s follow each other after {window_s / 32:g} to "
            f"{window_s:g} s, not {hop_s:g} s (--hop)."
        )
    if faces not in ("main", "all"):
        raise ValueError(f"faces is main or all, not {faces!r}.")


class _Work:
    """What the steps of one timeline share."""

    def __init__(
        self,
        predictor: Predictor,
        source: Source,
        spec: ClipSpec,
        modality: Modality,
        abstention: Abstention,
        window_s: float,
        hop_s: float,
        progress: Progress | None,
    ):
        self.predictor, self.source, self.spec = predictor, source, spec
        self.modality, self.abstention = modality, abstention
        self.window_s, self.hop_s = window_s, hop_s
        self.warnings: list[str] = []
        self.cuts_s: tuple[float, ...] = ()
        self.heard_s = source.sound_s[1] - source.sound_s[0] if source.sound_s else 0.0
        picture_s = picture_end_s(source) if len(source.times_s) else 0.0
        self.total_s = self.heard_s + picture_s
        self.reached_s = 0.0
        self.progress = progress or (lambda done_s, total_s: None)

    def tell(self, done_s: float) -> None:
        """Say how far it is; what is looked at once more is not told again."""
        self.reached_s = min(max(done_s, self.reached_s), self.total_s)
        self.progress(self.reached_s, self.total_s)

    def listen(self) -> None:
        """Hear all of the sound, if it is asked for and there is any."""
        source, spec = self.source, self.spec
        self.voice = listen(self.predictor, source, spec.sampling_rate_hz, spec.audio_s, self.tell)
        if source.sound_s is not None and not self.voice.there.any():
            self.warnings.append(silent(source.sound_s, [source.sound_s]))
        elif source.sound_s is not None and not self.voice.speaks:
            self.warnings.append(NO_SPEECH)
        self.scorer = Scorer(self.predictor, self.voice, self.modality, self.abstention)

    def look(self, detector: FaceDetector | None, faces: FacesChoice) -> list[Passage]:
        """See all of the picture; where nobody is found in it, the whole of it once more."""
        looker = Looker(
            self.source,
            self.spec,
            self.scorer,
            self._windower,
            self._windower().step_s,
            lambda done_s: self.tell(self.heard_s + done_s),
        )
        found = looker.look(detector, faces)
        if looker.lost and not found and self.source.recount() and len(self.source.times_s):
            found = looker.look(detector, faces)
        if not found and detector is not None and len(self.source.times_s):
            found = looker.look(None, faces)
            self.warnings += [NO_FACE] if found else []
        self.cuts_s = tuple(looker.cuts_s)
        if looker.lost and found:
            pictures = "picture" if looker.lost == 1 else "pictures"
            self.warnings.append(f"damaged: {looker.lost} {pictures} could not be looked at")
        self.warnings += [
            said for said in looker.warnings if said != EVERYBODYS_SOUND or self.voice.there.any()
        ]
        return found

    def sound_alone(self) -> list[Passage]:
        """Score what is heard where there is no picture."""
        if self.source.sound_s is None or not self.voice.there.any():
            return []
        nothing = np.zeros((0, 0), np.float32)
        passage = Passage(None, None)
        spans = spans_of(*self.source.sound_s, self.window_s, self.hop_s)
        self.scorer.score(passage, (Window(*span, nothing) for span in spans))
        self.scorer.finish()
        return [passage]

    def timeline(self, path: str, passages: list[Passage]) -> Timeline:
        """Put together what was found.

        Raises:
            MediaError: if that is nothing.
        """
        said = [*self.source.warnings, *self.warnings]
        if not passages:
            raise MediaError(f"{path}: {why_nothing(said, self.spec)}")
        labels = self.predictor.config.label_set.names
        everybody = _people(passages)
        for number, theirs in enumerate(everybody, 1):
            of_whom = f"person {number}: " if len(everybody) > 1 else ""
            said += [of_whom + weak for weak in _weak(theirs)]
        people = tuple(
            TimelinePerson(
                number,
                tuple(
                    one.stretch(labels, self.abstention, self.window_s, self.hop_s)
                    for one in theirs
                ),
            )
            for number, theirs in enumerate(everybody, 1)
        )
        return Timeline(
            path,
            labels,
            self.window_s,
            self.hop_s,
            float(self.source.duration_s),
            people,
            self.cuts_s,
            tuple(dict.fromkeys(said)),
        )

    def _windower(self) -> Windower:
        return Windower(self.window_s, self.hop_s, self.predictor.settings.num_frames)


def _people(passages: list[Passage]) -> list[list[Passage]]:
    """Tell which passages are one person's; without faces all of them are."""
    if any(passage.track is None for passage in passages):
        return [passages]
    people = People[Passage]()
    for passage in passages:
        people.add(passage)
    return [person.stretches for person in people.settle()]


def _weak(passages: list[Passage]) -> list[str]:
    """Say why a person's face is hard to read."""
    tracks = {id(one.track): (one.track, one.scale) for one in passages if one.track is not None}
    if not tracks:
        return []
    boxes = np.concatenate([np.stack(track.boxes) / [1, 1, 1, scale, 1, 1]
                            for track, scale in tracks.values()])  # fmt: skip
    lightness = np.concatenate([track.lightness for track, _ in tracks.values()])
    return weak_face(boxes[:, 3], lightness, boxes[:, 5])
