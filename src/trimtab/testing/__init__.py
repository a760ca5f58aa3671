"""The public conformance kit: checks and fakes for those who bring their own policy, forecaster or plant."""

from __future__ import annotations

from trimtab.testing.build import make_chain
from trimtab.testing.checks import check_forecaster, check_plant
from trimtab.testing.fakes import CAPABLE, FakePlant, ManualClock, observation, settle
from trimtab.testing.observing import check_observing_policy
from trimtab.testing.policies import check_policy

__all__ = [
    "CAPABLE",
    "FakePlant",
    "ManualClock",
    "check_forecaster",
    "check_observing_policy",
    "check_plant",
    "check_policy",
    "make_chain",
    "observation",
    "settle",
]
