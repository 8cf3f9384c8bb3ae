"""claip-emo evaluate --zero-shot: of a trained run, and of a backbone alone."""

import json

import pytest

QUICK = ("--face-detector", "none", "--workers", "0", "--device", "cpu", "--explain", 0)


def test_zero_shot_of_a_run(command, run_folder, clips, tmp_path) -> None:
    for role in ("vision", "audio"):
        assert (run_folder / "model" / f"language-{role}" / "tokenizer.json").is_file()
    out = tmp_path / "zero-shot"
    done = command(
        "evaluate", "--zero-shot", "--model", run_folder, "--table", clips, "--out", out,
        "--split", "test", "--zero-shot-weight", "0.3", "--json", *QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] == 7
    facts = json.loads((out / "run.json").read_text())
    assert (facts["adaptation"], facts["face_weight"]) == ("zero-shot", 0.3)
    assert facts["parameters"]["trainable"] == 0
    assert facts["command"].startswith("claip-emo evaluate --zero-shot")
    for page in ("report.html", "report.md"):
        assert "zero-shot" in (out / page).read_text()
    again = command("report", out)
    assert again.returncode == 0


def test_zero_shot_of_a_backbone(command, clips, tmp_path) -> None:
    table = tmp_path / "two.csv"
    rows = clips.read_text().splitlines()
    names = rows[0].split(",")
    label, path = names.index("label"), names.index("path")
    kept = [row.split(",") for row in rows[1:]]
    kept = [row for row in kept if row[label] in ("fear", "anger")]
    lines = [f"{clips.parent / row[path]},{row[label]}" for row in kept]
    table.write_text("\n".join(["path,label", *lines]))
    arguments = ("evaluate", "--zero-shot", "--backbone", "tiny-clip", "--table", table, *QUICK)
    done = command(*arguments, "--out", tmp_path / "own")
    assert done.returncode == 0, done.stderr
    assert "Report:" in done.stderr
    figures = json.loads((tmp_path / "own" / "metrics.json").read_text())
    assert figures["confusion"]["labels"] == ["anger", "fear"]
    given = command(*arguments, "--out", tmp_path / "given", "--labels", "fear, anger,calm")
    assert given.returncode == 0, given.stderr
    figures = json.loads((tmp_path / "given" / "metrics.json").read_text())
    assert figures["confusion"]["labels"] == ["fear", "anger", "calm"]
    wrong = command(*arguments, "--out", tmp_path / "wrong", "--labels", "fear,calm")
    assert wrong.returncode == 2
    assert "anger" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "Give --model DIR."),
        (["--zero-shot"], 2, "Give --model DIR or --backbone NAME."),
        (["--backbone", "tiny-clip"], 2, "go with --zero-shot"),
        (["--model", "x", "--labels", "a,b"], 2, "go with --zero-shot"),
        (["--zero-shot", "--model", "x", "--backbone", "tiny-clip"], 2, "leave the others out"),
        (["--zero-shot", "--model", "x", "--labels", "a,b"], 2, "leave the others out"),
        (["--zero-shot", "--backbone", "tiny-clip", "--zero-shot-weight", "1.5"], 2, "equal to 1"),
        (["--zero-shot", "--model", "no/such/run"], 2, "no/such/run does not exist"),
        (["--zero-shot", "--backbone", "vit-b33"], 1, "Unknown backbone 'vit-b33'"),
        (["--zero-shot", "--backbone", "tiny"], 1, "'tiny' has no text encoder"),
        (["--zero-shot", "--backbone", "vit-b32"], 1, "fetch openai/clip-vit-base-patch32"),
    ],
)
def test_mistakes_are_answered(command, clips, tmp_path, arguments, code: int, says: str) -> None:
    done = command("evaluate", "--table", clips, "--out", tmp_path / "out", *arguments)
    assert done.returncode == code
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
