"""What the report says of folds, and of a run beside published results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claip_emo.evaluation.wording import listed

MODALITY_LETTERS = {"audiovisual": "AV", "video": "V", "audio": "A"}
PEER_NOTES = {
    "mafw": "CLAIP-Emo and HiCMAE leave out 16 clips without sound, so that 9,156 remain of 9,172; "
    "MMA-DFER keeps them, with silence.",
    "crema_d": "CREMA-D has no official folds: those of this run are by actor, grouped as HiCMAE's "
    "released code groups them.",
    "ravdess": "RAVDESS has no official folds: those of this run are by actor, and others may have "
    "grouped the actors differently.",
}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def comparability(
    facts: Mapping[str, Any], tested: Mapping[str, Any], on_test: Sequence[str]
) -> list[str]:
    """Say how far a run can be compared with published results.

    Args:
        facts: content of ``run.json``.
        tested: ``folds`` (numbers), ``of`` (how many there are, or None), ``n`` and
            ``published_n`` (test clips scored, and published for these folds, or None).
        on_test: published methods whose epoch was picked on the test fold.
    """
    notes = [_folds_compared(tested), _selection_compared(facts.get("selection"), on_test)]
    n, wanted = tested["n"], tested["published_n"]
    these = "this fold" if len(tested["folds"]) == 1 else "these folds"
    if isinstance(facts.get("projection"), dict):
        notes.append(
            "It was trained on another corpus and scored on the classes that both have: the "
            "published figures are of models trained on this one, on all its classes."
        )
    elif wanted is not None and n < wanted:
        notes.append(
            f"{wanted - n:,} of the {wanted:,} published test clips of {these} were not scored, so "
            "that the figures are of other clips."
        )
    elif wanted is not None and n > wanted:
        notes.append(f"{n:,} test clips were scored where {wanted:,} are published for {these}.")
    notes.append(PEER_NOTES.get(str(facts.get("corpus_name")), ""))
    return [note for note in notes if note]


def folds_note(folds: Mapping[str, Any]) -> str:
    """Say of which folds the figures are, and which are missing.

    Args:
        folds: content of ``folds.json``.
    """
    there, lost = list(folds["folds"]), [str(fold) for fold in folds["missing"]]
    text = f"{'Fold' if len(there) == 1 else 'Folds'} {listed(there)}"
    if lost:
        text += f"; {'fold' if len(lost) == 1 else 'folds'} {listed(lost)} not finished yet"
    text += ". Every clip is tested in the fold that did not train on it."
    if folds.get("differ"):
        text += f" The folds were not run alike; they differ in {listed(folds['differ'])}."
    return text


def _folds_compared(tested: Mapping[str, Any]) -> str:
    folds, there = tested["folds"], tested["of"]
    if not folds:
        return "Which fold was tested is not known."
    if there is None:
        return ""
    if len(folds) == there:
        return f"Its figures are the mean over all {_word(there)} folds."
    if len(folds) == 1:
        return (
            f"Only one fold of {_word(there)} was tested, and folds differ: figures over all of "
            "them are of other clips."
        )
    return f"Only {_word(len(folds))} folds of {_word(there)} were tested, and folds differ."


def _selection_compared(rule: Any, on_test: Sequence[str]) -> str:
    if rule == "best_on_test":
        alike = f", as in {listed(on_test)}" if on_test else ""
        return (
            f"Its epoch was picked on the very clips that are tested{alike}: it has an advantage "
            "over those that were not."
        )
    if not on_test:
        return ""
    if rule in ("validation", "last"):
        return f"Its test clips chose nothing; those of {listed(on_test)} chose the epoch."
    return f"How its epoch was chosen is not known; the test clips of {listed(on_test)} chose it."


def _word(number: int) -> str:
    return NUMBERS[number] if 0 <= number < len(NUMBERS) else str(number)
