"""The demo at a fraction of its size: it makes clips, learns, reports, and says what was seen."""

import json


def test_demo(command, tmp_path) -> None:
    out = tmp_path / "demo"
    size = "{people: 5, clips_per_emotion: 2, test_people: 1, validation_people: 1}"
    done = command(
        "demo", "--out", out,
        "--set", f"data.synthetic={size}",
        "--set", "train.epochs=6", "--set", "train.log_every_steps=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for said in ("You have seen", "report.html", "Now your own", "shows", "real faces and voices"):
        assert said in done.stderr
    figures = json.loads((out / "metrics.json").read_text())
    assert figures["n"] == 14
    rows = [json.loads(line) for line in (out / "history.jsonl").open()]
    losses = [row["loss"] for row in rows if row["event"] == "train"]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    settings = json.loads((out / "model" / "processor_config.json").read_text())
    assert (
        settings["face_detector"] == "auto"
    )  # the model looks for faces, though its corpus did not
