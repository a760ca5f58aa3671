"""How far is the `tail` model from a simulated queue? Estimated p99 over simulated p99, in one run.

    python benchmarks/planner/latency_model.py [--requests N]

Chains of equal tasks and a fork with its join, FIFO at every task, service with 9 % deviation; arrivals are Poisson or
gamma with an scv of 4. Above 1 the model is on the safe side. The last column is what the sum of the quantiles of all
tasks would say. The simulation here is a few lines of its own and shares nothing with the planner.
"""

from __future__ import annotations

import argparse
import heapq
from dataclasses import replace

import numpy as np

from trimtab.plan.estimate import estimate
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile
from trimtab.rng import generator
from trimtab.spec.model import Edge, Pipeline
from trimtab.testing import make_chain

SERVICE_S, DEVIATION = 0.05, 0.086
"""Of one item on one core; the profile that `make_chain` writes has its p99 at 1.2 times the mean, as this has."""


def fifo(arrivals: np.ndarray, services: np.ndarray, servers: int) -> np.ndarray:
    """When each request is done, first come first served."""
    free, done = [0.0] * servers, np.empty_like(arrivals)
    for i in np.argsort(arrivals, kind="stable"):
        done[i] = max(arrivals[i], heapq.heappop(free)) + services[i]
        heapq.heappush(free, done[i])
    return done


def simulate(pipeline: Pipeline, rate: float, servers: int, scv: float, requests: int) -> float:
    """The 99 % quantile of the response time, seconds."""
    rng = generator(1, "latency-model")
    at = np.cumsum(rng.gamma(1.0 / scv, scv / rate, requests))
    done: dict[str, np.ndarray] = {}
    for name, task in pipeline.tasks.items():
        starts = [done[edge.upstream] for edge in task.after] or [at]
        services = SERVICE_S * np.clip(1.0 + DEVIATION * rng.standard_normal(requests), 0.5, 2.0)
        done[name] = fifo(np.maximum.reduce(starts), services, servers)
    return float(np.quantile(done[next(reversed(done))] - at, 0.99))


def pipelines() -> dict[str, tuple[Pipeline, Profile]]:
    """What is compared, by name."""
    found = {}
    for tasks in (1, 2, 3, 5):
        names = {f"t{i}": {"v": (0.9, SERVICE_S)} for i in range(tasks)}
        found[f"chain of {tasks}"] = make_chain(names, slo_s=1.0, batches=(1,))
    pipeline, profile = make_chain({f"t{i}": {"v": (0.9, SERVICE_S)} for i in range(4)}, slo_s=1.0, batches=(1,))
    after = {"t2": (Edge("t0"),), "t3": (Edge("t1"), Edge("t2"))}
    tasks_ = {name: replace(task, after=after.get(name, task.after)) for name, task in pipeline.tasks.items()}
    found["fork and join"] = replace(pipeline, tasks=tasks_), profile
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    requests = parser.parse_args().requests
    print(f"{'pipeline':<14} {'arrivals':>8} {'slots':>5} {'busy':>5} {'simulated':>10} {'model':>6} {'sum':>5}")
    ratios = []
    for name, (pipeline, profile) in pipelines().items():
        for scv in (1.0, 4.0):
            for servers in (1, 4):
                for busy in (0.3, 0.5, 0.7, 0.85):
                    rate = busy * servers / SERVICE_S
                    seen = simulate(pipeline, rate, servers, scv, requests)
                    groups = {t: TaskPlan(t, (Allocation("v", servers, 1, 1, 1),), ("v",)) for t in pipeline.tasks}
                    found = estimate(Plan(groups, rate), pipeline, profile, rate, arrival_scv=scv)
                    longest = [t for t in pipeline.tasks if not (name == "fork and join" and t == "t2")]
                    added = sum(found.tasks[t].service_s + found.tasks[t].waiting_s for t in longest)
                    ratios.append(found.latency_s / seen)
                    arrivals = "Poisson" if scv == 1.0 else "scv 4"
                    print(
                        f"{name:<14} {arrivals:>8} {servers:>5} {busy:>5.2f} {1000 * seen:>7.0f} ms "
                        f"{ratios[-1]:>6.2f} {added / seen:>5.2f}"
                    )
    print(f"model ÷ simulated: least {min(ratios):.2f}, median {np.median(ratios):.2f}, most {max(ratios):.2f}")


if __name__ == "__main__":
    main()
