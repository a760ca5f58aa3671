"""Figures of a run: outcomes add up, quantiles are of the answered, accuracy is against the labels, missing is None."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import LoadError
from trimtab.load.result import (
    OUTCOMES,
    WINDOW_S,
    Outcome,
    Record,
    Run,
    measure,
    outcome_of,
    rank_variants,
    read_result,
    write_records,
    write_result,
)

RUN = Run("trimtab", "http://h:1", "m", slo_s=0.4, slo_quantile=0.99, trace="t", arrivals="poisson", seed=0, seconds=3)


def record(
    index: int, intended_s: float, response_s: float, outcome: Outcome = "in_time", correct: bool | None = None,
    variant: str = "a", lag_s: float = 0.0,
) -> Record:  # fmt: skip
    answered = outcome in {"in_time", "late"}
    return Record(
        index, 0, intended_s, intended_s + lag_s, intended_s + response_s, outcome,
        variants={"read": variant} if answered else {}, correct=correct if answered else None, plan="p" + variant,
        accuracy=0.9 if answered else None, error="broke" if outcome == "failed" else None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "response_s", "outcome"),
    [
        (200, 0.4, "in_time"),
        (200, 0.41, "late"),
        (503, 0.001, "refused"),
        (429, 0.001, "refused"),
        (504, 0.4, "dropped"),
        (500, 0.1, "failed"),
        (400, 0.1, "failed"),
    ],
)
def test_what_an_answer_means(status: int, response_s: float, outcome: str) -> None:
    assert outcome_of(status, response_s, 0.4) == outcome


def test_a_small_run_by_hand() -> None:
    records = [
        record(0, 0.1, 0.1, correct=True),
        record(1, 0.2, 0.3, correct=False, variant="b"),
        record(2, 1.1, 0.5, "late", correct=True),
        record(3, 1.2, 0.01, "refused"),
        record(4, 2.5, 0.4, "dropped"),
        record(5, 2.6, 0.2, "failed"),
    ]
    result = measure(RUN, records, cost=[(-0.2, 10.0), (1.0, 12.4), (3.5, 19.9)])
    told = result.summary
    assert (told.offered, told.in_time, told.late, told.refused, told.dropped, told.failed) == (6, 2, 1, 1, 1, 1)
    assert told.attainment == pytest.approx(2 / 6)
    assert told.violation_ratio == pytest.approx(4 / 6)
    assert told.p50_s == pytest.approx(0.3)
    assert told.p99_s == pytest.approx(0.5)
    assert told.delivered_accuracy == pytest.approx(2 / 3)
    assert told.right_in_time == pytest.approx(1 / 6)
    assert told.stated_accuracy == pytest.approx(0.9)
    assert told.core_seconds == pytest.approx(9.9)
    assert [(c.variants, c.answers) for c in told.combinations] == [({"read": "a"}, 2), ({"read": "b"}, 1)]
    assert [c.delivered_accuracy for c in told.combinations] == [1.0, 0.0]
    assert told.plans == 2
    assert told.errors == {"broke": 1}
    series = result.series
    assert series.offered == [2, 2, 2]
    assert series.refused == [0, 1, 0]
    assert series.attainment == [1.0, 0.5, pytest.approx(2 / 6)]
    assert series.p99_s == [pytest.approx(0.3), pytest.approx(0.5), pytest.approx(0.5)]
    assert series.variants == {"read": {"a": [1, 1, 0], "b": [1, 0, 0]}}
    assert series.cores == [pytest.approx(2.0), pytest.approx(2.5), pytest.approx(8 / 3)]
    assert "3 refused, dropped or failed" in result.notes[0]


def test_missing_is_none_and_said() -> None:
    result = measure(RUN, [record(0, 0.5, 0.1, "refused")])
    told = result.summary
    assert told.attainment == 0
    assert (told.p99_s, told.delivered_accuracy, told.right_in_time, told.core_seconds) == (None, None, None, None)
    assert result.series.p99_s == [None, None, None]
    assert result.series.cores == [None, None, None]
    assert any("cost is not known" in note for note in result.notes)
    assert any("accuracy is not known" in note for note in result.notes)


def test_a_run_without_requests_has_no_ratios() -> None:
    told = measure(RUN, []).summary
    assert (told.offered, told.attainment, told.violation_ratio) == (0, None, None)


def test_a_late_generator_is_said() -> None:
    records = [record(i, 0.1, 0.2, lag_s=0.1) for i in range(10)]
    assert any("generator itself was late" in note for note in measure(RUN, records).notes)
    records = [record(i, 0.1, 0.2, lag_s=0.001) for i in range(10)]
    assert not any("generator itself was late" in note for note in measure(RUN, records).notes)


records_lists = st.lists(
    st.tuples(st.floats(0, 9.99), st.floats(0, 2), st.sampled_from(OUTCOMES), st.sampled_from([None, True, False])),
    max_size=80,
).map(lambda rows: [record(i, *row) for i, row in enumerate(sorted(rows, key=lambda r: r[0]))])


@given(records_lists)
def test_figures_add_up(records: list[Record]) -> None:
    result = measure(RUN, records)
    told, series = result.summary, result.series
    assert sum(getattr(told, outcome) for outcome in OUTCOMES) == told.offered == len(records)
    for outcome in OUTCOMES:
        assert sum(getattr(series, outcome)) == getattr(told, outcome)
    assert np.array(series.offered).tolist() == [
        sum(getattr(series, o)[i] for o in OUTCOMES) for i in range(len(series.offered))
    ]
    assert {len(getattr(series, f)) for f in ("offered", "attainment", "p50_s", "p99_s", "accuracy", "cores")} == {
        len(series.offered)
    }
    if told.p99_s is not None and told.p50_s is not None and told.p95_s is not None:
        answered = sorted(r.response_s for r in records if r.answered)
        assert told.p50_s <= told.p95_s <= told.p99_s <= answered[-1]
        assert told.p99_s in answered
    if told.right_in_time is not None and told.attainment is not None:
        assert told.right_in_time <= told.attainment


def test_windows_end_where_they_stand() -> None:
    records = [record(i, i + 0.5, 0.1, "in_time" if i < 3 else "refused") for i in range(12)]
    attainment = measure(RUN, records).series.attainment
    assert attainment[:4] == [1.0, 1.0, 1.0, 0.75]
    assert attainment[3 + WINDOW_S - 1] == 0.0


def test_results_read_back(tmp_path: Path) -> None:
    result = measure(RUN, [record(0, 0.1, 0.1, correct=True)], cost=[(0.0, 1.0), (4.0, 9.0)])
    write_result(result, tmp_path / "r.json")
    assert read_result(tmp_path / "r.json") == result


def test_what_is_no_result_is_told(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="cannot be read"):
        read_result(tmp_path / "absent.json")
    (tmp_path / "r.json").write_text('{"run": 3}')
    with pytest.raises(LoadError, match="no result of a load run"):
        read_result(tmp_path / "r.json")
    with pytest.raises(LoadError, match="cannot be written"):
        write_result(measure(RUN, []), tmp_path / "absent" / "r.json")


def test_records_are_one_line_each(tmp_path: Path) -> None:
    write_records([record(0, 0.1, 0.1), record(1, 0.2, 0.1, "refused")], tmp_path / "r.csv")
    with (tmp_path / "r.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["outcome"] for row in rows] == ["in_time", "refused"]
    assert rows[0]["variants"] == "read=a"
    assert rows[1]["status"] == ""


def test_variants_are_ranked_by_the_accuracies_that_answers_state() -> None:
    accuracy = {"find": {"zoom": 0.7, "eye": 0.9}, "read": {"a": 0.95, "b": 0.8, "c": 0.6}}
    combinations = [("zoom", "c"), ("zoom", "b"), ("eye", "b"), ("eye", "a")]
    records = [
        Record(
            i, 0, 0.1, 0.1, 0.2, "in_time", variants={"find": find, "read": read},
            accuracy=accuracy["find"][find] * accuracy["read"][read],
        )
        for i, (find, read) in enumerate(combinations)
    ]  # fmt: skip
    result = measure(RUN, records)
    assert rank_variants(result.summary.combinations) == {"find": ["zoom", "eye"], "read": ["c", "b", "a"]}
    assert list(result.series.variants["read"]) == ["c", "b", "a"]
