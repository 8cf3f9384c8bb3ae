"""Learn one's own labels from one's own clips: ``python examples/own_labels.py clips.csv RUN``.

The table has the columns ``path,label,split`` with the parts train, val and test; labels are any
words: calm and tense, or engaged and bored. ``csv-tiny`` learns a small network anew; the recipe
``csv`` adapts CLIP and CLAP instead. Further arguments change the recipe: ``train.epochs=5``.
"""

import csv
import sys
from pathlib import Path

from claip_emo import EmotionRecognizer
from claip_emo.recipe_files import load_recipe
from claip_emo.training.fit import train


def main(table: str, out: str, *changes: str) -> None:
    """Train, test, and recognise one of the test clips."""
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = ", ".join(sorted({row["label"] for row in rows}))
    told = [f"data.root={table}", f"data.labels=[{labels}]", *changes]
    run = train(load_recipe("csv-tiny", told), out)
    print(f"Right on {run.metrics['war']:.0%} of the clips of part test; see {out}/report.html.")

    recognizer = EmotionRecognizer.from_pretrained(out)
    clip = next(row for row in rows if row["split"] == "test")
    result = recognizer(Path(table).parent / clip["path"])
    print(f"{clip['path']} shows {result.label}; its label is {clip['label']}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
