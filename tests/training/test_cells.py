"""Which cells an ablation has: axes, designs, what means the same, what cannot be used."""

from pathlib import Path

import pytest

from claip_emo.recipe_files import RecipeError
from claip_emo.training.cells import parse_axes, plan_ablation

ISSUE = (
    "adaptation=frozen,lora,full rank=2,4,8,16,32 temporal=transformer,mean,lstm "
    "fusion=concat,sum,gated,cross_attention modality=av,v,a"
)
"""All that the paper's claims rest on, as the documentation writes it."""


def plan(words: str, recipe: str | Path = "demo", **settings):
    return plan_ablation(recipe, parse_axes(words.split()), **settings)


def test_axes_are_read_by_short_name_or_key() -> None:
    axes = parse_axes(["rank=2, 4", "model.temporal=mean", "augment.crop_scale=[0.5, 1],[1,1]"])
    assert [(axis.name, axis.key, axis.values) for axis in axes] == [
        ("rank", "model.lora.rank", ("2", "4")),
        ("temporal", "model.temporal", ("mean",)),
        ("augment.crop_scale", "augment.crop_scale", ("[0.5, 1]", "[1,1]")),
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rank"], "takes axis=value,value"),
        (["rank="], "takes axis=value,value"),
        (["rank=2,,4"], "takes axis=value,value"),
        (["rnak=2"], "did you mean 'rank'"),
        (["rank=2", "model.lora.rank=4"], "names the axis rank twice"),
        ([], "Name what is varied"),
    ],
)
def test_axes_that_cannot_be_read(words: list[str], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        parse_axes(words)


def test_one_axis_at_a_time_around_the_recipe() -> None:
    found = plan(ISSUE)
    assert [cell.slug for cell in found.cells] == [
        "base", "adaptation-frozen", "adaptation-full", "rank-2", "rank-4", "rank-16", "rank-32",
        "temporal-mean", "temporal-lstm", "fusion-sum", "fusion-gated", "fusion-cross_attention",
        "modality-v", "modality-a",
    ]  # fmt: skip
    assert found.reference == "base"
    assert found.combinations == 14  # the recipe's own values are its base, not cells beside it
    assert found.values["rank"] == ("2", "4", "8", "16", "32")
    cells = {cell.slug: cell for cell in found.cells}
    base = found.base.model_dump()
    for slug, cell in cells.items():
        own = cell.recipe.model_dump()
        differing = {key for key in base["model"] if base["model"][key] != own["model"][key]}
        assert len(differing) == (slug != "base")
        assert {key for key in base if base[key] != own[key]} <= {"model", "name"}
    assert cells["rank-16"].recipe.model.lora.rank == 16
    assert cells["rank-16"].recipe.name == "Demo: rank 16"
    assert cells["modality-a"].values == {
        "adaptation": "lora", "rank": "8", "temporal": None, "fusion": None, "modality": "a",
    }  # fmt: skip


def test_a_grid_runs_what_means_the_same_once() -> None:
    found = plan(
        "adaptation=frozen,lora rank=2,4 fusion=concat,sum modality=av,a temporal=mean,lstm",
        design="grid",
    )
    # With sound alone neither fusion nor temporal module: frozen 1, lora 2 ranks. With both: frozen
    # 4, lora 2 x 4.
    assert len(found.cells) == 1 + 2 + 4 + 8
    assert found.combinations == 2**5
    frozen = next(c for c in found.cells if c.slug == "adaptation-frozen_modality-a")
    assert len(frozen.stands_for) == 2 * 2 * 2
    assert frozen.recipe.model.lora.rank == 8  # as in the recipe: it has no effect
    assert frozen.values["rank"] is None
    slugs = [cell.slug for cell in found.cells]
    assert len(set(slugs)) == len(slugs)
    # The recipe's own cell (lora, 8, transformer) is not in the grid: the first is compared with.
    assert found.reference == slugs[0]
    own = plan("rank=4,8 fusion=sum,concat", design="grid")
    assert own.reference == "base"


def test_a_cell_is_called_the_same_in_every_design() -> None:
    grid = plan("rank=4,8 temporal=transformer,mean", design="grid")
    alone = plan("temporal=mean rank=4")
    of_grid = {cell.slug: cell.recipe for cell in grid.cells}
    assert {cell.slug: cell.recipe for cell in alone.cells}.items() <= of_grid.items()
    rates = plan("train.learning_rate=1e-3,3e-3")
    assert [cell.slug for cell in rates.cells] == ["base", "train.learning_rate-0.001"]
    placed = plan("model.vision=/some/where else,/other".replace(" ", "_"))
    assert all("/" not in cell.slug for cell in placed.cells)
    assert len({cell.slug for cell in placed.cells}) == 3


def test_a_value_that_cannot_be_used_stops_before_anything_runs() -> None:
    with pytest.raises(RecipeError, match=r"model\.temporal.*'gru'"):
        plan("temporal=gru")
    with pytest.raises(RecipeError, match="did you mean 'learning_rate'"):
        plan("train.learning_rat=1")
    with pytest.raises(RecipeError, match="seed is an axis already"):
        plan("seed=0,1", seeds=[0, 1])
