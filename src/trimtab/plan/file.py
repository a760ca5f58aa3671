"""A plan as JSON: the object that `trimtab plan --json` prints, and the plan in it read back as a plan in force.

`docs/reference/plan.md` describes both. What is written is complete: infinite numbers become null, nothing is rounded.
What is read may also be written by hand or by another program: the whole object or its `plan` alone, with threads,
batch sizes, shares and residents left out where they are the usual ones.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import estimate, sustained_rate
from trimtab.plan.model import (
    Allocation,
    Limits,
    ObjectiveValue,
    Plan,
    PlanEstimate,
    PlanRequest,
    PlanResult,
    Step,
    TaskPlan,
)
from trimtab.plan.switching import change_s, task_load_s
from trimtab.spec.mistakes import together
from trimtab.spec.model import Pipeline, Slo

_T = TypeVar("_T")

VERSION = 1
_SHARES = 1e-6
"""Rounding that shares are forgiven when they are summed."""


@dataclass(frozen=True, slots=True)
class PlanContent:
    """A plan with what follows from it."""

    id: str
    rate_rps: float
    """The rate it was made for."""
    cores: int
    tasks: Mapping[str, TaskPlan]

    @classmethod
    def of(cls, plan: Plan) -> PlanContent:
        """As it is written."""
        return cls(plan.id, plan.rate_rps, plan.cores, plan.tasks)


@dataclass(frozen=True, slots=True)
class ScenarioContent:
    """One rate that may come."""

    rate_rps: float
    probability: float
    held: bool
    """Whether the plan holds the SLO at it."""


@dataclass(frozen=True, slots=True)
class SwitchingContent:
    """What a change from the plan in force waits for."""

    from_id: str
    load_s: float
    tasks: Mapping[str, float]
    """Load time by task, seconds; 0: nothing has to load."""
    change_s: Mapping[str, float]
    """Seconds by task until all that changes is there: replicas that start, residents that load; 0: at once."""


@dataclass(frozen=True, slots=True)
class RunnerUpContent:
    """The best plan that does something else, and why it lost."""

    plan: PlanContent
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanAnswer:
    """Everything that a planning question and its answer have to tell; the fields are those of the JSON object."""

    trimtab_plan: int = VERSION
    pipeline: str
    policy: str
    rate_rps: float
    """The rate that was planned for; with scenarios, the one that was settled on."""
    arrival_scv: float
    scenarios: tuple[ScenarioContent, ...]
    hold_probability: float | None
    slo: Slo
    limits: Limits
    feasible: bool
    plan: PlanContent
    estimate: PlanEstimate
    sustained_rps: float
    """The largest rate at which the plan holds the SLO."""
    objective: ObjectiveValue
    gap: float
    binding: tuple[str, ...]
    runner_up: RunnerUpContent | None
    switching: SwitchingContent | None
    """None: no plan in force was named."""
    steps: tuple[Step, ...]
    plan_time_s: float
    compiled: bool
    """Whether the planner's loops ran as machine code."""

    @classmethod
    def of(cls, request: PlanRequest, result: PlanResult, *, plan_time_s: float, compiled: bool) -> PlanAnswer:
        """The answer to `request`; what it does not hold itself is estimated as the policy did."""
        how: dict[str, Any] = {
            "latency_model": result.estimate.latency_model,
            "arrival_scv": request.arrival_scv,
            "service_ratio": request.service_ratio,
        }
        subject = (result.plan, request.pipeline, request.profile)
        other = result.runner_up
        return cls(
            pipeline=request.pipeline.name,
            policy=result.policy,
            rate_rps=result.plan.rate_rps,
            arrival_scv=request.arrival_scv,
            scenarios=tuple(
                ScenarioContent(s.rate_rps, s.probability, estimate(*subject, s.rate_rps, **how).meets_slo)
                for s in request.scenarios
            ),
            hold_probability=request.hold_probability,
            slo=request.pipeline.slo,
            limits=request.limits,
            feasible=result.feasible,
            plan=PlanContent.of(result.plan),
            estimate=result.estimate,
            sustained_rps=sustained_rate(*subject, **how),
            objective=result.objective,
            gap=result.gap,
            binding=result.binding,
            runner_up=None if other is None else RunnerUpContent(PlanContent.of(other.plan), other.reason),
            switching=None if request.current is None else _switching(request, result.plan, request.current),
            steps=result.steps,
            plan_time_s=plan_time_s,
            compiled=compiled,
        )


def _switching(request: PlanRequest, plan: Plan, current: Plan) -> SwitchingContent:
    in_place = request.limits.in_place_cores
    loads_s = {
        name: task_load_s(
            task.allocations, current.tasks.get(name), request.profile.variants[name], in_place_cores=in_place
        )
        for name, task in plan.tasks.items()
    }
    takes_s = {
        name: change_s(Plan({name: current.tasks[name]}, 0.0), Plan({name: task}, 0.0), request.profile, request.limits)
        for name, task in plan.tasks.items()
    }
    return SwitchingContent(current.id, math.fsum(loads_s.values()), loads_s, takes_s)


def format_json(content: object) -> str:
    """Indented JSON of dataclasses, mappings and lists; numbers that are not finite become null."""
    return msgspec.json.format(msgspec.json.encode(content)).decode() + "\n"


def read_plan(path: Path, pipeline: Pipeline) -> Plan:
    """The plan in a file, which has to fit the pipeline.

    Raises:
        PlanRequestError: the file cannot be read, holds no plan, or its plan is that of another pipeline; tells
            everything that is wrong with it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PlanRequestError("the plan cannot be read", where=str(path), got=error.strerror) from error
    return parse_plan(data, pipeline, str(path))


def parse_plan(data: bytes | str, pipeline: Pipeline, source: str = "plan") -> Plan:
    """`read_plan` from text; `source` names it in errors."""
    content = _decode(data, _FileEntry, source, "")
    prefix = "plan." if bytes(content.plan) else ""
    if prefix:
        content = _decode(content.plan, _FileEntry, source, "plan")
    if content.tasks is None:
        raise PlanRequestError(
            "there is no plan in this file",
            where=source,
            wanted="what `trimtab plan --json` prints, or its field `plan`",
        )
    wrong, tasks = list[PlanRequestError](), dict[str, TaskPlan]()
    for name in pipeline.tasks:
        where = f"{source}: {prefix}tasks.{name}"
        if name not in content.tasks:
            wrong.append(PlanRequestError("the plan leaves out this task of the pipeline", where=where))
            continue
        try:
            entry = _decode(content.tasks[name], _TaskEntry, source, where.removeprefix(f"{source}: "))
        except PlanRequestError as error:
            wrong.append(error)
            continue
        tasks[name] = entry.plan(name)
        wrong += _mistakes(entry, tasks[name], pipeline, where)
    unknown = [name for name in content.tasks if name not in pipeline.tasks]
    wrong += [_no_such("task", name, pipeline.tasks, f"{source}: {prefix}tasks.{name}") for name in unknown]
    if wrong:
        raise together(wrong)
    return Plan(tasks, content.rate_rps)


class _AllocationEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    variant: str
    replicas: Annotated[int, msgspec.Meta(ge=1)]
    cores: Annotated[int, msgspec.Meta(ge=1)]
    threads: Annotated[int, msgspec.Meta(ge=1)] = 1
    batch: Annotated[int, msgspec.Meta(ge=1)] = 1
    share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 1.0
    instance: str | None = None
    most: Annotated[int, msgspec.Meta(ge=1)] | None = None


class _TaskEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    allocations: Annotated[list[_AllocationEntry], msgspec.Meta(min_length=1)]
    task: str | None = None
    resident: list[str] | None = None
    may_use: list[str] = msgspec.field(default_factory=list)

    def plan(self, task: str) -> TaskPlan:
        allocations = tuple(Allocation(**msgspec.structs.asdict(entry)) for entry in self.allocations)
        resident = self.resident
        if resident is None:
            resident = list(dict.fromkeys(a.variant for a in allocations))
        return TaskPlan(task, allocations, tuple(resident), tuple(self.may_use))


class _FileEntry(msgspec.Struct, frozen=True):
    """The whole object, or its `plan`; what else they hold is not looked at."""

    plan: msgspec.Raw = msgspec.Raw()
    tasks: dict[str, msgspec.Raw] | None = None
    rate_rps: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0


def _decode(data: bytes | str | msgspec.Raw, kind: type[_T], source: str, field: str) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        where = f"{field}{path.removesuffix('`')}".lstrip(".")
        raise PlanRequestError(
            f"not a plan: {what[:1].lower()}{what[1:]}", where=f"{source}: {where}" if where else source
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PlanRequestError(
            "not a plan", where=source, got=str(error), wanted="JSON, as `trimtab plan --json` prints it"
        ) from None


def _mistakes(entry: _TaskEntry, plan: TaskPlan, pipeline: Pipeline, where: str) -> Iterator[PlanRequestError]:
    """What is wrong with the plan of a task beyond its form."""
    variants = pipeline.tasks[plan.task].variants
    if entry.task not in (None, plan.task):
        yield PlanRequestError("the plan stands under another task's name", where=f"{where}.task", got=entry.task)
    named = [(f"allocations[{i}].variant", a.variant) for i, a in enumerate(plan.allocations)]
    named += [(f"resident[{i}]", variant) for i, variant in enumerate(entry.resident or ())]
    for at, variant in named:
        if variant not in variants:
            yield _no_such("variant", variant, variants, f"{where}.{at}")
    for i, a in enumerate(plan.allocations):
        if a.variant not in plan.resident:
            yield PlanRequestError(
                "the variant that is allocated is not resident", where=f"{where}.resident", wanted=a.variant
            )
        if a.cores % a.threads:
            yield PlanRequestError(
                "the threads do not divide the cores",
                where=f"{where}.allocations[{i}]",
                got=f"{a.threads} threads on {a.cores} cores",
            )
        if a.batch_limit < a.batch:
            yield PlanRequestError(
                "the largest batch is smaller than the one that is planned with",
                where=f"{where}.allocations[{i}].most",
                got=f"{a.most}",
                wanted=f"at least {a.batch}, or null",
            )
    for i, variant in enumerate(plan.may_use):
        if variant not in plan.resident:
            yield PlanRequestError(
                "a variant that is not resident cannot be used", where=f"{where}.may_use[{i}]", got=variant
            )
    shares = math.fsum(a.share for a in plan.allocations)
    if abs(shares - 1.0) > _SHARES:
        yield PlanRequestError(
            "the shares of traffic make no whole", where=f"{where}.allocations", got=f"a sum of {shares:g}", wanted="1"
        )


def _no_such(what: str, name: str, known: Collection[str], where: str) -> PlanRequestError:
    close = difflib.get_close_matches(name, known, n=1)
    return PlanRequestError(
        f"the pipeline has no such {what}; is this the plan of another one?",
        where=where,
        got=name,
        wanted=f"one of {', '.join(known)}",
        next_step=f"did you mean '{close[0]}'?" if close else None,
    )
