"""CSVs as people write them: every bad row is told, with its line."""

from pathlib import Path

import pytest

from claip_emo.corpora.base import Corpus, CorpusError, Sample, split_off_validation
from claip_emo.corpora.load import load_corpus
from claip_emo.corpora.table import read_table
from claip_emo.labels import SEVEN, LabelSet
from claip_emo.recipe import DataRecipe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "c.mp4", "a.wav"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def table(folder: Path, text: str | bytes) -> Path:
    path = folder / "clips.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(path: Path, **options) -> str:
    with pytest.raises(CorpusError) as caught:
        read_table(path, **options)
    return str(caught.value)


def test_a_good_table(folder: Path) -> None:
    path = table(
        folder,
        "path,label,audio,split,fold,speaker,mood\n"
        "a.mp4,anger,a.wav,train,1,p1,bad\n"
        "b.mp4,fear,,dev,2,p2,\n",
    )
    corpus = read_table(path)
    first, second = corpus.samples
    assert corpus.labels.names == ("anger", "fear")
    assert first == Sample(
        "a", folder / "a.mp4", "anger", folder / "a.wav", "train", 1, "p1", {"mood": "bad"}
    )
    assert (second.split, second.audio_path, second.fold) == ("validation", None, 2)
    assert corpus.part("train").counts() == {"anger": 1, "fear": 0}


@pytest.mark.parametrize(
    "text",
    [
        b"path,label\r\na.mp4,anger\r\nb.mp4,fear\r\n",
        b"\xef\xbb\xbfpath,label\na.mp4,anger\nb.mp4,fear\n",
        b"path;label\na.mp4;anger\nb.mp4;fear\n",
        b"path\tlabel\na.mp4\tanger\nb.mp4\tfear",
        b"Path , Label\n a.mp4 , anger \n\nb.mp4, fear\n",
    ],
    ids=["crlf", "bom", "semicolon", "tab", "spaces"],
)
def test_as_spreadsheets_write_it(folder: Path, text: bytes) -> None:
    corpus = read_table(table(folder, text))
    assert [(s.id, s.label) for s in corpus] == [("a", "anger"), ("b", "fear")]


def test_every_bad_row_is_told_at_once_with_its_line(folder: Path) -> None:
    path = table(
        folder,
        'path,label,note,split,fold\na.mp4,angre,"two\nlines",train,1\n'
        "b.mp4,fear,,sometimes,1\nnowhere.mp4,fear,,train,x\na.mp4,fear,,train,1\n,fear,,train,1\n",
    )
    text = problems(path, labels=SEVEN)
    assert "line 2: Unknown label 'angre'" in text
    assert "Did you mean 'anger'" in text
    assert "line 4: split is 'sometimes'" in text
    assert "line 5: there is no file" in text
    assert "line 5: fold is 'x'" in text
    assert "line 6: a.mp4 stands in line 2 already" in text
    assert "line 7: path is empty" in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("path,label\n", "no row below the header"),
        ("file,label\na.mp4,anger\n", "lacks path"),
        ("path,labels\na.mp4,anger\n", "is it 'labels'"),
        ("path,label,label\na.mp4,anger,x\n", "label twice"),
        ("path,label\na.mp4,anger,more\nb.mp4\n", "line 2: 3 fields, but the header has 2"),
        (b"path,label\n\xe9.mp4,anger\n", "not UTF-8"),
    ],
)
def test_tables_that_cannot_be_read(folder: Path, text: str | bytes, says: str) -> None:
    assert says in problems(table(folder, text))


def test_a_missing_table(tmp_path: Path) -> None:
    assert "does not exist" in problems(tmp_path / "no.csv")
    assert "is a folder" in problems(tmp_path)


def test_many_problems_are_counted(folder: Path) -> None:
    rows = "".join(f"{i}.mp4,anger\n" for i in range(40))
    text = problems(table(folder, "path,label\n" + rows))
    assert "and 21 more" in text


RULED = "path,label,speaker\na.mp4,anger,p1\nb.mp4,fear,p2\nc.mp4,anger,p3\n"


def test_a_rule_splits_the_table(folder: Path) -> None:
    rule = {"validation": {"speaker": ["p2"]}, "test": {"speaker": "p3"}}
    corpus = read_table(table(folder, RULED), split=rule)
    assert [s.split for s in corpus] == ["train", "validation", "test"]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"test": {"speaker": ["p9"]}}, "no row has speaker p9"),
        ({"test": {"speakr": ["p1"]}}, "is it 'speaker'"),
        ({"tset": {"speaker": ["p1"]}}, "unknown part 'tset'"),
        ({"test": {"speaker": "p1"}, "validation": {"label": "anger"}}, "validation and test"),
    ],
)
def test_wrong_rules(folder: Path, rule: dict, says: str) -> None:
    text = problems(table(folder, RULED), split=rule)
    assert says in text or "test and validation" in text


def test_a_rule_beside_a_split_column_is_refused(folder: Path) -> None:
    path = table(folder, "path,label,split\na.mp4,x,train\n")
    assert "leave out one" in problems(path, split={"test": {"label": "x"}})


def test_ids_are_unique(folder: Path) -> None:
    (folder / "a.mov").write_bytes(b"x")
    corpus = read_table(table(folder, "path,label\na.mp4,anger\na.mov,anger\nb.mp4,fear\n"))
    assert [s.id for s in corpus] == ["a.mp4", "a.mov", "b"]


def test_a_speaker_in_both_parts_is_warned_of(folder: Path, caplog) -> None:
    read_table(table(folder, "path,label,split,speaker\na.mp4,x,train,p1\nb.mp4,x,test,p1\n"))
    assert "p1" in caplog.text


def made(speakers: bool, count: int = 60) -> Corpus:
    names = ("x", "y", "z")
    samples = tuple(
        Sample(
            f"c{i}",
            Path(f"c{i}"),
            names[i % 3],
            split="train" if i % 10 else "test",
            speaker=f"p{i % 12}" if speakers else None,
        )
        for i in range(count)
    )
    return Corpus("made", LabelSet(names), samples)


def test_validation_has_speakers_of_its_own() -> None:
    corpus = split_off_validation(made(True), share=0.2, seed=0)
    parts = {n: {s.speaker for s in corpus.part(n)} for n in ("train", "validation")}
    assert not parts["train"] & parts["validation"]
    assert 0.1 < len(corpus.part("validation")) / 54 < 0.3
    assert corpus.part("test").samples == made(True).part("test").samples


def test_validation_without_speakers_is_even_over_classes() -> None:
    corpus = split_off_validation(made(False), share=0.2, seed=0)
    counts = corpus.part("validation").counts().values()
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == pytest.approx(0.2 * 54, abs=2)


@pytest.mark.parametrize("speakers", [True, False])
def test_the_choice_depends_on_the_seed_and_not_on_the_order(speakers: bool) -> None:
    def chosen(corpus: Corpus, seed: int) -> set[str]:
        part = split_off_validation(corpus, share=0.2, seed=seed).part("validation")
        return {s.id for s in part}

    corpus = made(speakers)
    turned = Corpus(corpus.name, corpus.labels, corpus.samples[::-1])
    assert chosen(corpus, 1) == chosen(turned, 1)
    assert len({frozenset(chosen(corpus, seed)) for seed in range(8)}) > 2


def test_a_fold_is_tested_on(folder: Path) -> None:
    path = table(folder, "path,label,fold\na.mp4,x,1\nb.mp4,x,2\nc.mp4,x,2\n")
    data = DataRecipe(root=str(path), fold=1)
    corpus = load_corpus(data, validation=False)
    assert [s.split for s in corpus] == ["test", "train", "train"]
    with pytest.raises(CorpusError, match=r"Fold 7.*\[1, 2\]"):
        load_corpus(DataRecipe(root=str(path), fold=7))
    with pytest.raises(CorpusError, match="--data"):
        load_corpus(DataRecipe())
