"""For tests of `trimtab simulate` and `trimtab compare`: files, and a simulation that only notes how it was called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import typer
from tests.report.simulated import make_result
from typer.testing import CliRunner, Result

from trimtab.errors import PlanRequestError
from trimtab.plan.policies import Policy
from trimtab.plan.policies.base import Rhythm
from trimtab.plan.policies.trimtab import TrimtabPolicy
from trimtab.profile.model import Profile
from trimtab.sim import PlantModel, SimResult
from trimtab.sim.run import Load
from trimtab.spec.model import Pipeline

SPEC = """
name: photos
slo: {latency: 400ms}
budget: {cores: 6}
tasks:
  find:
    variants: {light: {accuracy: 0.90}, heavy: {accuracy: 0.97}}
  read:
    after: [find]
    variants: {light: {accuracy: 0.85}, heavy: {accuracy: 0.96}}
profile:
  tasks:
    find:
      light: {points: {1: 4ms, 2: 7ms}}
      heavy: {points: {1: 20ms, 2: 37ms}}
    read:
      light: {points: {1: 4ms, 2: 7ms}}
      heavy: {points: {1: 55ms, 2: 100ms}}
"""
COUNTS = [12, 15, 9, 11, 20, 25, 22, 18, 10, 8, 13, 9]


def write_files(folder: Path) -> tuple[Path, Path]:
    """A pipeline file with its profile, and a trace of twelve seconds."""
    spec, trace = folder / "pipeline.yaml", folder / "day.txt"
    spec.write_text(SPEC)
    trace.write_text("".join(f"{count}\n" for count in COUNTS))
    return spec, trace


def invoke(command: Callable[..., Any], *arguments: object, width: int = 100) -> Result:
    app = typer.Typer()
    app.command()(command)
    return CliRunner(env={"COLUMNS": str(width)}).invoke(app, [str(a) for a in arguments], catch_exceptions=False)


class ForesightPolicy(TrimtabPolicy):
    """A bound: it asks for the forecaster that knows the load to come."""

    name = "foresight"
    rhythm = Rhythm(every_s=2.0, horizon_s=2.0, forecaster="oracle")


@dataclass
class FakeSimulation:
    """Stands in for `simulate`: notes how it was called, and gives a made-up result."""

    fails: set[str] = field(default_factory=set)
    """Policies for which no plan exists."""
    breaks: set[str] = field(default_factory=set)
    """Policies with a defect."""
    calls: list[tuple[Load, Policy, PlantModel, dict[str, Any]]] = field(default_factory=list)

    def __call__(
        self, pipeline: Pipeline, profile: Profile, load: Load, policy: Policy, plant: PlantModel, **asked: Any
    ) -> SimResult:
        self.calls.append((load, policy, plant, asked))
        if policy.name in self.fails:
            raise PlanRequestError("no plan can exist", got=3, wanted="5 cores")
        if policy.name in self.breaks:
            raise ZeroDivisionError("division by zero")
        made = make_result(policy.name, load.trace.name, load.seed)
        return replace(made, run=replace(made.run, plant=plant.name, pipeline=pipeline.name))
