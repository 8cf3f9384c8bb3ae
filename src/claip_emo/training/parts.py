"""Whether the parts of a corpus can be trained on as a recipe wants it."""

from __future__ import annotations

from collections.abc import Mapping

from claip_emo.corpora.base import Corpus
from claip_emo.corpora.published import NAMES
from claip_emo.recipe import Recipe


def part_problems(recipe: Recipe, parts: Mapping[str, Corpus]) -> list[str]:
    """Return why these parts (``train``, ``validation``, ``test``) cannot be trained on."""
    problems = []
    if not parts["train"].samples:
        problems.append("The training part is empty.")
    if _absent(parts) and recipe.data.corpus not in NAMES:
        problems.append(f"{_absent(parts)}; leave them out of data.labels or change data.split.")
    if recipe.protocol.selection == "validation" and not parts["validation"].samples:
        problems.append(
            "There is no validation part to choose the epoch on: name one in data.split, set "
            "data.validation_share above 0, or keep the last epoch with protocol.selection=last."
        )
    if recipe.protocol.selection == "best_on_test" and not parts["test"].samples:
        problems.append("protocol.selection=best_on_test needs a test part; there is none.")
    return problems


def part_warnings(recipe: Recipe, parts: Mapping[str, Corpus]) -> list[str]:
    """Return what who trains on these parts should know."""
    warnings = []
    if _absent(parts) and recipe.data.corpus in NAMES:  # its classes are what they are
        warnings.append(f"{_absent(parts)}: they can only be missed.")
    if not parts["test"].samples:
        warnings.append("There is no test part: the run will have a model but no figures.")
    return warnings


def _absent(parts: Mapping[str, Corpus]) -> str:
    """Say which classes the training part lacks; nothing where it has all, or no clip at all."""
    absent = [name for name, count in parts["train"].counts().items() if not count]
    lacking = absent if parts["train"].samples else []
    return f"The training part has no clip of {', '.join(lacking)}" if lacking else ""
