"""The earliest-deadline-first queue against a sorted list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.dispatch.edf import EdfQueue


def test_order_is_by_deadline_then_by_arrival() -> None:
    queue: EdfQueue[str] = EdfQueue()
    for item, deadline_s in [("b", 2.0), ("a", 1.0), ("c", 2.0), ("d", 0.5)]:
        queue.push(item, deadline_s)
    assert queue.head_deadline_s() == 0.5
    assert [queue.pop() for _ in range(4)] == ["d", "a", "b", "c"]
    with pytest.raises(IndexError):
        queue.pop()


def test_an_item_waits_once() -> None:
    queue: EdfQueue[str] = EdfQueue()
    queue.push("a", 1.0)
    with pytest.raises(ValueError, match="waiting already"):
        queue.push("a", 2.0)


def test_an_item_may_come_back_after_it_was_taken_or_discarded() -> None:
    queue: EdfQueue[str] = EdfQueue()
    queue.push("a", 1.0)
    assert queue.discard("a")
    assert not queue.discard("a")
    queue.push("a", 3.0)
    assert len(queue) == 1
    assert queue.head_deadline_s() == 3.0
    assert queue.pop() == "a"
    assert len(queue) == 0


operations = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 5)),
        st.tuples(st.just("pop"), st.just(0)),
        st.tuples(st.just("discard"), st.integers(0, 300)),
    ),
    max_size=300,
)


@given(operations)
def test_behaves_like_a_sorted_list(steps: list[tuple[str, int]]) -> None:
    queue: EdfQueue[int] = EdfQueue()
    model: list[tuple[int, int]] = []
    for number, (step, value) in enumerate(steps):
        if step == "push":
            queue.push(number, float(value))
            model.append((value, number))
            model.sort()
        elif step == "pop" and model:
            assert queue.head_deadline_s() == model[0][0]
            assert queue.pop() == model.pop(0)[1]
        elif step == "discard":
            known = [entry for entry in model if entry[1] == value]
            assert queue.discard(value) == bool(known)
            model = [entry for entry in model if entry[1] != value]
        assert len(queue) == len(model)
