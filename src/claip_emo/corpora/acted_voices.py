"""Acted voices: the sound of RAVDESS's clips and EmoDB's utterances, and what their names tell.

RAVDESS is Livingstone & Russo, PLoS ONE 2018; EmoDB is Burkhardt et al., Interspeech 2005.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from claip_emo.corpora import ravdess
from claip_emo.corpora.base import CorpusError, OnProgress, Sample
from claip_emo.corpora.table import read_table
from claip_emo.labels import SEVEN
from claip_emo.media.container import MediaError
from claip_emo.media.source import open_source

CONSTRUCTED = "constructed/clips.csv"
EMODB = "voices_emodb.parquet"
"""Where a folder of data has the clips with RAVDESS's voices, and EmoDB."""
RATE_HZ = 48_000
BLOCK_S = 0.02  # in which loudness is measured
QUIET_DB = -35.0  # below the loudest block: silence, or breath and the noise of the room
KEPT_S = 0.05  # around what is loud: soft consonants begin and end before the threshold
SHORTEST_S = 0.2

RAVDESS_STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}

EMODB_CODES = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
"""The publisher's letters (of the German words), and our names."""

EMODB_STATEMENTS = {
    "a01": "Der Lappen liegt auf dem Eisschrank",
    "a02": "Das will sie am Mittwoch abgeben",
    "a04": "Heute abend könnte ich es ihm sagen",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück",
    "a07": "In sieben Stunden wird es soweit sein",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen",
}
"""The ten sentences, from the publisher's page."""

EMODB_GENDERS: Mapping[str, Literal["woman", "man"]] = {
    **dict.fromkeys(("03", "10", "11", "12", "15"), "man"),
    **dict.fromkeys(("08", "09", "13", "14", "16"), "woman"),
}
EMODB_NAME = re.compile(
    r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z])"
)
EMODB_COLUMNS = ("name", "label", "speaker", "audio")


@dataclass(frozen=True, slots=True, eq=False)
class ActedVoice:
    """An utterance, who acts it, and how.

    Attributes:
        speaker: ``actor02`` (RAVDESS) or ``emodb03``.
        label: one of ``labels.SEVEN``; None: its manner has no class (boredom).
        manner: the emotion as it was acted; calm counts as neutral in ``label`` and stays here.
        gender: of the speaker.
        intensity: how strongly it was acted; None: nobody says.
        statement: the sentence, without a full stop; a recording may hold only its beginning.
        samples: (samples,) float32 in [-1, 1], mono at 48 kHz, without the silence at both ends.
    """

    speaker: str
    label: str | None
    manner: str
    gender: Literal["woman", "man"] | None
    intensity: Literal["normal", "strong"] | None
    statement: str | None
    samples: NDArray[np.float32]


def read_constructed_voices(table: Path, progress: OnProgress | None = None) -> list[ActedVoice]:
    """Read the sound of clips whose voices are RAVDESS's.

    Args:
        table: CSV with the columns ``path``, ``label`` and ``voice``, RAVDESS's name of the voice.
        progress: told how many clips are read of how many.

    Returns:
        A voice per row, in the order of the table.

    Raises:
        CorpusError: naming every row whose name, label or sound cannot be used.
    """
    corpus = read_table(table, labels=SEVEN)
    if "voice" not in corpus.samples[0].extra:
        raise CorpusError([f"{table}: the table has no column voice; it names RAVDESS's file."])
    voices, problems = [], []
    for number, sample in enumerate(corpus, 1):
        try:
            voices.append(_constructed(sample))
        except (CorpusError, MediaError) as error:
            problems.append(f"{sample.id}: {error}")
        if progress is not None:
            progress(number, len(corpus))
    if problems:
        raise CorpusError(problems, where=str(table))
    return voices


def read_emodb(file: Path, progress: OnProgress | None = None) -> list[ActedVoice]:
    """Read EmoDB's utterances.

    Args:
        file: Parquet with the columns ``name``, ``label``, ``speaker`` and ``audio``, the bytes of
            a sound file.
        progress: told how many utterances are read of how many.

    Returns:
        A voice per row, in the order of the file.

    Raises:
        CorpusError: if the file is not such a table, or naming every row that cannot be used.
    """
    rows = emodb_rows(file)
    voices, problems = [], []
    with TemporaryDirectory() as folder:  # media are read from files
        sound = Path(folder) / "voice.ogg"
        for number, row in enumerate(rows, 1):
            try:
                sound.write_bytes(row["audio"] or b"")
                voices.append(_emodb(row, sound))
            except CorpusError as error:
                problems.append(f"{row['name']}: {error}")
            except MediaError as error:  # names the temporary file
                reason = str(error).removeprefix(f"{sound}: ")
                problems.append(f"{row['name']}: its audio cannot be used: {reason}")
            if progress is not None:
                progress(number, len(rows))
    if problems:
        raise CorpusError(problems, where=str(file))
    return voices


def trimmed(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Cut the silence at both ends, relative to the loudest 20 ms.

    What is less than 35 dB below the loudest stays, with 50 ms around it. At least 0.2 s are left
    of a sound that is as long; a sound that is silent throughout is left as it is.

    Args:
        samples: (samples,) float32.
        rate: samples per second.

    Returns:
        (samples,) a copy, not a view: the silence is not kept in memory.
    """
    block = max(1, round(BLOCK_S * rate))
    padded = np.pad(samples, (0, -len(samples) % block)).reshape(-1, block)
    energy = np.square(padded, dtype=np.float64).mean(axis=1)
    if not energy.any():
        return samples.copy()
    loud = np.flatnonzero(energy >= energy.max() * 10 ** (QUIET_DB / 10))
    kept, shortest = round(KEPT_S * rate), round(SHORTEST_S * rate)
    begin = int(loud[0]) * block - kept
    end = (int(loud[-1]) + 1) * block + kept
    lacking = max(0, shortest - (end - begin))
    begin, end = begin - lacking // 2, end + lacking - lacking // 2
    begin = max(0, min(begin, len(samples) - shortest))  # what one end lacks the other gives
    end = min(len(samples), max(end, begin + shortest))
    return samples[begin:end].copy()


def _constructed(sample: Sample) -> ActedVoice:
    name = Path(sample.extra["voice"]).stem
    said = ravdess.NAME.fullmatch(name)
    manner = ravdess.CODES.get(said["emotion"]) if said else None
    if said is None or manner is None:
        raise CorpusError([f"voice {sample.extra['voice']!r} is no name of RAVDESS's speech."])
    label = "neutral" if manner == "calm" else manner
    speaker = f"actor{said['actor']}"
    _agree("label", sample.label, label)
    if sample.speaker is not None:
        _agree("speaker", sample.speaker, speaker)
    return ActedVoice(
        speaker=speaker,
        label=label,
        manner=manner,
        gender="man" if int(said["actor"]) % 2 else "woman",
        intensity="strong" if said["intensity"] == "02" else "normal",
        statement=RAVDESS_STATEMENTS.get(said["statement"]),
        samples=_sound(sample.path),
    )


def emodb_spoken(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return name, speaker and manner of one of EmoDB's rows.

    Raises:
        CorpusError: if it has no name of EmoDB, or columns that say something else.
    """
    name = Path(row["name"] or "").stem
    said = EMODB_NAME.fullmatch(name)
    manner = EMODB_CODES.get(said["emotion"]) if said else None
    if said is None or manner is None:
        raise CorpusError(["this is no name of EmoDB; they are like 03a01Fa.ogg."])
    speaker = f"emodb{said['speaker']}"
    _agree("label", row["label"], manner)
    _agree("speaker", row["speaker"], speaker)
    return name, speaker, manner


def _emodb(row: Mapping[str, Any], sound: Path) -> ActedVoice:
    name, speaker, manner = emodb_spoken(row)
    return ActedVoice(
        speaker=speaker,
        label=manner if manner in SEVEN else None,
        manner=manner,
        gender=EMODB_GENDERS.get(speaker.removeprefix("emodb")),
        intensity=None,
        statement=EMODB_STATEMENTS.get(name[2:5]),
        samples=_sound(sound),
    )


def emodb_rows(file: Path) -> Sequence[Mapping[str, Any]]:
    """Return EmoDB's rows as they are: ``name``, ``label``, ``speaker`` and ``audio``.

    Raises:
        CorpusError: if the file is no such table.
    """
    if not file.is_file():
        raise CorpusError([f"{file} does not exist; it is EmoDB as one Parquet file."])
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise CorpusError([f"{file} cannot be read as Parquet ({error})."]) from error
    missing = [name for name in EMODB_COLUMNS if name not in table.column_names]
    if missing:
        there = ", ".join(table.column_names)
        raise CorpusError([f"{file}: the table lacks {', '.join(missing)}; it has {there}."])
    rows: Sequence[Mapping[str, Any]] = table.select(list(EMODB_COLUMNS)).to_pylist()
    return rows


def _agree(column: str, written: str, named: str) -> None:
    if written != named:
        raise CorpusError(
            [f"{column} is {written!r}, but the name of the voice says {named!r}; correct one."]
        )


def _sound(path: Path) -> NDArray[np.float32]:
    """Return all of a file's sound, trimmed."""
    source = open_source(path, video=False)
    if source.sound_s is None:
        raise MediaError(f"{path}: there is no sound in it.")
    return trimmed(source.sound([source.sound_s], RATE_HZ)[0], RATE_HZ)
