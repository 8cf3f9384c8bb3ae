"""Any CSV with ``path,label`` and optional ``audio,split,fold,speaker``: your own clips.

Paths are relative to the CSV. Other columns are kept. Every bad row is reported at once, with its
line, before anything is trained.
"""

from __future__ import annotations

import csv
import io
import logging
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
    rows, columns = _rows(path)
    problems: list[str] = []
    if split and "split" in columns:
        problems.append("data.split is given, but the table has a split column; leave out one.")
    rule = _rule(split or {}, columns, rows, problems)
    names = [row.cells["label"] for row in rows if row.cells["label"]]
    known = labels or (LabelSet.found_in(names) if names else None)
    samples: list[Sample] = []
    first_line: dict[str, int] = {}
    for row in rows:
        found = _problems(row, known, path.parent, first_line, check_files)
        part, wrong = _part(row, rule)
        problems += [f"line {row.line}: {text}" for text in [*found, *wrong]]
        if not found and not wrong:
            samples.append(_sample(row, columns, path.parent, part))
    if problems:
        raise CorpusError([f"{path}:", *problems])
    if known is None:
        raise CorpusError([f"{path}: there is no row below the header."])
    corpus = Corpus(path.stem, known, tuple(_named(samples)))
    _warn_of_shared_speakers(corpus)
    return corpus


def _rows(path: Path) -> tuple[list[_Row], list[str]]:
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
    header = text.lstrip("\r\n").splitlines()[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    columns: list[str] = []
    rows: list[_Row] = []
    problems: list[str] = []
    end = 0
    for cells in reader:
        begin, end = end + 1, reader.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if not columns:
            columns = [cell.strip().lower() for cell in cells]
            _check_columns(path, columns)
        elif len(cells) != len(columns):
            problems.append(
                f"line {begin}: {len(cells)} fields, but the header has {len(columns)}."
            )
        else:
            stripped = (cell.strip() for cell in cells)
            rows.append(_Row(begin, dict(zip(columns, stripped, strict=True))))
    if problems:
        raise CorpusError([f"{path}:", *problems])
    return rows, columns


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
    for part, conditions in split.items():
        if part not in SPLIT_NAMES:
            problems.append(f"data.split: unknown part {part!r}; it is train, validation or test.")
            continue
        for column, values in conditions.items():
            if column not in columns:
                near = get_close_matches(column, columns, 1)
                hint = f"; is it {near[0]!r}?" if near else ""
                problems.append(f"data.split: the table has no column {column!r}{hint}")
                continue
            wanted = {str(v) for v in (values if isinstance(values, list | tuple) else [values])}
            there = {row.cells[column] for row in rows}
            if lost := sorted(wanted - there):
                problems.append(
                    f"data.split: no row has {column} {', '.join(lost)}; "
                    f"the table has {', '.join(sorted(there)[:8])}"
                )
            rule.setdefault(SPLIT_NAMES[part], {})[column] = wanted
    return rule


def _part(row: _Row, rule: Mapping[str, Mapping[str, set[str]]]) -> tuple[str | None, list[str]]:
    """Return the part of a row, by its own column or by the rule."""
    if given := row.cells.get("split"):
        part = SPLIT_NAMES.get(given.lower())
        if part is None:
            return None, [f"split is {given!r}; it must be train, validation or test."]
        return part, []
    matched = [
        part
        for part, conditions in rule.items()
        if all(row.cells[column] in wanted for column, wanted in conditions.items())
    ]
    if len(matched) > 1:
        return None, [f"data.split puts this row into {' and '.join(matched)}."]
    if "split" in row.cells and not matched:
        return None, ["split is empty; it must be train, validation or test."]
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
    if not path:
        problems.append("path is empty.")
    elif path in first_line:
        problems.append(f"{path} stands in line {first_line[path]} already.")
    else:
        first_line[path] = row.line
        for name in ("path", "audio") if check_files else ():
            if row.cells.get(name) and not (folder / row.cells[name]).exists():
                problems.append(f"there is no file {folder / row.cells[name]}.")
    if not label:
        problems.append("label is empty.")
    elif labels is not None and label not in labels:
        problems.append(labels.explain_unknown(label))
    fold = row.cells.get("fold", "")
    if fold and not fold.lstrip("+").isdigit():
        problems.append(f"fold is {fold!r}; it must be a whole number.")
    return problems


def _sample(row: _Row, columns: list[str], folder: Path, part: str | None) -> Sample:
    cells = row.cells
    return Sample(
        id=PurePosixPath(cells["path"].replace("\\", "/")).as_posix(),
        path=folder / cells["path"],
        label=cells["label"],
        audio_path=folder / cells["audio"] if cells.get("audio") else None,
        split=part,
        fold=int(cells["fold"]) if cells.get("fold") else None,
        speaker=cells.get("speaker") or None,
        extra={name: cells[name] for name in columns if name not in COLUMNS},
    )


def _named(samples: list[Sample]) -> list[Sample]:
    """Name samples by their path without its ending, unless two would be named alike."""
    short = {s.id: PurePosixPath(s.id).with_suffix("").as_posix() for s in samples}
    often = Counter(short.values())
    return [replace(s, id=short[s.id]) if often[short[s.id]] == 1 else s for s in samples]


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
