"""The pages on the pipeline file and the profile file: their examples are read, and no field is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml

from trimtab.cli.schema import Kind
from trimtab.profile.file import format_profile, load_profile_for, parse_profile
from trimtab.profile.schema import ProfileFileEntry
from trimtab.spec.forms import Entry
from trimtab.spec.load import load_pipeline, parse_pipeline
from trimtab.spec.model import Serverless
from trimtab.spec.schema import PipelineEntry

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


def fields(entry: type[Entry], path: str = "") -> dict[str, bool]:
    """Each field with its path, `*` for any name and `[]` for any item, and whether it is required."""
    found: dict[str, bool] = {}
    for name, info in entry.model_fields.items():
        at = f"{path}{info.alias or name}"
        found[at] = info.is_required()
        for inner, below in mappings(info.annotation, at):
            found |= fields(inner, f"{below}.")
    return found


def mappings(annotation: Any, path: str) -> Iterator[tuple[type[Entry], str]]:
    """The mappings of fields that may stand at `path`, or in its items."""
    if isinstance(annotation, type) and issubclass(annotation, Entry):
        yield annotation, path
    below = {dict: f"{path}.*", list: f"{path}[]"}.get(get_origin(annotation), path)
    for inner in get_args(annotation):
        yield from mappings(inner, below)


def test_the_pipeline_pages_examples_are_read() -> None:
    least, full, *_ = [parse_pipeline(text, check_files=False) for text in examples(Kind.PIPELINE)]
    assert least.slo.quantile == 0.99
    assert full.budget.memory_bytes == 4 << 30
    assert full.objective.kind == "weighted"
    assert full.accuracy.table["locate-l", "read-s"] == 0.82
    said = yaml.safe_load(examples(Kind.PIPELINE)[1])
    assert {name for name in fields(PipelineEntry) if "." not in name} - set(said) == {"$schema"}


def test_whole_problems_are_read_from_one_file(tmp_path: Path) -> None:
    profiles = []
    for i, text in enumerate(examples(Kind.PIPELINE)[2:]):
        path = tmp_path / f"{i}.yaml"
        path.write_text(text)
        profiles.append(load_profile_for(load_pipeline(path)).variants)
    service, chain = profiles
    assert [len(measured.capacity) for measured in service["classify"].values()] == [2] * 5
    assert chain["detect"]["large"].service_time(4, 2, 2, 0.99).seconds == 0.46
    assert not chain["detect"]["large"].service_time(4, 2, 2, 0.99).extrapolated


def test_the_profile_pages_examples_are_read_and_laid_out_as_they_are_written() -> None:
    written, by_hand = examples(Kind.PROFILE)
    profile = parse_profile(written)
    assert parse_profile(format_profile(profile)) == profile
    assert [row for row in format_profile(profile).splitlines() if row not in written.splitlines()] == [
        row for row in format_profile(profile).splitlines() if '"rate_rps"' in row
    ]
    assert parse_profile(by_hand).variants["read"]["read-s"].service_time(4, 1, 1).seconds == pytest.approx(0.014)


@pytest.mark.parametrize(("kind", "entry"), [(Kind.PIPELINE, PipelineEntry), (Kind.PROFILE, ProfileFileEntry)])
def test_the_tables_name_every_field(kind: Kind, entry: type[Entry]) -> None:
    told = {name.replace("…", "tasks.*.*"): default for name, default in rows(kind).items()}
    known = fields(entry)
    assert set(told) <= set(known)
    untold = set(known) - set(told)
    assert {name for name in untold if not any(field.startswith(f"{name}.") for field in told)} == set()
    assert {name for name, default in told.items() if default.startswith("required") != known[name]} == set()


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
    for name in ("alpha", "beta", "gamma", "delta"):
        assert float(told[f"objective.{name}"]) == getattr(weighted, name)
    assert told["objective.cost"].strip("`") == weighted.cost
    assert told["accuracy"].strip("`") == pipeline.accuracy.kind
    for name in ("mix", "share_steps"):
        assert int(told[f"planning.{name}"]) == getattr(pipeline.planning, name)
    assert told["planning.latency"].strip("`") == pipeline.planning.latency
    for name in ("request", "cores"):
        assert float(told[f"prices.serverless.{name}"]) == getattr(Serverless(1.0), name)
