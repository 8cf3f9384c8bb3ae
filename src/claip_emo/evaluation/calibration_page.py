"""The report of a calibration: ``calibration.json``, its figure, a page as HTML and Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from claip_emo.evaluation.calibration_figure import draw, save_png, to_svg
from claip_emo.evaluation.report import environment
from claip_emo.evaluation.wording import USED, WORDS
from claip_emo.whole_files import write_text, written

NUMBERS, FIGURE = "calibration.json", "calibration.png"
MEASURES = {
    "calibration_error": ("Calibration error (ECE)", 100, " %"),
    "log_loss": ("Log loss", 1, ""),
    "brier": ("Brier score", 1, ""),
}
"""Measure -> its name, what it is multiplied by to be shown, and its unit."""
EXPLAINED = (
    ("Temperature", "What logits are divided by before they become scores: above 1 it makes the "
     "model less sure, below 1 surer. Hardly any answer changes, only how sure it is."),
    ("Log loss", "The mean negative logarithm of the true emotion's score, in nats; the "
     "temperature is the one that makes it least."),
    ("Brier score", "The mean squared distance of the scores from an answer that is sure and "
     "right: 0 at best, 2 at worst."),
    ("Threshold", "Below this highest score the answer is \u201cuncertain\u201d: `claip-emo "
     "predict --abstain auto`."),
)  # fmt: skip
WORDS_SHOWN = ("95 % interval", "Calibration error")


def write_calibration(folder: Path, found: Mapping[str, Any]) -> Path:
    """Write the report of a calibration.

    Args:
        folder: where to; made if it is not there.
        found: what ``calibrate`` returns.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    judged = {there: part for there, part in found["modalities"].items() if "after" in part}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    write_text(folder / NUMBERS, text + "\n")
    if judged:
        with written(folder / FIGURE) as partial:
            save_png(draw(judged, USED, found["abstain_target"]), partial)
    content = _content(found, judged)
    pages = environment()
    for name in ("calibration.md", "calibration.html"):
        write_text(folder / name, pages.get_template(f"{name}.j2").render(**content))
    return folder / "calibration.html"


def headline(part: Mapping[str, Any], used: str) -> str:
    """Say in plain words what a calibration has changed of a modality.

    Args:
        part: what ``calibration.evidence`` returns.
        used: what the modality is called.
    """
    first, second = (100 * part[side]["calibration_error"]["value"] for side in ("before", "after"))
    low, high = part["change"]["calibration_error"]["interval_95"]
    said = f"From {used}, confidence is {second:.1f} points from accuracy; it was {first:.1f}."
    if high < 0:
        return said
    return f"{said} It is worse." if low > 0 else f"{said} The difference may be chance."


def _content(found: Mapping[str, Any], judged: Mapping[str, Any]) -> dict[str, Any]:
    """Collect everything that the templates show."""
    target = found["abstain_target"]
    facts = [
        (name, str(found[name]))
        for name in ("model", "table", "split", "held_out", "command", "commit")
        if found.get(name)
    ]
    return {
        "headlines": [headline(part, USED[there]) for there, part in judged.items()],
        "how": _protocol(found, judged),
        "target": target,
        "rows": [_row(there, part, target) for there, part in judged.items()],
        "unjudged": [USED[there] for there in found["modalities"].keys() - judged.keys()],
        "not_fitted": [(USED[there], why) for there, why in found["not_fitted"].items()],
        "figure_file": FIGURE if judged else None,
        "facts": facts,
        "words": [*EXPLAINED, *(word for word in WORDS if word[0] in WORDS_SHOWN)],
    }


def _protocol(found: Mapping[str, Any], judged: Mapping[str, Any]) -> str:
    """Say on which clips it was fitted, and on which it is judged."""
    if found["protocol"] == "held_out":
        return "Fitted on some clips, and judged here on others that had no part in it."
    folds = {len(part["folds"]) for part in judged.values()} or {0}
    return (
        f"Judged on the clips that it was fitted on, in {max(folds)} folds: the scores of each "
        "are those under what was fitted on the other folds. What is stored was fitted on all."
    )


def _promise(part: Mapping[str, Any], target: float) -> str:
    """Say from which score on answers are right as often as was wanted, and whether they are."""
    wanted, limit = f"{100 * target:g} %", part["abstain_below"]
    if limit is None:
        return f"No score was found from which {wanted} of the answers are right."
    if limit == 0:
        said = f"On those clips {wanted} of the answers are right without a threshold."
    else:
        said = f"From a score of {limit:.2f} on, {wanted} of the answers on those clips are right."
    answers = part["after"]["answers"]
    if not answers["answered"]:
        return f"{said} None of the clips judged here reaches it."
    low, high = (100 * end for end in answers["interval_95"])
    return (
        f"{said} Of the answers judged here {100 * answers['accuracy']:.1f} % are "
        f"(95 % interval {low:.1f} to {high:.1f} %)."
    )


def _row(there: str, part: Mapping[str, Any], target: float) -> dict[str, Any]:
    """Return what is shown of one modality."""
    measures = [
        {
            "name": name,
            "unit": unit,
            "before": _scaled(part["before"][key], factor),
            "after": _scaled(part["after"][key], factor),
            "change": _scaled(part["change"][key], factor),
        }
        for key, (name, factor, unit) in MEASURES.items()
    ]
    return {
        "there": there,
        "used": USED[there],
        "n": part["judged_on"],
        "fitted_on": part["fitted_on"],
        "over": part["interval_over"],
        "temperature": part["temperature"],
        "promise": _promise(part, target),
        "measures": measures,
        "answers": {side: part[side]["answers"] for side in ("before", "after")},
        "gain": part["change"]["accuracy"],
        "figure": to_svg(draw({there: part}, USED, target), there),
    }


def _scaled(told: Mapping[str, Any], factor: float) -> dict[str, float]:
    low, high = told["interval_95"]
    return {"value": factor * told["value"], "low": factor * low, "high": factor * high}
