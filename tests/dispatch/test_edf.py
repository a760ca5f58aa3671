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


def test_levels_go_before_deadlines() -> None:
    queue: EdfQueue[str] = EdfQueue()
    for item, deadline_s, level in [("calm", 0.1, 9), ("urgent", 9.0, 1), ("usual", 1.0, 5), ("hurried", 2.0, 1)]:
        queue.push(item, deadline_s, level)
    assert [queue.ahead(level) for level in (0, 1, 4, 5, 9)] == [0, 2, 2, 3, 4]
    assert (queue.head_level(), queue.head_deadline_s()) == (1, 2.0)
    assert [queue.pop() for _ in range(4)] == ["hurried", "urgent", "usual", "calm"]
    with pytest.raises(IndexError):
        queue.head_level()


def test_an_item_may_come_back_at_another_level_while_its_old_entry_lingers() -> None:
    queue: EdfQueue[str] = EdfQueue()
    queue.push("a", 1.0, 1)
    queue.push("b", 1.0, 2)
    queue.discard("a")
    queue.push("a", 1.0, 3)
    assert [queue.ahead(level) for level in (1, 2, 3)] == [0, 1, 2]
    assert [queue.pop(), queue.pop()] == ["b", "a"]
    assert queue.ahead(3) == 0


operations = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 5), st.integers(1, 3)),
        st.tuples(st.just("pop"), st.just(0), st.just(0)),
        st.tuples(st.just("discard"), st.integers(0, 300), st.just(0)),
    ),
    max_size=300,
)


@given(operations)
def test_behaves_like_a_sorted_list(steps: list[tuple[str, int, int]]) -> None:
    queue: EdfQueue[int] = EdfQueue()
    model: list[tuple[int, int, int]] = []
    for number, (step, value, level) in enumerate(steps):
        if step == "push":
            queue.push(number, float(value), level)
            model.append((level, value, number))
            model.sort()
        elif step == "pop" and model:
            assert (queue.head_level(), queue.head_deadline_s()) == model[0][:2]
            assert queue.pop() == model.pop(0)[2]
        elif step == "discard":
            known = [entry for entry in model if entry[2] == value]
            assert queue.discard(value) == bool(known)
            model = [entry for entry in model if entry[2] != value]
        assert len(queue) == len(model)
        assert [queue.ahead(at) for at in range(4)] == [sum(e[0] <= at for e in model) for at in range(4)]


def test_discarded_items_do_not_pile_up() -> None:
    queue: EdfQueue[int] = EdfQueue()
    for item in range(1000):
        queue.push(item, float(item), item % 3)
    for item in range(990):
        queue.discard(item)
    assert len(queue._heap) < 100
    assert [queue.pop() for _ in range(10)] == sorted(range(990, 1000), key=lambda item: (item % 3, item))
