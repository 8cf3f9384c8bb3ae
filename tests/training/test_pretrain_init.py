"""A pre-training that begins with a former one."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from claip_emo.cli.main import app
from claip_emo.model.backbones import BackboneError
from claip_emo.training.pretrain import pretrain
from claip_emo.training.pretrain_network import Learner, former_of

from .test_pretrain import TOWER, made, recipe_of, told  # noqa: F401 (a fixture)


def test_a_pre_training_begins_with_a_former_one(tmp_path) -> None:
    first = pretrain(recipe_of(tmp_path), tmp_path / "first", tell=told)
    again = recipe_of(tmp_path, seed=5)
    for part in (again.faces, again.voices):
        part.epochs, part.learning_rate = 1, 1e-12
    again.language.text_learning_rate = 1e-12
    second = pretrain(again, tmp_path / "second", init=tmp_path / "first", tell=told)
    kept = yaml.safe_load((tmp_path / "second" / "recipe.yaml").read_text())
    assert kept["init"] == str(tmp_path / "first")
    for former, done in zip(first, second, strict=True):
        old, new = (load_file(tower.folder / "model.safetensors") for tower in (former, done))
        assert old.keys() == new.keys()
        for name, value in old.items():
            if value.is_floating_point() and "running_" not in name:
                torch.testing.assert_close(new[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_statistics_and_words_are_taken_too(tmp_path) -> None:
    recipe = recipe_of(tmp_path, data={"roles": ["vision"]})
    pretrain(recipe, tmp_path / "first", tell=told)
    former = former_of(tmp_path / "first" / "vision", "vision", TOWER, recipe.language)
    learner = Learner("vision", TOWER, recipe.language, ["other words than those of a face"])
    before = learner.tokenizer.get_vocab()
    learner.begin_with(former)
    taken = learner.tower.state_dict()
    kept = load_file(tmp_path / "first" / "vision" / "model.safetensors")
    statistics = [name for name in taken if "running_" in name]
    assert len(statistics) > 4
    for name in statistics:
        (same,) = (value for other, value in kept.items() if other.endswith(name))
        assert torch.equal(taken[name], same)
    assert learner.tokenizer.get_vocab() == former.language.tokenizer.get_vocab() != before
    assert all(p.requires_grad for p in learner.language.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"faces": {"tower": TOWER | {"embedding_size": 16}}}, "embedding_size is 8, not 16"),
        ({"faces": {"tower": TOWER | {"hidden_act": "gelu"}}}, "hidden_act is relu, not gelu"),
        ({"language": {"width": 32, "layers": 1, "heads": 2}}, r"language.width is 16, not 32"),
    ],
)
def test_a_former_tower_of_other_sizes_is_refused(changes, message, tmp_path) -> None:
    vision = {"data": {"roles": ["vision"]}}
    pretrain(recipe_of(tmp_path, **vision), tmp_path / "first", tell=told)
    with pytest.raises(BackboneError, match=message):
        pretrain(
            recipe_of(tmp_path, **vision, **changes), tmp_path / "second",
            init=tmp_path / "first", tell=told,
        )  # fmt: skip
    assert not (tmp_path / "second").exists()


def test_what_lacks_of_a_former_one_is_told_before_anything_is_taught(tmp_path) -> None:
    pretrain(recipe_of(tmp_path, data={"roles": ["vision"]}), tmp_path / "first", tell=told)
    both = recipe_of(tmp_path)
    for init in ("first", "nowhere"):
        with pytest.raises(BackboneError, match=f"{init}/(audio|vision) holds no tower"):
            pretrain(both, tmp_path / "second", init=tmp_path / init, tell=told)
    shutil.copytree(tmp_path / "first" / "vision", tmp_path / "torn" / "vision")
    weights = tmp_path / "torn" / "vision" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(BackboneError, match="torn/vision cannot be read"):
        pretrain(
            recipe_of(tmp_path, data={"roles": ["vision"]}), tmp_path / "second",
            init=tmp_path / "torn", tell=told,
        )  # fmt: skip
    assert not (tmp_path / "second").exists()


def test_the_command_passes_it_on(tmp_path, monkeypatch) -> None:
    given = []
    monkeypatch.setattr(
        "claip_emo.training.pretrain.pretrain",
        lambda recipe, out, **options: given.append((recipe.name, out, options)) or [],
    )
    arguments = ["pretrain", "mini-clear", "--init", "former", "--out", str(tmp_path)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    ((name, out, options),) = given
    assert (name, out, options["init"]) == ("mini-clear", tmp_path, Path("former"))
