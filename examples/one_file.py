"""Which emotion does the person on this video show? ``python examples/one_file.py clip.mp4``."""

import sys

from claip_emo import EmotionRecognizer, MediaError

recognizer = EmotionRecognizer.from_pretrained()  # or a run's folder, or a hub id
for path in sys.argv[1:]:
    try:
        result = recognizer(path)
    except MediaError as error:
        sys.exit(str(error))
    print(f"{path}: {result.label}, told from {' and '.join(result.modalities)}")
    for name, score in sorted(result.scores.items(), key=lambda item: -item[1]):
        print(f"  {name:12} {score:6.1%} {'#' * round(40 * score)}")
    for warning in result.warnings:
        print(f"  note: {warning}")
