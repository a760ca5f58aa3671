"""Why several variants: what each ResNet carries by cores, and what a set of them is worth over the best single one.

    python experiments/infadapter/variants.py --data ../shared/data --out out/experiments/infadapter

No simulation. Left: the published capacity within 750 ms and the planner's line, 0.8 of a fit. Right: the highest
accuracy that a set of variants, and a single variant, can have at each rate within a budget of cores; it is found by
the policies `infadapter` and `ms+` with no weight on cores and load time.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.command import Options, parser, run
from experiments.infadapter.measurements import TASK, capacity_profile, pipeline
from experiments.pictures import COLOURS, FAINT, colour, figure, legend, panel, save
from experiments.results import Cell, show, write_csv

from trimtab.plan.model import Limits, PlanRequest
from trimtab.plan.policies import Policy
from trimtab.plan.policies.infadapter.policy import InfAdapterPolicy, MsPlusPolicy
from trimtab.plan.policies.infadapter.settings import InfAdapterSettings
from trimtab.plan.policies.infadapter.table import capacity_table
from trimtab.profile.model import Profile

BUDGETS = (8, 14, 20)
ACCURACY_ALONE = InfAdapterSettings(beta=0.0, gamma=0.0)


def carried(data: Path) -> list[dict[str, Cell]]:
    """By variant and cores: the measured capacity and saturation rate, and what the planner counts on."""
    service, profile = pipeline(), capacity_profile(data)
    table, _ = capacity_table(PlanRequest(service, profile, 1.0, Limits(cores=20.0)), TASK, InfAdapterSettings())
    planned = {(entry.variant, size.cores): size.rate_rps for entry in table for size in entry.sizes}
    return [
        {
            "variant": variant,
            "cores": point.cores,
            "capacity_rps": point.rate_rps,
            "planned_rps": planned.get((variant, point.cores)),
        }
        for variant, measured in profile.variants[TASK].items()
        for point in measured.capacity
    ]


def best_accuracy(policy: Policy, profile: Profile, cores: int, rate_rps: float) -> tuple[float, str] | None:
    """The highest mean accuracy within so many cores, and by which variants; None where nothing carries the rate."""
    limits = Limits(cores=float(cores), max_allocations_per_task=5)
    answer = policy.propose(PlanRequest(pipeline(), profile, rate_rps, limits))
    if not answer.feasible:
        return None
    groups = answer.plan.tasks[TASK].allocations
    return answer.objective.parts["accuracy"], " + ".join(f"{a.variant}:{a.cores}" for a in groups)


def compared(data: Path, step: int) -> list[dict[str, Cell]]:
    """By budget and rate: the best set and the best single variant."""
    profile, lines = capacity_profile(data), list[dict[str, Cell]]()
    for budget in BUDGETS:
        rate = step
        while (found := best_accuracy(InfAdapterPolicy(ACCURACY_ALONE), profile, budget, rate)) is not None:
            alone = best_accuracy(MsPlusPolicy(ACCURACY_ALONE), profile, budget, rate)
            lines.append(
                {
                    "budget_cores": budget,
                    "rate_rps": rate,
                    "set_accuracy": 100.0 * found[0],
                    "single_accuracy": None if alone is None else 100.0 * alone[0],
                    "gain_points": None if alone is None else 100.0 * (found[0] - alone[0]),
                    "set": found[1],
                    "single": None if alone is None else alone[1],
                }
            )
            rate += step
    return lines


def picture(table: list[dict[str, Cell]], lines: list[dict[str, Cell]], path: Path) -> Path:
    """Both halves side by side."""
    made = figure(9.5, 3.6)
    left, right = made.subplots(1, 2)
    panel(left, "Rate within 750 ms: measured (dots), planned (lines)", "cores", "requests/s")
    names = list(dict.fromkeys(str(line["variant"]) for line in table))
    for name in names:
        own = [line for line in table if line["variant"] == name]
        known = [line for line in own if line["planned_rps"] is not None]
        left.plot([_f(line["cores"]) for line in own], [_f(line["capacity_rps"]) for line in own], ".", ms=4,
                  color=colour(names, name))  # fmt: skip
        left.plot([_f(line["cores"]) for line in known], [_f(line["planned_rps"]) for line in known], lw=1.2,
                  color=colour(names, name), label=name)  # fmt: skip
    legend(left)
    panel(right, "Best accuracy: a set (line), a single variant (dotted)", "requests/s", "%")
    for i, budget in enumerate(BUDGETS):
        own = [line for line in lines if line["budget_cores"] == budget]
        rates = [_f(line["rate_rps"]) for line in own]
        right.plot(rates, [_f(line["set_accuracy"]) for line in own], lw=1.4, color=COLOURS[i])
        right.plot(rates, [_f(line["single_accuracy"]) for line in own], ":", lw=1.2, color=COLOURS[i])
        right.annotate(f"{budget} cores", (rates[-1], _f(own[-1]["set_accuracy"])), fontsize=7, color=FAINT,
                       ha="right", va="bottom")  # fmt: skip
    return save(made, path)


def _both(line: Mapping[str, Cell]) -> str:
    return f"{line['capacity_rps']:g} / {_f(line['planned_rps']):g}"


def _f(cell: Cell) -> float:
    return float("nan") if cell is None else float(cell)


def experiment(asked: Options, _: Namespace) -> list[Path]:
    """Both tables and the picture."""
    table, lines = carried(asked.data), compared(asked.data, 20 if asked.quick else 2)
    sizes = (2, 4, 8, 12, 16, 20)
    by_size = {(str(line["variant"]), line["cores"]): line for line in table}
    show(
        "Requests/s that a replica carries within 750 ms: measured / planned",
        [
            {"variant": v, **{f"{n} cores": _both(by_size[v, n]) for n in sizes}}
            for v in dict.fromkeys(str(line["variant"]) for line in table)
        ],
    )
    shown = [line for line in lines if _f(line["rate_rps"]) % 40 == 0]
    show("Highest accuracy by rate within a budget, %", shown, [each["budget_cores"] for each in shown])
    summary: list[dict[str, Cell]] = []
    for budget in BUDGETS:
        gains = [_f(line["gain_points"]) for line in lines if line["budget_cores"] == budget]
        known = [gain for gain in gains if gain == gain]
        summary.append(
            {
                "budget_cores": budget,
                "rates up to": max(int(_f(line["rate_rps"])) for line in lines if line["budget_cores"] == budget),
                "set is better at, % of rates": 100.0 * sum(gain > 1e-9 for gain in known) / len(known),
                "mean gain, points": sum(known) / len(known),
                "largest gain, points": max(known),
            }
        )
    show("What a set is worth", summary)
    return [
        write_csv(asked.out / "variants.csv", table),
        write_csv(asked.out / "sets_and_singles.csv", lines),
        picture(table, lines, asked.out / "variants.png"),
    ]


if __name__ == "__main__":
    run(parser(__doc__ or "", "infadapter"), experiment)
