"""InfAdapter and its baseline MS+: a set of variants, cores for each, and the traffic of each, for one task.

    maximise  α·AA - (β·RC/B + γ·LC/max rt)

AA is the accuracy, weighted with the traffic; RC the cores; B the budget of cores; LC the longest load time rt of the
variants that are new or change their size, and max rt that of all variants. The set carries the rate λ: Σ th(n) ≥ λ
(`table`). The most accurate variant gets all it can carry, then the next one. Every variant of the
set is one replica that serves one request at a time on each thread.

Source: Salmani et al., "Reconciling High Accuracy, Cost-Efficiency, and Low Latency of Inference Serving Systems",
EuroMLSys 2023, and the program published with it, whose normalisations by B and max rt these are. A replica that
shrinks loads anew, as there; `load_s` of the estimate, which is common to all policies, takes that to be free. The
objective's parts are AA (`accuracy`), RC (`cores`), RC/B (`cost`), LC (`load_s`) and LC/max rt (`load`).

The published controller asks every 30 s, for 1.1 times a forecast, and skips up to four plans in a row that are for
less load. All three are the policy's `rhythm`, which the control loop follows: `rate_rps` is the rate planned for.

Ours: all limits of the request hold. Where nothing carries the rate, the answer is the best of the sets that carry
most. At a rate of 0 the plan is the one for a lone request. There is no batching, no stepping down, no correction by
what is measured live.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import check_rate
from trimtab.plan.model import Allocation, ObjectiveValue, PlanRequest, PlanResult, Step, TaskPlan
from trimtab.plan.policies.base import Rhythm, result
from trimtab.plan.policies.infadapter.problem import Question, make_question
from trimtab.plan.policies.infadapter.settings import InfAdapterSettings
from trimtab.plan.policies.infadapter.table import capacity_table
from trimtab.plan.policies.settings import override
from trimtab.plan.solve.sets import greedy_quotas, most_carried, set_value, solve_sets
from trimtab.spec.model import Objective


@dataclass(frozen=True, slots=True)
class Answer:
    """A set of variants."""

    picks: tuple[int, ...]
    """For each variant of the table the index of its size; -1 where it is not in the set."""
    carried: float
    """What the quotas sum to, requests per second."""
    reason: str
    feasible: bool = True
    gap: float = 0.0


class InfAdapterPolicy:
    """The exact optimum of InfAdapter's objective."""

    name = "infadapter"
    decides = frozenset({"variant", "cores"})
    defaults = InfAdapterSettings()
    rhythm = Rhythm(every_s=30.0, horizon_s=60.0, margin=0.1, forecaster="ewm", skips=4)
    """As published, but for the forecaster: the one that it falls back to without its LSTM."""
    exact = False
    """Whether the published integer programme's error is kept: all variants but the least accurate one must not be able
    to carry more than the rate."""

    def __init__(self, settings: InfAdapterSettings | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        self._settings = settings or self.defaults

    def propose(self, request: PlanRequest) -> PlanResult:
        """InfAdapter's optimum; what is answered where nothing carries the rate is said above.

        Raises:
            PlanRequestError: the rate has no meaning, the pipeline has several tasks, the settings are wrong, nothing
                was measured that may be used, or the limits leave no room for any replica.
        """
        check_rate(request.rate_rps)
        settings = override(self._settings, request.pipeline, self.name)
        task = _only_task(request, self.name)
        asked = replace(request, arrival_scv=1.0, service_ratio={})
        table, notes = capacity_table(asked, task, settings)
        question = make_question(asked, task, settings, table, exact=self.exact)
        answer = self._answer(question)
        return _judged(self.name, asked, task, settings, question, answer, notes)

    def _answer(self, question: Question) -> Answer:
        best = solve_sets(question.problem)
        if best is not None:
            return Answer(best.picks, question.problem.demand, "best by InfAdapter's objective", gap=best.gap)
        carried = most_carried(question.problem)
        # Sums of rates that are no whole numbers depend on their order.
        least_bad = None if carried == 0.0 else replace(question.problem, demand=carried * (1.0 - 1e-12))
        best = None if least_bad is None else solve_sets(least_bad)
        if best is None:
            raise _no_room(question)
        reason = f"no set carries this rate; this is the best of those that carry {carried:g}/s, the most possible"
        return Answer(best.picks, carried, reason, feasible=False, gap=best.gap)


class InfAdapterAsCodedPolicy(InfAdapterPolicy):
    """What the published integer programme computes, with its error; where it is infeasible, as published."""

    name = "infadapter-as-coded"
    exact = True

    def _answer(self, question: Question) -> Answer:
        best = solve_sets(question.problem)
        if best is not None:
            reason = "best by InfAdapter's objective, as coded"
            return Answer(best.picks, question.problem.demand, reason, gap=best.gap)
        return _fallback(question)


class MsPlusPolicy(InfAdapterPolicy):
    """MS+, Model-Switching (Zhang et al., HotCloud 2020) as InfAdapter's authors extend it: one variant at a time.

    Every variant is considered in the smallest size that carries the rate, up to the one that the most accurate variant
    needs if it can carry the rate; the best by InfAdapter's objective is taken.
    """

    name = "ms+"

    def _answer(self, question: Question) -> Answer:
        problem = question.problem
        smallest = {}
        for m, entry in enumerate(question.table):
            enough = (i for i, s in enumerate(entry.sizes) if s.rate_rps >= problem.demand and question.has_room(m, i))
            smallest[m] = next(enough, None)
        accurate = smallest[0]
        most = question.budget if accurate is None else question.table[0].sizes[accurate].cores
        # Of equal objectives the fewest cores, then the most accurate.
        sets = [
            (set_value(problem, question.alone(m, i)), -question.table[m].sizes[i].cores, -m, question.alone(m, i))
            for m, i in smallest.items()
            if i is not None and question.table[m].sizes[i].cores <= most
        ]
        if not sets:
            return _fallback(question)
        return Answer(max(sets)[-1], problem.demand, "best single variant by InfAdapter's objective")


def _only_task(request: PlanRequest, policy: str) -> str:
    tasks = list(request.pipeline.tasks)
    if len(tasks) != 1:
        raise PlanRequestError(
            f"{policy} plans a single task",
            where=f"pipeline {request.pipeline.name}",
            got=f"{len(tasks)} tasks: {', '.join(tasks)}",
            wanted="a pipeline of one task",
            next_step="use another policy, such as trimtab or ipa",
        )
    return tasks[0]


def _fallback(question: Question) -> Answer:
    """As published where nothing is feasible: the least accurate variant on as many cores as it can have."""
    for m in range(len(question.table) - 1, -1, -1):
        for i in range(len(question.table[m].sizes) - 1, -1, -1):
            if question.has_room(m, i):
                carried = min(question.problem.demand, question.table[m].sizes[i].rate_rps)
                reason = "infeasible; as published, the least accurate variant gets all cores"
                return Answer(question.alone(m, i), carried, reason, feasible=False)
    raise _no_room(question)


def _judged(
    policy: str,
    request: PlanRequest,
    task: str,
    settings: InfAdapterSettings,
    question: Question,
    answer: Answer,
    notes: Sequence[str],
) -> PlanResult:
    """The result, with InfAdapter's own objective."""
    quotas = greedy_quotas(replace(question.problem, demand=answer.carried), answer.picks)
    groups = [
        Allocation(entry.variant, 1, entry.sizes[i].cores, entry.sizes[i].threads, 1, share=quota / answer.carried)
        for entry, i, quota in zip(question.table, answer.picks, quotas, strict=True)
        if i >= 0
    ]
    weights = f"α {settings.alpha:g}, β {settings.beta:g} of {question.budget} cores, γ {settings.gamma:g}"
    outcome = result(
        policy,
        request,
        {task: TaskPlan(task, tuple(groups), tuple(group.variant for group in groups))},
        feasible=answer.feasible,
        reason=f"{answer.reason} ({weights}, capacity × {settings.capacity_factor:g} {settings.capacity})",
        latency_model="paper",
        objective=Objective("weighted", settings.alpha, settings.beta / question.budget, delta=0.0),
        notes=tuple(notes),
    )
    if answer.feasible and not outcome.feasible:
        note = "the planned capacities carry this rate within the SLO; what was measured of these replicas does not"
        outcome = replace(outcome, steps=(*outcome.steps, Step("propose", "note", note)))
    accuracy = sum(q * entry.accuracy for entry, q in zip(question.table, quotas, strict=True)) / answer.carried
    load_s = question.load_s(answer.picks)
    parts = {
        "accuracy": accuracy,
        "cost": outcome.plan.cores / question.budget,
        "load_s": load_s,
        "load": load_s / (question.longest_load_s or 1.0),
    }
    value = settings.alpha * accuracy - settings.beta * parts["cost"] - settings.gamma * parts["load"]
    objective = ObjectiveValue("weighted", value, {**outcome.objective.parts, **parts})
    return replace(outcome, objective=objective, gap=answer.gap)


def _no_room(question: Question) -> PlanRequestError:
    return PlanRequestError(
        "the limits leave no room for one replica of any variant",
        where=f"variants {', '.join(entry.variant for entry in question.table)}",
        got=f"{question.budget} cores; memory and money: {', '.join(f'{x:g}' for x in question.problem.limits)}",
        next_step="raise the budget of memory or money",
    )
