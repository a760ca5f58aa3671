"""The pages on the pipeline file and the profile file: their examples are read, and no field is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trimtab.cli.schema import Kind
from trimtab.profile import schema as profile_schema
from trimtab.profile.file import format_profile, parse_profile
from trimtab.spec import schema as pipeline_schema
from trimtab.spec.load import parse_pipeline
from trimtab.spec.schema import Entry

PAGES = Path(__file__).parents[2] / "docs" / "reference"


def page(kind: Kind) -> str:
    return (PAGES / f"{kind}-file.md").read_text(encoding="utf-8")


def examples(kind: Kind) -> list[str]:
    return re.findall(r"^```(?:yaml|json)\n(.*?)^```", page(kind), re.MULTILINE | re.DOTALL)


def rows(kind: Kind) -> dict[str, str]:
    """Field → default, of the page's table."""
    return {
        name: default.strip() for name, default in re.findall(r"^\| `([^`]+)` \| ([^|]*)\|", page(kind), re.MULTILINE)
    }


def fields(module: object) -> set[tuple[str, bool]]:
    """Last name of each field of each mapping that a schema has, and whether it is required."""
    entries = {e for e in vars(module).values() if isinstance(e, type) and issubclass(e, Entry) and e is not Entry}
    return {(info.alias or name, info.is_required()) for entry in entries for name, info in entry.model_fields.items()}


def test_the_pipeline_pages_examples_are_read() -> None:
    least, full = [parse_pipeline(text, check_files=False) for text in examples(Kind.PIPELINE)]
    assert least.slo.quantile == 0.99
    assert full.budget.memory_bytes == 4 << 30
    assert full.objective.kind == "weighted"


def test_the_profile_pages_examples_are_read_and_laid_out_as_they_are_written() -> None:
    written, by_hand = examples(Kind.PROFILE)
    profile = parse_profile(written)
    assert parse_profile(format_profile(profile)) == profile
    assert [row for row in format_profile(profile).splitlines() if row not in written.splitlines()] == [
        row for row in format_profile(profile).splitlines() if '"rate_rps"' in row
    ]
    assert parse_profile(by_hand).variants["read"]["read-s"].service_time(4, 1, 1).seconds == pytest.approx(0.014)


@pytest.mark.parametrize(("kind", "module"), [(Kind.PIPELINE, pipeline_schema), (Kind.PROFILE, profile_schema)])
def test_the_tables_name_every_field(kind: Kind, module: object) -> None:
    told = {name.replace("[]", "").split(".")[-1]: default for name, default in rows(kind).items()}
    known = fields(module)
    sections = {"slo", "budget", "prices"}  # told by their fields
    assert {name for name, _ in known} - sections == set(told)
    for name, required in known:
        if required and name not in sections:
            assert told[name].startswith("required"), name


def test_the_pipeline_tables_defaults_are_the_schemas() -> None:
    told = rows(Kind.PIPELINE)
    pipeline = parse_pipeline("{name: p, tasks: {t: {variants: {v: {accuracy: 1}}}}, slo: {latency: 1s}}")
    weighted = parse_pipeline(
        "{name: p, tasks: {t: {variants: {v: {accuracy: 1}}}}, slo: {latency: 1s}, objective: weighted}"
    ).objective
    assert float(told["slo.quantile"]) == pipeline.slo.quantile
    assert int(told["budget.replicas_per_task"]) == pipeline.budget.replicas_per_task
    assert told["objective"].strip("`") == pipeline.objective.kind
    assert told["prices.currency"] == pipeline.prices.currency
    for name in ("alpha", "beta", "delta"):
        assert float(told[f"objective.{name}"]) == getattr(weighted, name)
