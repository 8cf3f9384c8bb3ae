"""Explanations in words and figures: true to their numbers, whatever the file is called."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from claip_emo.inference.explain import explain, to_dict, write
from claip_emo.inference.explain_words import headline, name_of, sentence, strongest_span
from claip_emo.inference.explanation import Explanation
from claip_emo.inference.occlusion import Drops
from claip_emo.inference.outputs import unique_name

from .made_world import World, made_clip


def drops(*log_odds: float) -> Drops:
    return Drops(np.array(log_odds) / 10, np.array(log_odds))


def said(face: float | None, voice: float | None, **changes) -> Explanation:
    """An explanation in which face and voice carry so much."""
    odds = {"both": (face or 0) + (voice or 0), "face": face or 0, "voice": voice or 0}
    shares = {"face": face, "voice": voice}
    parts = {
        "path": "clip.mp4",
        "label": "fear",
        "scores": {"fear": 0.8, "joy": 0.2},
        "values": {name: (0.5, value) for name, value in odds.items()} | {"neither": (0.5, 0.0)},
        "used": tuple(name for name, share in shares.items() if share is not None),
        "frame_times_s": np.arange(4) / 2,
        "frame_drops": drops(0, 0, 0, 0),
        "attention": None,
        "pieces_s": np.stack([np.arange(4), np.arange(1, 5)], axis=1) / 2,
        "piece_drops": drops(0, 0, 0, 0),
        "covered": (0,),
        "region_drops": Drops(np.zeros((7, 7)), np.zeros((7, 7))),
        "face_margin": 0.0,
    }
    return Explanation(**(parts | changes))


@pytest.mark.parametrize(
    ("face", "voice", "short", "long"),
    [
        (2.0, 0.2, "mostly the face", "The face speaks for fear."),
        (0.2, 2.0, "mostly the voice", "The voice speaks for fear."),
        (1.0, 1.1, "face and voice", "The face and the voice speak for fear."),
        (2.0, -1.0, "the face, against the voice",
         "The face speaks for fear; the voice speaks against it."),
        (-1.0, 2.0, "the voice, against the face",
         "The voice speaks for fear; the face speaks against it."),
        (2.0, None, "by the face alone", "The face speaks for fear."),
        (None, 2.0, "by the voice alone", "The voice speaks for fear."),
        (0.05, 0.02, "hardly anything speaks for it",
         "Neither face nor voice speaks clearly for fear."),
        (None, -2.0, "hardly anything speaks for it", "The voice does not speak clearly for fear."),
    ],
)  # fmt: skip
def test_the_sentence_follows_from_the_shares(face, voice, short, long) -> None:
    assert (headline(said(face, voice)), sentence(said(face, voice))) == (short, long)


def test_the_sentence_says_when_and_where() -> None:
    heat = np.zeros((7, 7))
    heat[5, 3] = 1.0
    region = Drops(heat / 10, heat)
    found = said(2.0, 2.0, frame_drops=drops(0, 0.1, 1.0, 0), piece_drops=drops(0, 0.6, 1, 0.4))
    assert sentence(replace(found, region_drops=region)) == (
        "The mouth at 1.0 s and the voice between 0.5 and 1.5 s speak for fear."
    )
    flat = replace(found, region_drops=Drops(region.probability, heat + 0.5))
    assert sentence(flat).startswith("The face at 1.0 s and")
    unseen = replace(found, region_drops=region, face_margin=None)
    assert sentence(unseen).startswith("The picture at 1.0 s and")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((0, 0, 1, 0.2), (2, 3)),
        ((1, 0.6, 0, 0), (0, 2)),
        ((0, 0, 0.6, 1), (2, 4)),
        ((0.6, 0, 0, 1), (3, 4)),  # those that hang together
        ((1, 0.9, 0.8, 0.1), None),  # more than half of all
        ((0.05, 0, 0, 0), None),  # little of what the modality carries
        ((-1, -2, 0, 0), None),
        ((), None),
    ],
)
def test_the_strongest_part_is_told_where_it_stands_out(found, expected) -> None:
    edges = np.stack([np.arange(len(found)), np.arange(len(found)) + 1], axis=1)
    assert strongest_span(edges, np.array(found, float), share=1.0) == expected


@pytest.mark.parametrize(
    ("x", "y", "margin", "name"),
    [
        (0.5, 0.1, 0.0, "forehead"),
        (0.3, 0.4, 0.0, "left eye"),
        (0.7, 0.4, 0.0, "right eye"),
        (0.5, 0.4, 0.0, "bridge of the nose"),
        (0.5, 0.6, 0.0, "nose"),
        (0.25, 0.6, 0.0, "left cheek"),
        (0.5, 0.8, 0.0, "mouth"),
        (0.5, 0.95, 0.0, "chin"),
        (0.02, 0.5, 0.0, "left edge of the face"),
        (0.98, 0.5, 0.0, "right edge of the face"),
        (0.5, 0.8, 0.5, "neck"),  # the face is half as high as the crop
        (0.5, 0.65, 0.5, "mouth"),
        (0.4, 0.45, 0.5, "left eye"),
    ],
)
def test_regions_are_called_by_their_place_in_the_face(x, y, margin, name) -> None:
    assert name_of(x, y, margin) == name


def test_names_of_files_are_told_apart(tmp_path) -> None:
    folder = tmp_path / "frames.of.ben"
    folder.mkdir()
    paths = ["a/x.mp4", "b/X.wav", "c/x-2.mp4", "d/x.mp4", folder, "é" * 90 + ".mp4", "..", ".mp4"]
    taken: set[str] = set()
    names = [unique_name(tmp_path / path, taken) for path in paths]
    assert names[:5] == ["x", "X-2", "x-2-2", "x-3", "frames.of.ben"]
    assert len({name.casefold() for name in names}) == len(names)
    assert all(name and len(f".{name}.png.partial".encode()) < 255 for name in names)
    assert not any(set(name) & {"/"} or name.startswith(".") for name in names)


CLIPS = {
    "face $x^.mp4": {"waveforms": (), "audio_spans_s": ()},
    "\udcff名前.wav": {"frames": None, "frame_times_s": None},
}


def test_figures_are_drawn_whatever_there_is(tmp_path) -> None:
    for count, (name, changes) in enumerate(CLIPS.items()):
        clip = made_clip(path=name, **changes)
        write(explain(World("transformer"), clip), clip, tmp_path / f"{count}.png")
        with Image.open(tmp_path / f"{count}.png") as picture:
            assert picture.width == 1400
            colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        orange = (np.abs(colours.astype(int) - [0xD9, 0x66, 0x0F]) < 30).all(axis=1)
        assert orange.sum() > 1000
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".json"}


def test_one_frame_one_sample_and_nothing_are_drawn(tmp_path) -> None:
    clip = made_clip()
    one = made_clip(
        frames=clip.frames[:1, :1], frame_times_s=clip.frame_times_s[:1, :1],
        waveforms=(clip.waveforms[0][:5],), audio_spans_s=((0.0, 5 / 8000),), duration_s=0.0,
    )  # fmt: skip
    nothing = made_clip(waveforms=(), audio_spans_s=())
    for name, clip, modality in (("one", one, "av"), ("nothing", nothing, "a")):
        write(explain(World(), clip, modality), clip, tmp_path / f"{name}.webp")
        with Image.open(tmp_path / f"{name}.webp") as picture:
            assert (picture.format, picture.width) == ("WEBP", 1400)


def test_a_figure_that_fails_leaves_nothing(tmp_path, monkeypatch) -> None:
    def broken(_: object, __: object, path: Path, *___: object) -> None:
        path.write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr("claip_emo.inference.explain_figure.draw", broken)
    with pytest.raises(OSError, match="full"):
        write(said(1.0, 1.0), made_clip(), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_the_json_has_what_was_found() -> None:
    found = explain(World("transformer"), made_clip())
    told = to_dict(found)
    assert [row["time_s"] for row in told["frames"]] == found.frame_times_s.tolist()
    for key, values in (("log_odds", found.frame_drops.log_odds),
                        ("probability", found.frame_drops.probability)):  # fmt: skip
        assert [row["drop"][key] for row in told["frames"]] == values.tolist()
    assert [row["attention"] for row in told["frames"]] == pytest.approx(found.attention.tolist())
    assert [[row["begin_s"], row["end_s"]] for row in told["seconds"]] == found.pieces_s.tolist()
    assert told["regions"]["drop"]["log_odds"] == found.region_drops.log_odds.tolist()
    assert told["regions"]["frames_s"] == found.frame_times_s[list(found.covered)].tolist()
    assert told["shares"] == found.shares
    assert told["scores"] == found.scores
