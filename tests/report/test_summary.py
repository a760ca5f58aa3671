"""Tables and the sentence: made from the figures, whichever way they turned out."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trimtab.load.result import LoadResult, Record, Run, measure
from trimtab.report.summary import meets_slo, percent, print_run, results_table, row, sentence, subject


def changed(result: LoadResult, name: str, **figures: Any) -> LoadResult:
    return dataclasses.replace(
        result,
        run=dataclasses.replace(result.run, name=name),
        summary=dataclasses.replace(result.summary, **figures),
    )


def test_rows_hold_the_figures(runs: list[LoadResult]) -> None:
    told = row(runs[1])
    assert told["policy"] == "most-accurate"
    assert told["slo_s"] == 0.4
    assert told["offered"] == sum(told[o] for o in ("in_time", "late", "refused", "dropped", "failed"))  # type: ignore[misc]  # these are counts
    assert told["attainment"] == pytest.approx(told["in_time"] / told["offered"])  # type: ignore[operator]  # as above


def test_the_sentence_compares_with_the_subject(runs: list[LoadResult]) -> None:
    cheap, accurate, ours = runs
    text = sentence(
        [
            changed(cheap, "cheapest", attainment=1.0, delivered_accuracy=0.70),
            changed(accurate, "most-accurate", attainment=0.8, delivered_accuracy=0.9),
            changed(ours, "trimtab", attainment=0.995, delivered_accuracy=0.85, offered=1234),
        ]
    )
    assert text == (
        "trimtab answered 99.5 % of 1,234 requests within 400 ms and 85.0 % of its answers were right; "
        "cheapest was in time for 100 % but right in only 70.0 %; "
        "most-accurate was right in 90.0 % but in time for only 80.0 %."
    )


def test_the_sentence_says_when_the_subject_lost(runs: list[LoadResult]) -> None:
    cheap, _, ours = runs
    text = sentence(
        [
            changed(ours, "trimtab", attainment=0.5, delivered_accuracy=0.6),
            changed(cheap, "cheapest", attainment=1.0, delivered_accuracy=0.7),
        ]
    )
    assert "trimtab answered 50.0 %" in text
    assert "(its SLO wants 99.0 %)" in text
    assert text.endswith("cheapest was in time for 100 % and right in 70.0 %.")
    assert "only" not in text


def test_one_run_and_no_labels(runs: list[LoadResult]) -> None:
    text = sentence([changed(runs[0], "mine", attainment=1.0, delivered_accuracy=None, offered=7)])
    assert text == "mine answered 100 % of 7 requests within 400 ms."
    with pytest.raises(ValueError, match="no run"):
        sentence([])


def test_the_subject_is_ours_else_the_best_that_meets_its_slo(runs: list[LoadResult]) -> None:
    assert subject(runs).run.name == "trimtab"
    a = changed(runs[0], "a", attainment=1.0, delivered_accuracy=0.7)
    b = changed(runs[0], "b", attainment=0.99, delivered_accuracy=0.8)
    c = changed(runs[0], "c", attainment=0.98, delivered_accuracy=0.9)
    assert subject([a, b, c]).run.name == "b"
    assert subject([c, changed(c, "d", attainment=0.5)]).run.name == "c"
    assert [meets_slo(r) for r in (a, b, c)] == [True, True, False]


@given(st.floats(0, 1))
def test_less_than_all_is_never_called_all(share: float) -> None:
    assert (percent(share) == "100 %") == (share == 1)
    assert percent(None) == "–"


def printed(what: object) -> str:
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as capture:
        if isinstance(what, LoadResult):
            print_run(what, console)
        else:
            console.print(what)
    return capture.get()


def test_the_table_fits_a_terminal(runs: list[LoadResult]) -> None:
    text = printed(results_table(runs))
    lines = text.splitlines()
    assert len(lines) == 1 + len(runs)
    assert "…" not in text
    assert f"{runs[1].summary.refused:,}" in lines[2]


def test_a_run_is_printed_with_its_notes(runs: list[LoadResult]) -> None:
    text = printed(runs[1])
    assert "missed" in text
    assert f"({runs[1].summary.refused:,} refused)" in text
    assert "large 100 %" in text
    assert "have none and count as violations" in " ".join(text.split())


def test_failures_are_printed_with_their_reasons() -> None:
    run = Run("r", "u", "m", 0.4, 0.99, "t", "even", 0, 1.0)
    text = printed(measure(run, [Record(0, 0, 0.1, 0.1, 0.2, "failed", 500, "status 500, [bold]boom")]))
    assert "failed 1 ×: status 500, [bold]boom" in text
