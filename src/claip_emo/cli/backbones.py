"""claip-emo backbones fetch and check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from claip_emo.cli.options import begin, console

NameArgument = Annotated[
    str, typer.Argument(help="A backbone (vit-b32, ...) or a hub id or folder.", metavar="NAME")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(help="Get and check the towers' weights.", no_args_is_help=True)
    group.command("fetch")(fetch)
    group.command("check")(check)
    group.command("list")(list_names)
    app.add_typer(group, name="backbones")


def fetch(
    name: NameArgument,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder to put the files in, for a machine without network."),
    ] = None,
) -> None:
    """Download a backbone's files, into the cache or a folder that can be carried elsewhere."""
    begin()
    from claip_emo.model import backbones

    for source in _sources(name):
        folder = to / source.replace("/", "--") if to and name in backbones.BACKBONES else to
        console.print(f"{source} -> {backbones.fetch(source, folder)}", soft_wrap=True)


def check(name: NameArgument) -> None:
    """Say which of a backbone's files are on this machine; exit code 1 if any is missing."""
    begin()
    from claip_emo.model import backbones

    complete = True
    for source in _sources(name):
        missing = backbones.missing_files(source)
        complete = complete and not missing
        console.print(f"{source}: complete" if not missing else backbones.explain_missing(source))
    raise typer.Exit(0 if complete else 1)


def list_names() -> None:
    """List the backbones and where their towers come from."""
    begin()
    from claip_emo.model import backbones

    for backbone in backbones.BACKBONES.values():
        console.print(f"{backbone.name}: {' + '.join(backbone.sources) or 'random weights'}")


def _sources(name: str) -> tuple[str, ...]:
    from claip_emo.model import backbones

    if name in backbones.BACKBONES:
        return backbones.BACKBONES[name].sources
    return (name,)
