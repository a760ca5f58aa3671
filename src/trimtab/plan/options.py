"""What a task could get at a rate: every group of replicas and every mix of two within the profile and the limits.

Only known shapes and measured batch sizes are offered. Replicas run from the fewest that keep up to the number beyond
which nobody waits, for more would cost and change nothing. A mix shares traffic in multiples of one over
`Planning.share_steps`; its mean and its spread are the larger ones of its groups.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import PlanRequestError
from trimtab.plan.accuracy import variant_scores
from trimtab.plan.groups import list_groups, list_pairs, undominated
from trimtab.plan.latency import TOLERANCE, Tail, item_scv, ratio_of, width_of
from trimtab.plan.model import Allocation, LatencyModel, PlanRequest, TaskPlan
from trimtab.plan.pooling import with_pools
from trimtab.plan.prices import SERVERLESS, cost_table, is_serverless, serverless_cost_per_hour
from trimtab.plan.switching import replicas_there
from trimtab.plan.tables import Floats, Ints, TaskTable, task_table

_MANY = 2**62


@dataclass(frozen=True, slots=True)
class Rules:
    """What a policy lets options be."""

    latency_model: LatencyModel
    utilisation_cap: float = 1.0
    """Largest share of a task's capacity that may be planned to be used."""
    variants: Mapping[str, Collection[str]] | None = None
    """Task → variants to choose from; None: all."""
    mix: int = 1
    """Most groups of a task, 1 or 2."""
    pooled: bool = False
    """Whether groups step down (`plan.pool`): their accuracy is that of a mix, and they hold the request's surge."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one task at one rate: K of them, of one group or two out of G."""

    table: TaskTable
    shape: Ints
    """Shape (G,): which of the table's shapes."""
    replicas: Ints
    """Shape (G,)."""
    batch: Ints
    """Shape (G,): batch limit."""
    share: Floats
    """Shape (G,): of the task's traffic."""
    groups: Ints
    """Shape (K, 2): first and second group; the second is -1 where there is but one."""
    mean_s: Floats
    """Shape (K,): mean time from arrival to answer."""
    spread2: Floats
    """Shape (K,): squared spread, seconds²."""
    accuracy: Floats
    """Shape (K,): the traffic-weighted mean of what the variants bring to the pipeline's accuracy."""
    uses: Floats
    """Shape (K, 4): cores, bytes, replicas and money per hour (0 where nothing has a price)."""
    load_s: Floats
    """Shape (K,): what a change from the plan in force waits for."""
    batches: Floats
    """Shape (K,): sum of the batch limits."""
    rounding: Floats
    """Shape (K,): cores held beyond need, on average, when cores follow the load in place: replicas of a group grow and
    shrink together, by a step of a core each, and half a step more than that of a single replica is too much."""
    size: Ints
    """Shape (K,): memory of one replica, bytes; in a mix it holds both variants."""
    rented: Mapping[int, list[str | None]]
    """Memory of a replica → for each group what it is rented as then; empty where nothing has a price."""

    def latency_s(self, yardstick_s: float) -> Floats:
        """Shape (K,): what each adds to a path's latency for one yardstick (`plan.latency`)."""
        if yardstick_s > 0.0:
            return np.asarray(self.mean_s + self.spread2 / (2.0 * yardstick_s), dtype=np.float64)
        return np.where(self.spread2 > 0.0, np.inf, self.mean_s)

    def shares(self, option: int) -> dict[str, float]:
        """Variant → share of the traffic."""
        groups = [g for g in self.groups[option] if g >= 0]
        return {self.table.variants[self.table.variant[self.shape[g]]]: float(self.share[g]) for g in groups}

    def classes(self) -> Ints:
        """Shape (K,): a number for its variants and their shares, the same at every rate."""
        variants = len(self.table.variants)
        variant = self.table.variant[self.shape]
        first, second = self.groups[:, 0], self.groups[:, 1]
        partner = np.where(second >= 0, variant[second], variants)
        thousandths = np.rint(1000.0 * self.share[first]).astype(np.int64)
        return np.asarray((thousandths * (variants + 1) + partner) * variants + variant[first], dtype=np.int64)

    def allocations(self, option: int) -> tuple[Allocation, ...]:
        """What an option stands for, the group with more traffic first."""
        groups = sorted((int(g) for g in self.groups[option] if g >= 0), key=lambda g: (-self.share[g], g))
        rented = self.rented.get(int(self.size[option]))
        return tuple(
            Allocation(
                variant=self.table.variants[self.table.variant[self.shape[g]]],
                replicas=int(self.replicas[g]),
                cores=int(self.table.cores[self.shape[g]]),
                threads=int(self.table.threads[self.shape[g]]),
                batch=int(self.batch[g]),
                share=float(self.share[g]),
                instance=rented[g] if rented else None,
            )
            for g in groups
        )


def options(
    request: PlanRequest,
    task: str,
    rate_rps: float,
    visits: float,
    rules: Rules,
    *,
    lowest_rps: float | None = None,
    every_class: bool = False,
    worth: tuple[float, float] = (1.0, 0.0),
) -> Options | None:
    """The options of `task` at `rate_rps` requests/s that bring `visits` items each; None when nothing keeps up.

    Args:
        request: for all but the rate.
        task: which one.
        rate_rps: requests per second at the gateway.
        visits: items of the task per request.
        rules: what may be chosen.
        lowest_rps: the rate at which batches fill, by the `paper` model, where it is another one.
        every_class: whether a mix is an option even where one variant alone does better; else such mixes are left out.
        worth: what a core and one more in a batch count for: mixes that cost more and do no better are left out.

    Raises:
        PlanRequestError: nothing in the price list can run any replica of the task.
    """
    table = task_table(request.pipeline, request.profile, task)
    mix = min(rules.mix, 2) if len(table.variants) > 1 else 1
    steps = request.pipeline.planning.share_steps if mix > 1 else 1
    found, terms, parts = _groups(request, task, rate_rps, visits, rules, steps, lowest_rps)
    share = parts / steps
    score = _scores(request, task, table)[table.variant[found[:, 0]]] * share
    memory = table.memory_bytes[table.variant[found[:, 0]]]
    if rules.pooled:
        usable = _usable(request, task, table, rules)
        found, terms, score, memory = with_pools(request, task, rate_rps, visits, usable, (found, terms, score, memory))
        share = np.ones(len(found))
        parts = np.full(len(found), steps)
    if request.at_once and request.current is not None:
        some = _reachable(request, table, request.current.tasks[task], found)
        found, terms, parts = found[some], terms[some], parts[some]
        resident = [v in request.current.tasks[task].resident for v in table.variants]
        share, score, memory = share[some], score[some], np.full(some.sum(), table.memory_bytes[resident].sum())
    if not len(parts):
        return None
    shape, replicas, batch = (np.ascontiguousarray(found[:, i]) for i in range(3))
    needs = _needs_loading(request, task, table, shape, replicas)
    whole = np.flatnonzero(parts == steps)
    groups = np.stack([whole, np.full(whole.size, -1)], axis=1)
    if mix > 1:
        groups = np.concatenate(
            [groups, _pairs(request, table, found, parts, terms, needs, score, steps, worth, every_class=every_class)]
        )
    first, second = groups[:, 0], groups[:, 1]
    there = second >= 0

    def both(column: Floats | Ints) -> Floats:
        return np.asarray(column[first] + np.where(there, column[second], 0), dtype=np.float64)

    size = memory[first] + np.where(there, memory[second], 0)
    money, rented = np.zeros(len(groups)), dict[int, list[str | None]]()
    if request.pipeline.prices.known:
        ratio = ratio_of(request.service_ratio, task)
        for each in map(int, np.unique(size)):
            price, rented[each] = _rents(request, table, shape, replicas, batch, share, rate_rps * visits, ratio, each)
            some = size == each
            money[some] = price[first[some]] + np.where(there[some], price[second[some]], 0.0)
    fine = np.isfinite(money)
    if not fine.any():
        return None
    return Options(
        table=table,
        shape=shape,
        replicas=replicas,
        batch=batch,
        share=share,
        groups=groups[fine],
        mean_s=np.maximum(terms[first, 0], np.where(there, terms[second, 0], 0.0))[fine],
        spread2=np.maximum(terms[first, 1], np.where(there, terms[second, 1], 0.0))[fine],
        accuracy=both(score)[fine],
        uses=np.stack([both(table.cores[shape] * replicas), size * both(replicas), both(replicas), money], axis=1)[
            fine
        ],
        size=size[fine],
        load_s=np.maximum(needs[first], np.where(there, needs[second], 0.0))[fine],
        batches=both(batch)[fine],
        rounding=((both(replicas) - 1.0) / 2.0 if request.limits.in_place_cores else np.zeros(len(groups)))[fine],
        rented=rented,
    )


def _groups(
    request: PlanRequest,
    task: str,
    rate_rps: float,
    visits: float,
    rules: Rules,
    steps: int,
    lowest_rps: float | None,
) -> tuple[Ints, Floats, Ints]:
    """Every group for every number of parts of the traffic: (shape, replicas, batch), its terms, and the parts."""
    pipeline, limits = request.pipeline, request.limits
    table = task_table(pipeline, request.profile, task)
    tail = Tail.of(pipeline.slo.quantile, visits, width_of(pipeline))
    usable = _usable(request, task, table, rules)
    rate = rate_rps * visits
    paper = rules.latency_model == "paper"
    filling = lowest_rps * visits if paper and lowest_rps is not None else rate
    # A larger batch that changes no latency costs less where one pays by use, and steps down later in a pool.
    by_use = pipeline.prices.serverless is not None or rules.pooled
    found, terms, parts = [], [], []
    room = 1024
    # Of a mix, all parts; but for a whole of one part there is nothing to share.
    for part in range(1, steps + 1):
        while True:
            some, of = np.empty((room, 3), dtype=np.int64), np.empty((room, 3))
            n = list_groups(
                table.variant, table.cores, table.threads, table.rate, table.latency_s, table.first, table.batch,
                table.mean_s, table.quantile_s, table.scv, table.limit, usable, ratio_of(request.service_ratio, task),
                rate * part / steps, filling, item_scv(request.arrival_scv, visits), tail.late, tail.normal,
                tail.stretch, rules.utilisation_cap, paper, by_use, limits.replicas_per_task,
                int(min(limits.cores, _MANY)), pipeline.planning.max_batch or _MANY, some, of,
            )  # fmt: skip
            if n >= 0:
                break
            room = -n
        found.append(some[:n])
        terms.append(of[:n])
        parts.append(np.full(n, part, dtype=np.int64))
    return np.concatenate(found), np.concatenate(terms), np.concatenate(parts)


def _reachable(request: PlanRequest, table: TaskTable, before: TaskPlan, found: Ints) -> NDArray[np.bool_]:
    """Which groups the replicas of a task become at once: as many of them, their variants loaded; shape (G,)."""
    replicas = sum(a.replicas for a in before.allocations)
    loaded = np.array([variant in before.resident for variant in table.variants])
    fine = (found[:, 1] == replicas) & loaded[table.variant[found[:, 0]]]
    if not request.limits.in_place_cores:
        shapes = {(a.cores, a.threads) for a in before.allocations}
        same = [shape in shapes for shape in zip(table.cores.tolist(), table.threads.tolist(), strict=True)]
        fine &= np.array(same, dtype=np.bool_)[found[:, 0]]
    return np.asarray(fine, dtype=np.bool_)


def _usable(request: PlanRequest, task: str, table: TaskTable, rules: Rules) -> NDArray[np.bool_]:
    """Shape (J,): shapes that the pipeline and the rules let be chosen."""
    wanted_cores = request.pipeline.planning.cores.get(task)
    allowed = None if rules.variants is None else rules.variants.get(task)
    return np.array(
        [
            (wanted_cores is None or cores == wanted_cores) and (allowed is None or table.variants[v] in allowed)
            for v, cores in zip(table.variant, table.cores, strict=True)
        ],
        dtype=np.bool_,
    )


def _pairs(
    request: PlanRequest,
    table: TaskTable,
    found: Ints,
    parts: Ints,
    terms: Floats,
    needs: Floats,
    score: Floats,
    steps: int,
    worth: tuple[float, float],
    *,
    every_class: bool,
) -> Ints:
    """Pairs of groups of two variants that carry the whole traffic, shape (P, 2), out of those worth a thought."""
    limits, prices = request.limits, request.pipeline.prices
    shape, replicas, batch = found[:, 0], found[:, 1], found[:, 2]
    variants = len(table.variants)
    # A group that takes less and does more makes every other one superfluous; but what is rented by the machine, or
    # paid for by use, may cost more all the same, so there only groups of one shape and batch limit are compared.
    by_shape = bool(prices.instances) or prices.serverless is not None
    kind = shape * (batch.max() + 1) + batch if by_shape else np.zeros(shape.size, dtype=np.int64)
    owner = (parts - 1) * variants + table.variant[shape]
    cores = table.cores[shape] * replicas
    # Where all batches of a pair weigh less than one core, cores and batches are one criterion: cores, then batches.
    weight = max(worth[1] / worth[0] if worth[0] > 0.0 else math.inf, 1e-9)
    summed = [cores + weight * batch] if 2.0 * weight * batch.max() < 1.0 else [cores, batch]
    if limits.replicas is not None or limits.memory_bytes is not None:
        summed.append(replicas)
    worst, added = np.column_stack([terms[:, :2], needs]), np.column_stack(summed).astype(np.float64)
    criteria = np.column_stack([worst, added])
    order = np.lexsort((criteria[:, 3], kind, owner))
    kept = np.empty(order.size, dtype=np.int64)
    whose = owner[order] * (kind.max() + 1) + kind[order]
    order = order[np.sort(kept[: undominated(criteria[order], whose, kept)])]
    whole = order[parts[order] == steps]
    if every_class or by_shape or limits.memory_bytes is not None:
        whole = whole[:0]
    else:
        whole = whole[np.lexsort((criteria[whole, 0], -score[whole]))]
        ranked = np.column_stack([criteria[whole], -score[whole]])
        whole = whole[kept[: undominated(ranked, np.zeros(whole.size, dtype=np.int64), kept)]]
    some = order[parts[order] < steps]
    first = np.searchsorted(owner[some], np.arange(variants * (steps - 1) + 1))
    room = 16_384
    while True:
        pairs = np.empty((room, 2), dtype=np.int64)
        n = list_pairs(
            first, variants, steps, worst[some], added[some], score[some], kind[some],
            len(summed) == 1 and not by_shape, criteria[whole], score[whole], pairs,
        )  # fmt: skip
        if n >= 0:
            return np.asarray(some[pairs[:n]])
        room = -n


def _needs_loading(request: PlanRequest, task: str, table: TaskTable, shape: Ints, replicas: Ints) -> Floats:
    """Shape (G,): load time of the groups that want more, or larger, replicas than the plan in force has."""
    if request.current is None:
        return np.zeros(shape.size)
    before = request.current.tasks.get(task)
    grows = request.limits.in_place_cores
    there = np.array(
        [
            replicas_there(table.variants[v], int(c), before, in_place_cores=grows)
            for v, c in zip(table.variant, table.cores, strict=True)
        ]
    )
    return np.where(replicas > there[shape], table.load_s[table.variant[shape]], 0.0)


def _scores(request: PlanRequest, task: str, table: TaskTable) -> Floats:
    """Shape (V,): what each variant brings to the pipeline's accuracy; 1 where only whole pipelines were measured."""
    if request.pipeline.accuracy.kind == "measured":
        return np.ones(len(table.variants))
    scores = variant_scores(request.pipeline, task)
    return np.array([scores[v] for v in table.variants])


def _rents(
    request: PlanRequest,
    table: TaskTable,
    shape: Ints,
    replicas: Ints,
    batch: Ints,
    share: Floats,
    rate: float,
    ratio: float,
    size: int,
) -> tuple[Floats, list[str | None]]:
    """Price per hour of each group whose replicas have `size` bytes, infinite where nothing holds them; and what each
    is rented as: what is cheapest.

    Raises:
        PlanRequestError: nothing in the price list holds any of them.
    """
    prices = request.pipeline.prices
    money, names = np.full(shape.size, np.inf), list[str | None]([None] * shape.size)
    refusal: PlanRequestError | None = None
    if prices.core_hour is not None or prices.instances:
        for cores in map(int, np.unique(table.cores[shape])):
            some = np.flatnonzero(table.cores[shape] == cores)
            try:
                cost, rented = cost_table(prices, cores, size, int(replicas[some].max()))
            except PlanRequestError as error:
                refusal = error
                continue
            money[some] = cost[replicas[some]]
            for each in some.tolist():
                names[each] = rented[replicas[each]]
    if prices.serverless is not None:
        name = None if is_serverless(prices, None) else SERVERLESS
        for g in range(shape.size):
            seconds = _core_seconds(table, shape[g], batch[g], ratio)
            own = int(table.cores[shape[g]])
            try:
                used = serverless_cost_per_hour(prices.serverless, own, size, rate * float(share[g]), seconds)
            except PlanRequestError as error:
                refusal = error
                continue
            if used < money[g]:
                money[g], names[g] = used, name
    if refusal is not None and not np.isfinite(money).any():
        raise refusal
    return money, names


def _core_seconds(table: TaskTable, shape: int, batch: int, ratio: float) -> float:
    """Core-seconds that one item takes in full batches."""
    if table.rate[shape] > 0.0:
        return float(table.cores[shape] * ratio / table.rate[shape])
    rows = slice(table.first[shape], table.first[shape + 1])
    mean_s = table.mean_s[rows][table.batch[rows] == batch][0] * ratio
    return float(table.threads[shape] * mean_s / batch)


def candidates(request: PlanRequest, task: str, rules: Rules) -> tuple[str, ...]:
    """Variants of the task that are known in some shape that fits the core limit, and that the rules allow.

    Raises:
        PlanRequestError: there is none, so that no plan can exist at any rate.
    """
    table = task_table(request.pipeline, request.profile, task)
    if not table.variants:
        raise PlanRequestError(
            "no variant of this task was measured",
            where=f"task {task}",
            next_step="measure the pipeline with `trimtab profile`, or write its profile into the file",
        )
    fitting = [
        name
        for v, name in enumerate(table.variants)
        if (table.cores[table.variant == v] <= request.limits.cores * (1.0 + TOLERANCE)).any()
    ]
    if not fitting:
        raise PlanRequestError(
            "no measured shape of this task fits the core limit",
            where=f"task {task}",
            got=f"{request.limits.cores:g} cores",
            wanted=f"at least {table.cores.min()}",
            next_step="raise the budget, or measure smaller replicas",
        )
    wanted = request.pipeline.planning.cores.get(task)
    if wanted is not None:
        shaped = [v for v in fitting if wanted in table.cores[table.variant == table.variants.index(v)]]
        if not shaped:
            raise PlanRequestError(
                "no variant of this task was measured with the cores that its replicas have to have",
                where=f"planning.cores.{task}",
                got=f"{wanted}",
                wanted=f"one of {', '.join(map(str, np.unique(table.cores)))}",
            )
        fitting = shaped
    allowed = None if rules.variants is None else rules.variants.get(task)
    chosen = tuple(v for v in fitting if allowed is None or v in allowed)
    if not chosen:
        raise PlanRequestError(
            "none of the variants that the policy allows was measured in a shape that fits",
            where=f"task {task}",
            got=", ".join(sorted(allowed or ())),
            wanted=f"one of {', '.join(fitting)}",
        )
    return chosen
