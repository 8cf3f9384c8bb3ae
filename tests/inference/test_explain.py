"""Clips whose label is carried by known frames, a known patch and a known second of sound."""

import numpy as np
import pytest

from claip_emo.inference.explain import explain, to_dict
from claip_emo.inference.explain_words import sentence
from claip_emo.inference.occlusion import Hider, covered, covers, log_odds, silenced
from claip_emo.inference.predictor import ModelPredictor
from claip_emo.media.clip import Clip
from claip_emo.metrics import softmax
from claip_emo.model.description import ModalityError
from claip_emo.model.folded import FoldedModel
from claip_emo.model.processing import ClaipEmoProcessor

from ..model.made_resnets import saved
from .made_world import BRIGHT, CELL, RATE, TONE_S, World, made_clip, strength


@pytest.mark.parametrize(("temporal", "heard"), [("mean", 40), ("transformer", 150)])
def test_it_names_the_frames_the_patch_and_the_second(temporal, heard) -> None:
    found = explain(World(temporal, heard=heard), made_clip())
    assert found.label == "angry"
    frames = found.frame_drops.log_odds
    assert frames.argsort()[::-1][:2].tolist() == list(BRIGHT)  # 5 is in both views
    assert frames[list(BRIGHT)].min() > 5 * np.delete(frames, BRIGHT).max()
    assert found.frame_times_s[frames.argmax()] == 1.0
    pieces = found.piece_drops.log_odds
    assert found.pieces_s[pieces.argmax()].tolist() == list(TONE_S)
    assert pieces.max() > 20 * np.abs(np.delete(pieces, pieces.argmax())).max()
    regions = found.region_drops.log_odds
    assert set(BRIGHT) < set(found.covered)
    assert np.unravel_index(regions.argmax(), regions.shape) == CELL
    away = np.ones_like(regions, bool)
    away[1:4, 4:7] = False  # covers that touch the patch
    assert np.abs(regions[away]).max() < 1e-6
    said = to_dict(found)
    assert said["regions"]["strongest"] == {"box": (0.625, 0.25, 0.875, 0.5), "name": "right eye"}
    assert said["sentence"] == (
        "The right eye at 1.0 s and the voice between 1.5 and 2.0 s speak for angry."
    )


def test_attention_names_the_frames() -> None:
    found = explain(World("transformer"), made_clip())
    assert found.attention.argsort()[::-1][:2].tolist() == list(BRIGHT)
    assert 0.5 < found.attention.sum() < 1
    assert found.attention[5] > 1.5 * found.attention[9]  # it is in both views
    assert explain(World("mean"), made_clip()).attention is None


@pytest.mark.parametrize("bright", [0, 3, 11])
def test_other_frames_and_other_seconds_are_named_where_they_are(bright) -> None:
    clip = made_clip()
    frames = np.concatenate([clip.frames[0], clip.frames[1, 4:]])
    moved = frames.copy()
    moved[[bright, BRIGHT[0], BRIGHT[1]]] = frames[[BRIGHT[0], 1, 2]]
    sound = np.roll(clip.waveforms[0], -RATE)  # from 0.5 to 1.0 s
    views = np.array([range(8), range(4, 12)])
    found = explain(World(), made_clip(frames=moved[views], waveforms=(sound, sound)))
    assert found.frame_drops.log_odds.argmax() == bright
    assert found.pieces_s[found.piece_drops.log_odds.argmax()].tolist() == [0.5, 1.0]


def test_a_hidden_frame_counts_as_if_it_had_not_been_sampled() -> None:
    """Against the formula, for frames of both views and of one."""
    clip, world = made_clip(), World()
    found = explain(world, clip)
    brightness = world.encode(clip.frames.reshape(-1, 64, 64, 3))[0][:, 0].reshape(2, 8)
    heard = strength(clip.waveforms[0])

    def angry(means: list[float]) -> float:
        logits = [[0, world.seen * mean + world.heard * heard - 1, -2] for mean in means]
        return softmax(np.array(logits, np.float64))[:, 1].mean()

    for frame in (5, 9, 1):
        means = [
            np.delete(view, np.flatnonzero(places == frame)).mean()
            for view, places in zip(brightness, (np.arange(8), np.arange(4, 12)), strict=True)
        ]
        drop = angry(list(brightness.mean(axis=1))) - angry(means)
        assert found.frame_drops.probability[frame] == pytest.approx(drop, abs=1e-6)
        assert abs(drop) > 1e-3


def test_a_frame_without_others_is_a_clip_without_a_picture() -> None:
    clip = made_clip()
    one = made_clip(frames=clip.frames[[0, 0]][:, [5] * 8], frame_times_s=np.ones((2, 8)))
    world = World(logit_shift={"a": [3.0, 0.0, 0.0]})
    found = explain(world, one)
    without = explain(world, made_clip(frames=None, frame_times_s=None))
    left = found.scores["angry"] - found.frame_drops.probability[0]
    assert left == pytest.approx(without.scores["angry"], abs=1e-6)
    assert found.values["voice"][0] == pytest.approx(left, abs=1e-6)


def test_a_sound_that_is_silenced_whole_is_a_clip_without_sound() -> None:
    sound = made_clip().waveforms[0][: 3 * RATE // 10]
    world = World(logit_shift={"v": [3.0, 0.0, 0.0]})
    found = explain(world, made_clip(waveforms=(sound,) * 2, audio_spans_s=((0.0, 0.3),) * 2))
    assert found.pieces_s.tolist() == [[0.0, 0.3]]
    left = found.scores[found.label] - found.piece_drops.probability[0]
    assert left == pytest.approx(found.values["face"][0], abs=1e-6)
    assert world.sounds_encoded == 1  # silence is not listened to


def test_log_odds_tell_apart_what_probabilities_do_not() -> None:
    found = explain(World(seen=600, heard=600), made_clip())
    assert found.scores["angry"] == 1.0
    assert np.abs(found.frame_drops.probability).max() < 1e-12
    assert found.frame_drops.log_odds.argmax() == BRIGHT[0]
    assert np.isfinite(found.frame_drops.log_odds).all()
    assert log_odds(np.array([[1.0, 1e-30, 1e-30]]), 0) == pytest.approx(-np.log(2e-30))


def test_face_and_voice_share_what_both_carry() -> None:
    found = explain(World(), made_clip())
    odds = {name: value for name, (_, value) in found.values.items()}
    assert sum(found.shares.values()) == pytest.approx(odds["both"] - odds["neither"])
    face = (odds["face"] - odds["neither"] + odds["both"] - odds["voice"]) / 2
    assert found.shares["face"] == pytest.approx(face)
    deaf = explain(World(heard=0.0), made_clip())
    assert deaf.shares["voice"] == pytest.approx(0, abs=1e-6)
    assert deaf.shares["face"] > 1


@pytest.fixture(scope="module")
def predictors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    shift = {"av": [0, 0.3, 0, 0, 0, 0, 0], "v": [0.5, -0.5, 0, 0, 0.2, 0, 0]}
    model = saved(folder, logit_shift=shift, temperature=0.6)
    processor = ClaipEmoProcessor.from_pretrained(folder)
    return {
        "folded": FoldedModel.of_folder(folder),
        "torch": ModelPredictor(model, processor, "fp32"),
    }


@pytest.mark.parametrize(
    ("kind", "modality"), [("folded", "av"), ("folded", "v"), ("folded", "a"), ("torch", "av")]
)
def test_scores_are_those_of_predict(kind, modality, predictors) -> None:
    predictor = predictors[kind]
    rng = np.random.default_rng(3)
    frames = rng.integers(0, 256, (2, 16, 48, 48, 3), dtype=np.uint8)
    sound = rng.normal(0, 0.1, 30_000).astype(np.float32)
    times = np.arange(32.0).reshape(2, 16) / 25
    clip = Clip("c", frames, times, (sound,) * 2, ((0.0, 0.625),) * 2, 1.3)
    found = explain(predictor, clip, modality)
    names = predictor.config.label_set.names
    expected = predictor.score([clip], modality).probabilities[0]
    assert [found.scores[name] for name in names] == expected.tolist()
    label = names.index(found.label)
    for name, mask in (("face", "v"), ("voice", "a")):
        if mask in modality:
            alone = predictor.score([clip], mask).probabilities[0, label]
            assert found.values[name][0] == pytest.approx(alone, abs=1e-6)
    assert found.used == {"av": ("face", "voice"), "v": ("face",), "a": ("voice",)}[modality]
    assert (found.attention is None) == (found.region_drops is None) == (modality == "a")
    assert len(found.pieces_s) == ("a" in modality)


def test_models_of_one_modality_and_clips_that_lack_it() -> None:
    clip = made_clip()
    deaf = explain(World(modality="v"), clip, "v")
    assert (deaf.used, len(deaf.pieces_s)) == (("face",), 0)
    blind = explain(World(modality="a"), clip, "a")
    assert (blind.used, blind.region_drops, blind.covered) == (("voice",), None, ())
    assert blind.frame_times_s.tolist() == []
    with pytest.raises(ModalityError):
        explain(World(modality="v"), clip, "a")
    mute = made_clip(waveforms=(), audio_spans_s=())
    nothing = explain(World(), mute, "a")
    assert nothing.used == ()
    assert sentence(nothing) == "Nothing speaks clearly for calm."


def test_the_towers_run_so_often_and_not_more() -> None:
    world = World()
    explain(world, made_clip())
    assert world.frames_encoded == 12 + 3 * 49
    assert world.sounds_encoded == 1 + 6


def test_a_long_file_has_no_more_pieces() -> None:
    sound = np.full(10 * RATE, 0.1, np.float32)
    spans = tuple((30.0 * view, 30.0 * view + 10) for view in range(8))
    clip = made_clip(frames=None, frame_times_s=None, waveforms=(sound,) * 8, audio_spans_s=spans)
    pieces = Hider(World(), clip, "av").pieces_s()
    assert len(pieces) == 16
    assert (pieces[:, 1] - pieces[:, 0]).sum() == pytest.approx(80)
    for begin, end in spans:
        inside = pieces[(pieces[:, 0] >= begin - 1e-9) & (pieces[:, 1] <= end + 1e-9)]
        assert [inside[0, 0], inside[-1, 1]] == pytest.approx([begin, end])


@pytest.mark.parametrize("spans", [((0.0, 2.0), (1.0, 3.0)), ((0.0, 3.0), (1.0, 2.5))])
def test_seconds_that_views_share_are_silenced_in_all_of_them(spans) -> None:
    whole, quiet = made_clip().waveforms[0], np.full(3 * RATE, 0.01, np.float32)

    def heard(*sounds: np.ndarray):
        parts = [sound[round(b * RATE) : round(e * RATE)] for sound, (b, e) in
                 zip(sounds, spans, strict=True)]  # fmt: skip
        found = explain(World(), made_clip(waveforms=tuple(parts), audio_spans_s=spans))
        assert found.pieces_s.ravel().tolist() == np.repeat(np.arange(7) / 2, 2)[1:-1].tolist()
        assert found.pieces_s[found.piece_drops.log_odds.argmax()].tolist() == list(TONE_S)
        return found.piece_drops.log_odds.max()

    both = heard(whole, whole)
    assert both > 1.5 * heard(whole, quiet)
    assert both > 1.5 * heard(quiet, whole)


def test_drops_are_what_the_changed_clip_is_scored() -> None:
    clip, world = made_clip(), World("transformer")
    found = explain(world, clip)
    frames = np.concatenate([clip.frames[0], clip.frames[1, 4:]])
    place = CELL[0] * 7 + CELL[1]
    frames[list(found.covered)] = covered(frames[list(found.covered)])[place]
    views = np.array([range(8), range(4, 12)])
    rest = explain(world, made_clip(frames=frames[views]))
    drop = found.scores["angry"] - rest.scores["angry"]
    assert found.region_drops.probability[CELL] == pytest.approx(drop, abs=1e-7)
    piece = int(found.piece_drops.log_odds.argmax())
    sound = silenced(clip.waveforms[0], found.pieces_s[piece], RATE)
    rest = explain(world, made_clip(waveforms=(sound, sound)))
    drop = found.scores["angry"] - rest.scores["angry"]
    assert found.piece_drops.probability[piece] == pytest.approx(drop, abs=1e-7)
    assert drop > 1e-5


def test_silence_has_soft_ends_and_leaves_the_rest() -> None:
    sound = np.ones(RATE, np.float32)
    left = silenced(sound, (0.25, 0.75), RATE)
    assert (left[: RATE // 4] == 1).all()
    assert (left[3 * RATE // 4 :] == 1).all()
    assert (left[RATE // 4 + 80 : 3 * RATE // 4 - 80] == 0).all()
    assert np.abs(np.diff(left)).max() < 0.02
    assert (sound == 1).all()
    ends = silenced(sound, (-1, 2), RATE)
    assert (ends == 0).all()
    assert silenced(sound, (1.5, 2), RATE) is sound
    assert silenced(sound, (-2, 0), RATE) is sound


@pytest.mark.parametrize("size_px", [224, 64, 32])
def test_covers_reach_from_edge_to_edge_and_overlap_by_half(size_px) -> None:
    places = covers(size_px)
    assert [places[0, 0], places[-1, 1]] == [0, size_px]
    assert set(np.diff(places, axis=1).ravel()) == {size_px // 4}
    assert set(np.diff(places[:, 0])) == {size_px // 8}


def test_a_cover_has_the_colour_of_its_crop() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    pictures = covered(frames)
    row, column = 4, 1
    changed = (pictures[row * 7 + column] != frames).any(axis=(0, 3))
    (top, bottom), (left, right) = covers(32)[[row, column]]
    assert changed[top:bottom, left:right].all()
    changed[top:bottom, left:right] = False
    assert not changed.any()
    mean = frames[1].mean(axis=(0, 1)).round()
    assert (pictures[row * 7 + column, 1, top, left] == mean).all()
