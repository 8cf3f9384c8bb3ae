"""The figure and the page of an ablation, from the folders of its cells; they need no model."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from claip_emo.evaluation.ablation_figure import Mark, draw, save_png, to_svg
from claip_emo.evaluation.ablation_table import (
    NOT_RUN,
    ablation_rows,
    baseline_row,
    read_plan,
)
from claip_emo.evaluation.ablation_words import headline, lessons, opening
from claip_emo.evaluation.baseline import LABEL
from claip_emo.evaluation.wording import SELECTION, WORDS, duration, points
from claip_emo.whole_files import write_text, written

TABLE, FIGURE, PAGE = "ablation.csv", "ablation.png", "report.html"
EXPLAINED = ("WAR", "UAR", "95 % interval")


def summarise_ablation(out: Path) -> list[dict[str, Any]]:
    """Write ``ablation.csv``, ``ablation.png`` and ``report.html``; return the rows of the table.

    Raises:
        PredictionsError: if the folder holds no ablation, or predictions of it cannot be read.
    """
    out = Path(out)
    plan = read_plan(out)
    rows = ablation_rows(out)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / TABLE, text.getvalue())
    marks = _marks(plan, rows)
    shown = ""
    if marks:
        figure = draw(marks, plan["metric"].upper())
        with written(out / FIGURE) as partial:
            save_png(figure, partial)
        shown = to_svg(figure)
    page = (
        _environment()
        .get_template("ablation.html.j2")
        .render(**_content(plan, rows, baseline_row(out)), figure=shown)
    )
    write_text(out / PAGE, page)
    return rows


def _marks(plan: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Mark]:
    """Return the points of the figure: coloured by axis, or in a grid by the first axis's value."""
    axes, metric = [axis["name"] for axis in plan["axes"]], plan["metric"]
    marks = []
    for row in rows:
        if row[metric] is None or not row["trainable"]:
            continue
        is_reference = row["cell"] == plan["reference"]
        given = [name for name in axes if row[name] is not None]
        order = None
        if plan["design"] == "grid":
            first = axes[0]
            group, label = f"{first} {row[first]}", " ".join(str(row[n]) for n in given[1:])
        else:
            group = "base" if is_reference else varied(plan, row)
            label = "base" if is_reference else str(row[group])
            order = _number(row[group]) if not is_reference else None
        marks.append(
            Mark(
                row["trainable"], row[metric], row[f"{metric}_low"], row[f"{metric}_high"],
                group, label, is_reference, order,
            )
        )  # fmt: skip
    return marks


def varied(plan: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Return the axis in which a cell differs from the recipe; the first of several."""
    for axis in plan["axes"]:
        if row[axis["name"]] not in (None, axis["base"]):
            return str(axis["name"])
    return str(plan["axes"][0]["name"])


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _content(
    plan: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    baseline: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Collect everything that the page shows."""
    by_cell = {row["cell"]: row for row in rows}
    reference = by_cell[plan["reference"]]
    done = [row for row in rows if row["war"] is not None]
    top = max((row["war_high"] for row in done), default=1.0)
    facts = [
        ("varied", "; ".join(f"{a['name']} ({a['key']})" for a in plan["axes"]), False),
        ("design", plan["design"].replace("-", " "), False),
        ("training time", duration(sum(row["seconds"] or 0 for row in rows)), False),
        ("command", plan.get("command"), True),
        ("commit", plan.get("commit"), True),
        ("version", plan.get("version"), False),
    ]
    return {
        "plan": plan,
        "grid": plan["design"] == "grid",
        "groups": _groups(plan, rows),
        "baseline": baseline and {**baseline, plan["axes"][0]["name"]: LABEL},
        "baseline_label": LABEL,
        "reference": reference,
        "headline": headline(plan, rows),
        "opening": opening(plan, rows),
        "lessons": lessons(plan, rows),
        "picked_on_test": SELECTION["best_on_test"] if plan["selection"] == "best_on_test" else "",
        "failed": [row for row in rows if row["error"] and row["error"] != NOT_RUN],
        "merged": [row for row in rows if "; " in row["stands_for"]],
        "several_seeds": any(" " in (row["seeds"] or "") for row in rows),
        "shows_faces": any(row["war_video"] is not None for row in done),
        "scale": min(1.0, 1.05 * top),
        "facts": [fact for fact in facts if fact[1]],
        "words": [word for word in WORDS if word[0] in EXPLAINED],
        "done": len(done),
        "rows": rows,
    }


def _groups(plan: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows as the page shows them: axis by axis, the recipe's own value among them."""
    if plan["design"] == "grid":
        return [{"axis": None, "rows": [{"setting": None, "row": row} for row in rows]}]
    reference = next(row for row in rows if row["cell"] == plan["reference"])
    groups = []
    for axis in plan["axes"]:
        name, base = axis["name"], axis["base"]
        order = axis["values"] if base in axis["values"] else [base, *axis["values"]]
        own = {row[name]: row for row in rows if row is not reference and varied(plan, row) == name}
        shown = [
            {"setting": value, "row": reference if value == base else own[value]}
            for value in order
            if value == base or value in own
        ]
        if reference[name] is None:
            shown = [{"setting": "without effect", "row": reference}]
        groups.append({"axis": axis, "rows": shown})
    return groups


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(
            lambda name: (files("claip_emo.evaluation") / "templates" / name).read_text("utf-8")
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda value, digits=1: f"{100 * value:.{digits}f} %",
        "points": points,
        "thousands": lambda count: f"{count:,}",
        "duration": duration,
        "size": size,
    }
    return environment


def size(count: int) -> str:
    """Return a number of parameters as one reads it: ``940``, ``204 k``, ``4.93 M``."""
    if count < 1000:
        return str(count)
    return f"{count / 1e3:.3g} k" if count < 999_500 else f"{count / 1e6:.3g} M"
