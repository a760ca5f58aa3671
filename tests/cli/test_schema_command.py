"""`trimtab schema` prints the schemas that the repository keeps in its folder `schema/`."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from trimtab.cli.commands import make_app
from trimtab.cli.schema import Kind, schema_text

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", list(Kind))
def test_the_kept_schema_is_up_to_date(kind: Kind) -> None:
    kept = (ROOT / "schema" / f"{kind}.schema.json").read_text(encoding="utf-8")
    assert kept == schema_text(kind), f"run: trimtab schema {kind} > schema/{kind}.schema.json"


def test_the_command_prints_it() -> None:
    for arguments, kind in (([], Kind.PIPELINE), (["pipeline"], Kind.PIPELINE), (["profile"], Kind.PROFILE)):
        result = CliRunner().invoke(make_app(), ["schema", *arguments])
        assert result.exit_code == 0
        assert result.output == schema_text(kind)


def test_the_example_is_valid() -> None:
    content = yaml.safe_load((ROOT / "examples" / "digits" / "pipeline.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(content, json.loads(schema_text(Kind.PIPELINE)))


def test_an_unknown_kind_is_a_wrong_command_line() -> None:
    assert CliRunner().invoke(make_app(), ["schema", "trace"]).exit_code == 2
