"""What a face or a voice lacks to be read well, in words that say why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SMALL_PX = 40.0  # height of a face; the smallest that people labelled faces on is 48 px (FER2013)
DARK = 0.2  # CIE L* / 100 of a face: 3 % of the light that white gives back
TURNED = 0.35  # distances of the eyes: about 30 degrees
MOSTLY = 0.5

NO_SPEECH = "nobody seems to speak in the sound"
EVERYBODYS_SOUND = "several people are in the picture at once: the sound is everybody's"


def weak_face(
    heights_px: NDArray[np.floating], lightness: NDArray[np.floating], turns: NDArray[np.floating]
) -> list[str]:
    """Say why a face is hard to read.

    Args:
        heights_px: (found,), height of the face each time it was found, in the file's own px.
        lightness: (found,), 0 black to 1 white.
        turns: (found,), as ``faces.turned_faces`` has them; NaN: unknown.
    """
    said = []
    if len(heights_px) and (height := float(np.median(heights_px))) < SMALL_PX:
        said.append(f"the face is small ({height:.0f} px high)")
    if len(lightness) and (light := float(np.median(lightness))) < DARK:
        said.append(f"the face is dark ({light:.0%} of white)")
    known = turns[~np.isnan(turns)]
    if len(known) and (share := float((known > TURNED).mean())) > MOSTLY:
        said.append(f"the face is turned away in {share:.0%} of the pictures")
    return said


def several_faces(counts: Sequence[int]) -> bool:
    """Say whether most pictures have more than one face, from the number in each."""
    return bool(counts) and float(np.mean([count > 1 for count in counts])) > MOSTLY
