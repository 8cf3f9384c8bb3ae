"""A frozen run on features that were computed once is the run that computes them in every step."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from claip_emo.data.dataset import ClipDataset
from claip_emo.evaluation.predictions import Predictions
from claip_emo.media.clip import Clip
from claip_emo.media.decode import MediaError
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.recipe_files import RecipeError, load_recipe, parse_recipe
from claip_emo.training import feature_trainer, features, views
from claip_emo.training.features import features_of
from claip_emo.training.fit import Interrupted, train
from claip_emo.training.trainer import ClaipEmoTrainer

from ..media.make_media import ramp, tone, write
from .conftest import STILL, frozen


def weights(out) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "adapter_model.safetensors")


def figures(out) -> list[tuple]:
    """What history.jsonl says, but for the time that it took."""
    rows = [json.loads(line) for line in (out / "history.jsonl").open()]
    names = ("loss", "war", "uar", "grad_norm", "learning_rate")
    return [(row["event"], row["step"], *(row.get(name, 0) for name in names)) for row in rows]


@pytest.fixture(scope="module")
def cached(clips, tmp_path_factory):
    """A run on cached features."""
    out = tmp_path_factory.mktemp("runs") / "cached"
    return train(parse_recipe(frozen(clips, "auto")), out, device="cpu").out


def assert_same(one, other) -> None:
    for mine, theirs in zip(figures(one), figures(other), strict=True):
        assert mine[:2] == theirs[:2]
        np.testing.assert_allclose(mine[2:], theirs[2:], rtol=1e-4)
    left, right = weights(one), weights(other)
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], atol=2e-5, rtol=1e-4, msg=name)
    rows = [Predictions.read(out / "predictions.parquet") for out in (one, other)]
    np.testing.assert_allclose(rows[0].scores, rows[1].scores, atol=1e-4)


def test_cached_features_train_the_model_that_live_towers_do(
    clips, cached, tmp_path, quiet
) -> None:
    live = train(parse_recipe(frozen(clips, "live")), tmp_path / "r", device="cpu", console=quiet)
    assert_same(live.out, cached)
    told = [json.loads((out / "run.json").read_text()) for out in (live.out, cached)]
    assert [facts["features"] for facts in told] == ["live", "cached"]


@pytest.mark.parametrize("modality", ["a", "v"])
def test_clips_that_lack_what_is_read_are_zeros_in_both(
    clips, tmp_path, quiet, modality: str
) -> None:
    """The first clip to train on is sound alone, the second a picture alone."""
    alone = [
        write(tmp_path / "voice.wav", sound=tone(0.7)),
        write(tmp_path / "face.mp4", frames=ramp(20, 32, 32)),
    ]
    rows = clips.read_text().replace("clips/person", f"{clips.parent}/clips/person").splitlines()
    training = [place for place, row in enumerate(rows) if ",train," in row]
    for place, path in zip(training, alone, strict=False):
        rows[place] = f"{path},{rows[place].split(',', 1)[1]}"
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(rows) + "\n")
    outs = [tmp_path / "live", tmp_path / "cached"]
    for out in outs:
        recipe = frozen(table, out.name, modality=modality)
        recipe["model"].setdefault("processor", {})["image_mirrored"] = True
        train(parse_recipe(recipe), out, device="cpu", console=quiet)
    assert_same(*outs)


def test_the_test_part_that_chooses_is_cached_as_well(clips, tmp_path, quiet, monkeypatch) -> None:
    """Once its features are there, the towers run for the final test only."""
    calls = []
    encode, prepare = ClaipEmoModel.encode_frames, feature_trainer.cached_features
    monkeypatch.setattr(
        ClaipEmoModel, "encode_frames", lambda *rest: calls.append(1) or encode(*rest)
    )

    def counted_anew(*rest, **more):
        found = prepare(*rest, **more)
        calls.clear()
        return found

    monkeypatch.setattr(feature_trainer, "cached_features", counted_anew)
    outs = [tmp_path / "live", tmp_path / "cached"]
    counts = []
    for out in outs:
        recipe = frozen(clips, out.name)
        recipe["protocol"] |= {"selection": "best_on_test"}
        calls.clear()
        train(parse_recipe(recipe), out, device="cpu", console=quiet)
        counts.append(len(calls))
    assert counts[1] == 1 < counts[0]  # one batch of seven test clips
    assert_same(*outs)


def test_a_run_that_is_killed_while_it_encodes_goes_on(
    clips, cached, tmp_path, quiet, monkeypatch
) -> None:
    """Shards that are whole stay; one that is damaged is made again, and so is what is missing."""
    monkeypatch.setattr(features, "CLIPS_A_SHARD", 4)
    out, encode, made = tmp_path / "r", features.encode, []

    def killed(*given):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(1)
        return encode(*given)

    with monkeypatch.context() as patch:
        patch.setattr(features, "encode", killed)
        with pytest.raises(KeyboardInterrupt):
            train(parse_recipe(frozen(clips, "auto")), out, device="cpu", console=quiet)
    shards = sorted((out / "training_state" / "features").glob("*/*.safetensors"))
    assert [path.stem for path in shards] == ["00000000", "00000004", "00000008"]
    shards[1].write_bytes(shards[1].read_bytes()[:-10])
    read = []
    get = views.ClipViews.__getitem__
    monkeypatch.setattr(
        views.ClipViews, "__getitem__", lambda self, key: read.append(key) or get(self, key)
    )
    train(parse_recipe(frozen(clips, "auto")), out, device="cpu", console=quiet)
    assert read == [4, 5, 6, 7, 12, 13, *range(7)]  # of the training part, and the validation part
    assert weights(out).keys() == weights(cached).keys()
    assert all(torch.equal(value, weights(cached)[name]) for name, value in weights(out).items())
    assert not (out / "training_state" / "features").exists()  # a finished run needs them no more


def test_an_interrupted_run_keeps_its_features(clips, cached, tmp_path, quiet, monkeypatch) -> None:
    import os
    import signal

    step = ClaipEmoTrainer.training_step

    def interrupt(self, *rest, **more):
        if self.state.global_step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *rest, **more)

    out = tmp_path / "r"
    with monkeypatch.context() as patch:
        patch.setattr(ClaipEmoTrainer, "training_step", interrupt)
        with pytest.raises(Interrupted):
            train(parse_recipe(frozen(clips, "auto")), out, device="cpu", console=quiet)
    monkeypatch.setattr(views.ClipViews, "__getitem__", None)  # would fail if it were called
    train(parse_recipe(frozen(clips, "auto")), out, device="cpu", console=quiet)
    assert all(torch.equal(value, weights(cached)[name]) for name, value in weights(out).items())


@pytest.mark.parametrize("too_long", [False, True])
def test_clips_that_are_not_in_memory(
    clips, cached, tmp_path, quiet, monkeypatch, too_long: bool
) -> None:
    """Decoded once for all epochs, or where they are too long for each window."""
    if too_long:

        def refuse(path, *rest, **more):
            raise MediaError(f"{path}: too many frames")

        monkeypatch.setattr(views, "load_recording", refuse)
    opened = []
    read = ClipDataset.read
    monkeypatch.setattr(
        ClipDataset,
        "read",
        lambda self, *rest, **more: opened.append(1) or read(self, *rest, **more),
    )
    recipe = frozen(clips, "cached")
    recipe["data"]["cache"] = "none"
    out = tmp_path / "r"
    train(parse_recipe(recipe), out, device="cpu", console=quiet)
    # 14 to train in 2 epochs, 7 to validate, 7 to test, whose mistakes are looked at once more
    assert len(opened) - 14 * (3 if too_long else 1) in range(14, 22)
    for mine, theirs in zip(figures(out), figures(cached), strict=True):
        np.testing.assert_allclose(mine[2:], theirs[2:], rtol=1e-3, atol=1e-5)  # sound as int16


@pytest.mark.parametrize(
    "key",
    ["randaugment_layers=1", "crop_scale=[0.9,1]", "flip=0.5", "erase=0.1", "mixup=0.2",
     "cutmix=1.0", "time_masks=1", "frequency_masks=1", "windows=1"],
)  # fmt: skip
def test_what_touches_frames_or_sound_keeps_the_towers_live(key: str) -> None:
    still = [f"augment.{name}={value}" for name, value in STILL.items()]
    changes = ["model.adaptation=frozen", *still, f"augment.{key}"]
    assert features_of(load_recipe("csv", changes)) == "live"
    mend = rf"set augment\.{key.split('=')[0]}=([][0-9.,]+|null); or"
    with pytest.raises(RecipeError, match=mend):
        features_of(load_recipe("csv", [*changes, "train.features=cached"]))
    assert features_of(load_recipe("csv", changes[:-1])) == "cached"
    assert features_of(load_recipe("csv", [*changes[:-1], "train.features=live"])) == "live"


def test_what_is_trained_cannot_be_cached(clips, tmp_path, quiet) -> None:
    assert features_of(load_recipe("csv")) == "live"
    recipe = frozen(clips, "cached")
    recipe["model"]["adaptation"] = "lora"
    with pytest.raises(RecipeError, match=r"set model\.adaptation=frozen; or"):
        train(parse_recipe(recipe), tmp_path / "r", device="cpu", console=quiet)
    assert not (tmp_path / "r").exists()
    mixes_never = ["augment.mix_probability=0", "augment.mixup=0.8", "augment.cutmix=1"]
    still = [f"augment.{name}={value}" for name, value in STILL.items()]
    changes = ["model.adaptation=frozen", *still, *mixes_never]
    assert features_of(load_recipe("csv", changes)) == "cached"


def test_equal_frames_and_equal_seconds_are_kept_once() -> None:
    picture = ramp(4, 8, 8)
    sound = tone(0.1)

    def clip(places: list[int] | None, span: tuple[float, float] | None) -> Clip:
        frames = None if places is None else picture[[places]]
        return Clip("x", frames, None, (sound,) if span else (), (span,) if span else (), 1.0)

    found = views.gather(
        [clip([0, 1, 1], (0.0, 0.1)), clip([3, 1, 0], (0.2, 0.3)), clip(None, (0.0, 0.1)),
         clip([2, 2, 3], None)], 3
    )  # fmt: skip
    assert found.frames.shape == (4, 8, 8, 3)
    assert [len(found.sounds), found.heard.tolist()] == [2, [0, 1, 0, -1]]
    assert found.shown[2].tolist() == [-1, -1, -1]
    for row, places in ((0, [0, 1, 1]), (1, [3, 1, 0]), (3, [2, 2, 3])):
        assert torch.equal(found.frames[found.shown[row]], torch.from_numpy(picture[places]))
