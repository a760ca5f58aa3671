"""Sponge: one replica per task, whose cores and batch follow the rate; the variant is fixed.

Once a second, for cores from few to many and for batches from small to large, the arrivals of one second are thought to
be there at once and are drained in batches. The first (cores, batch) is taken for which every batch i is in time:

    start_i + l(b, c) + network ≤ 0.9 · SLO,     start_i = ⌊i / slots⌋ · l(b, c),     i = 0 … ⌈λ / b⌉ - 1

with λ the items of the second, l the latency at the SLO's quantile and slots the batches that the replica serves at
once (1 in the paper, where every inference has all cores). So a replica has to be fast enough to drain a second's
arrivals within the SLO, which is a lot of headroom where the SLO is short.

Source: Razavi et al., "Sponge: Inference Serving with Dynamic SLOs Using In-Place Vertical Scaling", EuroMLSys 2024,
and the program published with it (cores 1 to 16, batches up to 8 or 16, every second). Its l(b, c) is the fit that
`instances` states; `latency: measured` reads the profile in its place. It also reorders requests by the budget
that the network left them; here that is the dispatcher's, and `network_s` is the longest time on the network.

Published for a single task. Ours: with several, each gets a part of the SLO in proportion to its time on its fastest
shape (`policies.fixed.slo_parts`); cores and batches are those measured; a replica of a capacity table drains its rate,
if the table's latency is within the time; where one second cannot be drained, or where
cores are short, the task that drains the smallest share of its items in time gets the next larger replica until the
limits are reached, and the plan is called infeasible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import check_rate
from trimtab.plan.model import Allocation, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.policies.base import Rhythm, result
from trimtab.plan.policies.fixed import ceil, measured_shapes, slo_parts
from trimtab.plan.policies.pinned import PinnedSettings, check_positive, fits, pinned_variants, pinned_visits
from trimtab.plan.policies.pipelines.instances import Instance, fit_latency, instances
from trimtab.plan.policies.settings import override

_ROUNDING = 1e-9
"""Relative rounding that times are forgiven."""


@dataclass(frozen=True, slots=True)
class SpongeSettings(PinnedSettings):
    """What bounds the choice; the published values are stated with each field."""

    latency: Literal["fitted", "measured"] = "fitted"
    """Where l(b, c) comes from."""
    max_cores: int | None = None
    """Most cores of a replica. Published: 16. None: the most measured."""
    max_batch: int | None = None
    """Largest batch. Published: 8 or 16. None: the largest measured."""
    slo_share: float = 0.9
    """The part of the SLO within which a second's arrivals have to be drained."""
    network_s: float = 0.0
    """Longest time that a request spends on the network."""

    def __post_init__(self) -> None:
        check_positive(max_cores=self.max_cores, max_batch=self.max_batch, slo_share=self.slo_share)
        if self.slo_share > 1.0 or not 0.0 <= self.network_s < float("inf"):
            raise ValueError(
                f"slo_share is {self.slo_share}, wanted up to 1; network_s is {self.network_s}, wanted 0 up"
            )


@dataclass(frozen=True, slots=True)
class _Option:
    """A replica of a task, and how much of a second it drains in time."""

    instance: Instance
    drained: float
    """Share of the items; 1: all."""


class SpongePolicy:
    """The smallest replica that drains a second's arrivals in time."""

    name = "sponge"
    decides = frozenset({"cores", "batch"})
    defaults = SpongeSettings()
    rhythm = Rhythm(every_s=1.0, horizon_s=1.0, forecaster="last")

    def __init__(self, settings: SpongeSettings | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        self._settings = settings or self.defaults

    def propose(self, request: PlanRequest) -> PlanResult:
        """One replica of every task.

        Raises:
            PlanRequestError: the rate has no meaning, the settings do not fit the pipeline, a task was not measured, or
                the limits leave no room for one replica of every task.
        """
        check_rate(request.rate_rps)
        settings = override(self._settings, request.pipeline, self.name)
        question = replace(request, arrival_scv=1.0, service_ratio={})
        variants = pinned_variants(question, settings)
        visits, parts = pinned_visits(question, variants), slo_parts(question, settings.fixed())
        options = {}
        for task, variant in variants.items():
            allowed_s = settings.slo_share * parts[task] - settings.network_s
            table = instance_table(question, task, variant, settings.latency, settings.max_cores, settings.max_batch)
            options[task] = _ascending(table, question.rate_rps * visits[task], allowed_s)
        picks = _within_limits(question, variants, options)
        drained = min(option.drained for option in picks.values())
        reason = "the smallest replicas that drain a second's arrivals in time"
        if drained < 1.0:
            reason = f"{100.0 * drained:.3g} % of a second's arrivals are drained in time, all that can be"
        return result(
            self.name,
            question,
            _plans(variants, picks),
            feasible=drained >= 1.0,
            reason=f"{reason} (latencies {settings.latency})",
            latency_model="paper",
            objective=request.pipeline.objective,
        )


def instance_table(
    request: PlanRequest,
    task: str,
    variant: str,
    latency: Literal["fitted", "measured"],
    max_cores: int | None,
    max_batch: int | None,
    margin: float = 0.0,
) -> list[Instance]:
    """Every replica of up to `max_cores` cores, one shape for each number of cores: that with most threads.

    Args:
        request: for profile, SLO and core limit.
        task: which one.
        variant: of the task.
        latency: where l comes from.
        max_cores: the smallest measured replica is there even if it has more.
        max_batch: as `instances`.
        margin: of a fit: this part of l(1, 1) is added to every latency (Themis: 0.1).
    """
    shapes = measured_shapes(request, task, variant)
    threads = dict(shapes)  # ascending in threads, so the last one stays
    allowed = [(c, threads[c]) for c in threads if max_cores is None or c <= max_cores]
    allowed = allowed or [next(iter(threads.items()))]
    if latency == "measured":
        return instances(request, task, variant, allowed, max_batch=max_batch)
    fit = fit_latency(request.profile.variants[task][variant], shapes, request.pipeline.slo.quantile)
    extra_s = 0.0 if fit is None else margin * fit.seconds(1, 1)
    return instances(request, task, variant, allowed, max_batch=max_batch, fit=fit, extra_s=extra_s)


def drained_share(instance: Instance, items: float, allowed_s: float) -> float:
    """Share of a second's `items` that the replica has answered within `allowed_s`, when all come at once."""
    if instance.by_table:
        in_time = instance.latency_s <= allowed_s * (1.0 + _ROUNDING)
        return min(1.0, instance.rate / items if items > 0.0 else 1.0) if in_time else 0.0
    batches = max(1, ceil(items / instance.batch))
    slots = instance.cores // instance.threads
    # Batches up to the last whole round in time; rounding of times is forgiven.
    rounds = int(allowed_s / instance.latency_s * (1.0 + _ROUNDING))
    return min(1.0, max(0, rounds) * slots / batches)


def _ascending(table: list[Instance], items: float, allowed_s: float) -> list[_Option]:
    """The options worth a thought: each drains more than all of fewer cores; the last one drains all, if any does.

    Where none drains anything in time, the smallest and the fastest replica.
    """
    options: list[_Option] = []
    for instance in sorted(table, key=lambda i: (i.cores, i.batch)):
        share = drained_share(instance, items, allowed_s)
        if not options or share > options[-1].drained:
            if options and options[-1].instance.cores == instance.cores:
                options.pop()
            options.append(_Option(instance, share))
    if options[-1].drained == 0.0:
        fastest = min(table, key=lambda i: (i.latency_s / i.batch, i.cores))
        if fastest.cores > options[0].instance.cores:
            options.append(_Option(fastest, 0.0))
    return options


def _within_limits(
    request: PlanRequest, variants: Mapping[str, str], options: Mapping[str, list[_Option]]
) -> dict[str, _Option]:
    """Task → its option: the first that drains all, or as far as the limits go."""
    wanted = {task: len(some) - 1 for task, some in options.items()}
    picks = {task: options[task][last] for task, last in wanted.items()}
    if fits(request, _plans(variants, picks)):
        return picks
    at = dict.fromkeys(options, 0)
    picks = {task: options[task][0] for task in options}
    if not fits(request, _plans(variants, picks)):
        raise PlanRequestError(
            "the limits leave no room for one replica of every task",
            where=f"pipeline {request.pipeline.name}",
            got=f"{request.limits.cores:g} cores",
            wanted=f"at least {sum(p.instance.cores for p in picks.values())} for the smallest replicas",
            next_step="raise the budget, or give the policy's settings lighter `variants`",
        )
    open_tasks = [task for task in options if at[task] < wanted[task]]
    while open_tasks:
        task = min(open_tasks, key=lambda t: picks[t].drained)
        larger = {**picks, task: options[task][at[task] + 1]}
        if not fits(request, _plans(variants, larger)):
            open_tasks.remove(task)
            continue
        picks, at[task] = larger, at[task] + 1
        if at[task] == wanted[task]:
            open_tasks.remove(task)
    return picks


def _plans(variants: Mapping[str, str], picks: Mapping[str, _Option]) -> dict[str, TaskPlan]:
    return {
        task: TaskPlan(
            task,
            (Allocation(variants[task], 1, p.instance.cores, p.instance.threads, p.instance.batch),),
            resident=(variants[task],),
        )
        for task, p in picks.items()
    }
