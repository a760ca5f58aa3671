"""`trimtab schema`: the JSON schemas of Trimtab's files, for editors and other programs."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from trimtab.profile import schema as profile_schema
from trimtab.spec import schema as pipeline_schema


class Kind(StrEnum):
    """The files that have a schema."""

    PIPELINE = "pipeline"
    PROFILE = "profile"


def schema(kind: Annotated[Kind, typer.Argument(help="Which file.")] = Kind.PIPELINE) -> None:
    """Print the JSON schema of a file, for editors."""
    typer.echo(schema_text(kind), nl=False)


def schema_text(kind: Kind) -> str:
    """The schema as it is printed, and as it stands in the repository's folder `schema/`."""
    made = pipeline_schema.schema_json() if kind is Kind.PIPELINE else profile_schema.schema_json()
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"
