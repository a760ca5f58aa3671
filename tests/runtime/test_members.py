"""Which replicas serve a new plan, variants that are held back, and seconds that nobody counted."""

from __future__ import annotations

import asyncio
from typing import cast

import hypothesis.strategies as st
from hypothesis import given

from trimtab.plan.model import Allocation
from trimtab.runtime.failures import HELD_BACK_S, FailedVariants
from trimtab.runtime.members import Member, match
from trimtab.runtime.presence import Presence
from trimtab.runtime.replica import Replica

RUNNING = cast("Replica", object())


def a_member(name: str, allocation: Allocation, *, running: bool = True) -> Member:
    ready = cast("asyncio.Future[None]", None)
    return Member(name, "read", 0, allocation, (0,), ready, RUNNING if running else None)


def a_group(variant: str, replicas: int, cores: int = 1) -> Allocation:
    return Allocation(variant, replicas, cores, 1, 4)


def names(chosen: dict[int, list[Member]]) -> dict[int, list[str]]:
    return {group: [m.id for m in members] for group, members in chosen.items()}


def test_replicas_stay_with_what_they_do() -> None:
    members = [
        a_member("a", a_group("big", 1)),
        a_member("b", a_group("small", 1)),
        a_member("c", a_group("big", 1, 2)),
    ]
    assert names(match(members, [a_group("small", 1), a_group("big", 1)])) == {0: ["b"], 1: ["a"]}
    assert names(match(members, [a_group("small", 1), a_group("small", 1, 2)])) == {0: ["b"], 1: ["c"]}
    assert names(match(members, [a_group("other", 2)])) == {0: ["a", "b"]}, "the shape counts before the age"
    assert names(match(members, [a_group("other", 1, 4)])) == {0: ["a"]}
    assert names(match(members, [a_group("big", 5)])) == {0: ["a", "b", "c"]}


def test_a_replica_that_serves_stays_before_one_that_starts() -> None:
    members = [a_member("starting", a_group("big", 2), running=False), a_member("serving", a_group("big", 2))]
    assert names(match(members, [a_group("big", 1)])) == {0: ["serving"]}


SHAPES = st.builds(a_group, st.sampled_from("ab"), st.integers(1, 3), st.integers(1, 2))


@given(st.lists(SHAPES, max_size=6), st.lists(SHAPES, min_size=1, max_size=3))
def test_every_group_gets_as_many_as_there_are_and_none_twice(have: list[Allocation], want: list[Allocation]) -> None:
    members = [a_member(str(i), allocation) for i, allocation in enumerate(have)]
    chosen = match(members, want)
    taken = [m.id for group in chosen.values() for m in group]
    assert len(taken) == len(set(taken)) == min(len(have), sum(a.replicas for a in want))
    assert all(len(chosen[i]) <= allocation.replicas for i, allocation in enumerate(want))


def test_a_variant_is_held_back_longer_each_time() -> None:
    now_s = 0.0
    told: list[float] = []
    failed = FailedVariants(lambda: now_s)
    failed.on_change = lambda: told.append(now_s)
    for held_s in (*HELD_BACK_S, HELD_BACK_S[-1]):
        failed.note("read", "big", "corrupt")
        assert failed.next_s() == held_s
        assert failed.held_back() == {("read", "big")}
        now_s += held_s
        assert failed.of("read", "big") is None
        assert failed.next_s() is None
    assert len(told) == len(HELD_BACK_S) + 1
    failed.forget("read", "big")
    failed.note("read", "big", "corrupt")
    assert failed.next_s() == HELD_BACK_S[0]


def test_seconds_that_were_slept_through_are_unknown_and_quiet_ones_are_zero() -> None:
    presence = Presence(10.2)
    presence.seen(11.0)
    assert presence.counted((3, 0), 12.5) == (3, 0)
    presence.seen(71.5)  # nobody was there from 11.0 on
    assert presence.counted((3, *[0] * 60, 4), 72.1) == (3, *[None] * 60, 4)
    presence.seen(60.0)  # a clock that goes back is no gap
    presence.seen(72.0)
    assert presence.counted((0,), 73.0) == (0,)
