"""The cells of an ablation: what is varied, which combinations there are, which mean the same."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from claip_emo.recipe import Recipe
from claip_emo.recipe_files import RecipeError, load_recipe, parse_recipe

Design = Literal["one-at-a-time", "grid"]

ALIASES = {
    "adaptation": "model.adaptation",
    "rank": "model.lora.rank",
    "temporal": "model.temporal",
    "fusion": "model.fusion",
    "modality": "model.modality",
    "backbone": "model.backbone",
    "seed": "train.seed",
}
"""Short names of axes; any other key of a recipe is written out, as for --set."""
BASE = "base"
READABLE = 80  # longest name of a cell's folder, in characters


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing that is varied.

    Attributes:
        name: as it is shown: a short name, or the key.
        key: of the recipe, such as ``model.lora.rank``.
        values: as they were written.
    """

    name: str
    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One setting of the axes, and the recipe that it means.

    Attributes:
        slug: name of its folder.
        recipe: what is trained; what has no effect in it is as in the recipe that is ablated.
        values: by axis, as text; None where the axis has no effect.
        stands_for: the combinations of the design that mean this cell, as they were asked for.
    """

    slug: str
    recipe: Recipe
    values: dict[str, str | None]
    stands_for: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ablation:
    """What is run: the cells of a design.

    Attributes:
        base: the recipe that is ablated.
        axes: what is varied.
        values: of each axis, in the order they were asked for, as the recipe has them.
        design: one axis at a time around the recipe, or all combinations.
        cells: those that differ in meaning, the reference among them.
        reference: the cell that the others are compared with: the recipe's own, or, where a grid
            does not hold it, the first one.
        seeds: with which every cell is run.
    """

    base: Recipe
    axes: tuple[Axis, ...]
    values: dict[str, tuple[str, ...]]
    design: Design
    cells: tuple[Cell, ...]
    reference: str
    seeds: tuple[int, ...]

    @property
    def combinations(self) -> int:
        """How many combinations the design has; several may mean the same cell."""
        return sum(len(cell.stands_for) for cell in self.cells)


def parse_axes(words: Sequence[str]) -> tuple[Axis, ...]:
    """Read ``axis=value,value``; commas in brackets do not separate values.

    Args:
        words: one axis each.

    Raises:
        RecipeError: for a word of another form, an unknown short name, or an axis named twice.
    """
    axes: list[Axis] = []
    for word in words:
        name, equals, text = word.partition("=")
        name, values = name.strip(), tuple(_split(text))
        if not (equals and name and values and all(values)):
            raise RecipeError(
                f"--over takes axis=value,value, such as rank=2,4,8, not {word!r}. "
                "The recipe stands first: claip-emo ablate RECIPE --over ..."
            )
        if "." not in name and name not in ALIASES:
            near = get_close_matches(name, ALIASES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(ALIASES)};"
            raise RecipeError(
                f"--over {word!r}: unknown axis {name!r}; {hint} Any other key of the recipe is "
                "written out, such as train.learning_rate."
            )
        key = ALIASES.get(name, name)
        shown = next((short for short, long in ALIASES.items() if long == key), key)
        if key in (axis.key for axis in axes):
            raise RecipeError(f"--over names the axis {shown} twice; list all its values in one.")
        axes.append(Axis(shown, key, values))
    if not axes:
        raise RecipeError("Name what is varied: --over rank=2,4,8 temporal=transformer,mean")
    return tuple(axes)


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def plan_ablation(
    recipe: str | Path,
    axes: Sequence[Axis],
    *,
    changes: Sequence[str] = (),
    design: Design = "one-at-a-time",
    seeds: Sequence[int] = (),
) -> Ablation:
    """Return the cells of an ablation; combinations that mean the same are one cell.

    LoRA's settings mean nothing without LoRA, nor does the fusion with one modality, nor the
    temporal module without a picture.

    Args:
        recipe: name or path of the recipe that is ablated.
        axes: what is varied.
        changes: ``section.key=value``, as for --set; they hold in every cell.
        design: one axis at a time around the recipe's own values, or all combinations.
        seeds: with which every cell is run; none: the recipe's own.

    Raises:
        RecipeError: if the recipe, a change or the value of an axis cannot be used.
    """
    base = load_recipe(recipe, changes)
    if len(seeds) and any(axis.key == "train.seed" for axis in axes):
        raise RecipeError("The seed is an axis already; leave out --seeds.")
    if design == "grid":
        combinations = [
            dict(zip(axes, values, strict=True))
            for values in itertools.product(*(axis.values for axis in axes))
        ]
    else:
        combinations = [{}, *({axis: value} for axis in axes for value in axis.values)]
    cells: dict[str, Cell] = {}
    values: dict[str, dict[str, None]] = {axis.name: {} for axis in axes}  # in order, once each
    for chosen in combinations:
        set_here = [f"{axis.key}={value}" for axis, value in chosen.items()]
        wanted = load_recipe(recipe, [*changes, *set_here])
        for axis in chosen:
            values[axis.name][as_text(value_of(wanted.model_dump(mode="json"), axis.key))] = None
        if wanted == base and cells and design == "one-at-a-time":
            continue  # the recipe's own value, which is the base
        meant = _with_effect(wanted, base)
        asked = " ".join(f"{axis.name}={value}" for axis, value in chosen.items()) or BASE
        same = meant.to_yaml()
        if same in cells:
            also = (*cells[same].stands_for, asked)
            cells[same] = replace(cells[same], stands_for=also)
            continue
        cells[same] = _cell(meant, base, axes, asked)
    own = cells.get(_with_effect(base, base).to_yaml())
    reference = own or next(iter(cells.values()))
    return Ablation(
        base,
        tuple(axes),
        {name: tuple(found) for name, found in values.items()},
        design,
        tuple(cells.values()),
        reference.slug,
        tuple(dict.fromkeys(seeds)) or (base.train.seed,),
    )


def _without_effect(recipe: Recipe) -> list[str]:
    """Return the keys that mean nothing beside the others of a recipe."""
    keys = []
    if recipe.model.adaptation != "lora":
        keys += ["model.lora.rank", "model.lora.alpha", "model.lora.dropout"]
    if recipe.model.modality != "av":
        keys += ["model.fusion", "augment.modality_dropout"]
    if recipe.model.modality == "a":
        keys += ["model.temporal"]
    return keys


def _with_effect(recipe: Recipe, base: Recipe) -> Recipe:
    """Return the recipe with all that has no effect in it as in the base."""
    described, usual = recipe.model_dump(mode="json"), base.model_dump(mode="json")
    for key in _without_effect(recipe):
        _set(described, key, value_of(usual, key))
    return parse_recipe(described)


def _cell(meant: Recipe, base: Recipe, axes: Sequence[Axis], asked: str) -> Cell:
    described, usual = meant.model_dump(mode="json"), base.model_dump(mode="json")
    dead = _without_effect(meant)
    values = {a.name: None if a.key in dead else as_text(value_of(described, a.key)) for a in axes}
    differing = {
        axis.name: values[axis.name]
        for axis in axes
        if values[axis.name] not in (None, as_text(value_of(usual, axis.key)))
    }
    slug = "_".join(f"{name}-{value}" for name, value in differing.items()) or BASE
    if differing:
        described["name"] += ": " + ", ".join(f"{n} {v}" for n, v in differing.items())
    return Cell(_folder_name(slug), parse_recipe(described), values, (asked,))


def value_of(described: dict[str, Any], key: str) -> Any:
    """Return the value of a dotted key in a recipe's dictionary; None where there is none."""
    found: Any = described
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _set(described: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        described = described[section]
    described[last] = copy.deepcopy(value)


def as_text(value: Any) -> str:
    """Return a value of a recipe as it stands in the table."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _folder_name(slug: str) -> str:
    """Return a name that every file system takes; what had to be changed is told by a digest."""
    readable = re.sub(r"[^A-Za-z0-9._+-]+", "-", slug)[:READABLE].strip("-")
    if readable == slug:
        return slug
    return f"{readable}-{hashlib.sha256(slug.encode('utf-8')).hexdigest()[:8]}"
