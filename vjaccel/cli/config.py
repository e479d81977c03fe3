"""`vjaccel config`: what batches are processed with, and whether a file of that is right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["config"]

config = typer.Typer(
    name="config", help="Show the configuration of batches, or check a file of it.", no_args_is_help=True
)


@config.command()
def show(
    file: Annotated[
        Path | None, typer.Argument(help="A YAML file; the environment (VJACCEL_...) wins over it.")
    ] = None,
) -> None:
    """Print every key with the value that it has here, as YAML; addresses without user and password."""
    from vjaccel.config import BatchConfig
    from vjaccel.embedding.providers.urls import shown

    found = BatchConfig() if file is None else BatchConfig.load(file)
    if "://" in found.embedding_config.cache:
        embedding = found.embedding_config.model_copy(update={"cache": shown(found.embedding_config.cache)})
        found = found.model_copy(update={"embedding_config": embedding})
    typer.echo(found.to_yaml(), nl=False)


@config.command()
def validate(file: Annotated[Path, typer.Argument(help="A YAML file.")]) -> None:
    """Check a file: exit with 0, or say what is wrong with it."""
    from vjaccel.config import BatchConfig

    BatchConfig.load(file)
    typer.echo(f"{file} is right")
