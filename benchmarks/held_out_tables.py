"""Write the tables of ``benchmarks/results/held_out.json`` into the documents that show them.

python -m benchmarks.held_out_tables

Each table, the line of differences, and the commit take the place of the former ones, in
``docs/model-card.md`` and ``docs/results.md``; the text around them is a person's to mend.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
MEASURED = HERE / "benchmarks" / "results" / "held_out.json"
CARD, RESULTS = HERE / "docs" / "model-card.md", HERE / "docs" / "results.md"
MEASURED_BY = "`python -m benchmarks.held_out` (commit "
GAINS = "Clip by clip face and voice together are "
SHIPPED = "As shipped, "
SHOWN = 3  # scores of each recording


def main() -> None:
    """Rewrite both documents."""
    tables = list(blocks(json.loads(MEASURED.read_text("utf-8"))))
    CARD.write_text(rewritten(CARD.read_text("utf-8"), tables), "utf-8")
    RESULTS.write_text(rewritten(RESULTS.read_text("utf-8"), in_results(tables)), "utf-8")


def in_results(tables: Sequence[str]) -> list[str]:
    """Return what the results show as well; the card alone tells of classes and recordings."""
    return [table for table in tables if not table.startswith(("| class ", "| recording "))]


def rewritten(text: str, tables: Iterable[str]) -> str:
    """Return a text with each table in the place of the one of the same first line.

    Raises:
        ValueError: if a text has no such table, or several.
    """
    for table in tables:
        first = table.partition("\n")[0]
        pattern = re.escape(first) + r"(\n\|.*)+"
        if table.startswith(GAINS):
            pattern = re.escape(GAINS) + r".*\(WAR, paired\)\."
        elif table.startswith(SHIPPED):
            pattern = re.escape(SHIPPED) + r".*"
        elif table.startswith(MEASURED_BY):
            pattern = re.escape(MEASURED_BY) + r"\w+\+?\)"
        text, count = re.subn(pattern, table.replace("\\", r"\\"), text)
        if count != 1:
            raise ValueError(f"{count} tables begin with {first!r}; one is expected.")
    return text


def blocks(found: dict[str, Any]) -> Iterator[str]:
    """Yield the commit, the tables, and the line of differences."""
    face, pairs, words = found["face"], found["pairs"], found["by_words"]
    yield f"{MEASURED_BY}{found['commit']})"
    rows = [
        ("faces of part `test`, face alone", face["n"], face),
        ("constructed pairs of actors 17 and 18, voice alone", pairs["n"], pairs["audio"]),
        ("the same, face alone", pairs["n"], pairs["video"]),
        ("the same, face and voice", pairs["n"], pairs["audiovisual"]),
    ]
    yield _table(
        ("held out", "n", "WAR", "UAR"),
        [(what, f"{n:,}", _brackets(s["war"]), _brackets(s["uar"])) for what, n, s in rows],
    )
    gains = [
        f"{gain['war']:+.3f} [{gain['interval_95']['war'][0]:+.3f}, "
        f"{gain['interval_95']['war'][1]:+.3f}] above the {than}"
        for than, gain in (("face", pairs["gain"]["video"]), ("voice", pairs["gain"]["audio"]))
    ]
    yield f"{GAINS}{' and '.join(gains)} (WAR, paired)."
    told = pairs["shipped"]
    errors = [
        f"{told[name]['calibration_error']:.3f} for {what}"
        for name, what in (("audiovisual", "both"), ("video", "the face"), ("audio", "the voice"))
    ]
    yield (
        f"{SHIPPED}with the shares of the classes among real faces told to a face without a voice, "
        f"the face alone reaches {_brackets(told['video']['war'])} on these pairs, which hold "
        f"nearly as many of each class; the tables leave that out. Calibration errors there: "
        f"{', '.join(errors)}."
    )
    yield _table(
        ("class", "faces of part `test` (n)", "pairs of actors 17 and 18, face and voice (n)"),
        [
            (
                name,
                *(
                    f"{_brackets(s['per_class'][name])} ({s['per_class'][name]['n']})"
                    for s in (face, pairs)
                ),
            )
            for name in face["per_class"]
        ],
    )
    alone = (
        ("faces of part `test`", words["face"]),
        ("voices of actors 17 and 18", words["pairs"]["audio"]),
    )
    yield _table(
        ("by words alone", "WAR", "UAR"),
        [(what, _brackets(s["war"]), _brackets(s["uar"])) for what, s in alone],
    )
    yield _table(
        ("recording", "YuNet: both", "Haar: both", "YuNet: face alone", "voice alone"),
        _recordings(found["recordings"]),
    )


def _recordings(found: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    said = {(row["file"], row["detector"], row["used"]): _highest(row["scores"]) for row in found}
    columns = ("yunet", "av"), ("haar", "av"), ("yunet", "video"), ("yunet", "audio")
    return [
        (name.removesuffix(".mp4"), *(said[name, *column] for column in columns))
        for name in dict.fromkeys(row["file"] for row in found)
    ]


def _highest(scores: dict[str, float]) -> str:
    ranked = sorted(scores.items(), key=lambda item: -item[1])[:SHOWN]
    return ", ".join(f"{label} {value:.2f}" for label, value in ranked)


def _brackets(told: dict[str, Any]) -> str:
    low, high = told["interval"]
    return f"{told['figure']:.3f} [{low:.3f}, {high:.3f}]"


def _table(names: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    head, *body = (f"| {' | '.join(map(str, line))} |" for line in (names, *rows))
    return "\n".join([head, "|---" * len(names) + "|", *body])


if __name__ == "__main__":
    main()
