"""What is told and drawn of forecasters: the figures are the evaluation's, all fits and can be told apart."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from tests.report.judged import make_evaluation

from trimtab.errors import MissingExtraError
from trimtab.forecast.evaluate import QUANTILES, TARGETS, Evaluation, Target
from trimtab.report.forecast import (
    BEST,
    Asked,
    change,
    digits,
    print_evaluations,
    score_table,
    scores_csv,
    scores_object,
    sentence,
    span,
    winners,
)
from trimtab.report.forecast_figures import busiest_hour, draw, fan, relative, reliability, styles

PEAKS = [10, 12, 9, 30, 41, 20, 11, 12, 13, 9, 8, 14]
ASKED = Asked("day.txt", "missing", 0.0, None, ("something is left out",))
NAMES = (
    "max-window", "ewm", "quantile", "clock", "trained", "lstm-infadapter", "themis", "holt-winters", "arima", "Own",
)  # fmt: skip
MANY = {name: 1.0 + i / 20 for i, name in enumerate(NAMES)}


def evaluation(**answers: float) -> Evaluation:
    return make_evaluation(answers or {"near": 1.05, "far": 1.4}, PEAKS)


def printed(*evaluations: Evaluation, width: int = 100) -> str:
    out = io.StringIO()
    print_evaluations(evaluations, ASKED, Console(file=out, width=width, highlight=False))
    return out.getvalue()


# --- in words ---


def test_the_table_fits_and_has_the_figures() -> None:
    shown = make_evaluation(MANY, [1000.0 * peak for peak in PEAKS], target=TARGETS["ipa"])
    lines = printed(shown).splitlines()
    assert max(map(len, lines)) <= 100
    (line,) = [line for line in lines if line.startswith("lstm-infadapter ")]
    scores = shown.scores["lstm-infadapter"]
    cells = line.split()
    assert len(cells) == 17, "nothing is folded or cut"
    assert cells[1] == digits(scores.peak.mean_pinball)
    assert cells[2] == digits(scores.mean.mean_pinball)
    assert cells[3] == digits(scores.peak.mse)
    assert cells[6] == f"{100 * scores.peak.smape:.1f}"
    assert cells[7:11] == [f"{100 * scores.peak.coverage[q]:.3g}" for q in QUANTILES]
    assert cells[11:13] == [f"{100 * (scores.onsets_covered[q] or 0):.0f}" for q in (0.95, 0.99)]
    assert cells[13:15] == [f"{100 * (scores.over_forecast[q] or 0):.0f}" for q in (0.95, 0.99)]
    assert cells[15:] == ["200", "µs"]
    assert "ipa: the next 20 s, asked every 10 s, counts ÷ 8" in lines


@pytest.mark.parametrize(("width", "gone"), [(100, ""), (80, "time"), (60, "SMAPE")])
def test_a_narrow_terminal_gets_fewer_columns_and_whole_names(width: int, gone: str) -> None:
    told = printed(make_evaluation(MANY, PEAKS), width=width)
    table = told[: told.index("Best:")]
    assert max(map(len, told.splitlines())) <= width
    assert set(MANY) <= set(re.findall(r"^([\w-]+) ", table, re.MULTILINE))
    assert "…" not in table
    assert gone == "" or gone not in table
    more = re.search(r"A wider terminal shows more: ([\w,\s]+)\.", told)
    assert (more is not None and "time of a forecast" in more[1]) == bool(gone)


@pytest.mark.parametrize("width", range(60, 101, 8))
def test_no_line_ends_between_a_number_and_its_unit(width: int) -> None:
    told = printed(make_evaluation(MANY, [100.0 * peak for peak in PEAKS], warned=3), width=width)
    words = "\n".join(line.strip() for line in told.splitlines())
    assert not re.search(r"\d\n(%|d|h|min|s|µs|points|times|forecasts)\b|[>×÷]\n", words)


def test_what_was_scored_is_told() -> None:
    told = " ".join(printed(evaluation()).split())
    assert "12 forecasts from 1 d to 1 d 12 min of the trace; 3 left out for want of records; 2 burst onsets" in told
    assert "note: something is left out" in told
    assert "said nothing" not in told
    silent = make_evaluation({"near": 1.05}, PEAKS, unanswered=1, warned=2)
    told = " ".join(printed(silent).split())
    assert "near said nothing 1 time: what is scored there is the last maximum." in told
    assert "near warned 2 times that its own quantiles had not held lately." in told


def test_the_best_of_each_column_is_marked_and_named() -> None:
    shown = evaluation()
    assert winners(shown) == dict.fromkeys(("pinball", "mean", "MSE", "SMAPE"), "near") | {"coverage": "last"}
    columns = score_table(shown).columns
    marked = [[str(getattr(cell, "style", "")) == BEST for cell in column.cells] for column in columns]
    assert [[i for i, yes in enumerate(cells) if yes] for cells in marked] == [
        [1], [1], [1], [1], [], [1], [0], [], [], []
    ]  # fmt: skip
    below = shown.mse_below("near")
    assert below is not None
    assert sentence(shown).startswith("Best: pinball near (")
    assert f"MSE near ({digits(shown.scores['near'].peak.mse)}, {100 * below:.1f} % below last)" in sentence(shown)


def test_the_baseline_may_win_and_that_is_told() -> None:
    shown = evaluation(poor=9.0)
    assert set(winners(shown).values()) == {"last"}
    assert "MSE last (" in sentence(shown)
    assert "below" not in sentence(shown)


def test_words_for_figures() -> None:
    assert [digits(v) for v in (0.0, 0.01234, 4.4674, 38.46, 384.6, 1045.36, 96e6)] == [
        "0", "0.0123", "4.47", "38.5", "385", "1,045", "9.60e7"
    ]  # fmt: skip
    assert [change(v) for v in (0.404, -1.72, 0.0, 0.001, -592.4)] == ["-40 %", "+172 %", "+0 %", "+0 %", "×593"]
    assert [span(s) for s in (0, 90, 86_400, 1_405_020)] == ["0 s", "1 min 30 s", "1 d", "16 d 6 h 17 min"]


# --- for machines ---


def test_the_object_is_json_and_the_csv_has_its_fields() -> None:
    shown = [evaluation(), make_evaluation({"near": 1.1}, PEAKS, target=TARGETS["ipa"])]
    told = json.loads(json.dumps(scores_object(shown, ASKED), allow_nan=False))
    assert told["format"] == "trimtab.forecast/1"
    assert told["notes"] == ["something is left out"]
    assert [(t["name"], t["origins"], t["left_out"], t["onsets"]) for t in told["targets"]] == [
        ("minute", 12, 3, 2), ("ipa", 12, 3, 2)
    ]  # fmt: skip
    rows = list(csv.DictReader(scores_csv(shown).splitlines()))
    assert [(row["target"], row["forecaster"]) for row in rows] == [
        ("minute", "last"), ("minute", "near"), ("minute", "far"), ("ipa", "last"), ("ipa", "near")
    ]  # fmt: skip
    entry = told["targets"][0]["forecasters"]["far"]
    assert float(rows[2]["peak.coverage.0.95"]) == entry["peak"]["coverage"]["0.95"]
    assert float(rows[2]["mean.mse"]) == entry["mean"]["mse"] == shown[0].scores["far"].mean.mse
    assert float(rows[2]["mse_below_last"]) == entry["mse_below_last"]
    assert (rows[0]["horizon_s"], rows[3]["divide"]) == ("60", "8")


def test_what_is_not_known_is_empty() -> None:
    calm = make_evaluation({"near": 1.05}, [5.0] * 4)
    (_, row) = csv.DictReader(scores_csv([calm]).splitlines())
    assert (row["onsets_covered.0.95"], row["mse_below_last"]) == ("", "")
    assert "– " in printed(calm)


# --- in pictures ---


def labelled(axes: Axes, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    (line,) = [line for line in axes.get_lines() if line.get_label() == name]
    return np.asarray(line.get_ydata(), dtype=float)


def boxes(figure: Figure, axes: Axes) -> list[tuple[str, float, float, float, float]]:
    figure.draw_without_rendering()
    found = [(text.get_text(), text.get_window_extent()) for text in axes.texts if text.get_text()]
    return [(words, box.x0, box.y0, box.x1, box.y1) for words, box in found]


def test_reliability_shows_coverage_and_names_do_not_overlap() -> None:
    shown = make_evaluation(MANY, PEAKS)
    figure = reliability([shown])
    (axes,) = figure.axes
    share = np.array([shown.scores["quantile"].peak.coverage[q] for q in QUANTILES])
    kept = np.clip(share, 0.001, 0.999)
    assert labelled(axes, "quantile") == pytest.approx(np.log(kept / (1 - kept)))
    placed = sorted(boxes(figure, axes), key=lambda box: box[2])
    assert {words for words, *_ in placed} == {"last", *MANY}
    for (_, _, _, _, top), (words, _, bottom, _, _) in pairwise(placed):
        assert bottom >= top - 1.0, words
    right = figure.bbox.x1
    assert all(x1 <= right for _, _, _, x1, _ in placed)


def test_a_forecaster_looks_the_same_everywhere_and_like_no_other() -> None:
    shown = [make_evaluation(MANY, PEAKS), make_evaluation({"Own": 1.0}, PEAKS, target=TARGETS["ipa"])]
    style = styles(shown)
    assert len({(look.colour, look.dash, look.marker) for look in style.values()}) == len(MANY) + 1
    for axes in reliability(shown).axes:
        (line,) = [line for line in axes.get_lines() if line.get_label() == "Own"]
        assert line.get_color() == style["Own"].colour


def test_the_fan_shows_the_busiest_hour_in_which_a_burst_begins() -> None:
    calm, burst = [50.0] * 60, [10.0] * 30 + [40.0] * 30
    shown = make_evaluation({"near": 1.05, "far": 1.4}, [*calm, *burst, *([10.0] * 60)])
    hour = busiest_hour(shown)
    assert len(hour) == 60
    assert hour[0] == 31  # 40s to the last of them, of whose hours all without the burst's begin are left out
    (axes,) = fan(shown, clock_s=3600.0).axes
    assert labelled(axes, "what came") == pytest.approx(shown.origins.peak[hour])
    assert labelled(axes, "near: 50 % quantile") == pytest.approx(1.05 * shown.origins.peak[hour])
    assert labelled(axes, "last") == pytest.approx(shown.origins.last[hour])
    assert len(labelled(axes, "a burst begins")) == 1
    assert axes.xaxis.get_major_formatter()(1.5) == "01:30"
    # the first origin is at 1 d and 31 min, and the trace began at one o'clock
    assert axes.get_xlim()[0] == pytest.approx(24 + 1 + 31 / 60)


def test_lines_break_where_nothing_was_scored() -> None:
    moments = [0, 60, 120, 600, 660]
    shown = make_evaluation({"near": 1.0}, [9, 14, 3, 4, 5], at=moments)
    (axes,) = fan(shown, 0.0).axes
    assert np.isnan(labelled(axes, "what came")).tolist() == [False, False, False, True, False, False]


def test_bars_are_per_cent_of_the_baseline() -> None:
    shown = evaluation(near=1.05, poor=9.0)
    (axes,) = relative([shown]).axes
    near, poor = shown.scores["near"].peak, shown.scores["poor"].peak
    last = shown.scores["last"].peak
    widths = [bar.get_width() for bars in axes.containers for bar in bars]
    assert widths == pytest.approx([100 * near.mean_pinball / last.mean_pinball, 300, 100 * near.mse / last.mse, 300])
    words = [text.get_text() for text in axes.texts]
    assert words[0] == f"{100 * near.mean_pinball / last.mean_pinball:,.0f}"
    assert words[3] == f"{100 * poor.mse / last.mse:,.0f}, cut off"
    flat = make_evaluation({"near": 1.05}, [5.0] * 4)
    assert {text.get_text() for text in relative([flat]).axes[0].texts} == {"not known"}


def test_all_pictures_are_drawn_whatever_there_is() -> None:
    alone = make_evaluation({}, [0.0, 0.0, 0.0])
    odd = make_evaluation({"near": 1.0}, [3.0], target=Target("30 s", 30, 10))
    drawn = draw([alone, odd], 0.0)
    assert set(drawn) == {
        f"{name}.{kind}" for name in ("reliability", "relative", "fan-minute", "fan-30s") for kind in ("png", "svg")
    }
    assert all(data.startswith(b"\x89PNG") for name, data in drawn.items() if name.endswith("png"))


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"trimtab\[report\]"):
        draw([evaluation()], 0.0)
