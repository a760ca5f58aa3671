"""What Trimtab does in trouble, beside the published policies in the same trouble.

    python experiments/robustness.py --data ../shared/data --out out/experiments/robustness

InfAdapter's service on both windows: `infadapter` as published, and Trimtab on its own plant with the same weights and,
`cheapest`, at the accuracy that InfAdapter delivers there without trouble. Two of IPA's pipelines under two load
patterns: `ipa-as-coded`, and Trimtab at the accuracy that IPA was published with.

Troubles (`trouble/troubles.py`): service takes 1.5 or 0.7 times as long as believed; forecasts have nothing to do with
the load; nothing is seen for a minute; replicas are lost, or slow. Then ten other kinds of load (`trouble/shapes.py`).

A trouble is withstood where attainment falls by at most 2 points, or is back at 99 % within 30 s for 15 s or more. How
long it was low is told in 5-s windows, from the trouble's beginning, the longest of all times and seeds.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments.command import Options, console, parser, run
from experiments.ipa.workloads import DIVISOR
from experiments.pictures import COLOURS, FAINT, figure, legend, panel, save
from experiments.results import Cell, mean, over_seeds, show, write_csv
from experiments.sweep import results
from experiments.trouble.recovery import attained, longest_spell_s
from experiments.trouble.scenes import CHEAPEST, OURS, SERVICE, Place, play, scene
from experiments.trouble.shapes import SECONDS, SHORT_S, shaped
from experiments.trouble.troubles import NONE, TROUBLES

from trimtab.sim.result import SimSummary
from trimtab.workload.shapes import SHAPES

PLACES = tuple(
    Place(pipeline, load)
    for pipeline, loads in (
        (SERVICE, ("bursty", "steady")),
        ("video", ("bursty", "fluctuating")),
        ("audio-qa", ("bursty", "fluctuating")),
    )
    for load in loads
)
FALL_POINTS, RECOVERY_S = 2.0, 30.0
"""Withstood: attainment falls by no more, or is back within so long."""
AS_GOOD_POINTS = 0.05
"""Attainment is as good as another if it is lower by no more."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run."""

    data: Path
    place: Place
    contender: str
    trouble: str
    """One of `TROUBLES` or `SHAPES`."""
    seed: int
    floor: float | None = None
    """The least accuracy, for `CHEAPEST`."""
    seconds: int = SECONDS
    """Length of a shape."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went."""

    case: Case
    summary: SimSummary
    attainment: tuple[float | None, ...]
    """By window."""
    window_s: float
    onsets_s: tuple[float, ...]
    """When trouble began."""
    low_s: float
    """The longest time of low attainment that began with trouble."""

    @property
    def attained(self) -> float:
        """In time ÷ offered; 1 where nothing was."""
        return 1.0 if self.summary.attainment is None else self.summary.attainment


def met(case: Case) -> Outcome:
    """Run a case."""
    made = scene(case.data, case.place, case.contender, case.seed, case.floor)
    if case.trouble in SHAPES:
        made = shaped(made, case.trouble, 1.0 if case.place.pipeline == SERVICE else 1.0 / DIVISOR, case.seconds)
    else:
        made = TROUBLES[case.trouble](made)
    result = play(made)
    attainment, window_s = attained(result.series), result.series.window_s
    low_s = longest_spell_s(attainment, window_s, made.onsets_s, made.lasts_s)
    return Outcome(case, result.summary, tuple(attainment), window_s, made.onsets_s, low_s)


def cases(asked: Options, floors: dict[Place, float]) -> list[Case]:
    """All runs but those that `floors` came from; shapes stand in the place of each pipeline's first load."""
    places = [PLACES[0], PLACES[2]] if asked.quick else list(PLACES)
    first = {place.pipeline: place for place in reversed(places)}
    shapes = ("flash-crowd", "zeros", "gaps") if asked.quick else tuple(SHAPES)
    wanted = [(place, trouble) for place in places for trouble in TROUBLES]
    wanted += [(place, shape) for place in reversed(first.values()) for shape in shapes]
    return [
        Case(asked.data, place, contender, trouble, seed, floors.get(place), SHORT_S if asked.quick else SECONDS)
        for place, trouble in wanted
        for contender in contenders(place)
        for seed in range(asked.seeds)
        if (place, contender, trouble) not in {(known, known.published, NONE) for known in floors}
    ]


def contenders(place: Place) -> tuple[str, ...]:
    """The published one first."""
    return (place.published, OURS, CHEAPEST) if place.pipeline == SERVICE else (place.published, OURS)


def lines(outcomes: Sequence[Outcome]) -> list[dict[str, Cell]]:
    """A row for each contender in each trouble, in the order of the runs."""
    grouped: dict[tuple[Place, str, str], list[Outcome]] = {}
    for each in outcomes:
        grouped.setdefault((each.case.place, each.case.trouble, each.case.contender), []).append(each)
    return [
        row(runs, grouped[place, NONE, contender], grouped[place, trouble, place.published])
        for (place, trouble, contender), runs in grouped.items()
    ]


def row(runs: Sequence[Outcome], untroubled: Sequence[Outcome], published: Sequence[Outcome]) -> dict[str, Cell]:
    """A contender's figures over its seeds, which are the same in all three."""
    case = runs[0].case
    falls = [100.0 * (before.attained - now.attained) for before, now in zip(untroubled, runs, strict=True)]
    beyond = mean([100.0 * (own.attained - other.attained) for own, other in zip(runs, published, strict=True)])
    withstood = all(fall <= FALL_POINTS or each.low_s <= RECOVERY_S for fall, each in zip(falls, runs, strict=True))
    ours = case.contender != case.place.published
    return {
        "place": case.place.name,
        "trouble": case.trouble,
        "policy": case.contender,
        "attainment %": over_seeds([100.0 * each.attained for each in runs]),
        "fall, points": mean(falls),
        "low for s": max(each.low_s for each in runs),
        "accuracy %": mean([None if (a := each.summary.accuracy) is None else 100.0 * a for each in runs]),
        "cores held": mean([each.summary.mean_cores for each in runs]),
        "withstood": "yes" if withstood else "no",
        "against published": beyond if ours else None,
        "never worse": ("yes" if beyond >= -AS_GOOD_POINTS else "no") if ours else "",
    }


def verdicts(table: Sequence[dict[str, Cell]]) -> list[str]:
    """In how many troubles the targets are met, and where they are not."""
    told = []
    for policy in dict.fromkeys(str(line["policy"]) for line in table):
        own = [line for line in table if line["policy"] == policy and line["trouble"] != NONE]
        fallen = [line for line in own if line["withstood"] == "no"]
        told.append(f"{policy}: withstands {len(own) - len(fallen)} of {len(own)} troubles{_where(fallen)}")
        judged = [line for line in own if line["never worse"]]
        if judged:
            worse = [line for line in judged if line["never worse"] == "no"]
            told.append(
                f"{policy}: no worse than the published policy in {len(judged) - len(worse)} of {len(judged)}"
                f"{_where(worse)}"
            )
    return told


def _where(missed: Sequence[dict[str, Cell]]) -> str:
    return "; not in: " + "; ".join(f"{line['place']}, {line['trouble']}" for line in missed) if missed else ""


def picture(outcomes: Sequence[Outcome], place: Place, path: Path) -> Path:
    """Attainment over time in each trouble of a place, one seed; trouble begins at the grey lines."""
    made = figure(10.5, 6.6)
    grid = made.subplots(3, 3, sharex=True, sharey=True).flat
    for axes, trouble in zip(grid, TROUBLES, strict=True):
        panel(axes, trouble)
        for i, contender in enumerate(contenders(place)):
            for each in outcomes:
                case = each.case
                if (case.place, case.trouble, case.contender, case.seed) == (place, trouble, contender, 0):
                    times = [(j + 0.5) * each.window_s for j in range(len(each.attainment))]
                    told = [float("nan") if value is None else 100.0 * value for value in each.attainment]
                    axes.plot(times, told, lw=0.9, color=COLOURS[1 - i if i < 2 else i], label=contender)
                    for onset_s in each.onsets_s:
                        axes.axvline(onset_s, color=FAINT, lw=0.5)
        axes.axhline(99.0, color=FAINT, lw=0.5, ls=":")
        axes.set_ylim(-2.0, 102.0)
    made.supxlabel("s", fontsize=8, color=FAINT)
    made.supylabel("in time, %", fontsize=8, color=FAINT)
    legend(made.axes[0])
    return save(made, path)


def experiment(asked: Options, _: Namespace) -> list[Path]:
    """All runs, tables and the picture."""
    service = [place for place in PLACES[: 1 if asked.quick else None] if place.pipeline == SERVICE]
    first = [Case(asked.data, place, place.published, NONE, s) for place in service for s in range(asked.seeds)]
    known = results(met, first, asked.processes, "InfAdapter without trouble")
    floors = {p: mean([each.summary.accuracy for each in known if each.case.place == p]) for p in service}
    outcomes = known + results(met, cases(asked, floors), asked.processes, "simulating")
    order = {place: i for i, place in enumerate(PLACES)}
    table = sorted(lines(outcomes), key=lambda line: (_place(line, order), _trouble(line)))
    show(f"In trouble: {asked.seeds} seeds", table, [f"{line['place']} {line['trouble']}" for line in table])
    console.print()
    for sentence in verdicts(table):
        console.print(sentence, markup=False)
    return [
        write_csv(asked.out / "robustness.csv", table),
        picture(outcomes, PLACES[0], asked.out / "robustness.png"),
    ]


def _place(line: dict[str, Cell], order: dict[Place, int]) -> int:
    return next(i for place, i in order.items() if place.name == line["place"])


def _trouble(line: dict[str, Cell]) -> int:
    return [*TROUBLES, *SHAPES].index(str(line["trouble"]))


if __name__ == "__main__":
    run(parser(__doc__ or "", "robustness"), experiment)
