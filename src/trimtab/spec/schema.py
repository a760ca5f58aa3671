"""The pipeline file's fields: what may stand where. Descriptions here are what an editor shows beside each field.

Only forms are checked here; how the parts fit together (upstream tasks exist, no cycles) is `spec.checks`'s work.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from trimtab.spec.forms import Count, Duration, Entry, Name, Size, TaskName, by_type, form, json_schema
from trimtab.spec.mistakes import Wanted

Fraction = Annotated[
    float, Field(ge=0, le=1), Wanted("a fraction from 0 to 1", "write a percentage as a fraction: 90 % is 0.9")
]


RuntimeName = Literal["onnx", "sklearn", "torchscript", "transformers", "python"]
"""What loads models; `runtime.models.registry` knows where each is."""


class VariantEntry(Entry):
    """One model that does the task."""

    model: Annotated[str | None, Field(min_length=1), Wanted("the path of a model, relative to this file")] = None
    """Path of the model, relative to this file: a file, a folder, or `file.py:Class`. May be absent where the pipeline
    is only planned, never served."""
    runtime: Annotated[RuntimeName | None, Wanted("onnx, sklearn, torchscript, transformers or python")] = None
    """What loads the model. Default: what its form shows."""
    options: Annotated[
        dict[str, Any], Wanted("what the runtime is told, such as {inputs: {x: {datatype: FP32, shape: [-1, 8]}}}")
    ] = Field(default_factory=dict[str, Any])
    """What the runtime is told; each has its own options."""
    accuracy: Annotated[
        float,
        Field(ge=0, le=1),
        Wanted("a fraction from 0 to 1", "measure it: trimtab evaluate; a percentage is a fraction: 90 % is 0.9"),
    ]
    """Accuracy as a fraction from 0 to 1."""
    measured_on: Annotated[str | None, Wanted("text that says what the accuracy was measured on")] = None
    """What the accuracy was measured on, in words."""


class EdgeEntry(Entry):
    """How the work of a task before this one arrives."""

    fan_out: Annotated[float, Field(gt=0), Wanted("a number above 0")] = 1.0
    """Items of work that one answer of the task before gives, on average."""
    fan_out_by: Annotated[
        dict[Name, Annotated[float, Field(gt=0), Wanted("a number above 0")]],
        Wanted("a mapping of variants of the task before to numbers, such as {locate-l: 1.8}"),
    ] = Field(default_factory=dict[str, float])
    """Variant of the task before to the fan-out of its answers, where it differs from `fan_out`."""


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
    replicas_per_task: Count = 100
    """Replicas of one task."""
    replicas: Count | None = None
    """Replicas of all tasks together. Default: no limit but the others."""
    cost_per_hour: Annotated[float | None, Field(gt=0), Wanted("an amount of money above 0")] = None
    """Money for an hour, in the currency of the prices. Default: no limit but the others."""


def _one_of(*fields: str) -> ConfigDict:
    """For editors: exactly one of these fields is there."""
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in fields]})


ObjectiveKind = Literal["accurate-under-budget", "cheapest", "weighted"]
_LONE_OBJECTIVES = WithJsonSchema({"type": "string", "enum": ["accurate-under-budget", "weighted"]})
_Weight = Annotated[float | None, Field(ge=0), Wanted("a number of at least 0")]


class ObjectiveEntry(Entry):
    """What is maximised: what accuracy is worth, or a kind with its weights."""

    model_config = _one_of("kind", "point_worth_cores", "point_worth_per_hour")

    point_worth_cores: Annotated[
        float | None, Field(ge=1e-6, le=1e9), Wanted("a number of cores above 0, from 1e-6 to 1e9, such as 4")
    ] = None
    """Hold the SLO, then add cores as long as this many bring at least one more point of accuracy (0.01). In the place
    of a kind."""
    point_worth_per_hour: Annotated[
        float | None, Field(ge=1e-6, le=1e9), Wanted("an amount of money above 0, from 1e-6 to 1e9, such as 0.30")
    ] = None
    """Hold the SLO, then spend as long as this much an hour brings at least one more point of accuracy (0.01). In the
    place of a kind; needs prices."""
    kind: ObjectiveKind | None = None
    """`accurate-under-budget`: hold the SLO, then the highest accuracy within the budget, then the least cost.
    `cheapest`: hold the SLO, then the least cost at an accuracy of at least `accuracy_floor`. `weighted`: alpha times
    accuracy, less beta times cost, less gamma times load time, less delta times batch sizes."""
    alpha: _Weight = None
    """Weight of accuracy (only `weighted`; default 1)."""
    beta: _Weight = None
    """Weight of one core, or of one unit of money an hour (only `weighted`; default 0)."""
    gamma: _Weight = None
    """Weight of one second for which a change of plan waits (only `weighted`; default 0)."""
    delta: _Weight = None
    """Weight of one more in a batch (only `weighted`; default 1e-6)."""
    accuracy_floor: Annotated[float | None, Field(ge=0), Wanted("the lowest accuracy that will do, a fraction")] = None
    """Lowest accuracy of the whole pipeline that will do (only `cheapest`, required there)."""
    cost: Literal["cores", "money"] = "cores"
    """What cost means: cores held, or money an hour by the prices."""


AccuracyKind = Literal["product", "rank-sum", "measured"]
_LONE_ACCURACIES = WithJsonSchema({"type": "string", "enum": ["product", "rank-sum"]})


class CombinationEntry(Entry):
    """The accuracy of the whole pipeline with one variant of each task."""

    variants: Annotated[
        dict[TaskName, Name], Wanted("a variant of every task, such as {locate: locate-s, read: read-l}")
    ]
    """Task to the variant that does it; every task is named."""
    accuracy: Fraction
    """Accuracy of the whole pipeline as a fraction from 0 to 1."""


class AccuracyEntry(Entry):
    """How accurate the whole pipeline is, given its tasks' variants."""

    kind: AccuracyKind
    """`product`: the product of the tasks' accuracies. `rank-sum`: the sum of the variants' ranks by accuracy, each
    divided by the task's number of variants less one. `measured`: looked up in the table."""
    table: Annotated[
        list[CombinationEntry] | None,
        Field(min_length=1),
        Wanted("a list such as [{variants: {locate: locate-s, read: read-l}, accuracy: 0.81}]"),
    ] = None
    """The accuracy of every combination of variants (only `measured`, required there)."""


_Price = Annotated[float, Field(ge=0), Wanted("a price of at least 0")]


class InstanceEntry(Entry):
    """A machine that can be rented: it runs replicas of one task."""

    model_config = _one_of("per_hour", "per_second")

    cores: Count
    """Its cores."""
    memory: Annotated[Size | None, Wanted("a size above zero with its unit, such as 512MiB or 4GB")] = None
    """Its memory, with its unit. Default: not what limits."""
    per_hour: _Price | None = None
    """Price of one hour. Either this or `per_second`."""
    per_second: _Price | None = None
    """Price of one second. Either this or `per_hour`."""


class ServerlessEntry(Entry):
    """Capacity that is paid for by use: no traffic, no cost."""

    core_second: _Price
    """Price of one core for one second of service."""
    request: _Price = 0.0
    """Price of one call."""
    cores: Count = 1
    """Cores of the largest replica that it runs."""
    memory: Annotated[Size | None, Wanted("a size above zero with its unit, such as 512MiB or 4GB")] = None
    """Memory of the largest replica that it runs, with its unit. Default: not what limits."""


class PricesEntry(Entry):
    """What is paid for what is held: a price of a core, or a list of machines that can be rented."""

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["core_hour", "instances"]}})

    core_hour: _Price | None = None
    """Price of one core for one hour. Default: unknown; with no price at all no costs in money are told."""
    currency: Annotated[str, Field(min_length=1, max_length=16), Wanted("a currency such as USD")] = "USD"
    """Currency of the prices."""
    instances: Annotated[
        dict[Name, InstanceEntry] | None,
        Field(min_length=1),
        Wanted("machines by name, such as {small: {cores: 4, per_hour: 0.17}}"),
    ] = None
    """Machines that can be rented, by name, in the place of `core_hour`."""
    serverless: Annotated[ServerlessEntry | None, Wanted("a mapping such as {core_second: 0.00003, cores: 4}")] = None
    """Capacity that is paid for by use. Default: there is none."""


class PlanningEntry(Entry):
    """What a plan may choose from, and how its latency is predicted."""

    mix: Annotated[int, Field(ge=1, le=2), Wanted("1 or 2")] = 1
    """Most variants that share a task's traffic."""
    share_steps: Annotated[int, Field(ge=2, le=100), Wanted("a whole number from 2 to 100")] = 10
    """A mix shares traffic in multiples of one over this."""
    cores: Annotated[dict[TaskName, Count], Wanted("cores of one replica by task, such as {read: 2}")] = Field(
        default_factory=dict[str, int]
    )
    """Task to the cores of one replica. Default: a task chooses among the profile's."""
    max_batch: Count | None = None
    """Largest batch size. Default: the largest that was measured."""
    latency: Literal["tail", "paper"] = "tail"
    """How latency is predicted: `tail`, with the wait for a busy replica, or `paper`, without, as IPA was published."""


class PipelineEntry(Entry):
    """A pipeline of models: its tasks, each with its variants, and what is asked of them together."""

    schema_address: Annotated[str | None, Field(alias="$schema")] = None
    """Where the schema of this file is, for editors; nothing else reads it."""
    name: Name
    """The pipeline's name."""
    tasks: Annotated[dict[TaskName, TaskEntry], Field(min_length=1), Wanted("tasks by name, at least one")]
    """The tasks by name, in any order."""
    slo: Annotated[SloEntry, Wanted("a mapping such as {latency: 400ms, quantile: 0.99}")]
    """The service-level objective, end to end."""
    budget: Annotated[BudgetEntry, Wanted("a mapping such as {cores: 2, memory: 4GiB}")] = BudgetEntry()
    """What the pipeline may hold at once. Default: what the machine has."""
    objective: Annotated[
        Annotated[ObjectiveKind, _LONE_OBJECTIVES, form("kind")] | Annotated[ObjectiveEntry, form("weights")],
        by_type("weights", "kind"),
        Wanted(
            "accurate-under-budget, weighted, or a mapping such as {point_worth_cores: 4}, "
            "{kind: cheapest, accuracy_floor: 0.8} or {kind: weighted, alpha: 1, beta: 0.05}"
        ),
    ] = "accurate-under-budget"
    """What is maximised: a kind, or a mapping of what accuracy is worth, or of a kind and its weights."""
    prices: Annotated[PricesEntry, Wanted("a mapping such as {core_hour: 0.04, currency: USD}")] = PricesEntry()
    """What is paid for what is held. Default: unknown."""
    accuracy: Annotated[
        Annotated[AccuracyKind, _LONE_ACCURACIES, form("kind")] | Annotated[AccuracyEntry, form("table")],
        by_type("table", "kind"),
        Wanted("product, rank-sum, or a mapping such as {kind: measured, table: [...]}"),
    ] = "product"
    """How accurate the whole pipeline is: a kind, or a mapping of the kind `measured` and its table."""
    planning: Annotated[PlanningEntry, Wanted("a mapping such as {mix: 2, max_batch: 8}")] = PlanningEntry()
    """What a plan may choose from, and how its latency is predicted."""
    policies: Annotated[
        dict[
            Annotated[str, Field(min_length=1)],
            Annotated[dict[str, Any], Wanted("settings by name, such as {threshold_rps: 4}")],
        ],
        Wanted("settings by policy, such as {ipa: {threshold_rps: 4}}"),
    ] = Field(default_factory=dict[str, dict[str, Any]])
    """Policy to its settings, where they differ from its defaults; the policy checks them."""
    profile: Annotated[
        Annotated[str, Field(min_length=1), form("path")] | Annotated[dict[str, Any], form("inline")],
        by_type("inline", "path"),
        Wanted("the path of a profile file, or a profile's content"),
    ] = "profile.json"
    """The profile: a path relative to this file, or its content."""


def schema_json() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the pipeline file, for editors and other programs."""
    return json_schema(PipelineEntry, "Trimtab pipeline file")
