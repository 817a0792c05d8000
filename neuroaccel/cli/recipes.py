"""``neuroaccel recipes``: what comes with the package, and how to make it one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroaccel.cli.helptext import help_of
from neuroaccel.cli.options import Json
from neuroaccel.cli.output import emit, table
from neuroaccel.errors import InputError

app = typer.Typer()

Name = Annotated[str, typer.Argument(metavar="NAME", help="A recipe's name, as `recipes list` prints it.")]


def group(context: typer.Context) -> None:
    """List, show and copy the recipes that come with the package.

    A recipe is a TOML file: data, network and training.

    Examples:
        neuroaccel recipes list
        neuroaccel recipes show saccade-digits
        neuroaccel recipes copy saccade-digits mine.toml
        neuroaccel train --config mine.toml
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def list_recipes(json: Json = False) -> None:
    """List the recipes.

    Examples:
        neuroaccel recipes list
        neuroaccel recipes list --json
    """
    import tomllib

    from neuroaccel.training.recipe import recipe_names, recipe_text

    titles = {name: str(tomllib.loads(recipe_text(name)).get("title", "")) for name in recipe_names()}
    data = {"recipes": [{"name": name, "title": title} for name, title in titles.items()]}
    emit(data, table(("recipe", "what it trains"), list(titles.items())), json)


def show(name: Name, json: Json = False) -> None:
    """Print a recipe.

    Examples:
        neuroaccel recipes show saccade-digits
    """
    from neuroaccel.training.recipe import recipe_text

    text = recipe_text(name)
    emit({"name": name, "toml": text}, text.rstrip("\n"), json)


def copy(
    name: Name,
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="The file to write, or a folder to write into.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    json: Json = False,
) -> None:
    """Copy a recipe to a file of your own, to change it and train it with --config.

    Examples:
        neuroaccel recipes copy saccade-digits mine.toml
        neuroaccel train --config mine.toml
    """
    from neuroaccel.graph.file import write_atomic
    from neuroaccel.training.recipe import recipe_text

    text = recipe_text(name)
    path = destination / f"{name}.toml" if destination.is_dir() else destination
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; give another name, or --overwrite to replace it")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")
    write_atomic(path, text.encode())
    emit({"name": name, "file": str(path)}, f"{path}: a copy of recipe {name}", json)


app.callback(invoke_without_command=True, help=help_of(group))(group)
app.command("list", help=help_of(list_recipes))(list_recipes)
app.command("show", help=help_of(show))(show)
app.command("copy", help=help_of(copy))(copy)
