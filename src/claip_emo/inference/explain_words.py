"""An explanation in words: what a region of a face is called, and one plain sentence."""

from __future__ import annotations

import numpy as np

from claip_emo.inference.explanation import Explanation
from claip_emo.inference.occlusion import Drops, Grid

NOTE = (
    "What the model went by, not why a person feels something. Each part was hidden in turn; its "
    "drop is how far the log-odds of the label fell. Left and right are as you look at it."
)
MOSTLY = 0.65  # of what speaks for a label
FAINT = 0.1  # log-odds: 0.50 becomes 0.52
PEAK = 3.0  # times the mean drop, from which on one region is told from the others
TOLD = 0.2  # of what a modality carries, from which on frames or seconds are told from the others
OUTER = 0.36  # half a face's width, as a share of its height

# Heights within a face, as shares of what detectors frame: from the hairline to the chin.
BANDS = ((0.28, "forehead"), (0.48, "eye"), (0.66, "cheek"), (0.88, "mouth"), (1.02, "chin"))
BETWEEN = {"eye": (0.1, "bridge of the nose"), "cheek": (0.1, "nose")}  # so near the middle


def region_name(explanation: Explanation) -> str | None:
    """Return what the region that carried the label is called; None: there is none, or no face.

    Left and right are as a viewer sees them.
    """
    box, drops = explanation.strongest_region, explanation.region_drops
    if box is None or drops is None or explanation.face_margin is None:
        return None
    if drops.log_odds.max() < PEAK * np.abs(drops.log_odds).mean():
        return None
    left, top, right, bottom = box
    return name_of((left + right) / 2, (top + bottom) / 2, explanation.face_margin)


def name_of(x: float, y: float, margin: float) -> str:
    """Return what lies at a place of a face's crop.

    Args:
        x: from 0, left, to 1.
        y: from 0, top, to 1.
        margin: share of the face's height around it on each side.
    """
    across, down = ((place - 0.5) * (1 + 2 * margin) for place in (x, y))
    side = "left" if across < 0 else "right"
    if abs(across) > OUTER:
        return f"{side} edge of the face"
    band = next((name for end, name in BANDS if down + 0.5 < end), "neck")
    if band not in BETWEEN:
        return band
    near, between = BETWEEN[band]
    return between if abs(across) < near else f"{side} {band}"


def headline(explanation: Explanation) -> str:
    """Return which of face and voice carried the label, in a few words."""
    shares = explanation.shares
    speaking = {name: share for name, share in shares.items() if share > FAINT}
    if not speaking:
        return "hardly anything speaks for it"
    first = max(speaking, key=lambda name: speaking[name])
    named = _named(explanation)
    if against := _against(explanation):
        return f"the {named[first]}, against the {named[against]}"
    if len(shares) == 1:
        return f"by the {named[first]} alone"
    if speaking[first] >= MOSTLY * sum(speaking.values()):
        return f"mostly the {named[first]}"
    return f"{named['face']} and voice"


def sentence(explanation: Explanation) -> str:
    """Return one plain sentence: what speaks for the label, where and when."""
    shares, named = explanation.shares, _named(explanation)
    enough = max(FAINT, (1 - MOSTLY) * sum(share for share in shares.values() if share > 0))
    speaking = [name for name, share in shares.items() if share > enough]
    if not speaking:
        there = " nor ".join(named[name] for name in shares)
        nobody = {0: "Nothing speaks", 1: f"The {there} does not speak"}
        subject = nobody.get(len(shares), f"Neither {there} speaks")
        return f"{subject} clearly for {explanation.label}."
    told = {"face": _of_the_face, "voice": _of_the_voice}
    subject = " and ".join(told[name](explanation) for name in speaking)
    verb = "speaks" if len(speaking) == 1 else "speak"
    against = _against(explanation)
    end = f"; the {named[against]} speaks against it" if against else ""
    return f"{subject[0].upper()}{subject[1:]} {verb} for {explanation.label}{end}."


def face_word(explanation: Explanation) -> str:
    """Return what is seen: a face, or a picture in which none was found or sought."""
    return "picture" if explanation.face_margin is None else "face"


def strongest_span(edges_s: Grid, drops: Grid, share: float) -> tuple[float, float] | None:
    """Return begin and end of the parts around the strongest that drop at least half as far.

    Args:
        edges_s: (part, 2), begin and end of each.
        drops: (part,), log-odds.
        share: what their modality carries, in log-odds.

    Returns:
        None where they are more than half of all parts, or carry little of the share.
    """
    if not len(drops) or drops.max() <= 0:
        return None
    weak = np.flatnonzero(drops < drops.max() / 2)
    place = np.searchsorted(weak, drops.argmax())
    first, last = np.concatenate([[-1], weak, [len(drops)]])[[place, place + 1]] + [1, -1]
    if last + 1 - first > len(drops) / 2 or drops[first : last + 1].sum() < TOLD * share:
        return None
    return float(edges_s[first, 0]), float(edges_s[last, 1])


def _named(explanation: Explanation) -> dict[str, str]:
    return {"face": face_word(explanation), "voice": "voice"}


def _against(explanation: Explanation) -> str | None:
    """Return which of face and voice speaks against the label."""
    return next((name for name, share in explanation.shares.items() if share < -FAINT), None)


def _of_the_face(explanation: Explanation) -> str:
    name = region_name(explanation) or face_word(explanation)
    edges_s = np.stack([explanation.frame_times_s] * 2, axis=1)
    return f"the {name}{_when(edges_s, explanation.frame_drops, explanation.shares['face'])}"


def _of_the_voice(explanation: Explanation) -> str:
    drops, share = explanation.piece_drops, explanation.shares["voice"]
    return f"the voice{_when(explanation.pieces_s, drops, share)}"


def _when(edges_s: Grid, drops: Drops, share: float) -> str:
    found = strongest_span(edges_s, drops.log_odds, share)
    if found is None:
        return ""
    begin, end = (f"{second:.1f}" for second in found)
    return f" at {begin} s" if begin == end else f" between {begin} and {end} s"
