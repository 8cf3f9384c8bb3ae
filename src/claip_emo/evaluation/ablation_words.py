"""What the page of an ablation says in words: no more than its intervals show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Plan = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]


def headline(plan: Plan, rows: Rows) -> str:
    """Say in one sentence how many cells differ from the one they are compared with."""
    name, compared = plan["metric"], _compared(plan, rows)
    what, base = _names(plan)
    if not compared:
        done = sum(row["war"] is not None for row in rows)
        return f"{done} of {len(rows)} cells are done; nothing can be compared yet."
    above = sum(row[f"{name}_gain_low"] > 0 for row in compared)
    below = sum(row[f"{name}_gain_high"] < 0 for row in compared)
    count = len(compared)
    if not above and not below:
        if count == 1:
            return f"The one {what} that was tried cannot be told from {base}."
        return f"None of {count} {what}s can be told from {base}."
    parts = []
    if above:
        parts.append(f"{_score(above)} above {base}")
    if below:
        parts.append(f"{below} below it" if above else f"{_score(below)} below {base}")
    rest = count - above - below
    text = f"Of {count} {what}{'s' if count > 1 else ''}, {' and '.join(parts)}"
    return f"{text}; {rest} cannot be told from it." if rest else f"{text}."


def _score(count: int) -> str:
    return f"{count} {'scores' if count == 1 else 'score'}"


def opening(plan: Plan, rows: Rows) -> str:
    """Say how good the reference is, and which cell has the highest score."""
    name = plan["metric"]
    reference = next(row for row in rows if row["cell"] == plan["reference"])
    done = [row for row in rows if row[name] is not None]
    if reference[name] is None:
        return f"{_first(label(plan, reference))}, what the others are compared with, has no score."
    score, low, high = (100 * reference[key] for key in (name, f"{name}_low", f"{name}_high"))
    text = (
        f"{_first(label(plan, reference))} has a {name.upper()} of {score:.1f} % (95 % interval "
        f"{low:.1f} to {high:.1f} %)."
    )
    best = max(done, key=lambda row: row[name])
    if best is not reference:
        text += f" The highest in the table is {label(plan, best)}, {100 * best[name]:.1f} %."
    return text


def lessons(plan: Plan, rows: Rows) -> list[str]:
    """Say what may be concluded from the table, and what not."""
    name, compared = plan["metric"].upper(), _compared(plan, rows)
    what, base = _names(plan)
    said = [
        f"Whiskers that overlap show nothing: neither that two cells differ, nor that they are the "
        f"same. The difference in the table is read clip by clip against {base}, so that its "
        "interval can exclude zero while the whiskers still overlap."
    ]
    if len(compared) > 1:
        outside = sum(not row["war_gain_low"] <= 0 <= row["war_gain_high"] for row in compared)
        chance = len(compared) / 20
        said.append(
            f"{outside or 'None'} of the {len(compared)} differences in WAR exclude zero. If no "
            f"cell differed at all, about {chance:.1g} of {len(compared)} would still do so by "
            "chance: that is what 95 % means."
        )
    said.append(_of_seeds(rows))
    said.append(
        f"Who takes the cell with the highest {name} and quotes that score has chosen on the test "
        "part. Its score belongs to clips that chose nothing: another fold, or another corpus."
    )
    axes = {axis["key"]: axis for axis in plan["axes"]}
    if "model.lora.rank" in axes and "model.lora.alpha" not in axes:
        said.append(
            f"LoRA's alpha is {plan['lora_alpha']} at every rank. What the adapters add is scaled "
            "by alpha / rank: along this axis the scale falls as the rank grows."
        )
    if plan["design"] != "grid":
        said.append(
            f"Every {what} is made alone. What two of them do together is not the sum of both: "
            "--design grid trains the combinations."
        )
    return said


def _of_seeds(rows: Rows) -> str:
    seeds = {row["seeds"] for row in rows if row["seeds"]}
    most = max((len(each.split()) for each in seeds), default=0)
    if most > 1:
        return (
            f"Every cell was trained with {most} seeds. Its score is their mean, and ± their "
            "standard deviation: what another training run changes. The intervals redraw the test "
            "clips for these very runs; they do not know of that deviation."
        )
    which = f" with seed {seeds.pop()}" if len(seeds) == 1 else ""
    return (
        f"Every cell was trained once{which}. The intervals know of chance in the test clips, not "
        "of another training run: a few points may turn with the seed. --seeds 0,1,2 trains every "
        "cell with each, and shows by how much."
    )


def label(plan: Plan, row: Mapping[str, Any]) -> str:
    """Return a cell's name in a sentence."""
    values = [(axis["name"], row[axis["name"]], axis["base"]) for axis in plan["axes"]]
    if plan["design"] == "grid":
        return "the cell " + ", ".join(f"{n} {v}" for n, v, _ in values if v is not None)
    differing = [f"{name} {value}" for name, value, base in values if value not in (None, base)]
    return ", ".join(differing) or "the recipe as it is"


def _first(text: str) -> str:
    return text[0].upper() + text[1:]


def _names(plan: Plan) -> tuple[str, str]:
    """Return what a cell and what the reference is called."""
    if plan["design"] == "grid":
        own = all(
            value in (None, axis["base"])
            for axis in plan["axes"]
            for cell in plan["cells"]
            if cell["slug"] == plan["reference"]
            for value in [cell["values"][axis["name"]]]
        )
        return "other cell", "the recipe's own cell" if own else "the first cell"
    return "change", "the recipe as it is"


def _compared(plan: Plan, rows: Rows) -> Rows:
    return [row for row in rows if row[f"{plan['metric']}_gain"] is not None]
