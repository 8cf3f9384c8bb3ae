"""What is claimed, what was measured, and whether it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Options:
    """How a benchmark is run.

    Attributes:
        quick: measure the same ratios on less.
        backbones: the pairs of towers, where the benchmark has any; empty: its own choice.
    """

    quick: bool = False
    backbones: tuple[str, ...] = ()

    def towers(self, *whole: str, quick: tuple[str, ...] = ("vit-b32",)) -> tuple[str, ...]:
        """Return the backbones to measure: those asked for, else all, or few where it is quick."""
        return self.backbones or (quick if self.quick else whole)


@dataclass(frozen=True, slots=True)
class Check:
    """One figure beside its goal.

    Attributes:
        what: what was measured, in words.
        figure: the value; not a number where it could not be measured, which never holds.
        unit: of figure and goal.
        goal: the limit; None: there is none, the figure is told.
        at: which side of the limit is good.
        enough: whether it was measured on as much as the goal asks for; else it never holds.
    """

    what: str
    figure: float
    unit: str
    goal: float | None
    at: Literal["least", "most"] = "least"
    enough: bool = True

    @property
    def holds(self) -> bool:
        """Whether the figure is on the good side of its goal, or is there where none was set."""
        if not self.enough:
            return False
        if math.isnan(self.figure) or self.goal is None:
            return not math.isnan(self.figure)
        return self.figure >= self.goal if self.at == "least" else self.figure <= self.goal

    def to_dict(self) -> dict[str, Any]:
        """Return the check as JSON has it."""
        return {
            "what": self.what,
            "figure": rounded(self.figure),
            "unit": self.unit,
            "goal": self.goal,
            "at": self.at,
            "holds": self.holds,
        }


@dataclass(frozen=True, slots=True)
class Claim:
    """What a benchmark returns.

    Attributes:
        name: of the benchmark.
        checks: the first is the claim's own figure; all must hold.
        baseline: what it is compared with, and its figures.
        details: everything else worth keeping, also what the figure is drawn from.
    """

    name: str
    checks: tuple[Check, ...]
    baseline: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self, **more: Any) -> dict[str, Any]:
        """Return the claim as JSON has it; ``more`` is what is known of the run."""
        first = self.checks[0]
        return rounded(
            {
                "name": self.name,
                "figure": first.figure,
                "unit": first.unit,
                "goal": first.goal,
                "holds": all(check.holds for check in self.checks),
                "baseline": self.baseline,
                "what": first.what,
                "at": first.at,
                "checks": [check.to_dict() for check in self.checks],
                "details": self.details,
                **more,
            }
        )


def speed_checks(rows: dict[str, dict[str, Any]], goal: float) -> list[Check]:
    """Return a check of how many times faster each backbone is than the released way.

    The least favourable one is the first: it is the claim.
    """
    checks = [
        Check(f"{name}: time per clip, released / ours", row["factor"]["median"], "x", goal)
        for name, row in rows.items()
    ]
    return sorted(checks, key=lambda check: check.figure)


def rounded(value: Any, digits: int = 4) -> Any:
    """Round every number to so many digits; what is no number becomes null, as JSON has no NaN."""
    if isinstance(value, dict):
        return {name: rounded(inner, digits) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner, digits) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value
