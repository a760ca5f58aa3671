"""InfAdapter's problem: time of the exact solver against HiGHS and enumeration, on one set of random instances.

    python benchmarks/planner/infadapter.py [--quick]

The instances look like the published table (EuroMLSys 2023): accuracies between 0.69 and 0.79; capacity per core from
24 requests per second down to 3.8, the less the more accurate, within 25 %; a line with an intercept of 0 to -6, times
0.8, rounded down; at least 2 cores. The load is drawn below 60 %, between 60 and 97 %, and between 97 and 100 % of what
the budget carries, a third each; β of 0.0125, 0.05 and 0.2; γ of 0.001 and, in a third, 0.02; up to three variants run.

All objectives are compared, and must be equal where the other method finishes. Ours is the shortest of three calls (the
machine may have other work) for a problem that is at hand as arrays; HiGHS is one run on one thread, to a relative gap
of 1e-8, without building its model. A ratio with HiGHS at its time limit is a lower bound.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
from numpy.typing import NDArray

from trimtab import compiled
from trimtab.plan.solve.sets import SetProblem, SetSolution, Sizes, solve_sets

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST = 2
"""Fewest cores of a replica."""
CALLS = 3
HIGHS_LIMIT_S = 20.0
EQUAL = 1e-6
"""HiGHS's own tolerance is 1e-6."""


def make_instance(rng: np.random.Generator, variants: int, cores: int) -> SetProblem:
    """One problem of the kind described above."""
    accuracy = np.sort(rng.uniform(0.69, 0.79, variants))[::-1]
    place = (accuracy - accuracy[-1]) / max(accuracy[0] - accuracy[-1], 1e-9)
    slope = 24.0 * (3.8 / 24.0) ** place * rng.uniform(0.8, 1.25, variants)
    intercept = -np.floor(7.0 * rng.uniform(0.0, 1.0, variants) * rng.uniform(0.0, 1.0, variants))
    sizes = np.arange(FEWEST, cores + 1)
    rates = np.maximum(0.0, np.floor(0.8 * (slope[:, None] * sizes + intercept[:, None])))
    low, high = ((0.05, 0.6), (0.6, 0.97), (0.97, 1.0))[rng.integers(3)]
    demand = max(1.0, np.round(rng.uniform(low, high) * _carried(rates, sizes, cores)))
    load_s = 6.4 + 2.1 * place * rng.uniform(0.7, 1.3, variants)
    load = rng.choice([0.001, 0.001, 0.02]) * load_s / load_s.max()
    running = np.zeros(variants, dtype=np.int64)
    for m in rng.permutation(variants)[: rng.integers(4)]:
        left = cores - running.sum()
        running[m] = rng.integers(FEWEST, left + 1) if left >= FEWEST else 0
    return SetProblem(
        variants=tuple(
            Sizes(
                accuracy=float(accuracy[m]),
                cores=sizes[rates[m] > 0.0],
                rate=rates[m][rates[m] > 0.0],
                load=np.where(sizes == running[m], 0.0, load[m])[rates[m] > 0.0],
                use=np.zeros((int((rates[m] > 0.0).sum()), 0)),
            )
            for m in range(variants)
        ),
        demand=float(demand),
        cores=cores,
        price=float(rng.choice([0.0125, 0.05, 0.2])) / cores,
    )


def _carried(rates: Floats, sizes: Ints, cores: int) -> float:
    """The largest rate that the budget carries."""
    best = np.zeros(cores + 1)
    for row in rates:
        before = best.copy()
        for n, rate in zip(sizes, row, strict=True):
            best[n:] = np.maximum(best[n:], rate + before[: cores + 1 - n])
    return float(best[cores])


@dataclass(frozen=True, slots=True)
class HighsAnswer:
    """What HiGHS found."""

    value: float
    """-inf where it found nothing."""
    bound: float
    seconds: float
    is_optimal: bool
    is_infeasible: bool


def solve_by_highs(problem: SetProblem, limit_s: float = HIGHS_LIMIT_S) -> HighsAnswer:
    """The integer programme: one binary per size, a quota per variant, the cost of loading as a maximum."""
    variants = problem.variants
    owner = np.repeat(np.arange(len(variants)), [s.cores.size for s in variants])
    cores, rate, load = (
        np.concatenate([getattr(s, name) for s in variants]).astype(np.float64) for name in ("cores", "rate", "load")
    )
    V, K = len(variants), owner.size
    one, none = np.eye(V)[:, owner], np.zeros((V, V))
    rows = [
        # One size per variant; quotas within rates; the cost of loading is at least each member's.
        (one, none, np.zeros(V), -math.inf, 1.0),
        (-one * rate, np.eye(V), np.zeros(V), -math.inf, 0.0),
        (one * load, none, -np.ones(V), -math.inf, 0.0),
        (np.zeros((1, K)), np.ones((1, V)), np.zeros(1), problem.demand, problem.demand),
        (cores[None, :], np.zeros((1, V)), np.zeros(1), -math.inf, float(problem.cores)),
    ]
    rows += [
        (np.concatenate([s.use[:, r] for s in variants])[None, :], np.zeros((1, V)), np.zeros(1), -math.inf, limit)
        for r, limit in enumerate(problem.limits)
    ]
    if problem.exact:
        last = max(range(V), key=lambda m: (-variants[m].accuracy, m))
        rows.append(
            (np.where(owner == last, 0.0, rate)[None, :], np.zeros((1, V)), np.zeros(1), -math.inf, problem.demand)
        )
    matrix = np.concatenate([np.hstack([x, q, z[:, None]]) for x, q, z, _, _ in rows])
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = K + V + 1, matrix.shape[0]
    worth = problem.alpha / problem.demand * np.array([s.accuracy for s in variants])
    lp.col_cost_ = -np.concatenate([-problem.price * cores, worth, [-1.0]])
    lp.col_lower_ = np.zeros(K + V + 1)
    lp.col_upper_ = np.concatenate([np.ones(K), np.full(V + 1, highspy.kHighsInf)])
    lp.row_lower_ = np.concatenate([np.full(x.shape[0], low) for x, _, _, low, _ in rows])
    lp.row_upper_ = np.concatenate([np.full(x.shape[0], high) for x, _, _, _, high in rows])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.concatenate([[0], np.cumsum((matrix != 0.0).sum(axis=1))])
    lp.a_matrix_.index_ = np.nonzero(matrix)[1]
    lp.a_matrix_.value_ = matrix[matrix != 0.0]
    kinds = highspy.HighsVarType
    lp.integrality_ = [kinds.kInteger] * K + [kinds.kContinuous] * (V + 1)
    solver: Any = highspy.Highs()  # type: ignore[no-untyped-call]  # it ships no types
    for option, value in {
        "log_to_console": False,
        "output_flag": False,
        "threads": 1,
        "time_limit": limit_s,
        "mip_rel_gap": 1e-8,
    }.items():
        solver.setOptionValue(option, value)
    solver.passModel(lp)
    begin = time.perf_counter()
    solver.run()
    seconds = time.perf_counter() - begin
    status, info = solver.getModelStatus(), solver.getInfo()
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    return HighsAnswer(
        value=-info.objective_function_value if found else -math.inf,
        bound=-info.mip_dual_bound,
        seconds=seconds,
        is_optimal=status == highspy.HighsModelStatus.kOptimal,
        is_infeasible=status == highspy.HighsModelStatus.kInfeasible,
    )


@functools.cache
def _all_sizes(variants: int, cores: int) -> Ints:
    """Every choice of cores (0: not in the set) within the budget, shape (N, variants)."""
    choices = np.zeros((1, 0), dtype=np.int64)
    sizes = np.array([0, *range(FEWEST, cores + 1)])
    for _ in range(variants):
        choices = np.hstack([np.repeat(choices, sizes.size, axis=0), np.tile(sizes, choices.shape[0])[:, None]])
        choices = choices[choices.sum(axis=1) <= cores]
    return choices


def solve_by_enumeration(problem: SetProblem) -> float:
    """The best objective of all sets, scored as arrays; for few variants."""
    chosen = _all_sizes(len(problem.variants), problem.cores)
    rest, value = np.full(chosen.shape[0], problem.demand), -problem.price * chosen.sum(axis=1)
    load = np.zeros(chosen.shape[0])
    for m, sizes in enumerate(problem.variants):  # the generator has the most accurate first
        rate, cost = np.zeros(problem.cores + 1), np.zeros(problem.cores + 1)
        rate[sizes.cores], cost[sizes.cores] = sizes.rate, sizes.load
        quota = np.minimum(rest, rate[chosen[:, m]])
        rest = rest - quota
        value = value + problem.alpha * sizes.accuracy / problem.demand * quota
        load = np.maximum(load, cost[chosen[:, m]])
    return float(np.where(rest <= 0.0, value - load, -math.inf).max())


def main(quick: bool) -> None:
    """Print the table; with `quick`, of few instances."""
    compiled.load()
    print("InfAdapter's problem: milliseconds of one call")
    print(
        f"{'variants × cores':>17} {'n':>5} {'median':>8} {'p99':>8} {'max':>8} {'labels':>8} {'max gap':>8}   others"
    )
    for variants, cores, count, by_highs in ((5, 20, 1000, 40), (10, 100, 500, 20), (20, 300, 100, 6)):
        n = max(1, count // 20) if quick else count
        problems = [make_instance(np.random.default_rng([variants, cores, i]), variants, cores) for i in range(n)]
        answers, times_s = zip(*map(_timed, problems), strict=True)
        ms = 1e3 * np.array(times_s)
        facts = f"{np.median(ms):8.3f} {np.quantile(ms, 0.99):8.2f} {ms.max():8.2f}"
        facts += f" {max(a.labels for a in answers):8d} {max(a.gap for a in answers):8.1e}"
        few = max(1, by_highs // 10) if quick else by_highs
        others = _highs_words(problems[:few], answers[:few], times_s[:few])
        if variants == 5:
            others += "; " + _enumeration_words(problems, answers)
        print(f"{f'{variants} × {cores}':>17} {n:5d} {facts}   {others}", flush=True)


def _timed(problem: SetProblem) -> tuple[SetSolution, float]:
    seconds = math.inf
    for _ in range(CALLS):
        begin = time.perf_counter()
        answer = solve_sets(problem)
        seconds = min(seconds, time.perf_counter() - begin)
    assert answer is not None, "every instance can be carried"
    return answer, seconds


def _highs_words(problems: list[SetProblem], answers: tuple[SetSolution, ...], times_s: tuple[float, ...]) -> str:
    found = [solve_by_highs(problem) for problem in problems]
    for highs, ours in zip(found, answers, strict=True):
        assert highs.value <= ours.value + ours.gap + EQUAL, f"HiGHS has {highs.value}, we have {ours.value}"
        assert not highs.is_optimal or highs.value >= ours.value - EQUAL, f"HiGHS proves less: {highs.value}"
    hits = sum(not highs.is_optimal for highs in found)
    ratio = np.median([highs.seconds / ours_s for highs, ours_s in zip(found, times_s, strict=True)])
    mark = "≥ " if hits else ""
    limit = f", {hits} at the limit of {HIGHS_LIMIT_S:g} s" if hits else ""
    median_ms = 1e3 * np.median([highs.seconds for highs in found])
    return f"HiGHS {mark}{median_ms:.4g} (n {len(found)}{limit}), median ratio {mark}{ratio:.0f}"


def _enumeration_words(problems: list[SetProblem], answers: tuple[SetSolution, ...]) -> str:
    times_s = []
    _all_sizes(len(problems[0].variants), problems[0].cores)
    for problem, ours in zip(problems, answers, strict=True):
        begin = time.perf_counter()
        value = solve_by_enumeration(problem)
        times_s.append(time.perf_counter() - begin)
        assert abs(value - ours.value) <= 1e-9, f"enumeration has {value}, we have {ours.value}"
    return f"enumeration (NumPy) {1e3 * np.median(times_s):.3g}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="few instances")
    main(quick=parser.parse_args().quick)
