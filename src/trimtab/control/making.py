"""Controllers made from a journal's header: for a replay, and in the process that a live controller has for itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from trimtab.control.controller import Controller
from trimtab.control.journal import JournalHeader, Resumption
from trimtab.control.protocols import Decision
from trimtab.errors import PlanRequestError
from trimtab.forecast import Forecaster, make_forecaster
from trimtab.observe.model import Observation
from trimtab.plan.policies import Policy, make_policy
from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline


def controller_of(
    header: JournalHeader, *, policy: Policy | None = None, forecaster: Forecaster | None = None
) -> Controller:
    """A fresh controller as the header says, told its history; `policy` and `forecaster` are made where not given.

    Raises:
        ForecastError: the header names a forecaster that cannot be made.
        PlanRequestError: it names a policy that cannot be loaded.
    """
    forecaster = forecaster or make_forecaster(header.forecaster, header.clock_s)
    forecaster.observe(header.history)
    policy = policy or make_policy(header.policy)
    return Controller(header.pipeline, header.profile, policy, forecaster, header.limits, header.settings)


def header_after(header: JournalHeader, resumption: Resumption) -> JournalHeader:
    """What the controller is made from that takes the place of a lost one."""
    return replace(header, clock_s=resumption.clock_s, history=(), start=resumption.start)


def resume(controller: Controller, now_s: float, resumption: Resumption, recent: Iterable[Observation]) -> Decision:
    """Start a fresh controller where a lost one stood. It keeps the plan and takes in what was seen."""
    decision = controller.start(now_s, resumption.start)
    controller.recall(recent)
    return decision


def change(controller: Controller, header: JournalHeader, now_s: float, without: Collection[str]) -> Decision:
    """Let a controller plan with all variants of the header but those in `without` (`task.variant`).

    Raises:
        PlanRequestError: a task would be left with none, or no plan can exist; nothing has changed.
    """
    return controller.change(now_s, *restricted(header.pipeline, header.profile, without))


def restricted(pipeline: Pipeline, profile: Profile, without: Collection[str]) -> tuple[Pipeline, Profile]:
    """The pipeline and its profile without some variants (`task.variant`).

    Raises:
        PlanRequestError: a task would be left with none.
    """
    tasks = {
        name: replace(task, variants={v: each for v, each in task.variants.items() if f"{name}.{v}" not in without})
        for name, task in pipeline.tasks.items()
    }
    for name, task in tasks.items():
        if not task.variants:
            raise PlanRequestError(f"task '{name}' would be left without a variant", got=", ".join(sorted(without)))
    profiles = {
        name: {v: each for v, each in variants.items() if f"{name}.{v}" not in without}
        for name, variants in profile.variants.items()
    }
    return replace(pipeline, tasks=tasks), replace(profile, variants=profiles)
