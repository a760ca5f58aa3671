"""What each of Trimtab's ideas is worth: taken away in turn, and how far the full policy is from the bound, and why.

    python experiments/ablation.py --data ../shared/data --out out/experiments/ablation

InfAdapter's service with its weights, on both windows and on six of twenty minutes from the hour on; on both windows
also at the accuracy that InfAdapter delivers there; two of IPA's pipelines under two load patterns, at the accuracy
that IPA was published with. `trouble/ideas.py` says what is done.

The objective is the one that is asked for: in points of accuracy, less the cores' weight; or, where an accuracy is
given, the cores held, less being better. Changes are against the full policy, with the same seeds: for each seed the
mean over the places, ± half the width of the 95 % confidence interval over the seeds. An idea pays where without it
violations rise, the objective falls or the accuracy asked for is missed, beyond what seeds explain.

The distance to `oracle` (the true plan of every second on a plant where nothing takes time) has three parts: what
knowing the load to come would give, what free changes would give, and what is left: the latency model's part, and what
the loop around the planner costs by holding a surge and by not following every gain.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments.command import Options, console, parser, run
from experiments.results import Cell, mean, over_seeds, show, write_csv
from experiments.robustness import Case as Trial
from experiments.robustness import met as tried
from experiments.sweep import results
from experiments.trouble.ideas import BESIDE, BOUNDS, FREE, FULL, KNOWN, ORACLE, VARIANTS, WRONG
from experiments.trouble.scenes import CHEAPEST, HOURS, OURS, SERVICE, Place, play, scene
from experiments.trouble.troubles import NONE

from trimtab.report.comparison import spread
from trimtab.sim.result import SimSummary
from trimtab.spec.model import Objective

WINDOWS = tuple(Place(SERVICE, load) for load in ("bursty", "steady"))
HOURLY = tuple(Place(SERVICE, load) for load in HOURS)
PIPELINES = tuple(Place(pipeline, load) for pipeline in ("video", "audio-qa") for load in ("bursty", "fluctuating"))


@dataclass(frozen=True, slots=True)
class Setup:
    """A place, and what is asked for there."""

    place: Place
    floor: float | None = None
    """The least accuracy, at InfAdapter's service; None: its weights."""

    @property
    def family(self) -> str:
        """Those whose objectives can be put together."""
        return self.place.family if self.floor is None else f"{self.place.family}, cheapest"


@dataclass(frozen=True, slots=True)
class Case:
    """One run."""

    data: Path
    setup: Setup
    variant: str
    """One of `VARIANTS`."""
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went, in figures of which a mean can be taken."""

    case: Case
    violations: float
    """Percent."""
    accuracy: float
    """Percent."""
    cores: float
    objective: float
    """More is better."""
    missed: float
    """Points by which accuracy is below the one asked for; 0 where none was."""


Outcomes = dict[tuple[Setup, str, int], Outcome]
"""By setup, variant and seed."""
Figure = Callable[[Outcome], float]


def judged(case: Case, summary: SimSummary, objective: Objective) -> Outcome:
    """A run's figures by the objective that was asked for."""
    accuracy, floor = 100.0 * (summary.accuracy or 0.0), objective.accuracy_floor
    worth = objective.alpha * accuracy - 100.0 * objective.beta * summary.mean_cores
    return Outcome(
        case,
        100.0 * (summary.violation_ratio or 0.0),
        accuracy,
        summary.mean_cores,
        worth if floor is None else -summary.mean_cores,
        0.0 if floor is None else max(0.0, 100.0 * floor - accuracy),
    )


def met(case: Case) -> Outcome:
    """Run a case."""
    setup = case.setup
    made = scene(case.data, setup.place, OURS if setup.floor is None else CHEAPEST, case.seed, setup.floor)
    objective = made.pipeline.objective
    return judged(case, play(VARIANTS[case.variant](made)).summary, objective)


def by_seed(found: Outcomes, family: str, variant: str, figure: Figure, beside: str | None = None) -> list[float]:
    """For each seed, the mean over a family's setups of a figure, or of its change against another variant."""
    seeds = sorted({seed for _, _, seed in found})
    setups = [setup for setup, name, seed in found if (name, seed) == (variant, seeds[0]) and setup.family == family]
    return [
        mean(
            figure(found[setup, variant, seed]) - (figure(found[setup, beside, seed]) if beside else 0.0)
            for setup in setups
        )
        for seed in seeds
    ]


def verdict(violations: Sequence[float], objective: Sequence[float], missed: Sequence[float]) -> str:
    """What changes by seed, of a variant against the full policy, say of the idea that it lacks.

    `pays`: something is worse without it, nothing better; `trades`: some worse, some better; `does not pay`: nothing is
    worse; empty where one seed cannot tell.
    """
    signs = [_sign([-v for v in violations]), _sign(objective), _sign([-m for m in missed])]
    known = [sign for sign in signs if sign is not None]
    if len(known) < len(signs):
        return ""
    if min(known) < 0:
        return "trades" if max(known) > 0 else "pays"
    return "does not pay"


def _sign(changes: Sequence[float]) -> int | None:
    """Whether changes are gains (1) or losses (-1) beyond what seeds explain, or neither; None: cannot be told."""
    found = spread(changes)
    if found is None or found.half is None:
        return None
    return 0 if abs(found.mean) <= found.half else 1 if found.mean > 0 else -1


def row(found: Outcomes, family: str, variant: str) -> dict[str, Cell]:
    """A variant's figures over a family's places, and its changes."""
    beside = BESIDE.get(variant, FULL)
    figures: dict[str, Figure] = {
        "violations": lambda o: o.violations,
        "accuracy": lambda o: o.accuracy,
        "objective": lambda o: o.objective,
        "missed": lambda o: o.missed,
    }
    now = {name: mean(by_seed(found, family, variant, figure)) for name, figure in figures.items()}
    change = {name: by_seed(found, family, variant, figure, beside) for name, figure in figures.items()}
    idea = variant not in BOUNDS and variant not in (FULL, WRONG)
    return {
        "family": family,
        "variant": variant,
        "violations %": now["violations"],
        "accuracy %": now["accuracy"],
        "cores": mean(by_seed(found, family, variant, lambda o: o.cores)),
        "objective": now["objective"],
        "missed": now["missed"],
        "Δ violations": "" if variant == FULL else over_seeds(change["violations"], 3),
        "Δ accuracy": "" if variant == FULL else over_seeds(change["accuracy"], 3),
        "Δ objective": "" if variant == FULL else over_seeds(change["objective"], 3),
        "idea": verdict(change["violations"], change["objective"], change["missed"]) if idea else "",
    }


def distance(found: Outcomes, family: str) -> dict[str, Cell]:
    """How far the full policy's objective is below the oracle's, and its parts, which sum up to it."""

    def below(variant: str, other: str) -> list[float]:
        return by_seed(found, family, other, lambda o: o.objective, variant)

    whole, foreseen, free = below(FULL, ORACLE), below(FULL, KNOWN), below(FULL, FREE)
    left = [w - a - b for w, a, b in zip(whole, foreseen, free, strict=True)]
    bound = mean(by_seed(found, family, ORACLE, lambda o: o.objective))
    return {
        "family": family,
        "oracle": bound,
        "trimtab": mean(by_seed(found, family, FULL, lambda o: o.objective)),
        "distance": over_seeds(whole, 3),
        "of the bound, %": 100.0 * mean(whole) / abs(bound) if bound else None,
        "forecast": over_seeds(foreseen, 3),
        "switching": over_seeds(free, 3),
        "model and loop": over_seeds(left, 3),
    }


def setup_row(found: Outcomes, setup: Setup, variant: str) -> dict[str, Cell]:
    """A variant's figures in one setup."""
    runs = [each for (where, name, _), each in found.items() if (where, name) == (setup, variant)]
    return {
        "family": setup.family,
        "place": setup.place.name,
        "variant": variant,
        "violations_percent": mean(each.violations for each in runs),
        "accuracy_percent": mean(each.accuracy for each in runs),
        "cores_held": mean(each.cores for each in runs),
        "objective": mean(each.objective for each in runs),
        "missed_points": mean(each.missed for each in runs),
    }


def floors(asked: Options) -> dict[Place, float]:
    """What InfAdapter as published delivers on its windows."""
    cases = [Trial(asked.data, place, place.published, NONE, seed) for place in WINDOWS for seed in range(asked.seeds)]
    runs = results(tried, cases, asked.processes, "InfAdapter")
    return {place: mean(each.summary.accuracy for each in runs if each.case.place == place) for place in WINDOWS}


def unpaid(table: Sequence[dict[str, Cell]]) -> str:
    """The ideas without which nothing is worse anywhere, in a sentence."""
    ideas = dict.fromkeys(str(line["variant"]) for line in table if line["idea"])
    worth = {str(line["variant"]) for line in table if line["idea"] in ("pays", "trades")}
    if not ideas:
        return "One seed cannot tell which ideas pay."
    left = [name for name in ideas if name not in worth]
    return f"Nothing is worse anywhere under: {', '.join(left)}." if left else "Every idea pays somewhere."


def experiment(asked: Options, parsed: Namespace) -> list[Path]:
    """All runs and tables."""
    setups = [Setup(place) for place in (*WINDOWS, *HOURLY)]
    setups += [Setup(place, floor) for place, floor in floors(asked).items()]
    setups += [Setup(place) for place in PIPELINES]
    if asked.quick:
        setups = list({setup.family: setup for setup in reversed(setups)}.values())[::-1]
    wanted = [FULL, *parsed.variant, ORACLE, KNOWN, FREE] if parsed.variant else list(VARIANTS)
    wanted += [BESIDE[name] for name in wanted if name in BESIDE]
    cases = [
        Case(asked.data, setup, variant, seed)
        for setup in setups
        for variant in dict.fromkeys(wanted)
        for seed in range(asked.seeds)
    ]
    found = {
        (each.case.setup, each.case.variant, each.case.seed): each
        for each in results(met, cases, asked.processes, "simulating")
    }
    families = list(dict.fromkeys(setup.family for setup in setups))
    named = [name for name in VARIANTS if name in wanted]
    table = [row(found, family, name) for family in families for name in named]
    show(f"Without each idea: {asked.seeds} seeds", table, [line["family"] for line in table])
    parts = [distance(found, family) for family in families]
    show("Distance to the bound", parts)
    console.print()
    console.print(unpaid(table), markup=False)
    return [
        write_csv(asked.out / "ablation.csv", table),
        write_csv(asked.out / "ablation_setups.csv", [setup_row(found, s, name) for s in setups for name in named]),
        write_csv(asked.out / "ablation_distance.csv", parts),
    ]


if __name__ == "__main__":
    arguments = parser(__doc__ or "", "ablation")
    arguments.add_argument("--variant", action="append", choices=list(VARIANTS), default=None,
                           help="only this one, beside the full policy and the bounds; may be given again")  # fmt: skip
    run(arguments, experiment)
