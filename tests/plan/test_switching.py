from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from trimtab.plan.model import Allocation, Limits, Plan, TaskPlan
from trimtab.plan.switching import (
    change_s,
    grown,
    needs_loading,
    plan_load_s,
    replicas_there,
    started_cores,
    task_load_s,
    until_started,
)
from trimtab.profile.model import Profile
from trimtab.testing import make_chain

LOAD_S = {"s": 6.0, "m": 7.0, "l": 9.0}
VARIANTS = {"s": (0.7, 0.01), "m": (0.8, 0.02), "l": (0.9, 0.05)}
_, _MADE = make_chain({"a": VARIANTS, "b": VARIANTS})
PROFILE = Profile(
    {
        task: {name: replace(known, load_time_s=LOAD_S[name]) for name, known in variants.items()}
        for task, variants in _MADE.variants.items()
    }
)
RIGID = Limits(cores=64.0, in_place_variants=False, in_place_cores=False, start_s=2.0)
SOFT = Limits(cores=64.0, in_place_variants=True, in_place_cores=True, start_s=2.0)
GROUPS = st.lists(
    st.builds(
        Allocation, st.sampled_from("sml"), st.integers(1, 4), st.integers(1, 3), st.just(1), st.just(1), st.just(0.5)
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda a: a.variant,
)


def group(variant: str, replicas: int, cores: int) -> Allocation:
    return Allocation(variant, replicas, cores, 1, 1)


def task(*groups: Allocation, beside: str = "") -> TaskPlan:
    return TaskPlan("a", groups, resident=(*(a.variant for a in groups), *beside))


def load_s(before: TaskPlan | None, *groups: Allocation) -> float:
    return task_load_s(groups, before, PROFILE.variants["a"])


def test_what_is_there_already_loads_nothing() -> None:
    before = task(group("s", 3, 2), beside="l")
    assert load_s(before, group("s", 3, 2)) == 0.0
    assert load_s(before, group("s", 1, 1)) == 0.0, "fewer and smaller replicas are free"
    assert load_s(before, group("l", 3, 2)) == 0.0, "a resident variant is switched to at once"


def test_new_variants_more_replicas_and_larger_ones_load() -> None:
    before = task(group("s", 3, 2), beside="l")
    assert load_s(before, group("m", 1, 1)) == 7.0
    assert load_s(before, group("s", 4, 2)) == 6.0
    assert load_s(before, group("s", 1, 3)) == 6.0
    assert load_s(before, group("l", 4, 1)) == 9.0
    assert load_s(None, group("s", 1, 1)) == 6.0


def test_groups_load_at_the_same_time_and_each_for_itself() -> None:
    before = task(group("s", 1, 8))
    assert load_s(before, group("s", 1, 4), group("m", 1, 4)) == 7.0
    assert load_s(before, group("l", 1, 2), group("m", 1, 4)) == 9.0
    mixed = task(group("s", 1, 8), group("l", 1, 4))
    assert load_s(mixed, group("s", 1, 4), group("l", 1, 8)) == 9.0, "the large group grows"
    assert replicas_there("s", 8, mixed) == 1
    assert replicas_there("l", 8, mixed) == 0
    assert not needs_loading(group("l", 1, 4), mixed)


def test_tasks_add_up_and_nothing_is_known_without_a_plan_in_force() -> None:
    now = Plan({n: TaskPlan(n, (group("s", 1, 1),), ("s",)) for n in "ab"}, 1.0)
    then = Plan({n: TaskPlan(n, (group(v, 1, 1),), (v,)) for n, v in (("a", "m"), ("b", "l"))}, 1.0)
    assert plan_load_s(then, now, PROFILE) == (16.0, ())
    assert plan_load_s(then, then, PROFILE) == (0.0, ())
    assert plan_load_s(then, None, PROFILE) == (0.0, ())
    partly = Plan({"a": then.tasks["a"]}, 1.0)
    assert plan_load_s(then, partly, PROFILE)[0] == 9.0


def test_a_load_time_that_is_not_known_is_said_where_it_counts() -> None:
    now = Plan({"a": task(group("s", 1, 1))}, 1.0)
    unknown = "a/m: load time not known, counted as nothing"
    assert plan_load_s(Plan({"a": task(group("m", 1, 1))}, 1.0), now, _MADE) == (0.0, (unknown,))
    assert plan_load_s(now, now, _MADE) == (0.0, ())


@given(GROUPS, GROUPS)
def test_staying_is_free_and_order_does_not_matter(before: list[Allocation], after: list[Allocation]) -> None:
    there = task(*before)
    assert load_s(there, *before) == 0.0
    assert load_s(there, *after) == load_s(there, *reversed(after)) == load_s(task(*reversed(before)), *after)
    assert load_s(there, *after) <= load_s(None, *after)
    assert load_s(there, *(replace(a, replicas=1, cores=1) for a in after)) <= load_s(there, *after)


def plan(*groups: Allocation, beside: str = "", other: Allocation | None = None) -> Plan:
    """A plan for task a; with `other`, for task b too."""
    tasks = {"a": task(*groups, beside=beside)}
    if other is not None:
        tasks["b"] = TaskPlan("b", (other,), (other.variant,))
    return Plan(tasks, 1.0)


def test_in_place_only_more_replicas_and_new_variants_take_time() -> None:
    before = plan(group("s", 2, 2), beside="l")
    takes = [
        (plan(group("s", 1, 1), beside="l"), 0.0, 0),
        (plan(group("l", 2, 4), beside="s"), 0.0, 0),  # other cores and another resident variant
        (plan(group("s", 3, 4), beside="l"), 2.0 + 6.0 + 9.0, 4),  # a new replica loads all of its variants
        (plan(group("s", 2, 2), beside="lm"), 7.0, 0),  # those that run load what is new
        (plan(group("m", 2, 2)), 7.0, 0),
        (plan(group("m", 4, 1)), 2.0 + 7.0, 2),
    ]
    for after, seconds, cores in takes:
        assert change_s(before, after, PROFILE, SOFT) == seconds
        assert started_cores(before, after, SOFT) == cores


def test_without_it_other_cores_and_other_variants_are_new_replicas() -> None:
    before = plan(group("s", 2, 2))
    takes = [
        (plan(group("s", 1, 2)), 0.0, 0),
        (plan(group("s", 2, 4)), 2.0 + 6.0, 8),
        (plan(group("s", 3, 2)), 2.0 + 6.0, 2),
        (plan(group("l", 1, 2)), 2.0 + 9.0, 2),
        (plan(group("s", 1, 2), group("l", 1, 2)), 2.0 + 9.0, 2),
    ]
    for after, seconds, cores in takes:
        assert change_s(before, after, PROFILE, RIGID) == seconds
        assert started_cores(before, after, RIGID) == cores
    half = replace(RIGID, in_place_cores=True)
    assert change_s(before, takes[1][0], PROFILE, half) == 0.0
    assert change_s(before, takes[3][0], PROFILE, half) == 11.0


def test_tasks_change_at_the_same_time_and_a_load_time_not_known_is_nothing() -> None:
    before = plan(group("s", 1, 1), other=group("s", 1, 1))
    after = plan(group("s", 2, 1), other=group("l", 2, 3))
    assert change_s(before, after, PROFILE, SOFT) == 2.0 + 9.0
    assert started_cores(before, after, SOFT) == 1 + 3
    assert change_s(before, after, _MADE, SOFT) == 2.0


def test_until_the_new_replicas_are_there_the_old_ones_serve_as_the_plan_says() -> None:
    before = plan(group("s", 2, 2), beside="l")
    grown = plan(group("l", 5, 4), beside="s")
    assert until_started(before, grown) == plan(group("l", 2, 4), beside="s")
    assert until_started(before, plan(group("s", 1, 1))) == plan(group("s", 1, 1))
    first, second = (replace(group(v, n, 1), share=share) for v, n, share in (("s", 1, 0.25), ("l", 3, 0.75)))
    meanwhile = until_started(before, plan(first, second)).tasks["a"].allocations
    assert meanwhile == (first, replace(second, replicas=1))
    alone = until_started(plan(group("s", 1, 1)), plan(first, second)).tasks["a"].allocations
    assert alone == (replace(first, share=1.0),), "who is there takes all of the traffic"


def test_a_plan_grows_by_more_of_the_replicas_that_are_there() -> None:
    before = plan(group("s", 1, 4), beside="l", other=group("m", 2, 1))
    for cores, replicas in ((4, 1), (3, 1), (5, 2), (8, 2), (9, 3)):
        after = grown(before, plan(group("l", cores, 1), other=group("l", 1, 1)))
        assert after.tasks["a"] == task(group("s", replicas, 4), beside="l")
        assert after.tasks["b"] == before.tasks["b"], "what would shrink stays as it is"


@given(GROUPS, GROUPS)
def test_what_starts_is_what_is_not_there_yet(before: list[Allocation], after: list[Allocation]) -> None:
    one, other = plan(*before), plan(*after)
    for limits in (SOFT, RIGID):
        assert change_s(one, one, PROFILE, limits) == 0.0
        assert started_cores(one, one, limits) == 0
        cores = started_cores(one, other, limits)
        assert 0 <= cores <= other.cores
        assert (cores > 0) <= (change_s(one, other, PROFILE, limits) >= limits.start_s)
    assert started_cores(one, other, SOFT) <= started_cores(one, other, RIGID)
    assert (
        change_s(one, other, PROFILE, SOFT) == 0.0
        or set(other.tasks["a"].resident) - set(one.tasks["a"].resident)
        or started_cores(one, other, SOFT)
    )
    meanwhile = until_started(one, other)
    there = sum(a.replicas for a in before)
    assert sum(a.replicas for a in meanwhile.tasks["a"].allocations) == min(there, sum(a.replicas for a in after))
    assert abs(sum(a.share for a in meanwhile.tasks["a"].allocations) - 1.0) < 1e-9
    assert started_cores(one, meanwhile, SOFT) == 0
