"""What the report says in words: no more than the figures show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

NEARLY_ALL, NEARLY_NONE = 0.95, 0.05
USED = {"av": "face and voice", "v": "face alone", "a": "voice alone"}
ALONE = {"video": "the face", "audio": "the voice"}
SELECTION = {
    "validation": "The epoch that is best on the validation part was kept; the test part chose "
    "nothing.",
    "last": "The last epoch was kept; the test part chose nothing.",
    "best_on_test": "The epoch was picked by its score on these very test clips, as some published "
    "protocols do. The figures are therefore too high for clips that nobody has scored.",
}
WORDS = (
    ("WAR", "Weighted average recall: the share of clips that are right, also called accuracy. "
     "Frequent emotions count more."),
    ("UAR", "Unweighted average recall: the mean of the emotions' recalls, so that rare ones count "
     "as much as frequent ones. Emotions without a test clip are left out."),
    ("Recall", "Of the clips that show an emotion, the share that is recognised."),
    ("Precision", "Of the clips said to show an emotion, the share that does."),
    ("F1", "The harmonic mean of recall and precision; macro F1 is its mean over the emotions."),
    ("95 % interval", "Where the figure lies in 95 of 100 redraws of the test set (percentile "
     "bootstrap). It knows of chance in the clips, not of another training run."),
    ("Calibration error", "The mean distance between how sure the model is and how often it is "
     "right, over 15 bins of equal width, weighted by their clips."),
)  # fmt: skip


def sentence(scored: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> str:
    """Say in plain words what the figures show.

    Args:
        scored: content of ``metrics.json``.
        facts: content of ``run.json``; ``unseen_people`` says that no one in the test part was in
            the training part.
    """
    people = " of people it has never seen" if (facts or {}).get("unseen_people") is True else ""
    war, parts = scored["war"], scored["by_modality"]
    tenths = round(10 * war)
    if war >= NEARLY_ALL:
        said = "Right on every clip" if war == 1 else "Right on nearly every clip"
    elif war <= NEARLY_NONE:
        said = "Right on hardly any clip"
    else:
        said = f"Right on about {tenths} of 10 clips"
    said += f"{people}."
    if guess := _no_better_than_guessing(scored):
        return f"{said} {guess}"
    if not {"audiovisual", "video", "audio"} <= parts.keys():
        return f"{said} {_what_was_scored(parts)}"
    return f"{said} {_compare(scored)}"


def selection_note(facts: Mapping[str, Any]) -> str:
    """Say how the epoch was picked, or nothing where it is not known."""
    rule = facts.get("selection")
    return SELECTION.get(rule, f"Selection of the epoch: {rule}.") if isinstance(rule, str) else ""


def projection_note(facts: Mapping[str, Any]) -> str:
    """Say what a label projection has left out; nothing where there was none.

    Args:
        facts: content of ``run.json``; ``projection`` as ``across.describe_projection`` returns it.
    """
    told = facts.get("projection")
    if not isinstance(told, dict):
        return ""
    counts_as, excluded, dropped = (told.get(k) for k in ("counts_as", "excluded", "dropped"))
    parts = ["The model was trained on other classes than these clips are labelled with."]
    if isinstance(counts_as, dict):
        others = [
            f"{one} as {other}" for one, other in counts_as.items() if other not in (one, None)
        ]
        if others:
            parts.append(f"It counts {listed(others)}.")
    if isinstance(excluded, dict) and excluded:
        counted = [f"{name} ({_number(count)})" for name, count in excluded.items()]
        named = listed(counted) if len(counted) > 1 else next(iter(excluded))
        parts.append(
            f"Left out, as it does not know their class: {_number(told.get('n_excluded'))} clips "
            f"of {named}."
        )
    else:
        parts.append("No clip had to be left out.")
    if isinstance(dropped, list) and dropped:
        parts.append(
            f"Its scores of {listed([str(name) for name in dropped])}, which these clips do not "
            "have, were dropped, and the remaining ones made to sum to 1 again."
        )
    return " ".join(parts)


def listed(names: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def describe_facts(facts: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Return what is known of the run as (name, text, whether it is code); all of it is optional.

    What a newer version adds to ``run.json`` is shown too, as far as it is a word or a number.
    """
    told = {"title", "corpus_note", "selection", "unseen_people", "corpus_variant"}
    rows: list[tuple[str, str, bool]] = []

    def tell(key: str, text: str | None, *, name: str | None = None, code: bool = False) -> None:
        told.add(key)
        if text:
            rows.append((name or key, text, code))

    tell("corpus_name", _corpus(facts), name="corpus")
    tell("corpus", _plain(facts.get("corpus")), name="clips from" if _corpus(facts) else "corpus")
    tell("fold", _plain(facts.get("fold")))
    tell("counts", _counts(facts.get("counts")), name="clips")
    tell("backbone", _plain(facts.get("backbone")))
    tell("adaptation", _plain(facts.get("adaptation")))
    tell("parameters", _parameters(facts.get("parameters")))
    tell("temperature", _temperature(facts.get("temperature")))
    tell("seconds", duration(facts.get("seconds")), name="training time")
    tell("seed", _plain(facts.get("seed")))
    tell("command", _plain(facts.get("command")), code=True)
    tell("commit", _plain(facts.get("commit")), code=True)
    tell("machine", _plain(facts.get("machine")))
    versions = facts.get("versions")
    named = {"claip-emo": facts.get("version")} | (versions if isinstance(versions, dict) else {})
    tell("version", ", ".join(f"{k} {v}" for k, v in named.items() if v), name="versions")
    told.add("versions")
    for key in [key for key in facts if key not in told]:
        tell(key, _plain(facts[key]))
    return rows


def duration(seconds: Any) -> str | None:
    """Return a time as one reads it: ``8.4 s``, ``3 min 12 s``, ``2 h 5 min``."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    if not (math.isfinite(seconds) and seconds >= 0):
        return None
    if seconds < 59.5:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def _no_better_than_guessing(scored: Mapping[str, Any]) -> str:
    """Compare the WAR with always saying the most frequent emotion, the UAR with 1 / classes."""
    low, high = scored["interval_95"]["war"]
    majority, uniform = scored["chance"]["majority"], scored["chance"]["uniform"]
    if low > majority or scored["interval_95"]["uar"][0] > uniform:
        return ""
    if high < majority:
        return (
            f"That is less than always naming the most frequent emotion scores "
            f"({100 * majority:.1f} %)."
        )
    return (
        f"That is not distinguishable from always naming the most frequent emotion "
        f"({100 * majority:.1f} %)."
    )


def _what_was_scored(parts: Mapping[str, Any]) -> str:
    names = [name for name in ("audiovisual", "video", "audio") if name in parts]
    if names == ["audiovisual"]:
        return "Only face and voice together were scored, neither alone."
    if len(names) == 1:
        return f"Only the {names[0]} was scored."
    shown = {"audiovisual": "face and voice together", "video": "the face", "audio": "the voice"}
    return f"Scored were {' and '.join(shown[name] for name in names)}."


def _compare(scored: Mapping[str, Any]) -> str:
    """Say whether face and voice together beat the better of both."""
    parts, gains = scored["by_modality"], scored.get("advantage") or {}
    best = max(ALONE, key=lambda name: parts[name]["war"])
    both, alone = parts["audiovisual"], ALONE[best]
    if best in gains and gains[best]["interval_95"]["war"][1] < 0:
        return f"Face and voice together are worse than {alone} alone here."
    if both["war"] <= parts[best]["war"]:
        return f"Face and voice together are not better than {alone} alone here."
    if not _overlapping(scored):
        return "Face and voice together clearly beat either alone."
    if ALONE.keys() <= gains.keys() and all(
        gains[name]["interval_95"]["war"][0] > 0 for name in ALONE
    ):
        return "Face and voice together beat either alone."
    return (
        f"Face and voice together score higher than {alone} alone, but it may be chance: the 95 % "
        "intervals overlap."
    )


def caveat(scored: Mapping[str, Any]) -> str:
    """Say how sure the comparison of the sentence is; nothing where nothing is compared."""
    parts, gains = scored["by_modality"], scored.get("advantage") or {}
    if not ALONE.keys() <= parts.keys() & gains.keys():
        return ""
    best = max(ALONE, key=lambda name: parts[name]["war"])
    low, high = gains[best]["interval_95"]["war"]
    gain = gains[best]["war"]
    size = f"{100 * abs(gain):.1f}"
    said = (
        f"{size} points {'less' if gain < 0 else 'more'} WAR than"
        if float(size)
        else ("the same WAR as")
    )
    text = (
        f"On the same clips, both together score {said} {ALONE[best]} alone "
        f"(95 % interval {points(low)} to {points(high)})"
    )
    if low > 0 and (overlapping := _overlapping(scored)):
        return (
            f"{text}. Taken separately, their interval overlaps that of {' and '.join(overlapping)}"
            " alone; clip by clip the difference shows."
        )
    return f"{text}."


def _overlapping(scored: Mapping[str, Any]) -> list[str]:
    """Return what alone has an interval of the WAR that overlaps that of both together."""
    parts = scored["by_modality"]
    low = parts["audiovisual"]["interval_95"]["war"][0]
    return [ALONE[name] for name in ALONE if parts[name]["interval_95"]["war"][1] >= low]


def _corpus(facts: Mapping[str, Any]) -> str | None:
    """Return name and edition of a published corpus."""
    name, variant = facts.get("corpus_name"), facts.get("corpus_variant")
    if not isinstance(name, str) or name in ("table", "synthetic"):
        return None
    return f"{name}, {variant}" if isinstance(variant, str) else name


def _plain(value: Any) -> str | None:
    return None if value is None or isinstance(value, dict | list) else str(value)


def _counts(counts: Any) -> str | None:
    if not isinstance(counts, dict):
        return None
    return ", ".join(f"{_number(count)} {name}" for name, count in counts.items())


def _parameters(parameters: Any) -> str | None:
    if not isinstance(parameters, dict):
        return None
    total, trained = parameters.get("total"), parameters.get("trainable")
    if trained is None:
        return None if total is None else f"{_number(total)} in all"
    text = f"{_number(trained)} trained"
    text += "" if total is None else f" of {_number(total)}"
    share = parameters.get("share")
    return text + (f" ({100 * share:.2f} %)" if isinstance(share, int | float) else "")


def _temperature(temperature: Any) -> str | None:
    """Return what logits are divided by; nothing where they are left as they are."""
    if isinstance(temperature, dict):
        return ", ".join(f"{value:g} ({there})" for there, value in temperature.items()) or None
    return None if temperature in (None, 1) else str(temperature)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
