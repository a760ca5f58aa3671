"""The same FIFO model of two tasks in SimPy and here, from the same arrivals and random numbers: results and times.

Times are of the processor, in one thread, and hold everything: making the model, running it, and all response times.

Needs SimPy (MIT), which `make setup` installs.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab import rng
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.sim import PLANTS, Serving
from trimtab.sim.plant import SimPlant
from trimtab.testing import make_chain
from trimtab.workload.arrivals import send_times

Floats = NDArray[np.float64]
MEANS_S = {"first": 0.040, "second": 0.060}
SERVERS = {"first": 4, "second": 6}
RATE_RPS = 85.0  # 85 % of either task's 100 requests/s
SEED = 7


def run(*, quick: bool) -> None:
    """Print response times of both and the ratio of their times."""
    print("A FIFO model of two tasks (4 and 6 servers, exponential service, load 85 %), here and in SimPy")
    try:
        simpy: Any = importlib.import_module("simpy")
    except ImportError:
        print("left out: SimPy is not installed; `make setup` or `pip install simpy` brings it")
        return
    arrived_s = send_times(np.full((600 if quick else 4800), RATE_RPS), "poisson", SEED)
    times_s, ours_s = [], np.empty(0)
    for _ in range(5):
        began_s = time.process_time()
        ours_s = here(arrived_s)
        times_s.append(time.process_time() - began_s)
    began_s = time.process_time()
    theirs_s = in_simpy(simpy, arrived_s)
    simpy_s = time.process_time() - began_s
    difference = float(np.abs(ours_s - theirs_s).max())
    assert difference < 1e-6, f"response times differ by up to {difference:g} s"
    count, here_s = len(arrived_s), min(times_s)
    print(f"{'':<8}{'requests':>12}{'mean response':>20}{'seconds':>12}{'per second':>14}")
    print(f"{'SimPy':<8}{count:>12,}{theirs_s.mean():>18.12f} s{simpy_s:>12.3f}{count / simpy_s:>14,.0f}")
    print(f"{'here':<8}{count:>12,}{ours_s.mean():>18.12f} s{here_s:>12.3f}{count / here_s:>14,.0f}")
    print(f"{simpy_s / here_s:.0f} times as fast; no response time differs by more than {difference:.1e} s")


def here(arrived_s: Floats) -> Floats:
    """Response times of every request, by the simulator with its rule `fifo`."""
    pipeline, profile = make_chain({name: {"only": (1.0, mean_s)} for name, mean_s in MEANS_S.items()}, slo_s=1e6)
    tasks = {name: TaskPlan(name, (Allocation("only", n, 1, 1, 1),), ("only",)) for name, n in SERVERS.items()}
    serving = Serving(rule="fifo", draw="exponential")
    plan = Plan(tasks, RATE_RPS)
    plant = SimPlant(
        pipeline, profile, PLANTS["free"], plan.cores, iter([arrived_s]), SEED, serving=serving, records=len(arrived_s)
    )
    plant.apply_now(plan, warm=True)
    plant.advance(float(arrived_s[-1]))
    while plant.under_way:
        plant.advance(plant.now_s + 1.0)
    return np.asarray(plant.state["record_s"])


def in_simpy(simpy: Any, arrived_s: Floats) -> Floats:
    """The same in SimPy, as its documentation models it: a process a request, a resource a task."""
    environment = simpy.Environment()
    first, second = (simpy.Resource(environment, capacity=n) for n in SERVERS.values())
    first_mean_s, second_mean_s = MEANS_S.values()
    uniforms = _uniforms()
    response_s = np.empty(len(arrived_s))

    def service(mean_s: float) -> Any:
        return environment.timeout(-mean_s * math.log1p(-next(uniforms)))

    def request(number: int) -> Generator[Any, Any, None]:
        came_s = environment.now
        slot = first.request()
        yield slot
        yield service(first_mean_s)
        # The next task is asked for before this one is given back: at one moment, what goes on starts first.
        following = second.request()
        first.release(slot)
        yield following
        yield service(second_mean_s)
        second.release(following)
        response_s[number] = environment.now - came_s

    def source() -> Generator[Any, Any, None]:
        for number, moment in enumerate(arrived_s.tolist()):
            yield environment.timeout(moment - environment.now)
            environment.process(request(number))

    environment.process(source())
    environment.run()
    return response_s


def _uniforms() -> Iterator[float]:
    """The simulator's own random numbers for service, in the order in which batches start."""
    draws = rng.generator(SEED, "service")
    while True:
        yield from draws.random(1 << 16).tolist()
