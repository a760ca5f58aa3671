"""A forecaster that echoes and a policy that proposes what it is set to, for tests of the loop around them."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.forecast import RateForecast
from trimtab.plan.model import Allocation, Plan, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.policies.base import result


def plan_of(variant: str = "s", replicas: int = 1, rate_rps: float = 1.0, cores: int = 1) -> Plan:
    return Plan({"a": TaskPlan("a", (Allocation(variant, replicas, cores, 1, 1),), (variant,))}, rate_rps)


class Echo:
    """Forecasts the last known count, twice that at the 0.9 quantile and thrice at the 0.99 quantile."""

    name = "echo"

    def __init__(self) -> None:
        self.last: int | None = None
        self.horizons_s: list[float] = []

    def observe(self, counts: Sequence[int | None]) -> None:
        self.last = next((count for count in reversed(counts) if count is not None), self.last)

    def forecast(self, horizon_s: float) -> RateForecast | None:
        self.horizons_s.append(horizon_s)
        rate = None if self.last is None else float(self.last)
        if rate is None:
            return None
        return RateForecast(horizon_s, rate, {0.5: rate, 0.9: 2.0 * rate, 0.99: 3.0 * rate}, 1.0, "an echo")


class Noting:
    """Proposes what it is set to and notes what it was asked, at which second; fails while `error` is set."""

    name = "noting"
    decides = frozenset({"variant", "replicas"})

    def __init__(self) -> None:
        self.proposal = plan_of()
        self.error: Exception | None = None
        self.asked: list[PlanRequest] = []

    def propose(self, request: PlanRequest) -> PlanResult:
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        return result(
            self.name,
            request,
            self.proposal.tasks,
            feasible=True,
            reason="as set",
            latency_model="tail",
            objective=request.pipeline.objective,
        )

    @property
    def rates_rps(self) -> list[float]:
        return [request.rate_rps for request in self.asked]
