"""Every group of replicas that can carry a part of a task's traffic, and every pair of groups that carries it together.

The loops are kernels: compiled where their machine code is at hand, plain Python until then.
"""

from __future__ import annotations

import math

import numpy as np

from trimtab.compiled import kernel
from trimtab.plan.latency import TOLERANCE, batch_terms
from trimtab.plan.tables import Floats, Ints
from trimtab.queueing.erlang import blocking_after, blocking_between
from trimtab.queueing.ggc import NEGLIGIBLE, peakedness

ROUNDING = 1e-10
"""Relative rounding that a ratio is forgiven before it is rounded up to a number of replicas."""


@kernel(
    "int64(int64[::1], int64[::1], int64[::1], float64[::1], float64[::1], int64[::1], int64[::1], float64[::1], "
    "float64[::1], float64[::1], boolean[::1], boolean[::1], float64, float64, float64, float64, float64, float64, "
    "float64, float64, boolean, boolean, int64, int64, int64, int64[:,::1], float64[:,::1])"
)
def list_groups(
    variant: Ints,
    cores: Ints,
    threads: Ints,
    table_rate: Floats,
    table_latency: Floats,
    first: Ints,
    batch: Ints,
    mean_s: Floats,
    quantile_s: Floats,
    scv: Floats,
    limit: np.ndarray,
    usable: np.ndarray,
    ratio: float,
    rate: float,
    filling: float,
    arrival_scv: float,
    late: float,
    normal: float,
    stretch: float,
    cap: float,
    paper: bool,
    every_batch: bool,
    most_replicas: int,
    most_cores: int,
    most_batch: int,
    found: Ints,
    terms: Floats,
) -> int:
    """Write the groups that carry `rate` items per second; their number, or the room it takes, negative, if too little.

    `paper`, and every capacity table: for each shape and batch size the fewest replicas that keep up. `tail`: from
    those up to the number beyond which no one waits, and of batch limits with equal latency the smallest.

    Args:
        variant: as `tables.TaskTable`, as are all columns up to `limit`.
        cores: of the table.
        threads: of the table.
        table_rate: `rate` of the table.
        table_latency: `latency_s` of the table.
        first: of the table.
        batch: of the table.
        mean_s: of the table.
        quantile_s: of the table.
        scv: of the table.
        limit: of the table.
        usable: shape (J,): shapes to consider.
        ratio: measured ÷ profiled service time.
        rate: items per second that the group gets.
        filling: items per second that fill its batches.
        arrival_scv: squared coefficient of variation between items.
        late: as `latency.Tail`.
        normal: as `latency.Tail`.
        stretch: as `latency.Tail`.
        cap: largest utilisation.
        paper: which latency model.
        every_batch: whether batch limits count that change no latency.
        most_replicas: of one group.
        most_cores: of one group.
        most_batch: largest batch size.
        found: shape (room, 3): gets shape, replicas and batch limit.
        terms: shape (room, 3): gets mean, squared spread and utilisation.
    """
    n, room = 0, found.shape[0]
    for j in range(variant.size):
        if not usable[j]:
            continue
        most = min(most_replicas, most_cores // cores[j])
        if table_rate[j] > 0.0:
            each = table_rate[j] / ratio
            replicas = max(1, math.ceil(rate / each * (1.0 - TOLERANCE)))
            if replicas <= most:
                if n < room:
                    found[n, 0], found[n, 1], found[n, 2] = j, replicas, 1
                    terms[n, 0], terms[n, 1], terms[n, 2] = table_latency[j] * ratio, 0.0, rate / (replicas * each)
                n += 1
            continue
        slots = int(cores[j] // threads[j])
        begin, end = int(first[j]), int(first[j + 1])
        while end > begin and batch[end - 1] > most_batch:
            end -= 1
        if paper:
            for i in range(begin, end):
                if limit[i]:
                    each = slots * batch[i] / (mean_s[i] * ratio)
                    replicas = max(1, math.ceil(rate / (each * cap) * (1.0 - ROUNDING)))
                    if replicas <= most:
                        if n < room:
                            found[n, 0], found[n, 1], found[n, 2] = j, replicas, batch[i]
                            fill = (batch[i] - 1) / filling if filling > 0.0 else 0.0
                            terms[n, 0], terms[n, 1] = quantile_s[i] * ratio + fill, 0.0
                            terms[n, 2] = rate / (replicas * each)
                        n += 1
            continue
        blocking, known = np.ones(end - begin), np.zeros(end - begin, dtype=np.int64)
        best_rate = 0.0
        for i in range(begin, end):
            best_rate = max(best_rate, slots * batch[i] / (mean_s[i] * ratio))
        fewest = max(1, math.ceil(rate / (best_rate * cap) * (1.0 - ROUNDING))) if end > begin else 1
        for replicas in range(fewest, most + 1):
            servers = replicas * slots
            best_mean, best_spread2, best_total = np.inf, np.inf, np.inf
            capacity, last_mean, last_spread2 = 0.0, np.inf, np.inf
            nobody_waits, emitted = False, False
            for i in range(begin, end):
                # Plain Python is much faster with its own numbers than with NumPy's.
                size, mean = int(batch[i]), float(mean_s[i]) * ratio
                load = rate / size * mean
                peaks = peakedness(arrival_scv / size)
                below = int(servers / peaks)
                whole = blocking_after(float(blocking[i - begin]), int(known[i - begin]) + 1, below, load / peaks)
                blocking[i - begin], known[i - begin] = whole, below
                busy = blocking_between(whole, below, servers / peaks, load / peaks)
                spread = max(0.0, float(quantile_s[i]) * ratio - mean) * stretch
                own_mean, own_spread2 = batch_terms(
                    busy, load, servers, size, mean, spread, float(scv[i]),
                    filling, arrival_scv, late, normal,
                )  # fmt: skip
                total = own_mean + math.sqrt(own_spread2)
                if total < best_total:
                    best_mean, best_spread2, best_total = own_mean, own_spread2, total
                if i == begin and load < servers:
                    share = busy / (1.0 - load / servers * (1.0 - busy))
                    nobody_waits = share <= NEGLIGIBLE * late
                capacity = max(capacity, servers * size / mean)
                utilisation = rate / capacity
                if not limit[i] or utilisation > cap:
                    continue
                if emitted and not every_batch and best_mean == last_mean and best_spread2 == last_spread2:
                    continue
                if n < room:
                    found[n, 0], found[n, 1], found[n, 2] = j, replicas, size
                    terms[n, 0], terms[n, 1], terms[n, 2] = best_mean, best_spread2, utilisation
                n += 1
                emitted, last_mean, last_spread2 = True, best_mean, best_spread2
            if emitted and nobody_waits:
                break
    return n if n <= room else -n


@kernel("int64(float64[:,::1], int64[::1], int64[::1])")
def undominated(criteria: Floats, kind: Ints, kept: Ints) -> int:
    """Write the rows that no other row of their kind is at least as good as in all criteria into `kept`; their number.

    Of equal rows the first stays. `kind` is ascending; smaller criteria are better.
    """
    count, start = 0, 0
    for row in range(kind.size):
        if row == 0 or kind[row] != kind[row - 1]:
            start = count
        dominated = False
        for q in range(start, count):
            if dominates(criteria, kept[q], criteria, row):
                dominated = True
                break
        if dominated:
            continue
        left = start
        for q in range(start, count):
            if not dominates(criteria, row, criteria, kept[q]):
                kept[left] = kept[q]
                left += 1
        kept[left] = row
        count = left + 1
    return count


@kernel(
    "int64(int64[::1], int64, int64, float64[:,::1], float64[:,::1], float64[::1], int64[::1], boolean, "
    "float64[:,::1], float64[::1], int64[:,::1])"
)
def list_pairs(
    first: Ints,
    variants: int,
    steps: int,
    worst: Floats,
    summed: Floats,
    score: Floats,
    kind: Ints,
    ascending: bool,
    rivals: Floats,
    rival_score: Floats,
    pairs: Ints,
) -> int:
    """Write the pairs of groups of two variants whose shares make a whole and that nothing dominates.

    A pair is dominated by another one of the same variants and shares, or by a rival, that is as good in every
    criterion.

    Args:
        first: shape (variants · (steps - 1) + 1,): the groups of variant v with k of `steps` parts of the traffic are
            `first[m]:first[m + 1]` with m = (k - 1)·variants + v.
        variants: number of variants.
        steps: parts that traffic is shared in.
        worst: shape (G, D): criteria of which a pair has the larger one; smaller is better.
        summed: shape (G, E): criteria that add up; smaller is better.
        score: shape (G,): what the group adds to the accuracy.
        kind: shape (G,): a pair dominates another one only where their groups are of the same kinds.
        ascending: whether all groups are of one kind, one criterion adds up, and a variant's groups stand by that one.
        rivals: shape (N, D + E): criteria of groups that carry the whole traffic; may be none.
        rival_score: shape (N,): what they add to the accuracy, the most first.
        pairs: shape (room, 2): gets two groups, that of the earlier variant first.

    Returns:
        Their number, or more room than there was, negative, if there is too little.
    """
    room: int = pairs.shape[0]
    n, larger, sums = 0, worst.shape[1], summed.shape[1]
    partner, strong = np.full(kind.size, -1), rivals.shape[0]
    fronts = np.empty((strong + 1, strong), dtype=np.int64)
    sizes = np.empty(strong + 1, dtype=np.int64)
    fronts_of(rivals, fronts, sizes)
    criteria = np.empty((room, larger + sums))
    # What the groups of a variant take and do at least, and at most for the accuracy.
    blocks = variants * (steps - 1)
    least, best = np.full((blocks, larger + sums), np.inf), np.full(blocks, -np.inf)
    for m in range(blocks):
        for g in range(first[m], first[m + 1]):
            best[m] = max(best[m], score[g])
            for d in range(larger):
                least[m, d] = min(least[m, d], worst[g, d])
            for d in range(sums):
                least[m, larger + d] = min(least[m, larger + d], summed[g, d])
    outlook = np.empty((1, larger + sums))
    for k in range(1, steps):
        for v in range(variants):
            own = (k - 1) * variants + v
            for w in range(v + 1, variants):
                other = (steps - k - 1) * variants + w
                start = n
                # Groups of one variant and share add the same to the accuracy, so the same rivals have as much.
                strong = 0
                while strong < rival_score.size and rival_score[strong] >= best[own] + best[other]:
                    strong += 1
                front, size = fronts[strong], sizes[strong]
                if ascending:
                    for b in range(first[other], first[other + 1]):
                        partner[b] = -1
                        for a in range(first[own], first[own + 1]):
                            if no_worse(worst, a, b):
                                partner[b] = a
                                break
                for a in range(first[own], first[own + 1]):
                    # If no partner at all could make it a pair to keep, there is no need to try each.
                    for d in range(larger):
                        outlook[0, d] = max(worst[a, d], least[other, d])
                    for d in range(sums):
                        outlook[0, larger + d] = summed[a, d] + least[other, larger + d]
                    if is_beaten(rivals, front, size, outlook, 0):
                        continue
                    for b in range(first[other], first[other + 1]):
                        # Of the partners as good as `a` the cheapest will do, the first; and where `b` is worse than
                        # `a` in everything, `a` has to be the cheapest of those that are as good as `b`.
                        last = ascending and no_worse(worst, b, a)
                        if ascending and not last and partner[b] != a and no_worse(worst, a, b):
                            continue
                        if n == room:
                            return -4 * room
                        for d in range(larger):
                            criteria[n, d] = max(worst[a, d], worst[b, d])
                        for d in range(sums):
                            criteria[n, larger + d] = summed[a, d] + summed[b, d]
                        beaten = False
                        for q in range(start, n):
                            same = kind[pairs[q, 0]] == kind[a] and kind[pairs[q, 1]] == kind[b]
                            if same and dominates(criteria, q, criteria, n):
                                beaten = True
                                break
                        if beaten or is_beaten(rivals, front, size, criteria, n):
                            if last:
                                break
                            continue
                        left = start
                        for q in range(start, n):
                            same = kind[pairs[q, 0]] == kind[a] and kind[pairs[q, 1]] == kind[b]
                            if not (same and dominates(criteria, n, criteria, q)):
                                criteria[left], pairs[left] = criteria[q], pairs[q]
                                left += 1
                        criteria[left] = criteria[n]
                        pairs[left, 0], pairs[left, 1] = a, b
                        n = left + 1
                        if last:
                            break
    return n


@kernel()
def no_worse(worst: Floats, one: int, other: int) -> bool:
    """Whether group `one` is at least as good as `other` in every criterion of which a pair has the larger one."""
    for d in range(worst.shape[1]):
        if worst[one, d] > worst[other, d]:
            return False
    return True


@kernel()
def fronts_of(rivals: Floats, fronts: Ints, sizes: Ints) -> None:
    """Write for every p those of the first p rivals that none of these dominates into `fronts`, and how many they are.

    Args:
        rivals: shape (N, D).
        fronts: shape (N + 1, N).
        sizes: shape (N + 1,).
    """
    sizes[0] = 0
    for p in range(rivals.shape[0]):
        count = 0
        fine = True
        for at in range(sizes[p]):
            fine = fine and not dominates(rivals, fronts[p, at], rivals, p)
        for at in range(sizes[p]):
            if not fine or not dominates(rivals, p, rivals, fronts[p, at]):
                fronts[p + 1, count] = fronts[p, at]
                count += 1
        if fine:
            fronts[p + 1, count] = p
            count += 1
        sizes[p + 1] = count


@kernel()
def is_beaten(rivals: Floats, front: Ints, size: int, criteria: Floats, row: int) -> bool:
    """Whether one of the first `size` rivals of a front is at least as good as the row in everything.

    What dominates one row often dominates the next, so it moves forward in the front.
    """
    for at in range(size):
        q = front[at]
        if dominates(rivals, q, criteria, row):
            ahead = at // 4
            front[at], front[ahead] = front[ahead], q
            return True
    return False


@kernel()
def dominates(criteria: Floats, one: int, others: Floats, other: int) -> bool:
    """Whether row `one` of `criteria` is at least as good as row `other` of `others` in everything."""
    for d in range(criteria.shape[1]):
        if criteria[one, d] > others[other, d]:
            return False
    return True
