"""Before clips are trained on or scored: which they are, and which of them can be read."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.progress import Progress, TaskID

from claip_emo.corpora.base import Corpus, CorpusError, OnProgress
from claip_emo.corpora.load import fold_of, load_corpus
from claip_emo.corpora.probe import probe_all
from claip_emo.corpora.published import NAMES
from claip_emo.data.cache import ClipCache
from claip_emo.data.prepare import prepare
from claip_emo.evaluation import processes
from claip_emo.labels import LabelSet
from claip_emo.media.decode import MediaError
from claip_emo.recipe import DataRecipe

logger = logging.getLogger(__name__)

NAMED_AT_MOST = 5  # clips that are left out, in a warning
WRAPPED = "Caught MediaError in DataLoader worker"
MEND = (
    "Mend or leave out these clips: --set data.missing=skip (train) or --missing skip (others) "
    "leaves out what cannot be read; scores are then of fewer clips."
)


def readable(
    corpus: Corpus,
    missing: Literal["error", "skip"],
    *,
    progress: OnProgress | None = None,
) -> Corpus:
    """Open every clip, and return those that can be read.

    Of several processes each opens its share.

    Args:
        corpus: the clips.
        missing: what is done about clips that cannot be read.
        progress: told how many of this process's clips are opened.

    Raises:
        CorpusError: naming every clip that cannot be read, unless they are to be left out.
    """
    mine = corpus.samples[processes.rank() :: processes.count()]
    own = {
        name: probe.error
        for name, probe in probe_all(mine, progress=progress).items()
        if probe.error is not None
    }
    return _without_unreadable(corpus, missing, own)


def prepared(
    corpus: Corpus,
    missing: Literal["error", "skip"],
    cache: ClipCache,
    *,
    workers: int,
    bar: Progress,
) -> Corpus:
    """Prepare every clip that is not in a cache yet, and return those that can be read.

    Of several processes each prepares its share.

    Args:
        corpus: the clips.
        missing: what is done about clips that cannot be read.
        cache: where prepared clips are kept.
        workers: processes that prepare them, for each process of the command.
        bar: where it is shown.

    Raises:
        CorpusError: naming every clip that cannot be read, unless they are to be left out.
    """
    mine = corpus.samples[processes.rank() :: processes.count()]
    done = prepare(
        cache,
        mine,
        workers=max(1, workers),
        looking=rated_task(bar, "Looking at clips"),
        progress=rated_task(bar, "Preparing clips"),
    )
    return _without_unreadable(corpus, missing, done.failed)


def rated_task(bar: Progress, description: str) -> OnProgress:
    """Return what tells a bar (done, total): a task that appears when there is something to tell.

    Its line of facts is the number of clips per second.
    """
    began = time.monotonic()
    task: list[TaskID] = []

    def tell(done: int, total: int) -> None:
        nonlocal began
        if not task:
            began = time.monotonic()
            task.append(bar.add_task(description, total=total, facts=""))
        rate = done / max(time.monotonic() - began, 1e-3)
        bar.update(task[0], completed=done, total=total, facts=f"{rate:.1f} clips/s")

    return tell


def _without_unreadable(
    corpus: Corpus, missing: Literal["error", "skip"], own: dict[str, str]
) -> Corpus:
    """Leave out, or refuse, the clips that this process and the others could not read."""
    bad = {name: why for part in processes.gather(own) for name, why in part.items()}
    with processes.first_goes_first():  # it speaks for all
        if bad and missing == "error":
            told = [f"{name}: {bad[name]}" for name in sorted(bad)]
            raise CorpusError([f"{len(bad)} clips cannot be read. {MEND}", *told])
    if bad:
        logger.warning(
            "%d of %d clips cannot be read and are left out (%s).",
            len(bad),
            len(corpus.samples),
            ", ".join(sorted(bad)[:NAMED_AT_MOST]),
        )
    return without(corpus, bad)


def known_to(own: LabelSet, corpus: Corpus) -> Corpus:
    """Return a corpus with its classes in the order of a model's logits.

    Raises:
        CorpusError: if they are not the model's.
    """
    if set(corpus.labels) != set(own):
        raise CorpusError(
            [
                f"The model knows {', '.join(own)}; the clips are labelled "
                f"{', '.join(corpus.labels)}. --across scores the classes that both have, and "
                "counts the clips of the others."
            ]
        )
    return replace(corpus, labels=own)


def read_part(data: DataRecipe, split: str | None, labels: LabelSet | None) -> Corpus:
    """Read one part of a labelled table or of a fold of a published corpus.

    Args:
        data: which, and where it lies.
        split: the part; None: every row of a table, the test part of a published corpus.
        labels: the classes of a table; None: those it has.

    Raises:
        CorpusError: if it cannot be used, has other labels, or nothing in that part.
    """
    corpus = load_corpus(data, labels=labels, validation=False)
    if data.corpus in NAMES or data.fold is not None:
        split = split or "test"
    if split is not None:
        corpus = corpus.part(split)
    if not corpus.samples:
        raise CorpusError([f"{data.root} has no clip of the part {split!r}."])
    return corpus


def facts_of(data: DataRecipe) -> dict[str, Any]:
    """Return what ``run.json`` says of the clips that are scored."""
    published = data.corpus in NAMES
    facts = {
        "title": data.corpus if published else Path(str(data.root)).stem,
        "corpus": data.root,
        "corpus_name": data.corpus,
        "corpus_variant": data.variant,
        "fold": fold_of(data) if published else data.fold,
    }
    return {name: value for name, value in facts.items() if value is not None}


def plainly(error: MediaError) -> MediaError:
    """Return what a clip's error says, without the traceback of the loader's process around it."""
    text = str(error)
    if not text.startswith(WRAPPED):
        return error
    return MediaError(text.partition("\n")[2].partition("MediaError: ")[2].strip())


def without(corpus: Corpus, names: Iterable[str]) -> Corpus:
    """Return a corpus without some of its clips."""
    gone = set(names)
    return replace(corpus, samples=tuple(s for s in corpus.samples if s.id not in gone))
