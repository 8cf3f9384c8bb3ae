"""Which frames, seconds and regions carried a label: python explain.py CLIP [FOLDER]."""

import sys
from pathlib import Path

from claip_emo import EmotionRecognizer
from claip_emo.inference.explain import write
from claip_emo.inference.explain_words import sentence


def main(path: str, folder: str = ".") -> None:
    """Explain one clip by the model in the box, and draw it."""
    recognizer = EmotionRecognizer.from_pretrained()
    clip = recognizer.load(path)
    found = recognizer.explain(clip)

    print(sentence(found))
    for name, share in found.shares.items():
        alone, _ = found.values[name]
        print(f"{name}: {share:+.2f} log-odds; alone it would say {found.label} {alone:.2f}")
    drops = found.piece_drops.log_odds
    for (begin, end), drop in zip(found.pieces_s, drops, strict=True):
        print(f"{begin:5.1f} to {end:4.1f} s: without them {found.label} falls by {drop:+.2f}")
    write(found, clip, Path(folder) / f"{Path(path).stem}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
