"""The assignment of cores to replicas."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trimtab.runtime.cores import assign


def test_replicas_get_cores_of_their_own_while_there_are_enough() -> None:
    assert assign({}, {"a": 1, "b": 2}, (4, 5, 6)) == {"a": (4,), "b": (5, 6)}


def test_a_replica_keeps_what_it_has() -> None:
    held = {"a": (0,), "b": (1, 2, 3)}
    assert assign(held, {"a": 2, "b": 2}, (0, 1, 2, 3)) == {"a": (0, 3), "b": (1, 2)}


def test_a_draining_replica_holds_its_cores_until_it_is_gone() -> None:
    assert assign({"old": (0,)}, {"new": 1}, (0, 1)) == {"new": (1,)}
    assert assign({"old": (0, 1)}, {"new": 1}, (0, 1)) == {"new": (0,)}


@given(
    held=st.dictionaries(st.sampled_from("abcdef"), st.sets(st.integers(0, 7), max_size=3).map(tuple), max_size=4),
    wanted=st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 4), max_size=4),
)
def test_everyone_gets_the_number_asked_for_and_shares_only_when_it_must(
    held: dict[str, tuple[int, ...]], wanted: dict[str, int]
) -> None:
    usable = tuple(range(8))
    assigned = assign(held, wanted, usable)
    assert {name: len(ids) for name, ids in assigned.items()} == wanted
    for ids in assigned.values():
        assert len(set(ids)) == len(ids)
        assert set(ids) <= set(usable)
    for name, ids in assigned.items():
        kept = set(held.get(name, ())) & set(ids)
        assert len(kept) == min(len(held.get(name, ())), wanted[name])
    if not held and sum(wanted.values()) <= len(usable):
        used = [i for ids in assigned.values() for i in ids]
        assert len(used) == len(set(used))
