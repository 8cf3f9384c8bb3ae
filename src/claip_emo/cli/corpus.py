"""claip-emo corpus check, list, faces and pairs."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from claip_emo.cli.options import (
    ClipsOption,
    JsonOption,
    LabelOrderOption,
    VariantOption,
    begin,
    console,
    printable,
)

SHOWN = 10  # ids of a list; the rest is counted
LISTS = {
    "missing": "missing",
    "unreadable": "unreadable",
    "duplicates": "named twice",
    "bad_labels": "unknown label",
    "without_sound": "without sound",
    "damaged": "damaged",
    "dropped": "left out",
}  # key of the report -> words
FAULTS = ("missing", "unreadable", "duplicates", "bad_labels")


class FacePart(StrEnum):
    """Parts of the faces that people voted on."""

    TRAIN = "train"
    SELECT = "select"
    TEST = "test"
    PAIRS = "pairs"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(help="Published corpora: check yours, list them.", no_args_is_help=True)
    group.command("check")(check)
    group.command("list")(list_corpora)
    group.command("faces")(faces)
    group.command("pairs")(pairs)
    app.add_typer(group, name="corpus")


def check(
    name: Annotated[
        str, typer.Argument(help="dfew, mafw, crema_d, ravdess, meld or lists.", metavar="NAME")
    ],
    path: Annotated[
        Path, typer.Argument(help="The folder as its publisher ships it.", metavar="PATH")
    ],
    clips: ClipsOption = None,
    variant: VariantOption = None,
    label_order: LabelOrderOption = None,
    folds: Annotated[
        str | None,
        typer.Option("--folds", help="Such as 1,2; default: those that are there.", metavar="K"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count clips per fold and class beside the published counts, and open every clip.

    Exit code 1 where counts differ, or clips are missing, unreadable or named twice.
    """
    begin()
    chosen = _numbers(folds)
    from rich.progress import Progress

    from claip_emo.corpora.check import check as check_corpus
    from claip_emo.corpora.check import is_good
    from claip_emo.corpora.published import Place

    order = (label_order,) if label_order else None
    place = Place(path, clips=clips, variant=variant, label_order=order)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Opening clips", total=None)
        report = check_corpus(
            name,
            place,
            chosen,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if as_json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        _show(report, Console())
    raise typer.Exit(0 if is_good(report) else 1)


def list_corpora(as_json: JsonOption = False) -> None:
    """List the corpora that can be read: where they are requested, their terms, their layout."""
    begin()
    from claip_emo.corpora.published import NAMES, published

    facts = ("name", "title", "url", "licence", "layout")
    known = [{fact: getattr(published(name), fact) for fact in facts} for name in NAMES]
    if as_json:
        print(json.dumps(known, ensure_ascii=False))
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for corpus in known:
        table.add_row(f"[bold]{corpus['name']}[/]", escape(corpus["title"]))
        for fact in facts[2:]:
            table.add_row(f"  {fact}", escape(corpus[fact]))
    Console().print(table, highlight=False)


def faces(
    root: Annotated[
        Path, typer.Argument(help="Folder of faces and their votes (FER2013, FER+).", metavar="DIR")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Where pictures and PART.csv are written.", metavar="DIR")
    ],
    part: Annotated[
        FacePart, typer.Option("--part", help="Which faces; those on whose class people agree.")
    ] = FacePart.TEST,
) -> None:
    """Write the faces that people voted on as pictures, for evaluate --table OUT/PART.csv."""
    begin()
    from claip_emo.corpora.voted_faces import unpack_faces

    _written(partial(unpack_faces, root, part.value, out))


def pairs(
    root: Annotated[
        Path, typer.Argument(help="Folder of constructed clips, faces and voices.", metavar="DIR")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Where faces and pairs.csv are written.", metavar="DIR")
    ],
    faces_per_class: Annotated[
        int, typer.Option("--faces", min=0, help="Faces of each class at most, beside the clips.")
    ] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the draws.")] = 0,
) -> None:
    """Write real faces beside real voices of the same emotion, for train --data OUT/pairs.csv."""
    begin()
    from claip_emo.corpora.constructed import write_pairs

    _written(partial(write_pairs, root, out, faces_per_class=faces_per_class, seed=seed))


def _written(write: Callable[..., Path]) -> None:
    """Write faces, show how many of how many, and name the table that came of it."""
    from rich.progress import Progress

    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Writing faces", total=None)
        table = write(progress=lambda done, total: bar.update(task, completed=done, total=total))
    console.print(printable(f"Table: {table}"), soft_wrap=True, markup=False, highlight=False)


def _numbers(folds: str | None) -> list[int] | None:
    """Return the numbers of ``1,2``, each once; None for none."""
    if folds is None:
        return None
    parts = [part.strip() for part in folds.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise typer.BadParameter(
            f"--folds {folds!r}: folds are numbers with commas between them, such as 1,2."
        )
    return list(dict.fromkeys(map(int, parts)))


def _show(report: dict[str, Any], out: Console) -> None:
    for fold in report["folds"]:
        out.print(_table(report, fold))
        out.print()
    for key, words in LISTS.items():
        if report[key]:
            style = "bold red" if key in FAULTS else "bold"
            out.print(f"[{style}]{len(report[key])} {words}:[/] {_some(report, key)}")
    if report["absent_folds"]:
        out.print(f"No split files of folds {', '.join(map(str, report['absent_folds']))}.")
    if not report["agrees"]:
        out.print("[bold red]The counts or labels differ from the published ones.[/]")
    elif report["expected"] or report["together"]:
        out.print("The counts agree with the published ones.")
    else:
        out.print("No counts are published to set beside these.")


def _some(report: dict[str, Any], key: str) -> str:
    """Return the first ids of a list, with what is said of them."""
    said = report["errors"] if key == "unreadable" else report[key]
    ids = list(report[key])
    some = [f"{clip} ({said[clip]})" if isinstance(said, dict) else clip for clip in ids[:SHOWN]]
    more = f", and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return escape(("; " if isinstance(said, dict) else ", ").join(some) + more)


def _table(report: dict[str, Any], fold: str) -> Table:
    """Set what was found of one fold beside what is published, class by class."""
    columns = {
        part: (found, report["expected"].get(fold, {}).get(part))
        for part, found in report["folds"][fold].items()
    }
    if both := report["together"].get(fold):
        columns["together"] = (both, both["expected"])
    variant = f", {report['variant']}" if report["variant"] else ""
    table = Table(box=None, title=f"{report['corpus']}{variant}, fold {fold}", title_justify="left")
    table.add_column("class", no_wrap=True)
    for part, (_, expected) in columns.items():
        table.add_column(part, justify="right")
        if expected and "per_class" in expected:
            table.add_column("published", justify="right")
    names = next(iter(columns.values()))[0]["per_class"]
    for name in [*names, None]:
        cells = [
            cell
            for found, expected in columns.values()
            for cell in _cells(_number(found, name), expected, name)
        ]
        table.add_row(*([name] if name else ["[bold]all[/]"]), *cells)
    return table


def _number(counts: dict[str, Any], name: str | None) -> int | None:
    """Return the count of a class, or of all; None if it is not told."""
    return counts["n"] if name is None else counts.get("per_class", {}).get(name)


def _cells(found: int | None, expected: dict[str, Any] | None, name: str | None) -> list[str]:
    """Return one cell, or two where classes are published; a difference is marked."""
    should = None if expected is None else _number(expected, name)
    if expected is None or should is None:
        return [str(found)]
    cells = [str(found), str(should)]
    if found != should:
        cells = [f"[bold red]{found} ≠[/]", f"[bold red]{should}[/]"]
    if "per_class" in expected:
        return cells
    return [f"{found} = {should}" if found == should else " ".join(cells)]
