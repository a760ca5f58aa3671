from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.plan.switching import needs_loading, plan_load_s, replicas_there, task_load_s
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
