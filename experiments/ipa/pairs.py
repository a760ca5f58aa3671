"""Which published pairs of cost and accuracy the same policies yield here, whatever the forecast.

    python experiments/ipa/pairs.py --data ../shared/data --out out/experiments/ipa

The rate of each published decision is not known. So each policy is asked at every whole rate from 25 % below a
pattern's least to 25 % above its most, and a published interval counts if its pair is among the answers. That is
necessary, not sufficient: it does not show that the pair comes at the right time (`timeline.py` does). Also: the
replica arithmetic of the data's description, cost at the peak of a steady pattern.
"""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.command import Options, console, parser, run
from experiments.ipa import measurements, published, workloads
from experiments.ipa.contenders import READY_S, SYSTEM_OF
from experiments.ipa.decisions import pas
from experiments.results import Cell, show, write_csv
from experiments.sweep import results

from trimtab.plan.model import Limits, PlanRequest
from trimtab.plan.policies.ipa.policy import IpaPolicy
from trimtab.plan.policies.ipa.settings import IpaSettings

ERROR = 0.25
"""A forecast may lie this far outside the pattern's range."""
FAMILY = tuple(SYSTEM_OF)[:4]
Pair = tuple[int, float]
"""Cores, and 100 × the product of accuracies to one decimal."""


@dataclass(frozen=True, slots=True)
class Run:
    """A published run."""

    data: Path
    pipeline: str
    workload: str
    system: str


def rates(one: Run, error: float = ERROR) -> range:
    """Whole rates, as the published program rounds its forecast."""
    loads = workloads.pattern(one.data, one.workload)
    row = published.settings_row(one.data, one.pipeline, one.workload, one.system)
    least = max(1, math.floor((1.0 - error) * min(loads)))
    return range(least, math.ceil((1.0 + error) * (1.0 + published.margin(row)) * max(loads)) + 1)


def answers(one: Run, at: range | list[int]) -> set[Pair]:
    """The pairs at these rates. Where a dearer and a cheaper one are worth the same, both are optimal."""
    of = measurements.pipeline(one.pipeline)
    profile = measurements.profile(of, measurements.timings(one.data), seen_as="planner", load_s=READY_S)
    row = published.settings_row(one.data, one.pipeline, one.workload, one.system)
    settings = IpaSettings(**published.policy_settings(one.data, of, row))
    found: set[Pair] = set()
    for factor in (1.0 - 1e-9, 1.0 + 1e-9):
        policy = IpaPolicy(replace(settings, beta=(settings.beta or 0.0) * factor))
        for rate in at:
            answer = policy.propose(PlanRequest(of, profile, float(rate), Limits(cores=1e5)))
            if "infeasible" not in answer.steps[0].reason:
                found.add((answer.plan.cores, round(pas(of, answer.plan), 1)))
    return found


def yielded(one: Run) -> tuple[int, int]:
    """Published intervals whose pair is yielded, and all but the first, which shows the configuration at the start."""
    decisions = published.decisions(one.data, one.pipeline, one.workload, one.system)[1:]
    shown = Counter((round(d.cores), round(d.pas, 1)) for d in decisions)
    found = answers(one, rates(one))
    return sum(count for pair, count in shown.items() if pair in found), shown.total()


def peak(one: Run) -> tuple[int, int]:
    """Cost at the pattern's highest second, forecast margin included, ours and the highest published."""
    row = published.settings_row(one.data, one.pipeline, one.workload, one.system)
    highest = max(workloads.pattern(one.data, one.workload)) * (1.0 + published.margin(row))
    (cores, _), *_ = answers(one, [round(highest)])
    decisions = published.decisions(one.data, one.pipeline, one.workload, one.system)
    return cores, round(max(d.cores for d in decisions))


def experiment(asked: Options, _: Namespace) -> list[Path]:
    """Both tables."""
    names = measurements.NAMES[:2] if asked.quick else measurements.NAMES
    systems = [SYSTEM_OF[contender] for contender in FAMILY]
    runs = [Run(asked.data, name, workload, system) for name in names for system in systems
            for workload in published.WORKLOADS]  # fmt: skip
    found = dict(zip(runs, results(yielded, runs, asked.processes, "planning"), strict=True))
    lines: list[dict[str, Cell]] = [
        {
            "pipeline": name,
            "system": system,
            **{w: "{}/{}".format(*found[Run(asked.data, name, w, system)]) for w in published.WORKLOADS},
        }
        for name in names
        for system in systems
    ]
    show("Published intervals whose pair of cost and accuracy is yielded", lines, [each["pipeline"] for each in lines])
    same, every = (sum(column) for column in zip(*found.values(), strict=True))
    console.print(f"{same} of {every} intervals; {sum(a == b for a, b in found.values())} of {len(found)} runs whole")
    peaks: list[dict[str, Cell]] = []
    for name in names:
        line: dict[str, Cell] = {"pipeline": name}
        for system in ("FA2-low", "FA2-high"):
            for workload in ("steady_low", "steady_high"):
                ours, most = peak(Run(asked.data, name, workload, system))
                line[f"{system}, {workload}: ours"] = ours
                line["published" + " " * len(line)] = most
        peaks.append(line)
    show("Cost at the pattern's peak, cores", peaks)
    return [write_csv(asked.out / "pairs.csv", lines), write_csv(asked.out / "pairs_peaks.csv", peaks)]


if __name__ == "__main__":
    run(parser(__doc__ or "", "ipa", seeds=1), experiment)
