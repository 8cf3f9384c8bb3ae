"""CSVs as people write them: every bad row is told, with its line."""

from pathlib import Path

import pytest

from claip_emo.corpora.base import CorpusError, Sample
from claip_emo.corpora.load import load_corpus
from claip_emo.corpora.table import read_table
from claip_emo.labels import SEVEN
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
        b"path,label,,\na.mp4,anger,,\nb.mp4,fear,,\n,,,\n",
    ],
    ids=["crlf", "bom", "semicolon", "tab", "spaces", "padded"],
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


def test_a_row_of_the_wrong_shape_hides_no_other_problem(folder: Path) -> None:
    path = table(folder, "path,label\nno.mp4,anger\na.mp4,anger,more\nb.mp4\nc.mp4,angre\n")
    with pytest.raises(CorpusError) as caught:
        read_table(path, labels=SEVEN)
    assert [text.split(":")[0] for text in caught.value.problems] == [
        "line 2",
        "line 3",
        "line 4",
        "line 5",
    ]


def test_a_quotation_mark_left_open_is_told(folder: Path) -> None:
    rows = "b.mp4,fear\n" * 20_000  # longer than the longest field that csv reads
    for text in ('path,label\n"a.mp4,anger\nb.mp4,fear\n', f'path,label\n"a.mp4,anger\n{rows}'):
        said = problems(table(folder, text))
        assert "line 2: " in said
        assert "is a quotation mark left open?" in said


def test_a_path_written_twice_in_two_ways(folder: Path) -> None:
    text = f"path,label\na.mp4,x\n./a.mp4,x\n{folder}/a.mp4,x\n"
    said = problems(table(folder, text))
    assert "line 3: ./a.mp4 stands in line 2 already" in said
    assert "line 4: " in said


def test_paths_written_on_windows_and_whole_paths(folder: Path) -> None:
    (folder / "clips").mkdir()
    (folder / "clips" / "d.mp4").write_bytes(b"x")
    corpus = read_table(table(folder, f"path,label\nclips\\d.mp4,x\n{folder}/a.mp4,x\n"))
    assert [s.path for s in corpus] == [folder / "clips" / "d.mp4", folder / "a.mp4"]
    assert corpus.samples[0].id == "clips/d"


@pytest.mark.parametrize("fold", ["x", "1.5", "-1", "²"])
def test_a_fold_is_a_whole_number(folder: Path, fold: str) -> None:
    said = problems(table(folder, f"path,label,fold\na.mp4,x,{fold}\n"))
    assert f"line 2: fold is {fold!r}; it must be a whole number" in said


@pytest.mark.parametrize("path", [".", "/", "..", "x" * 5000, "a\x00b"])
def test_odd_paths_are_problems_and_no_crash(folder: Path, path: str) -> None:
    text = f"path,label\n{path},x\n"
    if len(path) > 2:
        assert "there is no file" in problems(table(folder, text))
    else:
        assert len(read_table(table(folder, text))) == 1


def test_missing_files_are_looked_for_only_if_asked(folder: Path) -> None:
    path = table(folder, "path,label,audio\nno.mp4,,no.wav\n")
    said = problems(path)
    assert said.count("there is no file") == 2
    assert "line 2: label is empty" in said
    assert "there is no file" not in problems(path, check_files=False)


def test_a_header_alone_is_told_with_known_labels_too(folder: Path) -> None:
    path = table(folder, "path,label\n")
    assert "no row below the header" in problems(path, labels=SEVEN)
    assert "no row below" in problems(path, split={"test": {"label": "x"}})


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
    lines = text.splitlines()
    assert lines[0] == f"{folder / 'clips.csv'}:"
    assert len(lines) == 1 + 20 + 1
    assert lines[-1] == "and 20 more"


RULED = "path,label,speaker\na.mp4,anger,p1\nb.mp4,fear,p2\nc.mp4,anger,p3\n"


def test_a_rule_splits_the_table(folder: Path) -> None:
    rule = {"validation": {"speaker": ["p2"]}, "test": {"speaker": "p3"}}
    corpus = read_table(table(folder, RULED), split=rule)
    assert [s.split for s in corpus] == ["train", "validation", "test"]


def test_a_rule_may_name_any_column_and_numbers(folder: Path) -> None:
    path = table(folder, "path,label,fold,Session\na.mp4,x,1,5\nb.mp4,x,2,6\nc.mp4,x,3,7\n")
    corpus = read_table(path, split={"dev": {"Session": 6}, "test": {"fold": [3]}})
    assert [s.split for s in corpus] == ["train", "validation", "test"]
    assert corpus.samples[1].extra == {"session": "6"}


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"test": {"speaker": ["p9"]}}, "no row has speaker p9"),
        ({"test": {"speakr": ["p1"]}}, "is it 'speaker'"),
        ({"tset": {"speaker": ["p1"]}}, "unknown part 'tset'"),
        ({"test": {"speaker": "p1"}, "validation": {"label": "anger"}}, "validation and test"),
        ({"test": {"speaker": []}}, "matches nothing"),
        ({"test": {"speaker": "p1", "label": "fear"}}, "matches nothing"),
        ({"test": ["p1"]}, "needs columns and their values"),
        ({"val": {"speaker": "p1"}, "dev": {"speaker": "p2"}}, "names the part validation twice"),
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
    names = ("a.b.mp4", "a.b", "a.mp4")
    text = "path,label\n" + "".join(f"{name},x\n" for name in names)
    corpus = read_table(table(folder, text), check_files=False)
    assert [s.id for s in corpus] == list(names)


def test_a_speaker_in_both_parts_is_warned_of(folder: Path, caplog) -> None:
    read_table(table(folder, "path,label,split,speaker\na.mp4,x,train,p1\nb.mp4,x,test,p1\n"))
    assert "p1" in caplog.text


def test_a_fold_is_tested_on(folder: Path) -> None:
    path = table(folder, "path,label,fold\na.mp4,x,1\nb.mp4,x,2\nc.mp4,x,2\n")
    data = DataRecipe(root=str(path), fold=1)
    corpus = load_corpus(data, validation=False)
    assert [s.split for s in corpus] == ["test", "train", "train"]
    with pytest.raises(CorpusError, match=r"Fold 7.*\[1, 2\]"):
        load_corpus(DataRecipe(root=str(path), fold=7))
    with pytest.raises(CorpusError, match="--data"):
        load_corpus(DataRecipe())
