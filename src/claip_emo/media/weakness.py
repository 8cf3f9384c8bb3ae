"""What a clip lacks, or what makes a face or a voice hard to read, in words that say why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from claip_emo.media.spec import ClipSpec, Span

SILENCE = 1e-4  # peak below which sound carries nothing, -80 dB of full scale
SMALL_PX = 40.0  # height of a face; the smallest that people labelled faces on is 48 px (FER2013)
DARK = 0.2  # CIE L* / 100 of a face: 3 % of the light that white gives back
TURNED = 0.35  # distances of the eyes: about 30 degrees
MOSTLY = 0.5

SILENT = "the sound is silent"  # how the warning begins
NO_FACE = "no face was found; the whole frame is used"
NO_SPEECH = "nobody seems to speak in the sound"
SEVERAL_FACES = "several people are in the picture: the largest face is taken"
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


def weak_crops(
    crops: NDArray[np.uint8],
    heights_px: NDArray[np.floating],
    centres_px: NDArray[np.floating],
    faces: Sequence[NDArray[np.floating]],
) -> list[str]:
    """Say why the face of a clip is hard to read, and whether there are others.

    Args:
        crops: (frame, S, S, 3), uint8 RGB.
        heights_px: (frame,), of the face in each, in the file's own px.
        centres_px: (frame, 2), x and y of it.
        faces: all faces of each frame, (face, 6), x, y, width, height in the file's own px, score,
            and how far the face is turned.
    """
    lightness = np.array([_lightness(crop) for crop in crops])
    turns = [
        found[np.hypot(*(found[:, :2] + found[:, 2:4] / 2 - centre).T).argmin(), 5]
        for found, centre in zip(faces, centres_px, strict=True)
        if len(found)
    ]
    said = weak_face(heights_px, lightness, np.array(turns, np.float64))
    if float(np.mean([len(found) > 1 for found in faces])) > MOSTLY:
        said.append(SEVERAL_FACES)
    return said


def _lightness(crop: NDArray[np.uint8]) -> float:
    """Return CIE L* of the middle of a crop (S, S, 3), 0 black to 1 white."""
    edge = crop.shape[0] // 4
    middle = crop[edge : crop.shape[0] - edge, edge : crop.shape[1] - edge]
    lab = cv2.cvtColor(np.ascontiguousarray(middle), cv2.COLOR_RGB2LAB)
    return float(lab[..., 0].mean()) / 255


def audible(waveforms: Iterable[NDArray[np.float32]]) -> bool:
    """Whether there is anything but silence."""
    return any(float(np.abs(waveform).max(initial=0)) >= SILENCE for waveform in waveforms)


def silent(sound_s: Span | None, heard: Iterable[Span]) -> str:
    """Return the warning that nothing is heard; of a long sound, in the parts listened to."""
    length_s = sound_s[1] - sound_s[0] if sound_s else 0.0
    heard_s = sum(end - begin for begin, end in set(heard))
    part = f" in the {heard_s:.0f} of {length_s:.0f} s that are listened to"
    return f"{SILENT}{part if heard_s < length_s - 1 else ''}"


def no_face(rate: float | None) -> list[str]:
    """Return the warning that no face was found, where none was."""
    return [NO_FACE] if rate == 0 else []


def why_nothing(warnings: Sequence[str], spec: ClipSpec) -> str:
    """Return why a file yields neither picture nor sound."""
    if warnings:
        return f"there is nothing in it to go by ({'; '.join(warnings)})."
    asked = [name for name, on in (("picture", spec.video), ("sound", spec.audio)) if on]
    return f"no {' and no '.join(asked)} could be found in it."
