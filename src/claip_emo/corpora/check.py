"""A corpus on this machine beside what is published of it: counts, and every clip opened once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from claip_emo.corpora.base import CorpusError, OnProgress
from claip_emo.corpora.probe import probe_all
from claip_emo.corpora.published import (
    TOGETHER,
    Counts,
    FoldMissingError,
    Listing,
    Place,
    PublishedCorpus,
    absent_file,
    published,
)
from claip_emo.labels import LabelSet


def check(
    name: str,
    place: Place,
    folds: Sequence[int] | None = None,
    *,
    decode: bool = True,
    processes: int | None = None,
    progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Set a corpus beside its published counts and look at its clips.

    Args:
        name: of the corpus.
        place: where it lies.
        folds: which; None: those whose split files are there.
        decode: open each clip once; else only what is missing is told.
        processes: that open clips; None: one per core that this process may use.
        progress: told how many clips are opened of how many.

    Returns:
        What can be written as JSON. ``folds``: fold -> part -> ``n`` and ``per_class``, of the
        clips whose rows are good, each once; ``expected``: the same as far as it is published;
        ``together``: where only counts over all parts are published, those found and published.
        ``missing``, ``unreadable``, ``without_sound``, ``duplicates``: ids; ``bad_labels``,
        ``dropped``, ``damaged``, ``errors``: id -> text. ``absent_folds``: folds that were not
        asked for and have no split files. ``agrees``: whether the split files do: counts as
        published, as far as they are, no duplicate, no bad label. Clips do not change it.

    Raises:
        CorpusError: if a fold that was asked for is not there, or none is.
    """
    corpus = published(name)
    variant = corpus.variant_of(place)
    listings, absent = _listings(corpus, place, folds)
    labels = corpus.labels(place)
    found = {fold: _found(listing, labels) for fold, listing in listings.items()}
    wanted = {fold: corpus.published_counts(place, fold) for fold in listings}
    samples = {sample.id: sample for listing in listings.values() for sample in listing.samples}
    missing = {clip for clip, sample in samples.items() if absent_file(sample) is not None}
    there = [sample for clip, sample in samples.items() if clip not in missing]
    probes = probe_all(there, processes, progress) if decode else {}
    duplicates = {clip for listing in listings.values() for clip in listing.duplicates}
    bad_labels = _joined(listing.bad_labels for listing in listings.values())
    expected = {str(fold): _expected(counts) for fold, counts in wanted.items() if counts}
    together = {
        str(fold): {**_together(found[fold]), "expected": _count(counts[TOGETHER])}
        for fold, counts in wanted.items()
        if counts and TOGETHER in counts
    }
    counts_agree = all(
        _same(found[int(fold)].get(part), count)
        for fold, parts in expected.items()
        for part, count in parts.items()
    ) and all(_same(both, both["expected"]) for both in together.values())
    errors = {clip: probe.error for clip, probe in probes.items() if probe.error}
    return {
        "corpus": name,
        "variant": variant,
        "root": str(place.root),
        "folds": {str(fold): parts for fold, parts in found.items()},
        "expected": expected,
        "together": together,
        "missing": sorted(missing),
        "unreadable": sorted(errors),
        "without_sound": sorted(
            clip for clip, probe in probes.items() if not probe.error and not probe.has_sound
        ),
        "duplicates": sorted(duplicates),
        "bad_labels": bad_labels,
        "dropped": _joined(listing.dropped for listing in listings.values()),
        "damaged": {
            clip: "; ".join(probe.warnings)
            for clip, probe in sorted(probes.items())
            if probe.warnings and not probe.error
        },
        "errors": dict(sorted(errors.items())),
        "absent_folds": absent,
        "agrees": counts_agree and not duplicates and not bad_labels,
    }


def is_good(report: Mapping[str, Any]) -> bool:
    """Whether a corpus is as published and every clip can be read; silence is no fault."""
    return bool(report["agrees"]) and not report["missing"] and not report["unreadable"]


def _listings(
    corpus: PublishedCorpus, place: Place, folds: Sequence[int] | None
) -> tuple[dict[int, Listing], list[int]]:
    """Return what the split files of each fold say, and the folds that have none."""
    listings: dict[int, Listing] = {}
    absent: dict[int, FoldMissingError] = {}
    for fold in corpus.folds if folds is None else folds:
        corpus.check_fold(fold)
        try:
            listings[fold] = corpus.list_fold(place, fold)
        except FoldMissingError as error:
            if folds is not None:
                raise
            absent[fold] = error
    if not listings:
        raise next(iter(absent.values()), CorpusError(["No fold is named."]))
    return listings, list(absent)


def _found(listing: Listing, labels: LabelSet) -> dict[str, dict[str, Any]]:
    """Count the clips of each class in each part; a validation part is there if any clip is."""
    parts = {part: dict.fromkeys(labels, 0) for part in ("train", "validation", "test")}
    for sample in listing.samples:
        parts[str(sample.split)][sample.label] += 1
    counts = {part: _count(per_class) for part, per_class in parts.items()}
    if not counts["validation"]["n"]:
        del counts["validation"]
    return counts


def _count(published_count: Mapping[str, int] | int) -> dict[str, Any]:
    if isinstance(published_count, int):
        return {"n": published_count}
    return {"n": sum(published_count.values()), "per_class": dict(published_count)}


def _expected(counts: Counts) -> dict[str, Any]:
    return {part: _count(count) for part, count in counts.items() if part != TOGETHER}


def _together(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    per_class: dict[str, int] = {}
    for part in parts.values():
        for name, count in part["per_class"].items():
            per_class[name] = per_class.get(name, 0) + count
    return _count(per_class)


def _same(found: Mapping[str, Any] | None, expected: Mapping[str, Any]) -> bool:
    """Whether counts are as published, as far as that goes."""
    if found is None:
        return expected["n"] == 0
    names = {*found["per_class"], *expected.get("per_class", ())}
    return found["n"] == expected["n"] and all(
        found["per_class"].get(name, 0) == expected["per_class"].get(name, 0)
        for name in (names if "per_class" in expected else ())
    )


def _joined(several: Iterable[Mapping[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for one in several:
        joined.update(one)
    return dict(sorted(joined.items()))
