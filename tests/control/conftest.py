from __future__ import annotations

from collections.abc import Callable

import pytest

from trimtab.control.controller import Controller
from trimtab.control.settings import ControllerSettings
from trimtab.forecast import Forecaster, QuantileForecaster
from trimtab.plan.model import Limits
from trimtab.plan.policies import Policy, make_policy
from trimtab.testing import make_chain

CHAIN = make_chain(
    {
        "locate": {"light": (0.93, 0.003), "middle": (0.965, 0.010), "heavy": (0.98, 0.025)},
        "read": {"light": (0.88, 0.003), "middle": (0.95, 0.016), "heavy": (0.975, 0.055)},
    }
)

MakeController = Callable[..., Controller]


@pytest.fixture
def make_controller() -> MakeController:
    def make(
        policy: str | Policy = "trimtab",
        settings: ControllerSettings | None = None,
        *,
        forecaster: Forecaster | None = None,
        limits: Limits | None = None,
    ) -> Controller:
        chosen = make_policy(policy) if isinstance(policy, str) else policy
        return Controller(*CHAIN, chosen, forecaster or QuantileForecaster(), limits or Limits(cores=2.0), settings)

    return make
