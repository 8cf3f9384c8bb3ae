"""The report's tables as LaTeX: the run's own figures, and the run beside published results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "\N{EN DASH}": "--", "\N{MINUS SIGN}": r"\textminus{}",
}  # fmt: skip
NONE = "--"
HEAD = r"""% Written by claip-emo; WAR and UAR in percent.
% The tables need \usepackage[T1]{fontenc} and \usepackage{booktabs}."""


def escape(text: Any) -> str:
    """Return any text as LaTeX that prints it, on one line."""
    line = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in str(text)))
    return "".join(SPECIAL.get(letter, letter) for letter in line).strip()


def report_tex(content: dict[str, Any]) -> str:
    """Return ``report.tex``: the tables of a run, to be included in a document.

    Args:
        content: what the report's templates are given.
    """
    own = _folds(content) if content["folds"] else _modalities(content)
    parts = [HEAD, own]
    if content["peers"]:
        parts.append(_peers(content))
    return "\n\n".join(parts) + "\n"


def table(
    columns: str, head: Sequence[str], blocks: Sequence[Sequence[Sequence[str]]], caption: str
) -> str:
    """Return a booktabs table.

    Args:
        columns: their alignment, such as ``lrr``.
        head: column titles, already LaTeX.
        blocks: rows of cells, already LaTeX; a rule stands between two blocks.
        caption: already LaTeX.
    """
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _row(head)]
    for block in blocks:
        if block:
            lines += [r"\midrule", *(_row(cells) for cells in block)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def percent(value: float | None) -> str:
    """Return a share as the field prints it: in percent, with two decimals."""
    return NONE if value is None else f"{100 * value:.2f}"


def _folds(content: dict[str, Any]) -> str:
    folds = content["folds"]
    first = [
        [f"{escape(row['name'])} ({escape(row['over'])})", *_figures(row)]
        for row in folds["baseline"]
    ]
    each = [[f"Fold {escape(row['name'])}", *_figures(row)] for row in folds["rows"]]
    deviation = folds["deviation"]
    over = ["Mean over folds", ""]
    for key in ("war", "uar"):
        spread = "" if deviation[key] is None else rf" $\pm$ {percent(deviation[key])}"
        over.append(percent(folds["mean"][key]) + spread)
    pooled = [["Pooled over clips", *_figures(folds["pooled"])]]
    caption = (
        f"{escape(content['title'])}: WAR and UAR per fold, their mean and sample standard "
        f"deviation over folds, and pooled over all clips. {escape(folds['note'])} "
        f"{escape(content['selection'])}"
    )
    blocks = [first, each, [over, *pooled]]
    return table("lrrr", ["", "Clips", "WAR", "UAR"], blocks, caption.strip())


def _modalities(content: dict[str, Any]) -> str:
    scored, baseline = content["metrics"], content["baseline"]
    first = []
    if baseline is not None:
        first.append([escape(baseline["name"]), *_figures(baseline)[1:]])
    rows = [
        [escape(content["used"][name]), percent(part["war"]), percent(part["uar"])]
        for name, part in scored["by_modality"].items()
    ]
    caption = (
        f"{escape(content['title'])}: WAR and UAR on {scored['n']:,} test clips. "
        f"{escape(content['selection'])}"
    )
    return table("lrr", ["", "WAR", "UAR"], [first, rows], caption.strip())


def _figures(row: dict[str, Any]) -> list[str]:
    return [f"{row['n']}", percent(row["war"]), percent(row["uar"])]


def _peers(content: dict[str, Any]) -> str:
    blocks: list[list[list[str]]] = [[], []]
    for row in content["peers"]["rows"]:
        name = escape(row["method"])
        source = f" (arXiv:{escape(row['arxiv'])})" if row["arxiv"] else ""
        blocks[row["kind"] != "baseline"].append(
            [
                rf"\textbf{{{name}}}" if row["kind"] == "own" else name + source,
                row["modality"],
                escape(row["size"]) if row["size"] else NONE,
                f"{row['gmacs']:.1f}" if row["gmacs"] else NONE,
                percent(row["war"] / 100),
                NONE if row["uar"] is None else percent(row["uar"] / 100),
                escape(row["protocol"]),
            ]
        )
    caption = f"{escape(content['title'])} beside published results. " + " ".join(
        escape(note) for note in content["peers"]["notes"]
    )
    head = ["Method", "Reads", "Trained parameters", "GMACs", "WAR", "UAR", "Protocol"]
    return table("llrrrrp{4.2cm}", head, blocks, caption)
