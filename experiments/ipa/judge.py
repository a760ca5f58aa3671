"""Trimtab against every published policy on IPA's five pipelines and four load patterns, and beside the oracle.

    python experiments/ipa/judge.py --data ../shared/data --out out/experiments/ipa-judge

plays the published policies first; then Trimtab, asked for the PAS that IPA delivered there (both its forms, the
paper's and the program's), for the highest PAS at IPA's cores, which is searched by halving, and with IPA's weights;
then the oracle with the same objectives, and what lies between. All twice: with all sizes of replicas and batches
(EXTRAPOLATED), and with those alone that IPA may choose. Prints what everyone did, the targets, met or missed, who
dominates whom, and where the objective is lost; all of it as CSV, and a picture for each pipeline.

The search is made with the first seed, and so is what lies between Trimtab and the oracle; the points at IPA's PAS and
at its cost, those with IPA's weights and the oracle are played with all.
Runs are kept in the folder's `runs/`, so that the command goes on where it was stopped. A run that other code made is
made anew, but `--reuse published` keeps those of published policies, and `--reuse all` keeps all.
"""

from __future__ import annotations

import itertools
import math
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.command import Options, console, parser, run
from experiments.ipa import measurements, workloads
from experiments.ipa.bound import hull
from experiments.ipa.entrants import (
    SIZES,
    Entrant,
    family,
    rung,
    stated,
    towards_oracle,
    true_profile,
    weighted,
    weights,
)
from experiments.ipa.judge_picture import picture
from experiments.ipa.judge_tables import (
    MEAN,
    case_lines,
    domination_lines,
    loss_lines,
    point_lines,
    rival_lines,
    target_lines,
)
from experiments.ipa.kept import Case, Outcome, digest, kept, outcome
from experiments.ipa.measurements import NAMES
from experiments.ipa.published import WORKLOADS
from experiments.ipa.verdict import Field, Figures, Point, chosen, next_floor
from experiments.kept import REUSES
from experiments.results import Cell, mean, show, write_csv
from experiments.sweep import results

from trimtab.sim.result import SimSummary

SECONDS = 1200
"""Length of a pattern."""
QUICK_S = 240
"""As much of it is played for a quick look."""

Name = tuple[str, str]
"""Pipeline and load pattern."""


@dataclass(slots=True)
class Played:
    """All runs so far."""

    base: Case
    seeds: int
    processes: int
    runs: dict[Name, dict[str, dict[int, Figures]]] = field(default_factory=dict)
    """Case → label → seed → figures."""
    entrants: dict[Name, dict[str, Entrant]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    """What went otherwise than it should, once each."""

    def play(self, wanted: Mapping[Name, Sequence[Entrant]], seeds: Sequence[int], what: str) -> None:
        """Play what was not played yet."""
        cases = [
            replace(self.base, pipeline=name[0], workload=name[1], entrant=entrant, seed=seed)
            for name, entrants in wanted.items()
            for entrant in entrants
            for seed in seeds
            if seed not in self.runs.get(name, {}).get(entrant.label, {})
        ]
        known = {case: found for case in cases if (found := kept(case)) is not None}
        missing = [case for case in cases if case not in known]
        if missing:
            known |= dict(zip(missing, results(outcome, missing, self.processes, what), strict=True))
        for case, made in known.items():
            name = (case.pipeline, case.workload)
            for note in made.notes:
                if made.summary is None or "decisions failed" in note:
                    self.notes[f"{made.pipeline}, {made.workload}, {made.label}: {note}"] = None
            if made.summary is not None:
                self.entrants.setdefault(name, {})[made.label] = case.entrant
                self.runs.setdefault(name, {}).setdefault(made.label, {})[made.seed] = figures(made, made.summary)

    def field(self, name: Name) -> Field:
        """All that is known of a case."""
        data, (pipeline, workload) = self.base.data, name
        wanted, of = weights(data, pipeline, workload), measurements.pipeline(pipeline)
        return Field(
            pipeline,
            workload,
            wanted.alpha,
            wanted.beta,
            tuple(map(float, workloads.pattern(data, workload)[: self.base.seconds])),
            {size: hull(of, true_profile(data, pipeline, workload, size, self.base.slower)) for size in SIZES},
            {
                label: Point(self.entrants[name][label], tuple(seen for _, seen in sorted(by_seed.items())))
                for label, by_seed in self.runs[name].items()
            },
        )


def figures(made: Outcome, summary: SimSummary) -> Figures:
    """A run in the figures that it is judged by."""
    return Figures(
        100.0 * (summary.violation_ratio or 0.0), 100.0 * (summary.accuracy or 0.0), summary.mean_cores,
        100.0 * (made.accuracy_over_time or 0.0),
    )  # fmt: skip


def experiment(asked: Options, parsed: Namespace) -> list[Path]:
    """All runs, tables and pictures."""
    names = list(
        itertools.product(
            parsed.pipeline or (NAMES[:1] if asked.quick else NAMES),
            parsed.workload or (WORKLOADS[:1] if asked.quick else WORKLOADS),
        )
    )
    folder = asked.out / "runs"
    folder.mkdir(exist_ok=True)
    seconds = parsed.seconds or (QUICK_S if asked.quick else SECONDS)
    base = Case(
        asked.data, folder, *names[0], family()[0], 0, parsed.draw, parsed.slower, seconds, digest(asked.data),
        parsed.reuse,
    )  # fmt: skip
    played, every = Played(base, asked.seeds, asked.processes), range(asked.seeds)
    unlimited = [*family(), *stated(clusters=False, cores=math.inf)]
    played.play(dict.fromkeys(names, unlimited), every, "published policies")
    references = {name: played.field(name).references for name in names}
    clusters = {name: stated(clusters=True, cores=mean(f.cores for f in references[name])) for name in names}
    played.play(clusters, every, "published policies on IPA's cores")
    floors = {name: sorted({*(f.pas / 100.0 for f in references[name]), *span(name[0])}) for name in names}
    asked_for = {
        name: list(dict.fromkeys(rung(size, floor) for size in SIZES for floor in floors[name])) for name in names
    }
    played.play(asked_for, every[:1], "Trimtab at IPA's PAS, the least and the best")
    for _ in range(parsed.rungs):
        played.play({name: between(played.field(name)) for name in names}, every[:1], "Trimtab at IPA's cores")
    climb(played, names)
    oracles = {
        name: [
            towards_oracle(ours)[-1]
            for size in SIZES
            for ours in (weighted(size), played.field(name).entrant_at_accuracy(size))
        ]
        for name in names
    }
    played.play(oracles, every, "the oracle")
    played.play({name: [weighted(size) for size in SIZES] for name in names}, every, "Trimtab with IPA's weights")
    steps = [step for size in SIZES for step in towards_oracle(weighted(size))]
    played.play(dict.fromkeys(names, steps), every[:1], "between Trimtab and the oracle")
    return tell(asked, [played.field(name) for name in names], list(played.notes))


def between(case: Field) -> list[Entrant]:
    """Trimtab at the accuracies that lead to the highest at IPA's cores."""
    floors = [(size, next_floor(case.rungs(size), ipa)) for size in SIZES for ipa in case.references]
    return list(dict.fromkeys(rung(size, floor) for size, floor in floors if floor is not None))


def climb(played: Played, names: Sequence[Name]) -> None:
    """Play the rungs that stand at IPA's PAS and at its cost with all seeds, until the choice stands.

    It ends: every round plays rungs that were not played with all seeds, and there are so many.
    """
    while True:
        wanted = {name: [p.entrant for p in chosen(played.field(name)) if len(p.runs) < played.seeds] for name in names}
        if not any(wanted.values()):
            return
        played.play(wanted, range(played.seeds), "the points chosen, all seeds")


def span(pipeline: str) -> tuple[float, float]:
    """The least and the highest accuracy there is: products of those of the tasks' variants."""
    ranked = [task.by_accuracy() for task in measurements.pipeline(pipeline).tasks.values()]
    return math.prod(variants[-1].accuracy for variants in ranked), math.prod(v[0].accuracy for v in ranked)


def tell(asked: Options, fields: Sequence[Field], notes: Sequence[str]) -> list[Path]:
    """Tables on the screen, CSV files and pictures."""
    tables: dict[str, list[dict[str, Cell]]] = {
        "points": point_lines(fields),
        "cases": case_lines(fields),
        "targets": target_lines(fields),
        "dominations": domination_lines(fields),
        "rivals": rival_lines(fields),
        "losses": loss_lines(fields),
    }
    titles = {
        "cases": "Trimtab against IPA; all: EXTRAPOLATED sizes, ipa: the sizes that IPA may choose",
        "rivals": "Published policies by cases in which they dominate a point of Trimtab's, and are dominated by one",
        "losses": "Lost on the way to the oracle, and from it to the fluid bound",
        "targets": "Targets",
    }
    for case in fields:
        own = [
            each for each in tables["points"] if (each["pipeline"], each["workload"]) == (case.pipeline, case.workload)
        ]
        show(f"{case.name}: {asked.seeds} seeds", [dict(list(each.items())[2:]) for each in own],
             [each["role"] for each in own])  # fmt: skip
    for name, title in titles.items():
        if tables[name]:
            shown = [each for each in tables[name] if name != "losses" or each["case"] == MEAN]
            show(title, shown, [next(iter(each.values())) for each in shown])
    for note in notes:
        console.print(f"note: {note}", markup=False)
    written = [write_csv(asked.out / f"judge_{name}.csv", lines) for name, lines in tables.items() if lines]
    pipelines = dict.fromkeys(case.pipeline for case in fields)
    return written + [
        picture([case for case in fields if case.pipeline == name], asked.out / f"judge_{name}.png")
        for name in pipelines
    ]


if __name__ == "__main__":
    made = parser(__doc__ or "", "ipa-judge", seeds=5)
    made.add_argument("--pipeline", action="append", choices=NAMES, help="only this one; may be given again")
    made.add_argument("--workload", action="append", choices=WORKLOADS, help="only this one; may be given again")
    made.add_argument("--rungs", type=int, default=4, help="halvings on the way to the highest PAS at IPA's cores")
    made.add_argument("--seconds", type=int, help="play only so much of a pattern: a look, not a judgement")
    made.add_argument("--draw", choices=("profile", "mean", "exponential"), default="profile",
                      help="how service times are drawn")  # fmt: skip
    made.add_argument("--slower", type=float, default=1.0, help="factor on the real service times")
    made.add_argument("--reuse", choices=REUSES, default="same-code", help="which kept runs are taken")
    run(made, experiment)
