"""Tables of the held-out figures take the place of former ones, and of nothing else."""

import json

import pytest

from benchmarks import held_out_tables as tables


def found() -> dict:
    def told(figure: float) -> dict:
        return {"figure": figure, "interval": [figure - 0.1, figure + 0.1]}

    def both(figure: float) -> dict:
        return {"war": told(figure), "uar": told(figure - 0.05)}

    gain = {"war": 0.125, "interval_95": {"war": [-0.05, 0.208]}}
    recalls = {"anger": {**told(0.5), "n": 12}, "fear": {**told(0.25), "n": 4}}
    scores = {"anger": 0.5, "fear": 0.3, "disgust": 0.15, "neutral": 0.05}
    return {
        "commit": "abc1234",
        "face": {"n": 1660, **both(0.7855001), "per_class": recalls},
        "pairs": {"n": 120, "audio": both(0.6), "video": both(0.7), "audiovisual": both(0.9),
                  "shipped": {name: {**both(0.65), "calibration_error": 0.125}
                              for name in ("audiovisual", "video", "audio")},
                  "gain": {"video": gain, "audio": gain}, "per_class": recalls},
        "by_words": {"face": both(0.75), "pairs": {"audio": both(0.55)}},
        "recordings": [
            {"file": "one.mp4", "detector": detector, "used": used, "scores": scores}
            for detector in ("yunet", "haar") for used in ("av", "video", "audio")
        ],
    }  # fmt: skip


def test_figures_are_written_as_they_were_measured() -> None:
    commit, held, gains, shipped, classes, words, recordings = tables.blocks(found())
    assert commit == "`python -m benchmarks.held_out` (commit abc1234)"
    assert held.splitlines()[:3] == [
        "| held out | n | WAR | UAR |",
        "|---|---|---|---|",
        "| faces of part `test`, face alone | 1,660 | 0.786 [0.686, 0.886] | "
        "0.736 [0.636, 0.836] |",
    ]
    assert held.splitlines()[5].startswith(
        "| the same, face and voice | 120 | 0.900 [0.800, 1.000]"
    )
    assert gains.endswith(
        "+0.125 [-0.050, +0.208] above the face and +0.125 [-0.050, +0.208] above the voice "
        "(WAR, paired)."
    )
    assert "the face alone reaches 0.650 [0.550, 0.750] on these pairs" in shipped
    assert shipped.endswith("0.125 for both, 0.125 for the face, 0.125 for the voice.")
    assert "| fear | 0.250 [0.150, 0.350] (4) | 0.250 [0.150, 0.350] (4) |" in classes
    assert "| voices of actors 17 and 18 | 0.550 [0.450, 0.650] |" in words
    said = "anger 0.50, fear 0.30, disgust 0.15"
    assert recordings.splitlines()[2] == f"| one | {said} | {said} | {said} | {said} |"


def test_a_table_takes_the_place_of_its_former_self(monkeypatch, tmp_path) -> None:
    commit, first, gains, shipped, _, words, _ = tables.blocks(found())
    text = (
        "`python -m benchmarks.held_out` (commit 0ld1234+), of old.\n\n"
        "| held out | n | WAR | UAR |\n|---|---|---|---|\n| old | 1 | 2 | 3 |\n\n"
        "Clip by clip face and voice together are old (WAR, paired). After.\n\n"
        "As shipped, old.\n\n| other |\n|---|\n\n"
        "| by words alone | WAR | UAR |\n|---|---|---|\n| old | 2 | 3 |\n"
    )
    expected = (
        f"{commit}, of old.\n\n{first}\n\n{gains} After.\n\n{shipped}\n\n"
        f"| other |\n|---|\n\n{words}\n"
    )
    assert tables.in_results(list(tables.blocks(found()))) == [commit, first, gains, shipped, words]
    assert tables.rewritten(text, [commit, first, gains, shipped, words]) == expected
    with pytest.raises(ValueError, match=r"0 tables begin with '\| class"):
        tables.rewritten(text, tables.blocks(found()))
    with pytest.raises(ValueError, match="2 tables"):
        tables.rewritten(text + text, [first])

    measured, card, results = (tmp_path / name for name in ("m.json", "card.md", "results.md"))
    measured.write_text(json.dumps(found()))
    heads = (table.partition("\n")[0] for table in tables.blocks(found()))
    card.write_text("\n\n".join(f"{h}\n| old |" if h.startswith("|") else h for h in heads))
    results.write_text(text)
    monkeypatch.setattr(tables, "MEASURED", measured)
    monkeypatch.setattr(tables, "CARD", card)
    monkeypatch.setattr(tables, "RESULTS", results)
    tables.main()
    assert results.read_text() == expected
    assert all(table in card.read_text() for table in tables.blocks(found()))
    assert "| old" not in card.read_text()
