from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from experiments.ipa import kept
from experiments.ipa.bound import Hull, hull, lower_hull
from experiments.ipa.entrants import (
    FREE_CHANGES,
    ORACLE,
    REFERENCES,
    TRUE_FUTURE,
    Entrant,
    family,
    play,
    rung,
    sizes_of,
    stated,
    towards_oracle,
    true_profile,
    weighted,
)
from experiments.ipa.measurements import NAMES, pipeline
from experiments.ipa.published import base_cores, settings_row
from experiments.ipa.targets import dearer, losses, lost, verdicts
from experiments.ipa.verdict import (
    TIE_PAS,
    Field,
    Figures,
    Point,
    at_accuracy,
    at_cost,
    chosen,
    dominates,
    dominations,
    duels,
    next_floor,
    not_dominated,
)
from experiments.kept import Reuse
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from tests.experiments.published_data import DATA, needs_data

from trimtab.errors import PlanRequestError
from trimtab.sim import SimResult

FLAT = Hull((0.2, 0.6), (0.1, 0.9))
CHOICES = st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0.01, 5.0)), min_size=1, max_size=12)


def seen(pas: float, cores: float, violations: float = 0.0) -> Figures:
    return Figures(violations, pas, cores, pas)


def ladder(*steps: tuple[float, Figures]) -> list[Point]:
    return [Point(rung("all", floor), (figures,)) for floor, figures in steps]


def field_of(rungs: Sequence[Point], *others: Point, ipa: Figures, coded: Figures) -> Field:
    """A field in which Trimtab and the oracle are equal but for what `others` say."""
    points = {p.entrant.label: p for p in rungs}
    for entrant, figures in zip(family(), (ipa, coded), strict=False):
        points[entrant.label] = Point(entrant, (figures,))
    highest = rung("all", max(ipa.pas, coded.pas) / 100.0)
    for base in (weighted("all"), highest):
        for entrant in towards_oracle(base):
            points.setdefault(entrant.label, Point(entrant, (seen(50.0, 4.0),)))
    points |= {p.entrant.label: p for p in others}
    return Field("video", "bursty", 2.0, 1.0, (10.0, 10.0), {"all": FLAT, "ipa": FLAT}, points)


@given(CHOICES, st.floats(0.0, 1.0))
def test_the_hull_is_the_least_cost_of_a_mix(choices: list[tuple[float, float]], where: float) -> None:
    found = lower_hull(choices)
    accuracies, costs = np.array(choices).T
    wanted = found.accuracy[0] + where * (found.accuracy[-1] - found.accuracy[0])
    best = linprog(
        costs, A_ub=[-accuracies], b_ub=[-wanted], A_eq=[np.ones(len(costs))], b_eq=[1.0], method="highs"
    ).fun
    assert found.fewest_cores(3.0, wanted) == pytest.approx(3.0 * best, rel=1e-6, abs=1e-7)


@given(CHOICES, st.floats(0.0, 50.0), st.floats(0.01, 5.0), st.lists(st.floats(0.0, 40.0), min_size=1, max_size=5))
def test_the_best_objective_is_that_of_the_best_choice_in_every_second(
    choices: list[tuple[float, float]], alpha: float, beta: float, rates: list[float]
) -> None:
    best = [max(alpha * accuracy - beta * rate * core_s for accuracy, core_s in choices) for rate in rates]
    assert lower_hull(choices).best_objective(rates, alpha, beta) == pytest.approx(sum(best) / len(best))


def test_no_mix_is_more_accurate_than_the_best_choice() -> None:
    assert FLAT.fewest_cores(10.0, 0.4) == pytest.approx(5.0)
    assert FLAT.fewest_cores(10.0, 0.1) == pytest.approx(1.0)
    assert FLAT.fewest_cores(10.0, 0.7) == math.inf


def test_points_at_a_reference_are_the_cheapest_and_the_most_accurate() -> None:
    rungs = ladder((0.3, seen(33.0, 2.0)), (0.4, seen(40.0 * (1.0 - TIE_PAS / 2.0), 3.0)), (0.5, seen(50.0, 5.0)))
    same, dear = at_accuracy(rungs, seen(40.0, 4.0)), at_cost(rungs, seen(40.0, 4.0))
    assert same is rungs[1], "a tie is enough"
    assert dear is rungs[1]
    assert at_accuracy(rungs, seen(51.0, 9.0)) is None
    assert at_cost(rungs, seen(51.0, 1.9)) is None


def test_the_search_halves_between_what_is_cheap_enough_and_what_is_not() -> None:
    rungs = ladder((0.3, seen(30.0, 2.0)), (0.5, seen(50.0, 5.0)), (0.6, seen(60.0, 9.0)))
    assert next_floor(rungs, seen(40.0, 4.0)) == pytest.approx(0.4)
    assert next_floor(rungs, seen(40.0, 5.0)) == pytest.approx(0.55)
    assert next_floor(rungs, seen(40.0, 9.0)) is None, "the best is cheap enough"
    assert next_floor(rungs, seen(40.0, 1.0)) is None, "nothing is cheap enough"
    assert next_floor(ladder((0.3, seen(30.0, 2.0)), (0.3004, seen(31.0, 5.0))), seen(40.0, 4.0)) is None


def test_the_worse_of_the_two_duels_counts() -> None:
    rungs = ladder((0.3, seen(31.0, 2.0)), (0.4, seen(41.0, 6.0, 0.2)))
    field = field_of(rungs, ipa=seen(30.0, 4.0), coded=seen(40.0, 8.0))
    first, second = duels(field, "all")
    assert [d.reference.entrant.label for d in (first, second)] == list(REFERENCES)
    assert (first.saving, first.gain, first.violations) == pytest.approx((50.0, 1.0, 0.0))
    assert (second.saving, second.gain, second.violations) == pytest.approx((25.0, 1.0, 0.2))
    found = {verdict.target: verdict for verdict in verdicts([field], "all")}
    assert found["cores saved at IPA's PAS, %"].worst == pytest.approx(25.0)
    assert not found["cores saved at IPA's PAS, %"].met
    assert found["PAS below IPA's at its cores"].met
    assert not found["violations, %"].met


def test_what_is_not_reached_is_missed() -> None:
    field = field_of(ladder((0.4, seen(35.0, 9.0))), ipa=seen(40.0, 4.0), coded=seen(40.0, 4.0))
    duel = duels(field, "all")[0]
    assert (duel.saving, duel.gain, duel.violations) == (-100.0, -40.0, 100.0)
    assert not any(v.met for v in verdicts([field], "all") if v.target.startswith(("violations", "PAS", "cores saved")))


def test_no_more_is_asked_where_ipa_has_the_highest_pas() -> None:
    best = 100.0 * FLAT.accuracy[-1]
    rungs = ladder((0.6, seen(best, 2.0)))
    field = field_of(rungs, ipa=seen(50.0, 4.0), coded=seen(best, 8.0))
    assert [duel.can_gain for duel in duels(field, "all")] == [True, False]
    found = {verdict.target: verdict for verdict in verdicts([field], "all")}
    assert found["PAS below IPA's at its cores"].worst == pytest.approx(50.0 - best)
    both = field_of(rungs, ipa=seen(best, 4.0), coded=seen(best, 8.0))
    assert all(not verdict.target.startswith("PAS") for verdict in verdicts([both], "all"))


def test_rounding_errors_make_no_other_question() -> None:
    assert rung("all", 0.1267243) == rung("all", math.nextafter(0.1267243, 0.0))
    assert rung("all", 0.12) == rung("all", math.nextafter(0.12, 0.0))
    assert rung("all", 0.1267243).floor == pytest.approx(0.12672)


def test_points_with_more_seeds_count_by_their_mean() -> None:
    point = Point(rung("all", 0.4), (seen(40.0, 3.0), seen(42.0, 5.0, 1.0)))
    assert point.mean == seen(41.0, 4.0, 0.5)


def test_domination_is_in_all_three() -> None:
    assert dominates(seen(40.0, 3.0), seen(40.0, 4.0))
    assert not dominates(seen(40.0, 3.0), seen(40.0, 3.0))
    assert not dominates(seen(40.0, 3.0, 0.5), seen(39.0, 4.0))


def test_with_ipas_sizes_alone_trimtab_is_held_against_ipas_family() -> None:
    better = Point(Entrant("loki", "loki", "stated"), (seen(60.0, 1.0),))
    rungs = ladder((0.4, seen(45.0, 4.0)))
    field = field_of(rungs, better, ipa=seen(40.0, 4.0), coded=seen(40.0, 4.0))
    assert {d.of.entrant.label for d in dominations([field], "all")} == {rungs[0].entrant.label, weighted("all").label}
    assert list(dominations([field], "ipa")) == []
    assert [by.entrant.label for _, by in not_dominated([field], "all")] == ["loki"]
    assert [p.entrant.label for p in chosen(field)] == [rungs[0].entrant.label]


def test_what_is_lost_to_the_oracle_is_the_sum_of_its_parts() -> None:
    base = weighted("all").label
    held = {"": 5.0, TRUE_FUTURE: 4.5, FREE_CHANGES: 4.25, ORACLE: 4.0}
    steps = [Point(e, (seen(50.0, held[e.label.removeprefix(base)]),)) for e in towards_oracle(weighted("all"))]
    field = field_of(ladder((0.4, seen(45.0, 4.0))), *steps, ipa=seen(40.0, 4.0), coded=seen(40.0, 4.0))
    parts = losses(field, "all")
    # 2 · 0.5 - 4 = -3 for the oracle; half a core, a quarter and a quarter are lost.
    assert [parts[name] for name in ("forecast", "switching", "control loop")] == pytest.approx(
        [100.0 / 6.0, 100.0 / 12.0, 100.0 / 12.0]
    )
    assert parts["these three"] == pytest.approx(100.0 / 3.0) == pytest.approx(lost(field, base, base + ORACLE))
    best = FLAT.best_objective((10.0, 10.0), 2.0, 1.0)
    assert parts["latency model, whole cores"] == pytest.approx(100.0 * (best + 3.0) / 3.0)


def test_cores_are_compared_with_the_oracles_at_the_pas_that_it_delivers() -> None:
    rungs = ladder((0.4, seen(40.0, 4.0)), (0.5, seen(60.0, 8.0)))
    field = field_of(rungs, ipa=seen(40.0, 9.0), coded=seen(40.0, 9.0))
    # The oracle delivers 50 with 4 cores; half the time on either rung takes 6.
    assert dearer(field, "all") == pytest.approx(50.0)
    assert dearer(field_of(rungs[:1], ipa=seen(40.0, 9.0), coded=seen(40.0, 9.0)), "all") == pytest.approx(0.0)


@needs_data
@pytest.mark.parametrize("name", NAMES)
def test_ipas_sizes_are_its_base_cores_and_batches_up_to_its_cap(name: str) -> None:
    of, row = pipeline(name), settings_row(DATA, name, "bursty", "IPA")
    cores, cap = base_cores(DATA, of, row), int(row["batching_cap"])
    known = sizes_of(DATA, name, "bursty", "ipa")
    assert {key: {c for c, _ in sizes} for key, sizes in known.items()} == {
        (task, variant): {cores[task][variant]} for task in of.tasks for variant in of.tasks[task].variants
    }
    assert all(1 in {b for _, b in sizes} and max(b for _, b in sizes) <= cap for sizes in known.values())
    assert all(timing.basis != "modelled" for sizes in known.values() for timing in sizes.values())


@needs_data
def test_more_sizes_cost_no_more() -> None:
    of = pipeline("audio-qa")
    every, few = (hull(of, true_profile(DATA, "audio-qa", "bursty", sizes, 1.0)) for sizes in ("all", "ipa"))
    assert every.accuracy[-1] == few.accuracy[-1] == pytest.approx(math.prod(
        task.by_accuracy()[0].accuracy for task in of.tasks.values()))  # fmt: skip
    assert all(every.fewest_cores(1.0, a) <= few.fewest_cores(1.0, a) + 1e-9 for a in few.accuracy)


@needs_data
@pytest.mark.parametrize(
    "entrant",
    [family()[0], *stated(clusters=False, cores=math.inf)[:6], weighted("ipa"), towards_oracle(rung("all", 0.5))[-1]],
    ids=lambda entrant: entrant.label,
)
def test_everyone_plays(entrant: Entrant) -> None:
    result = play(DATA, "audio-qa", "bursty", entrant, 0, "mean", 1.0, 10)
    assert result.summary.offered == sum((6, 5, 4, 5, 5, 5, 4, 5, 5, 5))
    assert ("EXTRAPOLATED" in " ".join(result.run.notes)) == (entrant.role != "family" and entrant.sizes == "all")
    assert result.run.cores == 2_000
    assert (result.run.forecaster == "oracle") == (entrant.policy == "oracle")


@needs_data
def test_those_who_fill_a_cluster_get_one_of_ipas_size() -> None:
    pytest.importorskip("highspy")
    loki, proteus = stated(clusters=True, cores=9.2)
    assert (loki.cluster_cores, proteus.cluster_cores) == (10, 10)
    result = play(DATA, "audio-qa", "bursty", proteus, 0, "mean", 1.0, 10)
    assert result.summary.peak_cores <= 2 * 10
    assert result.run.cores == 10


def case_of(folder: Path, entrant: Entrant, code: str = "a", reuse: Reuse = "same-code") -> kept.Case:
    return kept.Case(Path(), folder, "video", "bursty", entrant, 0, "mean", 1.0, 10, code, reuse)


def test_runs_are_kept_for_the_code_that_made_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[str] = []

    def refuse(*asked: object) -> SimResult:
        played.append(str(asked[3]))
        raise PlanRequestError("too small")

    monkeypatch.setattr(kept, "play", refuse)
    loki = stated(clusters=True, cores=2.0)[0]
    first = kept.outcome(case_of(tmp_path, loki))
    assert first.summary is None
    assert "too small" in first.notes[0]
    assert kept.outcome(case_of(tmp_path, replace(loki, label="another name"))) == replace(first, label="another name")
    assert len(played) == 1
    assert kept.kept(case_of(tmp_path, loki, code="b")) is None
    assert kept.kept(case_of(tmp_path, loki, code="b", reuse="published")) == first
    assert kept.kept(case_of(tmp_path, replace(loki, cluster_cores=3))) is None
    with pytest.raises(PlanRequestError, match="too small"):
        kept.outcome(case_of(tmp_path, weighted("all")))


def test_trimtabs_own_runs_are_made_anew_by_other_code_unless_all_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_made", lambda case: kept.Outcome(
        "video", "bursty", case.entrant.label, 0, "", "", case.code, (), None, None))  # fmt: skip
    made = kept.outcome(case_of(tmp_path, weighted("all")))
    assert kept.kept(case_of(tmp_path, weighted("all"), code="b", reuse="published")) is None
    assert kept.kept(case_of(tmp_path, weighted("all"), code="b", reuse="all")) == made
