"""Monitoring gaps: the plant runs on, nothing is counted, the last plan stays, and the controller recovers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.sim.test_run import PIPELINE, PROFILE  # fmt: skip

from trimtab.control.journal import read_journal
from trimtab.control.replay import replay
from trimtab.errors import SimulationError
from trimtab.observe.model import Observation, Outcomes, TaskObservation
from trimtab.plan.policies import make_policy
from trimtab.sim import PLANTS, Load, SimResult, simulate
from trimtab.sim.gaps import without_gaps
from trimtab.workload.trace import Trace
