"""Acted voices: what names tell, what is heard, and silence cut at both ends."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claip_emo.corpora.acted_voices import (
    RATE_HZ,
    read_constructed_voices,
    read_emodb,
    trimmed,
)
from claip_emo.corpora.base import CorpusError
from claip_emo.labels import SEVEN
from tests.conftest import SHARED
from tests.media.make_media import ramp, tone, write

EMODB = SHARED / "data" / "voices_emodb.parquet"
CONSTRUCTED = SHARED / "data" / "constructed" / "clips.csv"


def between_silence(hertz: float = 440.0) -> np.ndarray:
    """A second: 0.4 s of a tone after 0.3 s of silence."""
    sound = np.zeros(RATE_HZ, np.float32)
    sound[14_400:33_600] = tone(0.4, hertz=hertz)
    return sound


def frequency(sound: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(sound, RATE_HZ)).argmax())


def clips(folder: Path, rows: list[str], header: str = "path,label,speaker,voice") -> Path:
    """A table of clips with picture and sound; each clip has a tone of its own."""
    for number, row in enumerate(rows):
        sound = between_silence(400.0 + 100 * number)
        write(folder / row.split(",")[0], ramp(12), sound, fps=12)
    table = folder / "clips.csv"
    table.write_text("\n".join([header, *rows]))
    return table


def utterances(folder: Path, rows: list[tuple[str, str, str]]) -> Path:
    """EmoDB in small; each utterance has a tone of its own."""
    audio = []
    for number in range(len(rows)):
        sound = between_silence(400.0 + 100 * number)[::2]
        audio.append(write(folder / f"{number}.ogg", sound=sound, rate=24_000).read_bytes())
    names, labels, speakers = (list(column) for column in zip(*rows, strict=True))
    table = {"name": names, "label": labels, "speaker": speakers, "audio": audio}
    file = folder / "emodb.parquet"
    pq.write_table(pa.table(table), file)
    return file


def test_names_of_ravdess_tell_who_speaks_and_how(tmp_path: Path) -> None:
    table = clips(
        tmp_path,
        [
            "a.mp4,anger,actor03,03-01-05-02-01-01-03.wav",
            "b.mp4,neutral,actor14,03-01-02-01-02-02-14.wav",
        ],
    )
    told: list[tuple[int, int]] = []
    angry, calm = read_constructed_voices(table, lambda *count: told.append(count))
    assert told == [(1, 2), (2, 2)]
    assert (angry.speaker, angry.gender) == ("actor03", "man")
    assert (angry.label, angry.manner) == ("anger", "anger")
    assert (angry.intensity, angry.statement) == ("strong", "Kids are talking by the door")
    assert (calm.label, calm.manner, calm.gender) == ("neutral", "calm", "woman")
    assert (calm.intensity, calm.statement) == ("normal", "Dogs are sitting by the door")
    for voice, hertz in ((angry, 400), (calm, 500)):
        assert voice.samples.dtype == np.float32
        assert frequency(voice.samples) == pytest.approx(hertz, abs=4)
        assert len(voice.samples) / RATE_HZ == pytest.approx(0.5, abs=0.05)  # of 1 s


def test_names_of_emodb_tell_who_speaks_and_how(tmp_path: Path) -> None:
    file = utterances(
        tmp_path,
        [("03a01Fa.ogg", "happiness", "emodb03"), ("16b10Lb.ogg", "boredom", "emodb16")],
    )
    told: list[tuple[int, int]] = []
    happy, bored = read_emodb(file, lambda *count: told.append(count))
    assert told == [(1, 2), (2, 2)]
    assert (happy.speaker, happy.gender) == ("emodb03", "man")
    assert (happy.label, happy.manner, happy.intensity) == ("happiness", "happiness", None)
    assert happy.statement == "Der Lappen liegt auf dem Eisschrank"
    assert (bored.label, bored.manner, bored.gender) == (None, "boredom", "woman")
    assert bored.statement == "Die wird auf dem Platz sein, wo wir sie immer hinlegen"
    for voice, hertz in ((happy, 400), (bored, 500)):
        assert frequency(voice.samples) == pytest.approx(hertz, abs=4)
        assert len(voice.samples) / RATE_HZ == pytest.approx(0.5, abs=0.05)


def test_every_wrong_row_of_clips_is_named(tmp_path: Path) -> None:
    table = clips(
        tmp_path,
        [
            "a.mp4,anger,actor03,03-01-05-02-01-01-03.wav",
            "b.mp4,anger,actor04,03-01-03-02-01-01-04.wav",
            "c.mp4,anger,actor05,03-01-05-02-01-01-06.wav",
            "d.mp4,anger,actor07,1001_DFA_ANG_XX.wav",
            "e.mp4,anger,actor08,03-01-05-02-01-01-08.wav",
            "f.mp4,anger,actor09,03-01-05-02-01-01-09.wav",
        ],
    )
    write(tmp_path / "e.mp4", ramp(12), fps=12)
    (tmp_path / "f.mp4").write_bytes(b"not a clip")
    with pytest.raises(CorpusError) as error:
        read_constructed_voices(table)
    problems = error.value.problems
    assert len(problems) == 5
    assert "b: label is 'anger', but the name of the voice says 'happiness'" in problems[0]
    assert "c: speaker is 'actor05', but the name of the voice says 'actor06'" in problems[1]
    assert "d: voice '1001_DFA_ANG_XX.wav' is no name of RAVDESS's speech" in problems[2]
    assert "e.mp4: there is no sound in it" in problems[3]
    assert "f.mp4: this cannot be read as video or sound" in problems[4]
    assert str(error.value).startswith(f"{table}:")


def test_a_table_without_voices_is_an_error(tmp_path: Path) -> None:
    table = clips(tmp_path, ["a.mp4,anger"], "path,label")
    with pytest.raises(CorpusError, match="no column voice"):
        read_constructed_voices(table)


def test_every_wrong_utterance_is_named(tmp_path: Path) -> None:
    file = utterances(
        tmp_path,
        [
            ("03a01Fa.ogg", "anger", "emodb03"),
            ("08a02Wa.ogg", "anger", "emodb09"),
            ("03a01Xa.ogg", "anger", "emodb03"),
            ("03a01Wb.ogg", "anger", "emodb03"),
        ],
    )
    table = pq.read_table(file).to_pylist()
    table[3]["audio"] = b"not a sound"
    pq.write_table(pa.Table.from_pylist(table), file)
    with pytest.raises(CorpusError) as error:
        read_emodb(file)
    problems = error.value.problems
    assert len(problems) == 4
    assert "03a01Fa.ogg: label is 'anger', but" in problems[0]
    assert "08a02Wa.ogg: speaker is 'emodb09', but" in problems[1]
    assert "03a01Xa.ogg: this is no name of EmoDB" in problems[2]
    assert "03a01Wb.ogg: its audio cannot be used: this cannot be read" in problems[3]


@pytest.mark.parametrize("kind", ["missing", "text", "columns"])
def test_what_is_no_table_of_emodb_says_so(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "emodb.parquet"
    if kind == "text":
        file.write_text("name,label")
    elif kind == "columns":
        pq.write_table(pa.table({"name": ["03a01Fa.ogg"], "label": ["happiness"]}), file)
    said = {
        "missing": "does not exist",
        "text": "cannot be read as Parquet",
        "columns": "lacks speaker, audio; it has name, label",
    }
    with pytest.raises(CorpusError, match=said[kind]):
        read_emodb(file)


@pytest.mark.parametrize("rate", [16_000, RATE_HZ])
@pytest.mark.parametrize("loudness", [1.0, 1e-3])
def test_silence_is_cut_at_both_ends_but_not_within(rate: int, loudness: float) -> None:
    sound = np.zeros(2 * rate, np.float32)
    sound[:] = 1e-3 * tone(2.0, rate)  # 60 dB below: hum
    for begin_s in (0.5, 1.3):
        begin = round(begin_s * rate)
        sound[begin : begin + rate // 5] = tone(0.2, rate)
    out = trimmed(loudness * sound, rate)
    assert np.array_equal(out, (loudness * sound)[round(0.45 * rate) : round(1.55 * rate)])


def test_what_is_soft_but_above_the_threshold_stays() -> None:
    sound = np.zeros(RATE_HZ, np.float32)
    sound[9_600:19_200] = 10 ** (-30 / 20) * tone(0.2)
    sound[19_200:28_800] = tone(0.2)
    sound[28_800:38_400] = 10 ** (-40 / 20) * tone(0.2)
    assert np.array_equal(trimmed(sound, RATE_HZ), sound[7_200:31_200])


@pytest.mark.parametrize("at", [0, 100, 20_000, 47_000, 47_999])
def test_at_least_a_fifth_of_a_second_is_left(at: int) -> None:
    sound = np.zeros(RATE_HZ, np.float32)
    sound[at] = 0.5
    out = trimmed(sound, RATE_HZ)
    assert len(out) >= 9_600
    assert out.max() == 0.5
    assert len(out) < 12_000


@pytest.mark.parametrize("count", [0, 1, 500, 9_599])
def test_short_sounds_stay_whole(count: int) -> None:
    sound = np.zeros(count, np.float32)
    sound[count // 2 : count // 2 + 1] = 0.5
    assert np.array_equal(trimmed(sound, RATE_HZ), sound)


def test_what_is_silent_throughout_stays_as_it_is() -> None:
    assert len(trimmed(np.zeros(RATE_HZ, np.float32), RATE_HZ)) == RATE_HZ


def test_what_is_cut_is_not_kept_in_memory() -> None:
    sound = between_silence()
    assert not np.shares_memory(trimmed(sound, RATE_HZ), sound)


@pytest.mark.skipif(not CONSTRUCTED.is_file(), reason="the constructed clips are not here")
def test_constructed_clips_are_read(tmp_path: Path) -> None:
    header, *lines = CONSTRUCTED.read_text().splitlines()
    table = tmp_path / "clips.csv"
    some = [f"{CONSTRUCTED.parent}/{line}" for line in lines[::100]]
    table.write_text("\n".join([header, *some]))
    voices = read_constructed_voices(table)
    assert len(voices) == len(some)
    for line, voice in zip(some, voices, strict=True):
        _, label, speaker, intensity, _, _ = line.split(",")
        assert (voice.label, voice.speaker, voice.intensity) == (label, speaker, intensity)
        assert 0.8 < len(voice.samples) / RATE_HZ < 5
        assert voice.samples.any()


@pytest.mark.skipif(not EMODB.is_file(), reason="EmoDB is not here")
def test_emodb_is_read(tmp_path: Path) -> None:
    file = tmp_path / "emodb.parquet"
    pq.write_table(pq.read_table(EMODB).take(list(range(0, 535, 50))), file)
    voices = read_emodb(file)
    assert len(voices) == 11
    assert {voice.label for voice in voices} <= {*SEVEN, None}
    assert all(voice.statement and voice.gender for voice in voices)
    assert all(0.8 < len(voice.samples) / RATE_HZ <= 4 for voice in voices)
