"""The best set of variants against exhaustive enumeration and against HiGHS, judged by sums that the solver lacks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.planner.infadapter import make_instance, solve_by_enumeration, solve_by_highs
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab import compiled
from trimtab.plan.solve.sets import SetProblem, SetSolution, Sizes, most_carried, solve_sets
from trimtab.plan.solve.sets_bounds import Table
from trimtab.plan.solve.sets_labels import Labels, undominated

ROUNDING = 1e-9


@st.composite
def problems(draw: st.DrawFn, *, whole: bool = False) -> SetProblem:
    """Up to four variants of up to five irregular sizes, some loaded already, under up to two other limits."""
    resources = draw(st.integers(0, 2))
    eighths = 1 if whole else 8  # sums of which are exact
    rates = st.integers(0, 30 * eighths).map(lambda eighth: eighth / eighths)
    variants: list[Sizes] = []
    for _ in range(draw(st.integers(1, 4))):
        count = draw(st.integers(0 if variants else 1, 5))
        cost = draw(st.sampled_from([0.0, 0.001, 0.02, 0.3]))
        loads = draw(st.lists(st.booleans(), min_size=count, max_size=count))
        variants.append(
            Sizes(
                accuracy=draw(st.sampled_from([0.0, 0.5, 0.7, 0.75, 0.9])),
                cores=np.array(sorted(draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))), np.int64),
                rate=np.array(draw(st.lists(rates, min_size=count, max_size=count))),
                load=np.where(loads, cost, 0.0) if count else np.zeros(0),
                use=draw(st.integers(0, 3)) * np.ones((count, resources)) + np.arange(count)[:, None] % 2,
            )
        )
    return SetProblem(
        variants=tuple(variants),
        demand=draw(st.integers(1, 70 * eighths)) / eighths,
        cores=draw(st.integers(0, 24)),
        alpha=draw(st.sampled_from([0.0, 0.5, 1.0, 30.0])),
        price=draw(st.sampled_from([0.0, 0.001, 0.01, 0.2])),
        limits=tuple(float(draw(st.integers(0, 8))) for _ in range(resources)),
        exact=whole,
    )


def every_set(problem: SetProblem) -> Iterator[tuple[int, ...]]:
    yield from itertools.product(*(range(-1, sizes.cores.size) for sizes in problem.variants))


def judge(problem: SetProblem, picks: Sequence[int]) -> float | None:
    """The objective of a set with the best quotas; None where it breaks a constraint."""
    members = [(sizes, i) for sizes, i in zip(problem.variants, picks, strict=True) if i >= 0]
    members.sort(key=lambda member: -member[0].accuracy)
    if sum(int(s.cores[i]) for s, i in members) > problem.cores:
        return None
    for r, limit in enumerate(problem.limits):
        if sum(float(s.use[i, r]) for s, i in members) > limit:
            return None
    rest, value = problem.demand, 0.0
    for s, i in members:
        quota = min(rest, float(s.rate[i]))
        rest -= quota
        value += problem.alpha * quota / problem.demand * s.accuracy - problem.price * int(s.cores[i])
    if rest > 0.0:
        return None
    if problem.exact:
        last = max(range(len(picks)), key=lambda m: (-problem.variants[m].accuracy, m))
        others = [
            float(s.rate[i])
            for m, (s, i) in enumerate(zip(problem.variants, picks, strict=True))
            if m != last and i >= 0
        ]
        if sum(others) > problem.demand:
            return None
    return value - max((float(s.load[i]) for s, i in members), default=0.0)


def check_sound(problem: SetProblem, answer: SetSolution) -> None:
    value = judge(problem, answer.picks)
    assert value is not None, "the answer breaks a constraint"
    assert answer.value == pytest.approx(value, abs=ROUNDING)
    assert sum(answer.quotas) == pytest.approx(problem.demand)
    for sizes, i, quota in zip(problem.variants, answer.picks, answer.quotas, strict=True):
        assert 0.0 <= quota <= (float(sizes.rate[i]) if i >= 0 else 0.0)


def check_equal_to_enumeration(problem: SetProblem) -> None:
    answer = solve_sets(problem)
    values = [v for picks in every_set(problem) if (v := judge(problem, picks)) is not None]
    if answer is None:
        assert not values
        return
    check_sound(problem, answer)
    assert answer.value == pytest.approx(max(values), abs=ROUNDING)
    assert answer.gap == 0.0


@settings(max_examples=300)
@given(problems())
def test_equal_to_enumeration(problem: SetProblem) -> None:
    check_equal_to_enumeration(problem)


@settings(max_examples=300)
@given(problems(whole=True))
def test_equal_to_enumeration_where_others_must_not_exceed_the_demand(problem: SetProblem) -> None:
    check_equal_to_enumeration(problem)


@settings(max_examples=100)
@given(problems())
def test_most_carried_equals_enumeration(problem: SetProblem) -> None:
    free = replace(problem, demand=1e-3)  # what is carried then is feasible, whatever the demand was
    carried = [
        sum(float(s.rate[i]) for s, i in zip(problem.variants, picks, strict=True) if i >= 0)
        for picks in every_set(problem)
        if judge(free, picks) is not None
    ]
    most = most_carried(problem)
    assert most == pytest.approx(min(problem.demand, max(carried, default=0.0)), rel=1e-9, abs=2e-3)


@settings(max_examples=100)
@given(problems(), st.permutations(range(4)))
def test_the_order_of_variants_does_not_matter(problem: SetProblem, order: list[int]) -> None:
    shuffled = replace(problem, variants=tuple(problem.variants[m] for m in order if m < len(problem.variants)))
    one, other = solve_sets(problem), solve_sets(shuffled)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert other.value == pytest.approx(one.value, abs=ROUNDING)
        assert solve_sets(problem) == one


@settings(max_examples=100)
@given(problems(), st.integers(1, 5), st.sampled_from([0.25, 0.5, 0.75]))
def test_more_room_never_costs(problem: SetProblem, cores: int, share: float) -> None:
    one = solve_sets(problem)
    wider = solve_sets(replace(problem, cores=problem.cores + cores))
    # A set that carries the demand carries a part of it, with the more accurate members' share rising.
    smaller = solve_sets(replace(problem, demand=share * problem.demand))
    if one is not None:
        assert wider is not None
        assert wider.value >= one.value - ROUNDING
        assert smaller is not None
        assert smaller.value >= one.value - ROUNDING


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_highs_on_larger_instances(seed: int) -> None:
    problem = make_instance(np.random.default_rng(seed), 6, 16)
    limit, uses = 3.0, [np.ones((s.cores.size, 1)) for s in problem.variants]
    counted = tuple(replace(s, use=use) for s, use in zip(problem.variants, uses, strict=True))
    for asked in (
        problem,
        replace(problem, variants=counted, limits=(limit,)),
        replace(problem, exact=True, demand=0.7 * problem.demand // 1.0 + 1.0),
    ):
        answer, highs = solve_sets(asked), solve_by_highs(asked)
        assert (answer is None) == highs.is_infeasible
        if answer is not None:
            check_sound(asked, answer)
            assert highs.is_optimal
            assert answer.gap == 0.0
            assert answer.value == pytest.approx(highs.value, abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_the_enumeration_of_all_published_sizes(seed: int) -> None:
    problem = make_instance(np.random.default_rng([5, 20, seed]), 5, 20)
    answer = solve_sets(problem)
    assert answer is not None
    assert answer.value == pytest.approx(solve_by_enumeration(problem), abs=ROUNDING)


def make_irregular(seed: int) -> SetProblem:
    """Rates that rise by uneven steps and accuracies far apart, so that bounds are loose and labels decide."""
    rng = np.random.default_rng(seed)
    cores, sizes = 14, np.arange(2, 15)
    variants = []
    for accuracy in np.sort(rng.uniform(0.3, 1.0, 5))[::-1]:
        rate = np.cumsum(rng.integers(0, 7, sizes.size)).astype(np.float64)
        load = np.where(rng.random(sizes.size) < 0.1, 0.0, rng.choice([0.0, 0.01, 0.1]))
        variants.append(Sizes(float(accuracy), sizes, rate, load, np.zeros((sizes.size, 0))))
    problem = SetProblem(tuple(variants), 1e6, cores, price=float(rng.choice([0.0, 0.002, 0.02])))
    return replace(problem, demand=float(max(1, round(most_carried(problem) * rng.uniform(0.5, 1.0)))))


def test_equal_to_enumeration_where_labels_decide() -> None:
    # In instance 107 a search is wrong that compares values alone, without worth·rate, in its dominance.
    for seed in range(60, 120):
        problem = make_irregular(seed)
        answer = solve_sets(problem)
        assert answer is not None
        assert answer.value == pytest.approx(solve_by_enumeration(problem), abs=ROUNDING)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 12)), min_size=1, max_size=12),
    st.booleans(),
)
def test_labels_go_if_and_only_if_another_one_dominates(rows: list[tuple[int, int, int]], exact: bool) -> None:
    worth = np.array([2.0, 1.0])
    first, none = np.array([0, 0, 0]), np.zeros(0)
    t = Table(worth, first, first[:0], none, none, np.zeros((0, 0)), none, 0.1, 4, 9.0, exact, 1e-12)
    cores, rate, value = (np.array(column) for column in zip(*rows, strict=True))
    count, at = len(rows), np.zeros(len(rows), dtype=np.int64)
    labels = Labels(cores, rate * 1.0, value / 2.0, np.zeros(count), at, at, np.zeros((count, 0)))
    kept = list(undominated(t, 1, labels))

    def dominates(i: int, j: int) -> bool:
        worse = cores[i] > cores[j] or rate[i] < rate[j] or (exact and rate[i] != rate[j])
        return not worse and bool(value[i] / 2.0 - worth[1] * rate[i] >= value[j] / 2.0 - worth[1] * rate[j])

    assert len(set(kept)) == len(kept)
    for j in range(count):
        assert j in kept or any(dominates(i, j) for i in kept)
    assert not any(dominates(i, j) and not dominates(j, i) and rate[i] > rate[j] for i in kept for j in kept)


@pytest.mark.parametrize("seed", range(4))
def test_a_bounded_effort_leaves_a_gap_that_holds(seed: int) -> None:
    problem = make_instance(np.random.default_rng([7, 24, seed]), 7, 24)
    whole = solve_sets(problem)
    assert whole is not None
    for width, extensions in ((1, 10**6), (4, 10), (32, 1)):
        cut = solve_sets(problem, width=width, extensions=extensions)
        assert cut is not None
        check_sound(problem, cut)
        assert cut.value <= whole.value + ROUNDING
        assert whole.value <= cut.value + cut.gap + ROUNDING
        assert solve_sets(problem, width=width, extensions=extensions) == cut


def test_both_forms_of_the_kernels_give_the_same() -> None:
    pytest.importorskip("numba")
    asked = [make_instance(np.random.default_rng([5, 20, seed]), 5, 20) for seed in range(10)]
    asked += [replace(problem, exact=True) for problem in asked]
    asked += [replace(problem, demand=10.0 * problem.demand) for problem in asked[:2]]
    was_loaded = compiled.is_loaded()
    compiled.unload()
    plain = [solve_sets(problem) for problem in asked]
    compiled.load()
    try:
        assert [solve_sets(problem) for problem in asked] == plain
    finally:
        if not was_loaded:
            compiled.unload()


def test_a_single_variant_takes_its_smallest_sufficient_size() -> None:
    sizes = Sizes(0.8, np.array([1, 2, 4]), np.array([5.0, 9.0, 20.0]), np.zeros(3), np.zeros((3, 0)))
    answer = solve_sets(SetProblem((sizes,), demand=8.0, cores=4, price=0.01))
    assert answer is not None
    assert (answer.picks, answer.quotas) == ((1,), (8.0,))
    assert answer.value == pytest.approx(0.8 - 0.02)
    assert solve_sets(SetProblem((sizes,), demand=21.0, cores=4)) is None
    assert solve_sets(SetProblem((sizes,), demand=1.0, cores=0)) is None
    assert most_carried(SetProblem((sizes,), demand=21.0, cores=3)) == 9.0


def test_what_has_no_meaning_is_refused() -> None:
    one, none = np.ones(1), np.zeros((1, 0))
    sizes = Sizes(0.5, np.ones(1, np.int64), one, one, none)
    for wrong in (
        {"demand": 0.0},
        {"demand": np.inf},
        {"price": -1.0},
        {"alpha": np.nan},
        {"variants": ()},
        {"limits": (1.0,)},
    ):
        with pytest.raises(ValueError, match=r"demand|alpha|variant"):
            SetProblem(**{"variants": (sizes,), "demand": 1.0, "cores": 1, **wrong})  # type: ignore[arg-type]
    two, ones, nothing = np.array([1, 2]), np.ones(2), np.zeros((2, 0))
    for accuracy, cores, rate, load in (
        (0.5, two, one, ones),
        (0.5, two[::-1], ones, ones),
        (0.5, two, ones, np.array([1.0, 2.0])),
        (0.5, two, np.array([1.0, np.nan]), ones),
        (-0.5, two, ones, ones),
    ):
        with pytest.raises(ValueError, match=r"size|finite"):
            Sizes(accuracy, cores, rate, load, nothing)
