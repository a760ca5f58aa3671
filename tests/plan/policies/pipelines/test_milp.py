from __future__ import annotations

import itertools
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import MissingExtraError
from trimtab.plan.policies.pipelines.milp import Programme

ITEMS = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5)


@settings(max_examples=40)
@given(ITEMS, st.integers(0, 25), st.integers(0, 25))
def test_knapsacks_equal_enumeration(items: list[tuple[int, int, int]], room: int, other: int) -> None:
    programme = Programme()
    columns = [programme.column(float(worth), upper=2.0, integer=True) for worth, _, _ in items]
    programme.row({c: float(size) for c, (_, size, _) in zip(columns, items, strict=True)}, high=float(room))
    programme.row({c: float(size) for c, (_, _, size) in zip(columns, items, strict=True)}, high=float(other))
    found = programme.solve()
    best = max(
        sum(n * worth for n, (worth, _, _) in zip(counts, items, strict=True))
        for counts in itertools.product(range(3), repeat=len(items))
        if sum(n * size for n, (_, size, _) in zip(counts, items, strict=True)) <= room
        and sum(n * size for n, (_, _, size) in zip(counts, items, strict=True)) <= other
    )
    assert found is not None
    assert found.objective == pytest.approx(best)
    assert found.gap == 0.0
    assert sum(found.whole(c) * worth for c, (worth, _, _) in zip(columns, items, strict=True)) == best


def test_continuous_columns_and_both_sides_of_a_row() -> None:
    programme = Programme()
    x, y = programme.column(1.0), programme.column(2.0, upper=4.0)
    programme.row({x: 1.0, y: 1.0}, low=1.0, high=10.0)
    programme.row({x: 1.0, y: -3.0}, low=-6.0)
    # y is at most 4, so x is at least 6 and, with x + y ≤ 10, at most 6.
    found = programme.solve()
    assert found is not None
    assert found.values == pytest.approx((6.0, 4.0))
    assert found.objective == pytest.approx(14.0)


def test_what_cannot_be_is_none() -> None:
    programme = Programme()
    x = programme.column(1.0, upper=1.0, integer=True)
    programme.row({x: 1.0}, low=0.4, high=0.6)
    assert programme.solve() is None


def test_solving_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    programme = Programme()
    programme.row({programme.column(1.0, integer=True): 2.0}, high=5.0)
    assert programme.solve() is not None
    out, err = capfd.readouterr()
    assert out + err == "", "what a command prints as JSON has to stay JSON"


def test_without_highspy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    with pytest.raises(MissingExtraError, match=r"trimtab\[milp\]"):
        Programme().solve()
