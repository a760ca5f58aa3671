"""The bound: Trimtab's exact plan for the load that will come, taken at once.

It is `trimtab` (`policies.trimtab`: the exact optimum of the pipeline's objective, with all of its limits and its tail
model), asked once a second for the rate of the second that follows, and what it answers is taken without weighing what
the change costs. What makes it an oracle is the forecaster called `oracle`, which knows the future: the simulator
supplies it. On a plant where nothing takes time (`free`) no policy that plans by the same latency model does better at
the same objective; on others it shows what switching costs.

Ours. It decides all that `trimtab` decides and holds nothing fixed.
"""

from __future__ import annotations

from trimtab.plan.policies.base import Rhythm
from trimtab.plan.policies.trimtab import TrimtabPolicy


class OraclePolicy(TrimtabPolicy):
    """The exact plan for the true rate of the next second."""

    name = "oracle"
    rhythm = Rhythm(every_s=1.0, horizon_s=1.0, forecaster="oracle")
