"""How long a decision takes by tasks and variants, beside the times published for Gurobi.

    python experiments/ipa/decision_time.py --data ../shared/data --out out/experiments/ipa

The same problem as far as it was stated: IPA's objective with summed accuracies, α 2, β 1, batches of 1, 2 and 8; the
profiles of the video pipeline, of which the heaviest variant and the first task are cloned (with 1e-6 more latency and
accuracy each) up to the size wanted; 19 decisions over 200 s of the trace. The published time holds the building of the
model, so ours holds that of the coefficients: which replicas each choice needs, its cost and latency. Ours is timed in
machine code (Numba) where that is installed, and as plain Python, on this machine and not on theirs. Every answer is
checked against exhaustive search where that is small.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.command import Options, console, parser, run
from experiments.data import counts, number, rows
from experiments.ipa.measurements import pipeline, timings
from experiments.pictures import COLOURS, PUBLISHED, figure, legend, panel, save
from experiments.results import Cell, show, write_csv

from trimtab import compiled
from trimtab.plan.solve import Choices, Problem, Weighted, chain, measure, solve

Floats = NDArray[np.float64]
Numbers = tuple[float, Floats, Floats, float]
"""Of one variant: accuracy, latency and throughput by batch, cores of a replica."""

BATCHES = np.array([1.0, 2.0, 8.0])
ALPHA, BETA, DELTA = 2.0, 1.0, 1e-6
SLA_FACTOR = 25.0
"""A task's SLA is this times its variants' mean time for a batch of one, as the published program has it."""
FIRST_S, LAST_S, EVERY_S, DIVISOR = 1_301_160, 1_301_360, 10, 8
CLONE = 1e-6
CHECKED = 20_000
"""Combinations up to which every answer is checked."""


def variants(data: Path) -> list[list[Numbers]]:
    """The two tasks of the video pipeline at their base cores, the least accurate variant first."""
    known, found = timings(data), list[list[Numbers]]()
    cores = {(r["task"], r["variant"]): int(r["base_cores"]) for r in rows(data, "ipa/variants")}
    for task in pipeline("video").tasks.values():
        own: list[Numbers] = []
        for variant in reversed(task.by_accuracy()):
            size = cores[task.name, variant.name]
            some = [known[task.name, variant.name][size, int(b)] for b in BATCHES]
            own.append((variant.accuracy, np.array([t.mean_s for t in some]), np.array([t.planned_rps for t in some]),
                        float(size)))  # fmt: skip
        found.append(own)
    return found


def cloned(base: list[list[Numbers]], tasks: int, count: int) -> list[list[Numbers]]:
    """So many tasks of so many variants."""
    sized = []
    for own in base[:tasks]:
        some = own[:count]
        for k in range(count - len(some)):
            accuracy, latency, rate, cores = own[-1]
            some.append((accuracy + CLONE * (k + 1), latency + CLONE * (k + 1), rate, cores))
        sized.append(some)
    return sized + [sized[0]] * (tasks - len(sized))


def problem(tasks: list[list[Numbers]], rate_rps: float) -> Problem:
    """Coefficients at a rate; this is timed too."""
    sla_s = SLA_FACTOR * sum(float(np.mean([latency[0] for _, latency, _, _ in some])) for some in tasks)
    tables = []
    for some in tasks:
        accuracy = np.repeat([a for a, _, _, _ in some], BATCHES.size)
        latency = np.concatenate([latency for _, latency, _, _ in some])
        rate = np.concatenate([rate for _, _, rate, _ in some])
        cores = np.repeat([c for _, _, _, c in some], BATCHES.size)
        batch = np.tile(BATCHES, len(some))
        replicas = np.maximum(1.0, np.ceil(rate_rps / rate * (1.0 - 1e-10)))
        waiting = (batch - 1.0) / rate_rps
        cost = BETA * replicas * cores + DELTA * batch
        tables.append(Choices(accuracy, latency + waiting, cost, np.empty((cost.size, 0))))
    return Problem(tuple(tables), chain(len(tables)), sla_s, np.empty(0), combine="sum")


def decide(tasks: list[list[Numbers]], rates: list[float]) -> tuple[list[float], list[float]]:
    """Seconds and objective of each decision."""
    times, values = [], []
    for rate in rates:
        began = time.perf_counter()
        found = solve(problem(tasks, rate), Weighted(ALPHA))
        times.append(time.perf_counter() - began)
        values.append(-math.inf if found is None else ALPHA * found.accuracy - found.cost)
    return times, values


def exhaustive(tasks: list[list[Numbers]], rate_rps: float) -> float:
    """The best objective of all combinations."""
    asked, best = problem(tasks, rate_rps), -math.inf
    for path in itertools.product(*(range(table.cost.size) for table in asked.choices)):
        accuracy, cost, latency_s, _ = measure(asked, path)
        if latency_s <= asked.latency_s:
            best = max(best, ALPHA * accuracy - cost)
    return best


def experiment(asked: Options, _: Namespace) -> list[Path]:
    """Times by size, and their ratio."""
    base = variants(asked.data)
    trace = counts(asked.data, FIRST_S, LAST_S, DIVISOR)
    rates = [float(max(trace[i : i + 2 * EVERY_S])) for i in range(0, LAST_S - FIRST_S - EVERY_S, EVERY_S)]
    machine = compiled.is_available()
    lines: list[dict[str, Cell]] = []
    checked = 0
    for row in rows(asked.data, "ipa/gurobi_decision_time"):
        count, tasks = int(row["variants_per_task"]), int(row["tasks"])
        if asked.quick and (count % 4 != 1 or tasks % 4 != 1):
            continue
        sized = cloned(base, tasks, count)
        compiled.unload()
        plain, values = decide(sized, rates)
        if machine:
            compiled.load()
            decide(sized, rates[:1])
            fast, again = decide(sized, rates)
            if not np.allclose(values, again, rtol=1e-9):
                raise AssertionError("the two forms differ")
        if (count * BATCHES.size) ** tasks <= CHECKED:
            best = exhaustive(sized, rates[0])
            if not math.isclose(best, values[0], rel_tol=1e-9):
                raise AssertionError(f"{values[0]} is not the optimum, {best}")
            checked += 1
        lines.append(
            {
                "tasks": tasks,
                "variants": count,
                "gurobi_ms": 1e3 * number(row, "mean_decision_time_s"),
                "plain_ms": 1e3 * float(np.mean(plain)),
                "compiled_ms": 1e3 * float(np.mean(fast)) if machine else None,
                "compiled_max_ms": 1e3 * float(np.max(fast)) if machine else None,
                "ratio_plain": number(row, "mean_decision_time_s") / float(np.mean(plain)),
                "ratio_compiled": number(row, "mean_decision_time_s") / float(np.mean(fast)) if machine else None,
            }
        )
    lines.sort(key=lambda each: (int(each["tasks"] or 0), int(each["variants"] or 0)))
    show("Mean time of a decision, ms", [each for each in lines if each["tasks"] == each["variants"]])
    console.print(f"{checked} sizes checked against exhaustive search; {len(rates)} decisions each", markup=False)
    made = figure(5.5, 3.6)
    axes = panel(made.subplots(), "Mean time of a decision with so many tasks and variants", "tasks = variants", "ms")
    own = [each for each in lines if each["tasks"] == each["variants"]]
    curves = (
        ("gurobi_ms", PUBLISHED, "published, Gurobi"),
        ("plain_ms", COLOURS[1], "ours, plain Python"),
        ("compiled_ms", COLOURS[0], "ours, compiled"),
    )
    for what, colour, label in curves:
        known = [(float(each["tasks"] or 0), float(each[what] or 0)) for each in own if each[what] is not None]
        axes.plot([x for x, _ in known], [y for _, y in known], "o-", ms=3, lw=1.2, color=colour, label=label)
    axes.set_yscale("log")
    legend(axes)
    return [write_csv(asked.out / "decision_time.csv", lines), save(made, asked.out / "decision_time.png")]


if __name__ == "__main__":
    run(parser(__doc__ or "", "ipa", seeds=1), experiment)
