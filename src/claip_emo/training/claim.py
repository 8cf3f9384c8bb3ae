"""A run's folder belongs to one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from claip_emo.recipe import Section
from claip_emo.recipe_files import RecipeError, parse_recipe
from claip_emo.whole_files import write_text

RECIPE = "recipe.yaml"


def refuse_another(recipe: Section, out: Path) -> None:
    """Check that a folder which holds a run holds one of this recipe.

    Raises:
        RecipeError: naming the keys that differ.
    """
    path = out / RECIPE
    if path.is_file():
        former = parse_recipe(yaml.safe_load(path.read_text("utf-8")), str(path), type(recipe))
        differ = _differences(former.model_dump(), recipe.model_dump())
        if differ:
            raise RecipeError(
                f"{out} holds a run of another recipe; it differs in {', '.join(differ)}. "
                "Name another --out, or remove the folder."
            )


def claim(text: str, out: Path) -> bool:
    """Write a recipe into a folder, now that it is known to be one that can be trained.

    Returns:
        Whether the folder had none.
    """
    path = out / RECIPE
    if path.is_file():
        return False
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return True


def _differences(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key in one | other:
        mine, theirs = one.get(key), other.get(key)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            keys += _differences(mine, theirs, f"{prefix}{key}.")
        elif mine != theirs:
            keys.append(prefix + key)
    return keys
