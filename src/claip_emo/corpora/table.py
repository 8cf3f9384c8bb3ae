"""Any CSV with ``path,label`` and optional ``audio,split,fold,speaker``: your own clips.

Paths are relative to the CSV. Other columns are kept. Every bad row is reported at once, with its
line, before anything is trained.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

from claip_emo.corpora.base import Corpus, CorpusError, Sample
from claip_emo.labels import LabelSet

logger = logging.getLogger(__name__)

COLUMNS = ("path", "label", "audio", "split", "fold", "speaker")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
}


@dataclass(slots=True)
class _Row:
    line: int
    cells: dict[str, str]


def read_table(
    path: str | Path,
    *,
    labels: LabelSet | None = None,
    split: Mapping[str, Mapping[str, Any]] | None = None,
    check_files: bool = True,
) -> Corpus:
    """Read a CSV of labelled clips.

    Args:
        path: the CSV; separated by comma, semicolon or tab, UTF-8 with or without BOM.
        labels: the classes; None takes the table's, alphabetically.
        split: rule for tables without a ``split`` column, part -> column -> values, such as
            ``{"test": {"speaker": ["actor17"]}}``; what no rule names is ``train``.
        check_files: whether missing files are problems.

    Raises:
        CorpusError: naming every problem with its line.
    """
    path = Path(path)
    rows, columns, misshapen = _rows(path)
    if not rows and not misshapen:
        raise CorpusError([f"{path}: there is no row below the header."])
    problems: list[str] = []
    if split and "split" in columns:
        problems.append("data.split is given, but the table has a split column; leave out one.")
        split = None
    rule = _rule(split or {}, columns, rows, problems)
    names = [row.cells["label"] for row in rows if row.cells["label"]]
    known = labels or (LabelSet.found_in(names) if names else None)
    samples: list[Sample] = []
    first_line: dict[str, int] = {}
    bad_rows = list(misshapen)
    for row in rows:
        found = _problems(row, known, path.parent, first_line, check_files)
        part, wrong = _part(row, rule)
        bad_rows += [(row.line, text) for text in [*found, *wrong]]
        if not found and not wrong:
            samples.append(_sample(row, columns, path.parent, part))
    bad_rows.sort(key=lambda bad: bad[0])
    problems += [f"line {line}: {text}" for line, text in bad_rows]
    if problems:
        raise CorpusError(problems, where=str(path))
    assert known is not None
    corpus = Corpus(path.stem, known, tuple(_named(samples)))
    _warn_of_shared_speakers(corpus)
    return corpus


def _rows(path: Path) -> tuple[list[_Row], list[str], list[tuple[int, str]]]:
    """Return rows, columns, and the lines whose number of fields is wrong."""
    text = _text(path)
    header = text.lstrip("\r\n").splitlines()[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    columns: list[str] = []
    rows: list[_Row] = []
    misshapen: list[tuple[int, str]] = []
    end = 0
    try:
        for raw in reader:
            begin, end = end + 1, reader.line_num
            cells = [cell.strip() for cell in raw]
            while len(cells) > len(columns) and not cells[-1]:
                cells.pop()  # spreadsheets pad rows with nameless cells
            if not any(cells):
                continue
            if not columns:
                columns = [cell.lower() for cell in cells]
                _check_columns(path, columns)
            elif len(cells) != len(columns):
                said = f"{len(cells)} fields, but the header has {len(columns)}"
                hint = "; is a quotation mark left open?" if end > begin else ""
                misshapen.append((begin, f"{said}{hint}."))
            else:
                rows.append(_Row(begin, dict(zip(columns, cells, strict=True))))
    except csv.Error as error:
        misshapen.append((end + 1, f"{error}; is a quotation mark left open?"))
    return rows, columns, misshapen


def _text(path: Path) -> str:
    if not path.is_file():
        what = "is a folder; name the CSV in it" if path.is_dir() else "does not exist"
        raise CorpusError([f"{path} {what}."])
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(
            [f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8 and try again."]
        ) from error
    if not text.strip():
        raise CorpusError([f"{path} is empty; its first line must name path,label."])
    return text


def _check_columns(path: Path, columns: list[str]) -> None:
    twice = [name for name, count in Counter(columns).items() if count > 1]
    missing = [name for name in ("path", "label") if name not in columns]
    if twice:
        raise CorpusError([f"{path}: the header names {', '.join(twice)} twice."])
    if missing:
        hints = [
            f"{name} (is it {near[0]!r}?)"
            if (near := get_close_matches(name, columns, 1))
            else name
            for name in missing
        ]
        raise CorpusError(
            [f"{path}: the header lacks {' and '.join(hints)}; it has {', '.join(columns)}."]
        )


def _rule(
    split: Mapping[str, Mapping[str, Any]],
    columns: list[str],
    rows: list[_Row],
    problems: list[str],
) -> dict[str, dict[str, set[str]]]:
    """Check a rule against the table and bring its values to sets of strings."""
    rule: dict[str, dict[str, set[str]]] = {}
    for written, conditions in split.items():
        part = SPLIT_NAMES.get(written)
        if part is None:
            what = f"unknown part {written!r}; it is train, validation or test."
            problems.append(f"data.split: {what}")
        elif part in rule:
            problems.append(f"data.split names the part {part} twice.")
        elif not isinstance(conditions, Mapping) or not conditions:
            problems.append(
                f"data.split: {written} needs columns and their values, such as "
                f"{{{written}: {{speaker: [actor17]}}}}."
            )
        else:
            said = len(problems)
            rule[part] = _conditions(conditions, columns, rows, problems)
            if len(problems) == said and not any(_matches(row, rule[part]) for row in rows):
                problems.append(f"data.split: no row is in {written}; its rule matches nothing.")
    return rule


def _conditions(
    conditions: Mapping[str, Any], columns: list[str], rows: list[_Row], problems: list[str]
) -> dict[str, set[str]]:
    checked: dict[str, set[str]] = {}
    for written, values in conditions.items():
        column = str(written).strip().lower()  # as the header's names are read
        if column not in columns:
            near = get_close_matches(column, columns, 1)
            hint = f"; is it {near[0]!r}?" if near else f"; it has {', '.join(columns)}"
            problems.append(f"data.split: the table has no column {written!r}{hint}")
            continue
        several = isinstance(values, list | tuple | set | frozenset | range)
        checked[column] = {str(value).strip() for value in (values if several else [values])}
        there = {row.cells[column] for row in rows}
        if lost := sorted(checked[column] - there):
            problems.append(
                f"data.split: no row has {column} {', '.join(lost)}; "
                f"the table has {', '.join(sorted(there)[:8])}"
            )
    return checked


def _matches(row: _Row, conditions: Mapping[str, set[str]]) -> bool:
    return bool(conditions) and all(row.cells[name] in some for name, some in conditions.items())


def _part(row: _Row, rule: Mapping[str, Mapping[str, set[str]]]) -> tuple[str | None, list[str]]:
    """Return the part of a row, by its own column or by the rule."""
    if "split" in row.cells:
        given = row.cells["split"]
        part = SPLIT_NAMES.get(given.lower())
        if part is None:
            what = f"is {given!r}" if given else "is empty"
            return None, [f"split {what}; it must be train, validation or test."]
        return part, []
    matched = [part for part, conditions in rule.items() if _matches(row, conditions)]
    if len(matched) > 1:
        return None, [f"data.split puts this row into {' and '.join(matched)}."]
    return (matched[0] if matched else "train"), []


def _problems(
    row: _Row,
    labels: LabelSet | None,
    folder: Path,
    first_line: dict[str, int],
    check_files: bool,
) -> list[str]:
    problems = []
    path, label = row.cells["path"], row.cells["label"]
    same = os.path.normpath(_located(folder, path))
    if not path:
        problems.append("path is empty.")
    elif same in first_line:
        problems.append(f"{path} stands in line {first_line[same]} already.")
    else:
        first_line[same] = row.line
    for name in ("path", "audio") if check_files else ():
        if (written := row.cells.get(name)) and not os.path.exists(_located(folder, written)):
            problems.append(f"there is no file {folder / written}.")
    if not label:
        problems.append("label is empty.")
    elif labels is not None and label not in labels:
        problems.append(labels.explain_unknown(label))
    fold = row.cells.get("fold", "")
    if fold and not (fold.isascii() and fold.isdigit()):
        problems.append(f"fold is {fold!r}; it must be a whole number.")
    return problems


def _sample(row: _Row, columns: list[str], folder: Path, part: str | None) -> Sample:
    cells = row.cells
    return Sample(
        id=PurePosixPath(cells["path"].replace("\\", "/")).as_posix(),
        path=_located(folder, cells["path"]),
        label=cells["label"],
        audio_path=_located(folder, cells["audio"]) if cells.get("audio") else None,
        split=part,
        fold=int(cells["fold"]) if cells.get("fold") else None,
        speaker=cells.get("speaker") or None,
        extra={name: cells[name] for name in columns if name not in COLUMNS},
    )


def _located(folder: Path, written: str) -> Path:
    """Return where a file lies; a table written on Windows separates folders by backslashes."""
    path = folder / written
    if "\\" in written and not os.path.exists(path):
        path = folder / written.replace("\\", "/")
    return path


def _named(samples: list[Sample]) -> list[Sample]:
    """Name samples by their path without its ending, unless two would be named alike."""
    short = {s.id: _without_ending(s.id) for s in samples}
    often = Counter(short.values())
    often.update(long for long in short if short[long] != long)
    return [replace(s, id=short[s.id]) if often[short[s.id]] == 1 else s for s in samples]


def _without_ending(name: str) -> str:
    path = PurePosixPath(name)
    return path.with_suffix("").as_posix() if path.name else name


def _warn_of_shared_speakers(corpus: Corpus) -> None:
    parts = {
        name: {s.speaker for s in corpus.samples if s.split == name and s.speaker}
        for name in ("train", "test")
    }
    if shared := sorted(str(name) for name in parts["train"] & parts["test"]):
        logger.warning(
            "%d speakers are in both the training and the test part (%s): the scores will be "
            "higher than on people never seen.",
            len(shared),
            ", ".join(shared[:5]),
        )
