"""All videos of a folder as a CSV: ``python examples/folder.py FOLDER out.csv``.

Files are read ahead and scored in batches; one that cannot be read is a row with its error.
"""

import csv
import sys
from pathlib import Path

from claip_emo import EmotionRecognizer
from claip_emo.inference.inputs import expand

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
recognizer = EmotionRecognizer.from_pretrained()
names = recognizer.labels.names
failed = 0
with out.open("w", newline="", encoding="utf-8") as file:
    table = csv.writer(file)
    table.writerow(["path", "label", *names, "error"])
    for result in recognizer.many(expand([folder])):
        failed += result.error is not None
        scores = result.scores or {}
        row = [f"{scores[name]:.4f}" if name in scores else "" for name in names]
        table.writerow([result.path, result.label, *row, result.error])
print(f"{out} is written; {failed} files could not be read.")
sys.exit(failed > 0)
