"""Themis: cores change first, because that is quick; replicas follow. The variant is fixed.

While the load is carried (λ below the throughput of the plan in force), replicas of the fewest cores are what the plan
moves to: the *horizontal* programme is that of FA2 (`fa2`) for such replicas, a replica costing its memory in
GB + 18 · its cores. When the load is no longer carried, the *vertical* programme raises cores in place, at once:

    minimise Σ n · c   with   Σ over every path of l(b, c) + q(b) < SLO,   n · h(b, c) ≥ λ + √λ

for the replicas n that there are and no fewer cores than they have. Where no cores carry λ, the largest rate that they
carry is found by bisection, and ⌈rest / h⌉ more replicas start. A task at its most cores cannot grow: then the
horizontal programme is asked at once. Otherwise its plan is taken when the one in force has stood for `stable_s`; a
task whose cores shrink keeps one replica more than it asks for.

Source: Razavi et al., "Themis" (also Biscale), arXiv 2407.14843, and the program published with it, asked every 0.5 s.
l(b, c) is the fit of `instances` plus a tenth of l(1, 1). Published bounds are 4 cores and batches of 4.

Its binary LSTM says whether the next ten seconds will exceed the throughput; then the load counts as not carried
before it has risen. It is asked where `rise_chance` is set (published: 0.2). What comes with Trimtab was trained anew
(`forecast.exceed`) on loads of 30 to 390/s and misleads far from them, so by default only the rate of the request is
held against the throughput.

Ours: where new replicas have to start before old ones may shrink, the plan in between has two groups, the old ones as
they are and the new small ones, until the plant says that all are ready (published: the same, by waiting); plants that
do not let a task have two groups shrink at once. Cores are those measured, with as many threads as there are. Along a
DAG the latencies are those of `latency_budget`. Where all fails, replicas are as many as the limits leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from trimtab.forecast.exceed import themis
from trimtab.observe.model import Observation
from trimtab.plan.estimate import check_rate
from trimtab.plan.model import Plan, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.policies.base import Rhythm, result
from trimtab.plan.policies.pinned import fits, pinned_variants, pinned_visits
from trimtab.plan.policies.pipelines.seen import Standing
from trimtab.plan.policies.pipelines.sponge import instance_table
from trimtab.plan.policies.pipelines.themis_programmes import (
    Answer,
    Groups,
    Question,
    ThemisSettings,
    count,
    horizontal,
    vertical,
)
from trimtab.plan.policies.settings import override


class ThemisPolicy:
    """Vertical scaling in the short run, horizontal scaling in the long run."""

    name = "themis"
    decides = frozenset({"cores", "replicas", "batch"})
    defaults = ThemisSettings()
    rhythm = Rhythm(every_s=0.5, horizon_s=1.0, forecaster="last")

    def __init__(self, settings: ThemisSettings | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        self._settings = settings or self.defaults
        self._standing = Standing()
        self._ready: dict[str, int] = {}
        self._rise = themis()

    def observe(self, observation: Observation, plan: Plan) -> None:
        """Remember for how long the plan in force has stood, how many replicas are ready, and the load."""
        self._standing.observe(observation, plan)
        self._rise.observe(observation.arrivals)
        self._ready = {task: seen.replicas_ready for task, seen in observation.tasks.items()}

    def propose(self, request: PlanRequest) -> PlanResult:
        """The plan of the programme that the load calls for, or the one in force.

        Raises:
            PlanRequestError: the rate has no meaning, the settings do not fit the pipeline, a task was not measured, or
                the limits leave no room for one replica of every task.
        """
        check_rate(request.rate_rps)
        settings = override(self._settings, request.pipeline, self.name)
        asked = replace(request, arrival_scv=1.0, service_ratio={})
        variants = pinned_variants(asked, settings)
        tables = {
            task: instance_table(
                asked, task, v, settings.latency, settings.max_cores, settings.max_batch, settings.margin
            )
            for task, v in variants.items()
        }
        question = Question(asked, settings, variants, pinned_visits(asked, variants), tables)
        groups = _in_force(question)
        plans, feasible, reason = horizontal(question) if groups is None else self._next(question, groups)
        return result(
            self.name,
            asked,
            plans,
            feasible=feasible,
            reason=f"{reason} (latencies {settings.latency}, waiting as {settings.queueing})",
            latency_model="paper",
            objective=request.pipeline.objective,
        )

    def _next(self, question: Question, groups: Groups) -> Answer:
        """What follows on the plan in force."""
        request = question.request
        carried = min(
            sum(question.rate_of(task, group) for group in some) / question.visits[task]
            for task, some in groups.items()
        )
        at_most = any(max(g.cores for g in some) >= question.most(task) for task, some in groups.items())
        holds = request.rate_rps < carried
        chance = self._rise_chance(question, carried) if holds and not at_most else None
        if chance is not None:
            plans, feasible, reason = vertical(question, groups)
            return plans, feasible, f"more than {carried:.4g}/s within 10 s with probability {chance:.2f}; {reason}"
        if holds:
            return self._calm(question, groups)
        if not at_most:
            plans, feasible, reason = vertical(question, groups)
            return plans, feasible, f"the load is not carried; {reason}"
        plans, feasible, reason = horizontal(question, groups)
        if not feasible:
            return vertical(question, groups)
        return _in_between(question, groups, plans), True, f"some task has all the cores it can have; {reason}"

    def _rise_chance(self, question: Question, carried_rps: float) -> float | None:
        """P(more than what is carried within 10 s), where it is so high that the load counts as not carried."""
        least = question.settings.rise_chance
        chance = None if least is None else self._rise.probability(carried_rps)
        return chance if least is not None and chance is not None and chance > least else None

    def _calm(self, question: Question, groups: Groups) -> Answer:
        """Carried load: towards replicas of the fewest cores, when it is time."""
        current = question.request.current
        assert current is not None
        if any(len(some) > 1 for some in groups.values()):
            if any(task in self._ready and self._ready[task] < count(some) for task, some in groups.items()):
                return dict(current.tasks), True, "the load is carried; new replicas are not ready yet"
            return _merged(question, groups), True, "the new replicas are ready; the old ones shrink"
        plans, feasible, reason = horizontal(question, groups)
        stood_s = self._standing.stood_s(current)
        if not feasible or (stood_s is not None and stood_s < question.settings.stable_s):
            wait = f"the load is carried; nothing changes until the plan has stood {question.settings.stable_s:g} s"
            return dict(current.tasks), True, wait
        return _in_between(question, groups, plans), True, f"the load is carried; {reason}"


def _in_force(question: Question) -> Groups | None:
    """The groups of the plan in force; None where there is none, or not one of this policy's within the limits."""
    current = question.request.current
    if current is None or list(current.tasks) != list(question.tables) or not fits(question.request, current.tasks):
        return None
    groups = {task: plan.allocations for task, plan in current.tasks.items()}
    for task, some in groups.items():
        if any(g.variant != question.variants[task] or question.rate_of(task, g) == 0.0 for g in some):
            return None
    return groups


def _in_between(question: Question, groups: Groups, plans: Mapping[str, TaskPlan]) -> dict[str, TaskPlan]:
    """The old replicas as they are and the new ones beside them, for tasks that get both more and smaller replicas."""
    request, mixed = question.request, dict(plans)
    for task, plan in plans.items():
        (new,), old = plan.allocations, groups[task]
        if len(old) == 1 and old[0].cores > new.cores and new.replicas > old[0].replicas:
            both = (old[0], replace(new, replicas=new.replicas - old[0].replicas))
            rates = [question.rate_of(task, group) for group in both]
            shared = tuple(replace(g, share=r / sum(rates)) for g, r in zip(both, rates, strict=True))
            mixed[task] = replace(plan, allocations=shared)
    return mixed if fits(request, mixed) else dict(plans)


def _merged(question: Question, groups: Groups) -> dict[str, TaskPlan]:
    """All replicas of a task in the shape of its newest group."""
    return {
        task: TaskPlan(task, (replace(some[-1], replicas=count(some), share=1.0),), resident=(question.variants[task],))
        for task, some in groups.items()
    }
