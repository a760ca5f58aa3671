"""The small chain that the planner's tests share: two tasks, heavy variants near the SLO."""

from __future__ import annotations

import pytest

from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline
from trimtab.testing import make_chain

TASKS = {
    "locate": {"light": (0.93, 0.003), "middle": (0.965, 0.010), "heavy": (0.98, 0.025)},
    "read": {"light": (0.88, 0.003), "middle": (0.95, 0.016), "heavy": (0.975, 0.055)},
}


@pytest.fixture
def chain() -> tuple[Pipeline, Profile]:
    return make_chain(TASKS)
