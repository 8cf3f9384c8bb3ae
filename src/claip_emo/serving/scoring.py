"""One thread has the model: clips of several requests are scored at once, none waits for others."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from claip_emo.inference.pipeline import work
from claip_emo.inference.reader import ModalityChoice
from claip_emo.inference.recognizer import EmotionRecognizer
from claip_emo.inference.result import EmotionResult
from claip_emo.media.clip import Clip

Tell = Callable[[int], None]
"""Is told how many clips were scored at once."""


@dataclass(slots=True)
class _Asked:
    clip: Clip
    frames: int
    modality: ModalityChoice
    answer: Future[EmotionResult]


@dataclass(slots=True)
class _Call:
    function: Callable[[], Any]
    answer: Future[Any]


class Scoring:
    """Scores what comes, as much of it at once as waits and fits.

    Args:
        recognizer: with the model.
        batch_size: views that are scored at once.
        tell: is told the size of each batch, in clips.
    """

    def __init__(self, recognizer: EmotionRecognizer, batch_size: int, tell: Tell):
        """Start the thread."""
        self._recognizer, self._tell = recognizer, tell
        self._most = batch_size * recognizer.predictor.settings.num_frames
        self._waiting: queue.SimpleQueue[_Asked | _Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="claip-emo-scoring", daemon=True)
        self._thread.start()

    def score(self, clip: Clip, modality: ModalityChoice) -> Future[EmotionResult]:
        """Score a clip; a row with its error where it cannot be scored."""
        num_frames = self._recognizer.predictor.settings.num_frames
        asked = _Asked(clip, work(clip, num_frames), modality, Future())
        self._waiting.put(asked)
        return asked.answer

    def call(self, function: Callable[[], Any]) -> Any:
        """Let the thread do something with the model; return what comes of it."""
        call = _Call(function, Future())
        self._waiting.put(call)
        return call.answer.result()

    def close(self) -> None:
        """End the thread, after what waits."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        after = self._waiting.get()
        while after is not None:
            if isinstance(after, _Call):
                _answer(after.answer, after.function)
                after = self._waiting.get()
                continue
            batch, rest = self._gathered(after)
            self._score(batch)
            after = rest.pop() if rest else self._waiting.get()

    def _gathered(self, first: _Asked) -> tuple[list[_Asked], list[_Asked | _Call | None]]:
        """Return what waits and is scored with a first clip, and what was taken and is not."""
        batch, frames = [first], first.frames
        while True:
            try:
                after = self._waiting.get_nowait()
            except queue.Empty:
                return batch, []
            if not isinstance(after, _Asked) or after.modality != first.modality:
                return batch, [after]
            frames += after.frames
            if frames > self._most:
                return batch, [after]
            batch.append(after)

    def _score(self, batch: list[_Asked]) -> None:
        batch = [one for one in batch if one.answer.set_running_or_notify_cancel()]
        if not batch:
            return  # nobody waits for them any more
        self._tell(len(batch))
        try:
            rows = self._recognizer.recognize_all([one.clip for one in batch], batch[0].modality)
        except BaseException as error:  # is raised where the answer is waited for
            for one in batch:
                one.answer.set_exception(error)
            return
        for one, row in zip(batch, rows, strict=True):
            one.answer.set_result(row)


def _answer(answer: Future[Any], function: Callable[[], Any]) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    try:
        answer.set_result(function())
    except BaseException as error:
        answer.set_exception(error)
