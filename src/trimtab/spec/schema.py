"""The pipeline file's fields: what may stand where. Descriptions here are what an editor shows beside each field.

Only forms are checked here; how the parts fit together (upstream tasks exist, no cycles) is `spec.load`'s work.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from trimtab.spec.mistakes import FORM, Wanted
from trimtab.units import parse_duration_s, parse_size_bytes

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_TASK_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"
_AMOUNT = r"^\s*(?=[0.]*[1-9])[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?\s*"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
TaskName = Annotated[
    str,
    Field(pattern=_TASK_PATTERN),
    Wanted("a task's name: letters, digits, '-' and '_', beginning with a letter or digit"),
]
"""Without dots, because `<task>.<output>` refers to a task's output."""


def _quantity(parse: Callable[[str], float], wanted: str, example: str) -> Callable[[object], float]:
    """A validator for amounts with a unit: a bare number is refused, because nobody can know what it means."""

    def validate(value: object) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            step = f"write its unit too, such as {example}" if value > 0 else None
            raise PydanticCustomError("trimtab", "a number without a unit", {"wanted": wanted, "next_step": step})
        if not isinstance(value, str):
            raise PydanticCustomError("trimtab", "wrong type", {"wanted": wanted})
        try:
            amount = parse(value)
        except ValueError:
            raise PydanticCustomError("trimtab", "not an amount with a unit", {"wanted": wanted}) from None
        if not (math.isfinite(amount) and amount > 0):
            raise PydanticCustomError("trimtab", "out of range", {"wanted": wanted})
        return amount

    return validate


Duration = Annotated[
    float,
    BeforeValidator(_quantity(parse_duration_s, "a duration above zero with its unit, such as 400ms or 2.5s", "400ms")),
    WithJsonSchema({"type": "string", "pattern": _AMOUNT + r"(us|µs|ms|s|min|h)\s*$", "examples": ["400ms", "2.5s"]}),
]
"""Text such as `400ms`; in seconds once read."""

Size = Annotated[
    int,
    BeforeValidator(_quantity(parse_size_bytes, "a size above zero with its unit, such as 512MiB or 4GB", "4GiB")),
    WithJsonSchema(
        {"type": "string", "pattern": _AMOUNT + r"(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)\s*$", "examples": ["512MiB", "4GB"]}
    ),
]
"""Text such as `4GiB`; in bytes once read."""


def form(tag: str) -> Tag:
    """Names one of several forms that a field may take."""
    return Tag(FORM + tag)


def by_type(mapping: str, otherwise: str) -> Discriminator:
    """Chooses a field's form: `mapping` for a mapping, `otherwise` for anything else."""
    return Discriminator(lambda value: FORM + (mapping if isinstance(value, dict | BaseModel) else otherwise))


class Entry(BaseModel):
    """A mapping of the file: no unknown fields, no values of another type."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class VariantEntry(Entry):
    """One model that does the task."""

    model: Annotated[str | None, Field(min_length=1), Wanted("the path of an ONNX file, relative to this file")] = None
    """Path of the ONNX model, relative to this file. May be absent where the pipeline is only planned, never served."""
    accuracy: Annotated[
        float, Field(ge=0, le=1), Wanted("a fraction from 0 to 1", "write a percentage as a fraction: 90 % is 0.9")
    ]
    """Accuracy as a fraction from 0 to 1."""
    measured_on: Annotated[str | None, Wanted("text that says what the accuracy was measured on")] = None
    """What the accuracy was measured on, in words."""


class EdgeEntry(Entry):
    """How the work of a task before this one arrives."""

    fan_out: Annotated[float, Field(gt=0), Wanted("a number above 0")] = 1.0
    """Items of work that one answer of the task before gives, on average."""


_AFTER = Wanted("a list of tasks such as [locate], or a mapping such as {locate: {fan_out: 1.5}}")


class TaskEntry(Entry):
    """One logical step of the pipeline, done by any one of its variants."""

    after: Annotated[
        Annotated[list[TaskName], form("names")] | Annotated[dict[TaskName, EdgeEntry], form("edges")],
        by_type("edges", "names"),
        _AFTER,
    ] = Field(default_factory=list[str])
    """Tasks that run before this one: a list of names, or names with their fan-out. Default: none, the task reads the
    request."""
    inputs: Annotated[
        dict[str, Annotated[str, Field(pattern=r"^[^.]+\..+$"), Wanted("request.<tensor> or <task>.<output>")]],
        Wanted("a mapping of model inputs to their sources, such as {crop: locate.crop}"),
    ] = Field(default_factory=dict[str, str])
    """Where a model input comes from: `request.<tensor>` or `<task>.<output>`. Default: matched by name."""
    variants: Annotated[dict[Name, VariantEntry], Field(min_length=1), Wanted("variants by name, at least one")]
    """The models that do this task, by name."""


class SloEntry(Entry):
    """The service-level objective, end to end."""

    latency: Annotated[Duration, Wanted("a duration above zero with its unit, such as 400ms or 2.5s")]
    """Bound on the response time, with its unit."""
    quantile: Annotated[float, Field(gt=0, lt=1), Wanted("a fraction between 0 and 1", "99 % is 0.99")] = 0.99
    """Share of the requests offered that is to be answered within the bound."""


class BudgetEntry(Entry):
    """What the pipeline may hold at once."""

    cores: Annotated[float | None, Field(gt=0), Wanted("a number of cores above 0")] = None
    """CPU cores in all. Default: what the machine has."""
    memory: Annotated[Size | None, Wanted("a size above zero with its unit, such as 512MiB or 4GB")] = None
    """Memory in all, with its unit. Default: what the machine has."""
    replicas_per_task: Annotated[int, Field(ge=1), Wanted("a whole number of at least 1")] = 100
    """Replicas of one task."""


ObjectiveKind = Literal["accurate-under-budget", "weighted"]


class ObjectiveEntry(Entry):
    """What is maximised, with its weights."""

    kind: ObjectiveKind
    """`accurate-under-budget`: hold the SLO, then the highest accuracy within the budget, then the fewest cores.
    `weighted`: alpha times accuracy, less beta times cores, less delta times batch sizes."""
    alpha: Annotated[float | None, Field(ge=0), Wanted("a number of at least 0")] = None
    """Weight of accuracy (only `weighted`; default 1)."""
    beta: Annotated[float | None, Field(ge=0), Wanted("a number of at least 0")] = None
    """Weight of one core (only `weighted`; default 0)."""
    delta: Annotated[float | None, Field(ge=0), Wanted("a number of at least 0")] = None
    """Weight of one more in a batch (only `weighted`; default 1e-6)."""


class PricesEntry(Entry):
    """What is paid for what is held."""

    core_hour: Annotated[float | None, Field(ge=0), Wanted("a price of at least 0")] = None
    """Price of one core for one hour. Default: unknown, so that no costs in money are told."""
    currency: Annotated[str, Field(min_length=1, max_length=16), Wanted("a currency such as USD")] = "USD"
    """Currency of the prices."""


class PipelineEntry(Entry):
    """A pipeline of models: its tasks, each with its variants, and what is asked of them together."""

    schema_address: Annotated[str | None, Field(alias="$schema")] = None
    """Where the schema of this file is, for editors; nothing else reads it."""
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    """The pipeline's name."""
    tasks: Annotated[dict[TaskName, TaskEntry], Field(min_length=1), Wanted("tasks by name, at least one")]
    """The tasks by name, in any order."""
    slo: Annotated[SloEntry, Wanted("a mapping such as {latency: 400ms, quantile: 0.99}")]
    """The service-level objective, end to end."""
    budget: Annotated[BudgetEntry, Wanted("a mapping such as {cores: 2, memory: 4GiB}")] = BudgetEntry()
    """What the pipeline may hold at once. Default: what the machine has."""
    objective: Annotated[
        Annotated[ObjectiveKind, form("kind")] | Annotated[ObjectiveEntry, form("weights")],
        by_type("weights", "kind"),
        Wanted("accurate-under-budget, weighted, or a mapping such as {kind: weighted, alpha: 1, beta: 0.05}"),
    ] = "accurate-under-budget"
    """What is maximised: a kind, or a mapping of a kind and its weights."""
    prices: Annotated[PricesEntry, Wanted("a mapping such as {core_hour: 0.04, currency: USD}")] = PricesEntry()
    """What is paid for what is held."""
    profile: Annotated[
        Annotated[str, Field(min_length=1), form("path")] | Annotated[dict[str, Any], form("inline")],
        by_type("inline", "path"),
        Wanted("the path of a profile file, or a profile's content"),
    ] = "profile.json"
    """The profile: a path relative to this file, or its content."""


def schema_json() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the pipeline file, for editors and other programs."""
    return json_schema(PipelineEntry, "Trimtab pipeline file")


def json_schema(entry: type[Entry], title: str) -> dict[str, Any]:
    """The JSON schema of a file's outermost mapping."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= _strict(entry.model_json_schema(by_alias=True))
    schema["title"] = title
    return schema


def _strict(node: Any) -> Any:
    """The schema as strict as the reader: no null (an absent field is left out), no names that break the pattern."""
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _strict(value) for key, value in node.items() if not (key == "default" and value is None)}
    if {"type": "null"} in kept.get("anyOf", ()):
        forms = [item for item in kept.pop("anyOf") if item != {"type": "null"}]
        kept |= forms[0] if len(forms) == 1 else {"anyOf": forms}
    if "patternProperties" in kept:
        kept["additionalProperties"] = False
    return kept
