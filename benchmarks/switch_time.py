"""How long a change of plan takes under load: a message to a running worker, a new replica, a restart; in one run.

Serves the example's `read` task (real models) on the local plant under a steady stream of requests. Timed, on one
clock, from the decision: until it is in force (`apply` returned), and until the first *answer* under it (an upper bound
on the first batch: it includes waiting and service). A change of variant, and a change of cores between 1 and 2 on one
replica, where the machine has two. A new replica is split in its parts. The same switch by restart, as the published
systems do it, is timed by stopping the worker and starting one with the other variant.

    python benchmarks/switch_time.py [--switches 100] [--restarts 5] [--rate 60]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trimtab.control.protocols import Decision
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.runtime.affinity import usable_cores
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.models.model import ModelSource
from trimtab.runtime.plant import LocalPlant
from trimtab.runtime.replica import Replica
from trimtab.runtime.server import new_event_loop
from trimtab.runtime.service import InferRequest, Tensor
from trimtab.runtime.wiring import check_interfaces
from trimtab.spec.model import Pipeline, Slo, Task, Variant

MODELS = Path(__file__).parents[1] / "examples" / "digits" / "models"
VARIANTS = ("read-xs", "read-s")


@dataclass
class Tally:
    """What was measured, in seconds, and what became of the requests."""

    in_force_s: list[float] = field(default_factory=list)
    answered_s: list[float] = field(default_factory=list)
    unchanged_s: list[float] = field(default_factory=list)
    failed: int = 0
    answered: int = 0


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--switches", type=int, default=100)
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--rate", type=float, default=60.0, help="requests per second")
    options = parser.parse_args()
    cores = min(len(usable_cores()), 2)
    by_variant = [Allocation(VARIANTS[turn % 2], 1, 1, 1, 4) for turn in range(options.switches + 1)]
    by_cores = [Allocation(VARIANTS[0], 1, 1 + turn % 2, 1, 4) for turn in range(options.switches + 1)]
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        variant = runner.run(changes(by_variant, options.rate, cores))
        core = runner.run(changes(by_cores, options.rate, cores)) if cores > 1 else Tally()
        started, loaded, restarted = runner.run(restarts(options.restarts))
    answered, failed = variant.answered + core.answered, variant.failed + core.failed
    print(
        f"{options.switches} changes of each kind at {options.rate:g} requests/s: {answered} answered, {failed} failed"
    )
    print(f"{'from the decision until …':<48}{'p50':>10}{'p99':>10}{'max':>10}")
    for name, values in (
        ("another variant is in force", variant.in_force_s),
        ("its first answer", variant.answered_s),
        ("(an answer without any change, for comparison)", variant.unchanged_s),
        ("1 or 2 cores instead of the other are in force", core.in_force_s),
        ("the first answer on them", core.answered_s),
        ("a new replica's process runs", started),
        ("… and has loaded and warmed its variant", loaded),
        ("the variant is another one, by restart", restarted),
    ):
        if values:
            p50, p99, most = (1e3 * float(f(values)) for f in (np.median, lambda v: np.quantile(v, 0.99), np.max))
            print(f"{name:<48}{p50:>7.2f} ms{p99:>7.2f} ms{most:>7.2f} ms")
    ratio = np.median(restarted) / np.median(variant.answered_s)
    print(f"a restart takes {ratio:.0f} times as long as a switch of variant (medians)")


async def changes(allocations: Sequence[Allocation], rate_rps: float, cores: int) -> Tally:
    """Go from allocation to allocation under load."""
    pipeline, profile = _service()
    plant = LocalPlant(pipeline, profile, check_interfaces(pipeline), Metrics(pipeline), cores)
    rng = np.random.Generator(np.random.PCG64(1))
    tally, inputs = Tally(), _inputs(pipeline)

    async def ask(clock: Callable[[], float]) -> tuple[str, float]:
        """The plan that answered, and when."""
        answer = await plant.data_plane.infer(InferRequest("reading", inputs))
        return str(answer.parameters["plan"]), clock()

    async def counted() -> None:
        try:
            await ask(time.perf_counter)
        except Exception as error:  # noqa: BLE001 — counted, whatever it is
            tally.failed += 1
            print(f"failed: {error}")
        else:
            tally.answered += 1

    async def stream() -> None:
        asking: set[asyncio.Task[None]] = set()
        while True:
            asking = {task for task in asking if not task.done()} | {asyncio.create_task(counted())}
            await asyncio.sleep(float(rng.exponential(1 / rate_rps)))

    await plant.apply(_decision(allocations[0]))
    await plant.ready()
    streaming = asyncio.create_task(stream())
    for allocation in allocations[1:]:
        await asyncio.sleep(0.1 + 0.1 * float(rng.random()))
        asked_s = time.perf_counter()
        tally.unchanged_s.append((await ask(time.perf_counter))[1] - asked_s)
        decision = _decision(allocation)
        started_s = time.perf_counter()
        await plant.apply(decision)
        tally.in_force_s.append(time.perf_counter() - started_s)
        # The stream sends by chance; a request sent right away asks the new plan for its first batch.
        plan_id, answered_s = await ask(time.perf_counter)
        assert plan_id == decision.plan.id, "the answer is of the plan before"
        tally.answered_s.append(answered_s - started_s)
    streaming.cancel()
    await asyncio.gather(streaming, return_exceptions=True)
    await plant.stop()
    return tally


async def restarts(count: int) -> tuple[list[float], list[float], list[float]]:
    """Seconds until a new process runs; until it is warm, too; until it does another variant than the one before."""
    pipeline, _ = _service()
    sources = check_interfaces(pipeline).models["read"]
    started: list[float] = []
    loaded: list[float] = []
    restarted: list[float] = []
    replica = await _start(sources[VARIANTS[0]], VARIANTS[0], [], [])
    for turn in range(1, count + 1):
        started_s = time.perf_counter()
        await replica.stop(1.0)
        variant = VARIANTS[turn % 2]
        replica = await _start(sources[variant], variant, started, loaded)
        restarted.append(time.perf_counter() - started_s)
    await replica.stop(1.0)
    return started, loaded, restarted


async def _start(source: ModelSource, variant: str, started: list[float], loaded: list[float]) -> Replica:
    before_s = time.perf_counter()
    replica = await Replica.start(
        replica_id="new",
        task="read",
        models={},
        core_ids=usable_cores()[:1],
        threads=1,
        thread_options=(1,),
        warm_batches=(1,),
    )
    started.append(time.perf_counter() - before_s)
    await replica.load(variant, source)
    loaded.append(time.perf_counter() - before_s)
    return replica


def _service() -> tuple[Pipeline, Profile]:
    task = Task("read", {v: Variant(v, MODELS / f"{v}.onnx", 0.9) for v in VARIANTS})
    points = tuple(
        ServicePoint(c, 1, b, 0.005 * b, {0.5: 0.005 * b, 0.99: 0.01 * b}, 1) for c in (1, 2) for b in (1, 4)
    )
    profile = Profile({"read": {v: VariantProfile("read", v, points) for v in VARIANTS}})
    return Pipeline("reading", {"read": task}, Slo(latency_s=1.0)), profile


def _decision(allocation: Allocation) -> Decision:
    plan = Plan({"read": TaskPlan("read", (allocation,), VARIANTS)}, 1.0)
    return Decision(0, 0.0, plan, feasible=True, changed=True, actions=(), steps=())


def _inputs(pipeline: Pipeline) -> dict[str, Tensor]:
    wiring = check_interfaces(pipeline)
    return {t.name: np.zeros((1, *t.shape[1:]), t.dtype) for t in wiring.request}


if __name__ == "__main__":
    main()
