"""Choices of one or two variants per task from coefficient arrays: one saturated, the other just enough for the rest.

Of two variants the more accurate one is saturated: with the same replicas the other way round, the same requests would
be served less accurately. n₁ replicas take n₁·h₁ of the rate λ, and n₂ = ⌈(λ - n₁·h₁)/h₂⌉ the rest. The latency is that
of the slower one, the accuracy the mean over requests.
"""

from __future__ import annotations

import numpy as np

from trimtab.compiled import kernel
from trimtab.plan.solve.problem import Floats, Ints
from trimtab.plan.solve.singles import LONGEST, replicas
from trimtab.plan.solve.tables import doubled, step_down


@kernel(
    "Tuple((float64[::1], float64[::1], float64[::1], int64[::1], int64[:,::1]))(float64[::1], int64[::1], "
    "float64[:,::1], float64[:,::1], float64[:,::1], int64[::1], float64, float64, float64, float64, float64)"
)
def mixed_choices(
    accuracy: Floats,
    first: Ints,
    latency: Floats,
    throughput: Floats,
    cores: Floats,
    batch: Ints,
    rate: float,
    longest: float,
    beta: float,
    delta: float,
    cap: float,
) -> tuple[Floats, Floats, Floats, Ints, Ints]:
    """As `singles.single_choices`, with mixes of two variants among the choices.

    Of a mix, `meaning` has the saturated group, its replicas, the other group and its replicas.
    """
    tasks = first.size - 1
    room, n = 1024, 0
    columns, meaning = np.empty((3, room)), np.empty((room, 4), dtype=np.int64)
    begins = np.zeros(tasks + 1, dtype=np.int64)
    groups = np.empty(0, dtype=np.int64)
    for s in range(tasks):
        groups = _useful(first[s], first[s + 1], latency, throughput, cores, batch, rate, longest, delta)
        a, h = accuracy[groups // batch.size], np.empty(groups.size)
        time, c, d = np.empty(groups.size), np.empty(groups.size), np.empty(groups.size)
        for k in range(groups.size):
            v, g = groups[k] // batch.size, groups[k] % batch.size
            time[k], h[k] = latency[v, g] + (batch[g] - 1) / rate, throughput[v, g]
            c[k], d[k] = beta * cores[v, g], delta * batch[g]
        # By rising latency: what is under the steps of cost and inaccuracy so far is no slower than what comes.
        steps, heights, size = np.empty(256), np.empty(256), 0
        for k in range(groups.size):
            for j in range(-1, k):
                if j >= 0 and groups[j] // batch.size == groups[k] // batch.size:
                    continue
                for turn in range(2):
                    # The saturated one, and the one for the rest: -1 is none, so that `one` is just enough alone.
                    one, other = (k, j) if turn == 0 else (j, k)
                    if one < 0 or (other >= 0 and a[one] < a[other]):
                        continue
                    full = replicas(rate, h[one])
                    count = full if other < 0 else 1.0
                    while count <= full:
                        served, more, cost = rate, 0.0, count * c[one] + d[one]
                        if other >= 0:
                            served = count * h[one]
                            if count == full or served >= rate:
                                break
                            more = replicas(rate - served, h[other])
                            cost += more * c[other] + d[other]
                        if count + more <= cap:
                            mean = a[one]
                            if other >= 0:
                                mean = (served * a[one] + (rate - served) * a[other]) / rate
                            if size == steps.size:
                                steps, heights = doubled(steps), doubled(heights)
                            added = step_down(steps, heights, size, cost, -mean)
                            if added >= 0:
                                size = added
                                if n == room:
                                    room *= 2
                                    columns = np.concatenate((columns, columns), axis=1)
                                    meaning = np.concatenate((meaning, meaning))
                                columns[0, n], columns[1, n], columns[2, n] = mean, time[k], cost
                                meaning[n, 0], meaning[n, 1] = groups[one], int(count)
                                meaning[n, 2], meaning[n, 3] = groups[other] if other >= 0 else -1, int(more)
                                n += 1
                        count += 1.0
        begins[s + 1] = n
    return columns[0, :n].copy(), columns[1, :n].copy(), columns[2, :n].copy(), begins, meaning[:n].copy()


@kernel()
def _useful(
    begin: int,
    end: int,
    latency: Floats,
    throughput: Floats,
    cores: Floats,
    batch: Ints,
    rate: float,
    longest: float,
    delta: float,
) -> Ints:
    """Groups of the variants `begin:end`, as v · G + g by rising latency, without those that are of no use.

    A group that is no faster, no smaller and no more productive than another one of its variant is in no better mix,
    in either role: put the other in its place.
    """
    groups = batch.size
    time = np.full((end - begin) * groups, np.inf)
    for v in range(begin, end):
        for g in range(groups):
            time[(v - begin) * groups + g] = latency[v, g] + (batch[g] - 1) / rate
    order = np.argsort(time, kind="mergesort")
    kept = np.empty(order.size, dtype=np.int64)
    count = 0
    for at in range(order.size):
        if not time[order[at]] <= min(longest, LONGEST):
            break
        v, g = begin + order[at] // groups, order[at] % groups
        better = False
        for q in range(count):
            u, f = kept[q] // groups, kept[q] % groups
            cheaper = cores[u, f] <= cores[v, g] and delta * batch[f] <= delta * batch[g]
            if u == v and cheaper and throughput[u, f] >= throughput[v, g]:
                better = True
                break
        if not better:
            kept[count] = v * groups + g
            count += 1
    return kept[:count].copy()
