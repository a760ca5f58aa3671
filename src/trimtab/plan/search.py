"""The best plan at one rate: options of every task to numbers, the exact solver over them, and back.

A task's options depend on its rate of items, and that on the variants of the tasks before it where fan-outs do. So the
tasks whose variants reach beyond themselves are *coupled*: for every *class* of their options (variants and shares)
that is fixed, what is left decomposes by task. The same is done for every task where accuracy is a table of whole
pipelines. Classes are taken in the order of what they could give at best, and the search ends when that is no more
than what is known.

With the `tail` model each yardstick of `plan.latency` makes latencies add up in its own way; the best plan over all of
them is the answer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from trimtab.errors import PlanRequestError
from trimtab.plan.accuracy import coupled_tasks, pipeline_accuracy
from trimtab.plan.latency import TOLERANCE, YARDSTICKS, is_within, path_latency
from trimtab.plan.model import Allocation, PlanRequest
from trimtab.plan.options import Options, Rules, options
from trimtab.plan.solve import (
    Cheapest,
    Choices,
    Floats,
    Goal,
    MostAccurate,
    Problem,
    Solution,
    Weighted,
    solve,
)
from trimtab.plan.solve.problem import Combine
from trimtab.plan.tables import Ints
from trimtab.spec.model import Objective, Pipeline

MOST_COMBINATIONS = 20_000
"""Combinations of classes looked at. Where there are more, mixes are left out, and what could be at most is the gap."""
_TIE = 1e-6
"""Batches decide between plans whose costs in money differ by less than this part of the largest."""

Rank = tuple[float, float, float]
"""What counts first, second and third; more is better."""
Classes = Mapping[str, int]
"""Coupled task → the class that is fixed."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """The options of one task that are open, for one yardstick."""

    options: Options
    chosen: Ints
    """Which of them."""
    latency_s: Floats

    def use(self, columns: Sequence[int]) -> Floats:
        """Shape (K, R): what each takes of some limited resources."""
        return np.asarray(self.options.uses[self.chosen][:, columns], dtype=np.float64)

    def cost(self, kind: str) -> Floats:
        """Shape (K,): cores, with what is held too much on average, or money per hour."""
        if kind == "money":
            return np.asarray(self.options.uses[self.chosen, 3], dtype=np.float64)
        return np.asarray(self.options.uses[self.chosen, 0] + self.options.rounding[self.chosen], dtype=np.float64)

    @property
    def batches(self) -> Floats:
        """Shape (K,)."""
        return np.asarray(self.options.batches[self.chosen], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A choice per task, and how good it is."""

    stages: Sequence[_Stage]
    solution: Solution
    rank: Rank
    gap: float
    """How much better what counts first could be, as proved."""

    @property
    def picks(self) -> list[tuple[Options, int]]:
        """For every task its options and the one that is chosen."""
        return [(s.options, int(s.chosen[i])) for s, i in zip(self.stages, self.solution.path, strict=True)]

    @property
    def spread_s(self) -> float:
        """√(Σ spread²) over all tasks."""
        return math.sqrt(sum(float(found.spread2[i]) for found, i in self.picks))

    def latency_s(self, pipeline: Pipeline) -> float:
        """That of the pipeline, as `plan.latency` states it."""
        terms = ((float(found.mean_s[i]), math.sqrt(float(found.spread2[i]))) for found, i in self.picks)
        return path_latency(pipeline, dict(zip(pipeline.tasks, terms, strict=True)))

    def allocations(self, pipeline: Pipeline) -> dict[str, tuple[Allocation, ...]]:
        """What was chosen."""
        return {task: found.allocations(i) for task, (found, i) in zip(pipeline.tasks, self.picks, strict=True)}


class Search:
    """One planning question at one rate. `run` answers it; then `gap` and `considered` say how."""

    def __init__(
        self,
        request: PlanRequest,
        rate_rps: float,
        objective: Objective,
        rules: Rules,
        lowest_rps: float | None = None,
    ) -> None:
        self._request, self._rate_rps, self._objective, self._rules = request, rate_rps, objective, rules
        self._lowest_rps = lowest_rps
        self._known: dict[tuple[str, float | None], Options | None] = {}
        self._shares: dict[str, dict[int, dict[str, float]]] = {}
        self._best: dict[str, tuple[Allocation, ...]] | None = None
        self._rank: Rank = (-math.inf, -math.inf, -math.inf)
        self._bound = -math.inf
        self._is_cut = False
        self.considered = 0
        """Options looked at."""

    @property
    def value(self) -> float:
        """What counts first of the answer."""
        return self._rank[0]

    @property
    def gap(self) -> float:
        """How much better what counts first could be at most, as proved; 0: the answer is optimal."""
        return max(0.0, self._bound - self._rank[0]) if self._best is not None else 0.0

    def run(self) -> dict[str, tuple[Allocation, ...]] | None:
        """The best allocations of every task; None where nothing holds the SLO within the limits.

        Raises:
            PlanRequestError: there are too many combinations of coupled variants to tell.
        """
        for classes in self._combinations():
            self._look_at(classes)
        if self._best is None and self._is_cut:
            raise PlanRequestError(
                "there are more combinations of coupled variants than can be looked at, and none of those held the SLO",
                where=f"pipeline {self._request.pipeline.name}",
                got=f"more than {MOST_COMBINATIONS}",
                next_step="plan without mixes, give fewer variants, or let fan-outs not depend on them",
            )
        return self._best

    def _combinations(self) -> Iterator[Classes]:
        """Classes of the coupled tasks, the most promising combination first, until none is worth a look."""
        per_task = []
        for task in coupled_tasks(self._request.pipeline):
            found = self._options(task, None)
            if found is None:
                return
            codes, at = np.unique(found.classes(), return_index=True)
            self._shares[task] = {int(c): found.shares(int(i)) for c, i in zip(codes, at, strict=True)}
            per_task.append([(task, int(c)) for c in codes])
        if not per_task:
            yield {}
            return
        bound = self._bounds()
        if math.prod(map(len, per_task)) > MOST_COMBINATIONS:
            # A mix is no more accurate than the better of its variants, so those without mixes bound all others.
            per_task = [[(t, c) for t, c in some if len(self._shares[t][c]) == 1] for some in per_task]
            self._is_cut = True
        tried = itertools.islice(itertools.product(*per_task), MOST_COMBINATIONS)
        ranked = [(bound(classes), classes) for classes in map(dict, tried)]
        ranked.sort(key=lambda item: -item[0])
        if self._is_cut:
            self._bound = self._ceiling()
        for most, classes in ranked:
            if math.isinf(most) or self._is_beaten(most):
                return
            yield classes

    def _ceiling(self) -> float:
        """What counts first, if every task had its most accurate variant and nothing had a cost."""
        pipeline, objective = self._request.pipeline, self._objective
        if objective.kind == "cheapest":
            return 0.0
        found = [self._options(task, None) for task in pipeline.tasks]
        each = [float(o.accuracy.max()) for o in found if o is not None]
        most = math.fsum(each) if pipeline.accuracy.kind == "rank-sum" else math.prod(each)
        if pipeline.accuracy.kind == "measured":
            most = max(pipeline.accuracy.table.values())
        return most * (objective.alpha if objective.kind == "weighted" else 1.0)

    def _bounds(self) -> Callable[[Classes], float]:
        """From classes to the most that what counts first can be with them; -inf: the floor is out of reach."""
        pipeline, objective = self._request.pipeline, self._objective
        best: dict[str, float] = {}
        of_class: dict[str, dict[int, float]] = {}
        for task in pipeline.tasks:
            found = self._options(task, None)
            best[task] = float(found.accuracy.max()) if found is not None else 0.0
            if found is not None and task in self._shares:
                of_class[task] = dict(zip(found.classes().tolist(), found.accuracy.tolist(), strict=True))

        def accuracy(classes: Classes) -> float:
            if pipeline.accuracy.kind == "measured":
                return pipeline_accuracy(pipeline, self._shares_of(classes))
            each = [of_class[t][classes[t]] if t in classes else best[t] for t in pipeline.tasks]
            return math.prod(each) if pipeline.accuracy.kind == "product" else math.fsum(each)

        def bound(classes: Classes) -> float:
            most = accuracy(classes)
            if objective.kind == "cheapest":
                return 0.0 if most >= (objective.accuracy_floor or 0.0) * (1.0 - TOLERANCE) else -math.inf
            return most * (objective.alpha if objective.kind == "weighted" else 1.0)

        return bound

    def _shares_of(self, classes: Classes) -> dict[str, dict[str, float]]:
        return {task: self._shares[task][code] for task, code in classes.items()}

    def _look_at(self, classes: Classes) -> None:
        """Solve what is left when the coupled tasks' classes are fixed; keep it if it is the best."""
        pipeline = self._request.pipeline
        shares = self._shares_of(classes)
        visits = pipeline.visits(shares)
        tasks: list[tuple[Options, Ints]] = []
        for task in pipeline.tasks:
            found = self._options(task, visits[task])
            if found is None:
                return
            fine = found.classes() == classes[task] if task in classes else np.ones(len(found.groups), dtype=np.bool_)
            if not fine.any():
                return
            tasks.append((found, np.flatnonzero(fine)))
        self.considered += sum(chosen.size for _, chosen in tasks)
        measured = pipeline_accuracy(pipeline, shares) if pipeline.accuracy.kind == "measured" else None
        slo_s = pipeline.slo.latency_s * (1.0 + TOLERANCE / 2.0)
        # Of L tasks on a path √(Σ spread²) is at least Σ spread/√L, so this answer is at least as good as any.
        deepest = math.sqrt(_depth(pipeline))
        outlook = self._solve(tasks, lambda o: o.mean_s + np.sqrt(o.spread2) / deepest, slo_s, measured)
        if outlook is None:
            return
        if is_within(outlook.latency_s(pipeline), pipeline.slo.latency_s):
            self._keep(outlook)
            return
        likely_s = max(outlook.spread_s, YARDSTICKS[-1] * slo_s)
        for share in sorted(YARDSTICKS, key=lambda y: abs(math.log(max(y, YARDSTICKS[-1] / 2.0) * slo_s / likely_s))):
            yardstick_s = share * pipeline.slo.latency_s
            latency = partial(Options.latency_s, yardstick_s=yardstick_s)
            answer = self._solve(tasks, latency, slo_s - yardstick_s / 2.0, measured)
            if answer is not None:
                self._keep(answer)
            if self._best is not None and not _is_better(outlook.rank, self._rank):
                return

    def _solve(
        self,
        tasks: Sequence[tuple[Options, Ints]],
        latency: Callable[[Options], Floats],
        left_s: float,
        measured: float | None,
    ) -> _Answer | None:
        """The best choice per task for one way in which latencies add up; None where nothing is better than the best.

        `measured` is the accuracy of the fixed classes where only whole pipelines were measured.
        """
        stages = []
        for found, chosen in tasks:
            latency_s = latency(found)[chosen]
            fine = latency_s <= left_s
            if not fine.any():
                return None
            stages.append(_Stage(found, chosen[fine], latency_s[fine]))
        objective = self._objective
        costs = [stage.cost(objective.cost) for stage in stages]
        batches = [stage.batches for stage in stages]
        scale = 1.0 if measured is None else measured
        combine: Combine = "sum" if self._request.pipeline.accuracy.kind == "rank-sum" else "product"
        if objective.kind == "weighted":
            loads = [stage.options.load_s[stage.chosen] for stage in stages]
            paid = [
                objective.beta * cost + objective.gamma * load + objective.delta * batch
                for cost, load, batch in zip(costs, loads, batches, strict=True)
            ]
            alpha = objective.alpha * scale
            best = _best_of(self._request, combine, stages, paid, left_s, Weighted(alpha), self._to_beat())
            return (
                None if best is None else _Answer(stages, best, (alpha * best.accuracy - best.cost, 0.0, 0.0), best.gap)
            )
        if objective.kind == "accurate-under-budget":
            small = _small(costs, batches, objective.cost)
            paid = [cost + small * batch for cost, batch in zip(costs, batches, strict=True)]
            if measured is not None and self._is_beaten(measured):
                return None
            to_beat = self._to_beat() if measured is None else None
            best = _best_of(self._request, combine, stages, paid, left_s, MostAccurate(), to_beat)
            return (
                None
                if best is None
                else _Answer(stages, best, (scale * best.accuracy, -best.cost, 0.0), scale * best.gap)
            )
        floor = (objective.accuracy_floor or 0.0) if measured is None else 0.0
        least = _best_of(self._request, combine, stages, costs, left_s, Cheapest(floor), self._to_beat())
        if least is None:
            return None
        # Of the cheapest plans the most accurate one, and of those the one of the smallest batches.
        ceiling = (costs, least.cost)
        best = _best_of(self._request, combine, stages, batches, left_s, MostAccurate(), None, ceiling) or least
        return _Answer(stages, best, (-least.cost, scale * best.accuracy, -_sum(batches, best.path)), least.gap)

    def _keep(self, found: _Answer) -> None:
        if found.gap > 0.0:
            self._bound = max(self._bound, found.rank[0] + found.gap)
        if self._best is None or _is_better(found.rank, self._rank):
            self._rank, self._best = found.rank, found.allocations(self._request.pipeline)

    def _to_beat(self) -> float | None:
        """What counts first of the best so far, less rounding, since a tie may still be better in what counts next."""
        return None if self._best is None else self._rank[0] - TOLERANCE * max(1.0, abs(self._rank[0]))

    def _is_beaten(self, most: float) -> bool:
        """Whether what counts first is no match for the best so far if it is `most` at best."""
        to_beat = self._to_beat()
        return to_beat is not None and most < to_beat

    def _worth(self) -> tuple[float, float]:
        """What a core and one more in a batch count for; without weights batches decide between equal costs alone."""
        objective = self._objective
        if objective.kind != "weighted":
            return 1.0, 0.0
        price = 1.0 if objective.cost == "cores" else (self._request.pipeline.prices.core_hour or 0.0)
        return objective.beta * price, objective.delta

    def _options(self, task: str, visits: float | None) -> Options | None:
        """Those at the rate asked for, or with `visits` None those of a lone request, which have every class."""
        key = (task, visits)
        if key not in self._known:
            if visits is None:
                self._known[key] = options(self._request, task, 0.0, 1.0, self._rules, every_class=True)
            else:
                self._known[key] = options(
                    self._request,
                    task,
                    self._rate_rps,
                    visits,
                    self._rules,
                    lowest_rps=self._lowest_rps,
                    every_class=task in self._shares,
                    worth=self._worth(),
                )
        return self._known[key]


def fastest(request: PlanRequest, rules: Rules) -> dict[str, tuple[Allocation, ...]] | None:
    """The least sum of the tasks' latencies for a lone request, whatever the SLO; None where nothing fits the
    limits.
    """
    visits = request.pipeline.visits()
    stages = []
    for task in request.pipeline.tasks:
        found = options(request, task, 0.0, visits[task], rules)
        if found is None:
            return None
        total_s = found.mean_s + np.sqrt(found.spread2)
        stages.append(_Stage(found, np.arange(total_s.size), total_s))
    # e^(-latency) multiplies where latency adds, and ranks the same way.
    scale_s = sum(float(stage.latency_s.max()) for stage in stages) or 1.0
    speedy = [
        _Stage(replace(stage.options, accuracy=np.exp(-stage.latency_s / scale_s)), stage.chosen, stage.latency_s)
        for stage in stages
    ]
    best = _best_of(request, "product", speedy, [stage.cost("cores") for stage in stages], scale_s, MostAccurate())
    if best is None:
        return None
    return {
        task: stage.options.allocations(i)
        for task, stage, i in zip(request.pipeline.tasks, stages, best.path, strict=True)
    }


def _best_of(
    request: PlanRequest,
    combine: Combine,
    stages: Sequence[_Stage],
    paid: Sequence[Floats],
    left_s: float,
    goal: Goal,
    to_beat: float | None = None,
    ceiling: tuple[Sequence[Floats], float] | None = None,
) -> Solution | None:
    """The solver's answer within all limits; `ceiling` is one more, on sums of the costs that it holds."""
    limits = request.limits
    bounds = [limits.cores, limits.memory_bytes, limits.replicas, limits.cost_per_hour]
    columns = [i for i, bound in enumerate(bounds) if bound is not None and bound < math.inf]
    most = [float(bounds[i] or 0.0) for i in columns]
    uses = [stage.use(columns) for stage in stages]
    if ceiling is not None:
        most.append(ceiling[1])
        uses = [np.column_stack([use, cost]) for use, cost in zip(uses, ceiling[0], strict=True)]
    problem = Problem(
        choices=tuple(
            Choices(stage.options.accuracy[stage.chosen], stage.latency_s, cost, use)
            for stage, cost, use in zip(stages, paid, uses, strict=True)
        ),
        after=_after(request.pipeline),
        latency_s=left_s,
        limits=np.array(most) * (1.0 + TOLERANCE),
        combine=combine,
    )
    return solve(problem, goal, beat=to_beat)


def _depth(pipeline: Pipeline) -> int:
    """The most tasks on a path."""
    depth: dict[str, int] = {}
    for name, task in pipeline.tasks.items():
        depth[name] = 1 + max((depth[e.upstream] for e in task.after), default=0)
    return max(depth.values())


def _after(pipeline: Pipeline) -> tuple[tuple[int, ...], ...]:
    place = {name: i for i, name in enumerate(pipeline.tasks)}
    return tuple(tuple(place[edge.upstream] for edge in task.after) for task in pipeline.tasks.values())


def _small(costs: Sequence[Floats], batches: Sequence[Floats], kind: str) -> float:
    """What one more in a batch costs, so that all batches together weigh less than any difference in cost that
    counts.
    """
    together = 1.0 + sum(float(batch.max()) for batch in batches)
    if kind == "cores":
        return 1.0 / together
    return _TIE * sum(float(cost.max()) for cost in costs) / together


def _sum(columns: Sequence[Floats], path: Sequence[int]) -> float:
    return math.fsum(float(column[i]) for column, i in zip(columns, path, strict=True))


def _is_better(rank: Rank, than: Rank) -> bool:
    """Whether it is better by more than rounding in the first criterion in which they differ."""
    for one, other in zip(rank, than, strict=True):
        if abs(one - other) > TOLERANCE * max(abs(one), abs(other)):
            return one > other
    return False
