"""The model card: the README.md of a checkpoint, as the hub shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def write_card(folder: Path, facts: dict[str, Any], metrics: dict[str, Any] | None = None) -> None:
    """Write ``README.md`` into a checkpoint: what it is, what it was trained on, what it scored.

    Args:
        folder: the checkpoint.
        facts: what ``run.json`` says of the run.
        metrics: what ``metrics.json`` says, once it is tested.
    """
    header = {
        "library_name": "claip-emo",
        "pipeline_tag": "video-classification",
        "license": "apache-2.0",
        "tags": ["emotion-recognition", "audiovisual", "clip", "clap", "lora", "arxiv:2509.14527"],
    }
    used = {"v": "the face alone", "a": "the voice alone"}.get(
        str(facts.get("modality")), "face and voice together"
    )
    parameters = facts["parameters"]
    counts = facts["counts"]
    lines = [
        "---",
        yaml.safe_dump(header, sort_keys=False).strip(),
        "---",
        "",
        f"# {facts['title']}",
        "",
        f"Tells which emotion the person on a video shows, from {used}, by the "
        "method of CLAIP-Emo (Chen et al., [arXiv 2509.14527](https://arxiv.org/abs/2509.14527)).",
        "",
        f"- Backbone: `{facts['backbone']}`, adaptation: `{facts['adaptation']}`",
        f"- Parameters: {parameters['trainable']:,} trained of {parameters['total']:,}",
        f"- Clips: {counts['train']} to train, {counts['validation']} to choose the epoch, "
        f"{counts['test']} to test",
    ]
    if facts.get("corpus_note"):
        lines.append(f"- Corpus: {facts['corpus_note']}")
    if metrics:
        low, high = metrics["interval_95"]["uar"]
        lines += [
            f"- Test: WAR {metrics['war']:.4f}, UAR {metrics['uar']:.4f} "
            f"(95 % interval {low:.4f} to {high:.4f}) on {metrics['n']} clips",
        ]
    lines += [
        "",
        "```python",
        "from claip_emo import EmotionRecognizer",
        "",
        'print(EmotionRecognizer.from_pretrained("THIS_FOLDER_OR_ID")("clip.mp4").label)',
        "```",
        "",
        "It reads what a face and a voice show, not what a person feels. It must not be used to "
        "judge people: at work, in schools, in courts or at borders.",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), "utf-8")
