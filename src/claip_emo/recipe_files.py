"""Recipes by name or path: reading YAML, overriding keys, and saying what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from claip_emo.recipe import Recipe, Section

KIND = "command"
"""Key of a YAML file that is not for ``train``: the command that takes it."""

Schema = TypeVar("Schema", bound=Section)


class RecipeError(ValueError):
    """A recipe that cannot be used; the message names each key and how to mend it."""


def recipe_names(schema: type[Section] = Recipe) -> list[str]:
    """Return the names of the recipes of one kind that come with the package."""
    paths = sorted(_recipe_folder().glob("*.yaml"), key=lambda path: path.stem)
    return [path.stem for path in paths if _command(_read(path)) == schema.command]


def load_recipe(
    name_or_path: str | Path,
    overrides: Iterable[str] = (),
    schema: type[Schema] = Recipe,  # type: ignore[assignment]
) -> Schema:
    """Read a recipe by name or path and apply ``section.key=value`` overrides.

    Args:
        name_or_path: of one that comes with the package, or a YAML file.
        overrides: values that replace the file's.
        schema: what it describes.

    Raises:
        RecipeError: if it is missing, no YAML, for another command, has unknown keys or values out
            of range.
    """
    path = _find(str(name_or_path), schema)
    described = _read(path)
    if (command := _command(described)) != schema.command:
        raise RecipeError(f"{path} is a recipe of claip-emo {command}, not of {schema.command}.")
    described.pop(KIND, None)
    for override in overrides:
        _apply(described, override, schema)
    return parse_recipe(described, str(path), schema)


def parse_recipe(
    described: Mapping[str, Any],
    source: str = "recipe",
    schema: type[Schema] = Recipe,  # type: ignore[assignment]
) -> Schema:
    """Check a recipe given as a dictionary.

    Raises:
        RecipeError: naming every wrong key with the nearest known one, and every wrong value.
    """
    try:
        return schema.model_validate(described)
    except ValidationError as error:
        lines = [_explain(item["loc"], item, schema) for item in error.errors()]
        raise RecipeError(f"{source}:\n" + "\n".join(f"  {line}" for line in lines)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        described = yaml.safe_load(path.read_text("utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(described, dict):
        raise RecipeError(f"{path} must hold sections such as data, model, train.")
    return described


def _command(described: Mapping[str, Any]) -> str:
    return str(described.get(KIND, Recipe.command))


def _recipe_folder() -> Path:
    installed = Path(str(files("claip_emo"))) / "recipes"
    checkout = Path(__file__).resolve().parents[2] / "recipes"
    return installed if installed.is_dir() else checkout


def _find(name: str, schema: type[Section]) -> Path:
    if (path := Path(name)).is_file():
        return path
    packaged = _recipe_folder() / f"{name}.yaml"
    if packaged.is_file():
        return packaged
    # `recipes/demo.yaml` works from anywhere, as it stands in the documentation.
    if path.parent.name == "recipes" and (_recipe_folder() / path.name).is_file():
        return _recipe_folder() / path.name
    known = recipe_names(schema)
    near = get_close_matches(path.stem, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise RecipeError(f"No recipe {name!r}: no such file; by name: {', '.join(known)}.{hint}")


def _apply(described: dict[str, Any], override: str, schema: type[BaseModel]) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set takes section.key=value, not {override!r}.")
    *sections, last = key.strip().split(".")
    value = text if _takes_text(schema, [*sections, last], text) else _value(override, text)
    for section in sections:
        inner = described.setdefault(section, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"--set {override!r}: {section!r} is a value, not a section.")
        described = inner
    described[last] = value


def _takes_text(schema: type[BaseModel], key: list[str], text: str) -> bool:
    """Say whether a key takes a text as it stands: a path may be a number or hold `#` and `:`."""
    annotation: Any = schema
    for part in key:
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return False
        field = annotation.model_fields.get(part)
        annotation = None if field is None else field.annotation
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return not quoted and (
        annotation is str or (annotation == (str | None) and text not in ("null", "~", ""))
    )


def _value(override: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: the value is no YAML ({error}).") from error
    return _as_number(value) if isinstance(value, str) else value


def _as_number(text: str) -> str | float:
    """Read `1e-4`, which YAML 1.1 takes for a string, as a number."""
    try:
        return float(text)
    except ValueError:
        return text


def _explain(place: tuple[int | str, ...], item: Mapping[str, Any], schema: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in place)
    if item["type"] != "extra_forbidden":
        given = "" if isinstance(item["input"], dict) else f" (it is {item['input']!r})"
        return f"{key + ': ' if key else ''}{item['msg'].removeprefix('Value error, ')}{given}"
    section = schema
    for part in place[:-1]:
        annotation = section.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        section = annotation
    near = get_close_matches(str(place[-1]), section.model_fields, n=1, cutoff=0.4)
    known = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(section.model_fields)}."
    return f"{key}: unknown key; {known}"
