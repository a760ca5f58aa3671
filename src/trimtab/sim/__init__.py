"""Plant 1: a discrete-event simulation of a pipeline, request by request, under the live dispatcher and controller."""

from __future__ import annotations

from trimtab.sim.model import PLANTS, Fault, PlantModel, Serving, plant_model
from trimtab.sim.result import SimResult, SimRun, SimSeries, SimSummary
from trimtab.sim.run import Load, recorded_load, simulate

__all__ = [
    "PLANTS",
    "Fault",
    "Load",
    "PlantModel",
    "Serving",
    "SimResult",
    "SimRun",
    "SimSeries",
    "SimSummary",
    "plant_model",
    "recorded_load",
    "simulate",
]
