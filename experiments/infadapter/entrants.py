"""Who is judged in InfAdapter's setting, and what is said of one run.

Published policies as `contenders.py` has them: the plant where a change restarts a replica, their own rhythm, one queue
with a limit of a second. Added to those:

- `hpa` holds ResNet50, the middle one, beyond which accuracy gets dear; its replicas have one core, the fewest that its
  rule allows; the rest is Kubernetes' defaults (docs/policies/hpa.md).
- `model-switching` holds 20 replicas of one core. It is judged twice: on the plant of the others, where every switch
  loads, and on Trimtab's, for in its paper all variants are resident.

Trimtab has InfAdapter's objective with the same weights, or is asked for InfAdapter's delivered accuracy at the least
cost. Beside it run, as bounds: Trimtab with the true future, the same where changes take no time, and `oracle`, which
also plans without headroom and hysteresis. What lies between one and the next is what forecast, switching and the loop
around the planner cost; what lies between `oracle` and the fluid bound is what waiting, whole cores and the latency
model cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from experiments.infadapter.contenders import BUDGET, GAMMA, LSTM, OURS, PLANTS, QUEUE_S, VARIANTS
from experiments.infadapter.hours import played
from experiments.infadapter.measurements import TASK, capacity_profile, pipeline, service_profile
from experiments.infadapter.windows import Window

from trimtab.plan.policies import make_policy
from trimtab.sim import Serving, SimResult, simulate
from trimtab.sim.model import Draw
from trimtab.spec.model import Objective, Pipeline

RESTARTS, FREE, FUTURE = "kubernetes-restart", "free", "oracle"
GAIN = 0.02
"""How much more accuracy than InfAdapter's Trimtab is asked for at InfAdapter's cost."""
Role = Literal["published", "ours", "restarts", "bound"]


@dataclass(frozen=True, slots=True)
class Entrant:
    """A policy with what it is given. Values only: it is part of what tells one run from another."""

    label: str
    policy: str
    role: Role
    """`ours` and `restarts`: Trimtab on its own plant and on the plant of the others."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """The policy's, in the pipeline file's words."""
    objective: Objective | None = None
    """None: the policy has its own."""
    plant: str = RESTARTS
    rule: Literal["fifo", "trimtab"] = "fifo"
    believes: Literal["capacity", "service"] = "capacity"
    """Which of the two profiles it plans with."""
    forecaster: str | None = None
    """None: the policy's own."""


@dataclass(frozen=True, slots=True)
class Names:
    """What Trimtab and those it is measured by are called, for one weight."""

    beta: float

    @property
    def reference(self) -> str:
        """InfAdapter."""
        return f"infadapter β {self.beta}"

    @property
    def weighted(self) -> str:
        """Trimtab, same weights."""
        return f"trimtab β {self.beta}"

    @property
    def as_accurate(self) -> str:
        """Trimtab, asked for InfAdapter's accuracy."""
        return f"{self.weighted}, as accurate"

    @property
    def more_accurate(self) -> str:
        """Trimtab, asked for two points more."""
        return f"{self.weighted}, +2 points"

    @property
    def restarts(self) -> str:
        """Trimtab where changes restart replicas, same weights."""
        return f"{self.weighted}, restarts"

    @property
    def restarts_as_accurate(self) -> str:
        """Trimtab where changes restart replicas, asked for InfAdapter's accuracy."""
        return f"{self.weighted}, restarts, as accurate"

    @property
    def foreseeing(self) -> str:
        """Trimtab, same weights, with the true future."""
        return f"{self.weighted}, true future"

    @property
    def switching_freely(self) -> str:
        """The same where changes take no time."""
        return f"{self.weighted}, true future, free changes"

    @property
    def oracle(self) -> str:
        """The bound that plans for every second."""
        return f"oracle β {self.beta}"

    @property
    def ours(self) -> tuple[str, ...]:
        """Trimtab on its own plant."""
        return self.weighted, self.as_accurate, self.more_accurate

    @property
    def ours_restarting(self) -> tuple[str, ...]:
        """Trimtab on the plant of the others."""
        return self.restarts, self.restarts_as_accurate


def published(betas: tuple[float, ...]) -> list[Entrant]:
    """All published policies; those with weights once for each."""
    made = [
        Entrant(f"vpa+ {v}", "vpa+", "published", {"variants": {TASK: v}, "sample_weight": "request"}) for v in VARIANTS
    ]
    made.append(Entrant("hpa resnet50", "hpa", "published", {"variants": {TASK: "resnet50"}}))
    switching = Entrant("model-switching", "model-switching", "published", believes="service")
    made += [switching, replace(switching, label="model-switching, resident", plant=OURS)]
    for beta in betas:
        weights = {"beta": beta, "gamma": GAMMA}
        made.append(Entrant(f"ms+ β {beta}", "ms+", "published", weights, forecaster=LSTM))
        made.append(Entrant(Names(beta).reference, "infadapter", "published", weights, forecaster=LSTM))
    return made


def ours(beta: float, accuracy: float, longest_load_s: float, forecaster: str | None = None) -> list[Entrant]:
    """Trimtab in every setting, and the bounds.

    Args:
        beta: the paper's weight of all cores.
        accuracy: what InfAdapter delivered, a fraction.
        longest_load_s: the longest load time, which the paper measures load times by.
        forecaster: in place of Trimtab's own.
    """
    names = Names(beta)
    weighted = Objective("weighted", 1.0, beta / BUDGET, GAMMA / longest_load_s, delta=0.0)
    most = max(v.accuracy for v in pipeline().tasks[TASK].variants.values())
    same, more = (Objective("cheapest", accuracy_floor=min(accuracy + gain, most)) for gain in (0.0, GAIN))
    base = Entrant(
        names.weighted, "trimtab", "ours", {}, weighted, OURS, "trimtab", believes="service", forecaster=forecaster
    )
    foreseeing = replace(base, label=names.foreseeing, role="bound", forecaster=FUTURE)
    return [
        base,
        replace(base, label=names.as_accurate, objective=same),
        replace(base, label=names.more_accurate, objective=more),
        replace(base, label=names.restarts, role="restarts", plant=RESTARTS),
        replace(base, label=names.restarts_as_accurate, role="restarts", plant=RESTARTS, objective=same),
        foreseeing,
        replace(foreseeing, label=names.switching_freely, plant=FREE),
        replace(foreseeing, label=names.oracle, policy="oracle", plant=FREE),
    ]


def served(entrant: Entrant) -> Pipeline:
    """InfAdapter's service with the entrant's settings and objective."""
    of = pipeline()
    settings = {entrant.policy: entrant.settings} if entrant.settings else {}
    return replace(of, objective=entrant.objective or of.objective, policies=settings)


def play(data: Path, window: Window, entrant: Entrant, seed: int, draw: Draw) -> SimResult:
    """Simulate one run; it begins with the plan for the mean rate of its first minute."""
    service = service_profile(data)
    return simulate(
        served(entrant),
        service if entrant.believes == "service" else capacity_profile(data),
        played(data, window, seed),
        make_policy(entrant.policy),
        PLANTS[entrant.plant],
        cores=BUDGET,
        forecaster=entrant.forecaster,
        serving=Serving(entrant.rule, drop_after_s=QUEUE_S if entrant.rule == "fifo" else None, draw=draw),
        truth=service,
    )
