"""How long a change of plan takes under load: a message to a running worker against a restart, in one run.

Serves the example's `read` task (real models) on the local plant under a steady stream of requests, and switches the
variant back and forth. Timed, on one clock, from the decision: until it is in force (`apply` returned), and until the
first *answer* of the new variant (an upper bound on the first batch: it includes waiting and service). The same switch
by restart, as the published systems do it, is timed by stopping the worker and starting one with the other variant.

    python benchmarks/switch_time.py [--switches 100] [--rate 60]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trimtab.control.protocols import Decision
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.runtime.affinity import usable_cores
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.model_file import inspect_model
from trimtab.runtime.plant import LocalPlant
from trimtab.runtime.replica import Replica
from trimtab.runtime.server import new_event_loop
from trimtab.runtime.service import InferRequest
from trimtab.runtime.wiring import check_interfaces
from trimtab.spec.model import Pipeline, Slo, Task, Variant

MODELS = Path(__file__).parents[1] / "examples" / "digits" / "models"
VARIANTS = ("read-xs", "read-s")


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--switches", type=int, default=100)
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--rate", type=float, default=60.0, help="requests per second")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        in_force, answered, failed, served = runner.run(switches(options.switches, options.rate))
        restarted = runner.run(restarts(options.restarts))
    print(f"{options.switches} switches of variant at {options.rate:g} requests/s: {served} answered, {failed} failed")
    print(f"{'from the decision until …':<44}{'p50':>10}{'p99':>10}{'max':>10}")
    for name, values in (
        ("the plan is in force", in_force),
        ("the first answer of the new variant", answered),
        ("the same by restart: a worker is ready again", restarted),
    ):
        p50, p99, most = (1e3 * float(f(values)) for f in (np.median, lambda v: np.quantile(v, 0.99), np.max))
        print(f"{name:<44}{p50:>7.2f} ms{p99:>7.2f} ms{most:>7.2f} ms")
    print(f"a restart takes {np.median(restarted) / np.median(answered):.0f} times as long as a switch (medians)")


async def switches(count: int, rate_rps: float) -> tuple[list[float], list[float], int, int]:
    """Seconds until in force, seconds until the first new answer; requests failed and answered."""
    task = Task("read", {v: Variant(v, MODELS / f"{v}.onnx", 0.9) for v in VARIANTS})
    pipeline = Pipeline("reading", {"read": task}, Slo(latency_s=1.0))
    points = tuple(ServicePoint(1, 1, b, 0.005 * b, {0.5: 0.005 * b, 0.99: 0.01 * b}, 1) for b in (1, 4))
    profile = Profile({"read": {v: VariantProfile("read", v, points) for v in VARIANTS}})
    plant = LocalPlant(pipeline, profile, check_interfaces(pipeline), Metrics(pipeline), 1)
    rng = np.random.Generator(np.random.PCG64(1))
    first_seen: dict[int, float] = {}
    turn = 0
    tally = {"failed": 0, "answered": 0}
    inputs = _inputs()

    async def ask(clock: Callable[[], float]) -> None:
        asked_in = turn
        try:
            answer = await plant.data_plane.infer(InferRequest("reading", inputs))
        except Exception as error:  # noqa: BLE001 — counted, whatever it is
            tally["failed"] += 1
            print(f"failed: {error}")
            return
        tally["answered"] += 1
        if asked_in and answer.version == VARIANTS[turn % 2]:
            first_seen.setdefault(turn, clock())

    async def stream() -> None:
        asking = set()
        while True:
            asking.add(asyncio.create_task(ask(time.perf_counter)))
            asking = {task for task in asking if not task.done()}
            await asyncio.sleep(float(rng.exponential(1 / rate_rps)))

    await plant.apply(_decision(VARIANTS[0]))
    await plant.ready()
    streaming = asyncio.create_task(stream())
    in_force: list[float] = []
    answered: list[float] = []
    for _ in range(count):
        await asyncio.sleep(0.1 + 0.1 * float(rng.random()))
        started_s = time.perf_counter()
        turn += 1
        await plant.apply(_decision(VARIANTS[turn % 2]))
        in_force.append(time.perf_counter() - started_s)
        # The stream sends by chance; one request sent right away asks the new plan for its first batch.
        await ask(time.perf_counter)
        answered.append(first_seen[turn] - started_s)
    streaming.cancel()
    await asyncio.gather(streaming, return_exceptions=True)
    await plant.stop()
    return in_force, answered, tally["failed"], tally["answered"]


async def restarts(count: int) -> list[float]:
    """Seconds to stop a worker and have one with the other variant ready."""

    async def start(variant: str) -> Replica:
        return await Replica.start(
            replica_id="restart",
            task="read",
            models={variant: MODELS / f"{variant}.onnx"},
            core_ids=usable_cores()[:1],
            threads=1,
            thread_options=(1,),
            warm_batches=(1,),
        )

    taken: list[float] = []
    replica = await start(VARIANTS[0])
    for turn in range(1, count + 1):
        started_s = time.perf_counter()
        await replica.stop(1.0)
        replica = await start(VARIANTS[turn % 2])
        taken.append(time.perf_counter() - started_s)
    await replica.stop(1.0)
    return taken


def _decision(variant: str) -> Decision:
    plan = Plan({"read": TaskPlan("read", (Allocation(variant, 1, 1, 1, 4),), VARIANTS)}, 1.0)
    return Decision(0, 0.0, plan, feasible=True, changed=True, actions=(), steps=())


def _inputs() -> dict[str, np.ndarray]:
    (tensor,) = inspect_model(MODELS / f"{VARIANTS[0]}.onnx").inputs
    return {tensor.name: np.zeros((1, *tensor.shape[1:]), tensor.dtype)}


if __name__ == "__main__":
    main()
