"""When no emotion is named, because none is sure enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from claip_emo.model.description import Described

UNCERTAIN = "uncertain"

AbstainChoice = float | Literal["auto"] | None
"""A score; what ``claip-emo calibrate`` stored in the checkpoint; or never to abstain."""


class AbstainError(ValueError):
    """A threshold that is no score, or one that a model does not have."""


def asked_for(text: str | None) -> AbstainChoice:
    """Return what a text asks for; whether it is a score is checked where it is used."""
    try:
        return float(text) if text is not None else None
    except ValueError:
        return text  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Abstention:
    """Says ``uncertain`` in place of an emotion whose score is too low.

    Attributes:
        limits: from ``av``, ``v`` or ``a`` to the score that an answer from face and voice, or
            from one of them, must reach; what is missing is never answered. None: all is.
    """

    limits: Mapping[str, float] | None = None

    @classmethod
    def of(cls, below: AbstainChoice, config: Described) -> Abstention:
        """Check what is asked for against a model.

        Raises:
            AbstainError: if it is no score, the model was not calibrated and ``auto`` is asked for,
                or it has a class of that name: nobody could tell the two apart.
        """
        if below is None:
            return cls()
        if UNCERTAIN in config.labels:
            raise AbstainError(
                f"This model has a class named {UNCERTAIN!r}, which an answer that is not given "
                "would be taken for; leave --abstain (abstain_below) out."
            )
        if below == "auto":
            if not config.abstain_below:
                raise AbstainError(
                    "This checkpoint holds no threshold for abstaining: `claip-emo calibrate` "
                    "finds one, or name a score between 0 and 1."
                )
            return cls(config.abstain_below)
        if isinstance(below, str) or not 0 <= below <= 1:
            raise AbstainError(
                f"Abstaining takes a score between 0 and 1 or 'auto', not {below!r}."
            )
        return cls(dict.fromkeys(("av", "v", "a"), float(below)))

    def label(self, names: Sequence[str], scores: NDArray[np.float64], used: Sequence[str]) -> str:
        """Return the most probable emotion, or ``uncertain``.

        Args:
            names: of the classes.
            scores: (class,).
            used: of ``video`` and ``audio``, those that the scores are of.
        """
        sure = self.allows(float(scores.max()), used)
        return names[int(scores.argmax())] if sure else UNCERTAIN

    def allows(self, score: float, used: Sequence[str]) -> bool:
        """Say whether a score of an emotion is high enough to name it.

        Args:
            score: of the emotion.
            used: of ``video`` and ``audio``, those that it is of.
        """
        if self.limits is None:
            return True
        there = "av" if len(used) == 2 else "".join(name[0] for name in used)
        return score >= self.limits.get(there, np.inf)


ALWAYS = Abstention()
"""Names an emotion, however unsure."""
