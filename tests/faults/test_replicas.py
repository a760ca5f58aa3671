"""Replicas that misbehave in ways a real worker cannot be made to: doubles behind the data plane, no process.

A request counts once whatever its replica does, and the caller gets an answer or an error within its deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.faults.accounts import Accounts, Ending
from tests.faults.stand import SIZE, Shape, a_pipeline, a_profile, decide, until

from trimtab.errors import DeadlineError, FailedError, RefusedError, WorkerError
from trimtab.runtime import batches
from trimtab.runtime.dataplane import DataPlane
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.pool import Server
from trimtab.runtime.replica import BatchResult
from trimtab.runtime.service import InferRequest, Tensor
from trimtab.runtime.wiring import check_interfaces

OUTPUT = {"first": "y", "second": "z"}


class Double:
    """A replica that does its task well, after `service_s`."""

    def __init__(self, task: str, service_s: float = 0.0, name: str = "") -> None:
        self.id = f"{task}-{name or type(self).__name__}"
        self.task = task
        self.served = 0
        self._service_s = service_s

    async def run(self, variant: str, inputs: Mapping[str, Tensor]) -> BatchResult:
        del variant
        await asyncio.sleep(self._service_s)
        values = next(iter(inputs.values()))
        self.served += values.shape[0]
        return BatchResult({OUTPUT[self.task]: self.answer(values)}, self._service_s)

    def answer(self, values: Tensor) -> Tensor:
        return values


class NoNumber(Double):
    """Answers NaN, which is a number's absence and still an answer."""

    def answer(self, values: Tensor) -> Tensor:
        return np.full_like(values, np.nan)


class WrongRows(Double):
    """Answers with a row too many."""

    def answer(self, values: Tensor) -> Tensor:
        return np.concatenate([values, values[:1]])


class WrongType(Double):
    """Answers with numbers of another type than was declared."""

    def answer(self, values: Tensor) -> Tensor:
        return values.astype(np.int64)


class Silent(Double):
    """Never answers."""

    async def run(self, variant: str, inputs: Mapping[str, Tensor]) -> BatchResult:
        del variant, inputs
        await asyncio.Event().wait()
        raise AssertionError("not reached")


class Lost(Double):
    """Is lost with the batch."""

    async def run(self, variant: str, inputs: Mapping[str, Tensor]) -> BatchResult:
        del variant, inputs
        raise WorkerError("lost")


class Bench:
    """A data plane over doubles; `clock` may be moved."""

    def __init__(self, folder: Path, *, slo_s: float = 2.0, service_s: float = 0.001, batch: int = 4) -> None:
        pipeline = a_pipeline(folder, slo_s=slo_s, work=1)
        metrics = Metrics(pipeline)
        self.accounts = Accounts(metrics)
        self.leap_s = 0.0
        seconds = dict.fromkeys(("big", "small", "wide", "thin"), service_s)
        wiring = check_interfaces(pipeline)
        self.plane = DataPlane(pipeline, a_profile(pipeline, seconds), wiring, metrics, self.clock_s, self._on_stuck)
        self.plane.follow(decide(pipeline, Shape(batch=batch)).plan)
        self.stuck: list[Server] = []
        self._model = pipeline.name

    def clock_s(self) -> float:
        return time.monotonic() + self.leap_s

    def _on_stuck(self, server: Server) -> None:
        self.stuck.append(server)
        self.plane.remove(server)

    def add(self, *replicas: Double) -> None:
        for replica in replicas:
            self.plane.add(replica.task, replica, 1)

    async def ask(self, timeout_s: float | None = None) -> Ending:
        """One request, at most 5 s."""
        ending: Ending = "answered"
        request = InferRequest(self._model, {"x": np.ones((1, SIZE), np.float32)}, timeout_s=timeout_s)
        try:
            async with asyncio.timeout(5.0):
                await self.plane.infer(request)
        except RefusedError:
            ending = "refused"
        except DeadlineError:
            ending = "dropped"
        except FailedError:
            ending = "failed"
        except TimeoutError:
            ending = "hung"
        self.accounts.client[ending] += 1
        return ending

    async def check(self) -> None:
        """Everything has ended and adds up."""
        levels = self.plane.levels({}, {})
        await until(lambda: not any(v.queued or v.in_service for v in self.plane.levels({}, {}).values()), 5.0)
        self.accounts.observed(self.plane.window.close(self.clock_s() + 1.0, levels, 0.0, None))
        problems = self.accounts.problems()
        assert not problems, "\n".join([*problems, self.accounts.table()])


@pytest.mark.parametrize(
    ("kind", "endings"),
    [
        (Double, {"answered"}),
        (NoNumber, {"answered"}),
        (WrongRows, {"failed"}),
        (WrongType, {"failed"}),
        (Silent, {"refused", "dropped", "failed"}),
        (Lost, {"failed"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_whatever_a_replica_answers_every_request_ends_once(
    kind: type[Double], endings: set[Ending], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "STUCK_AFTER_S", 0.1)

    async def story() -> None:
        bench = Bench(tmp_path)
        bench.add(Double("first"), kind("second"))
        seen = set(await asyncio.gather(*(bench.ask() for _ in range(20))))
        await bench.check()
        assert seen <= endings

    asyncio.run(story())


def test_a_lost_batch_is_tried_once_on_another_replica(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        lost = Lost("first")
        bench.add(lost, Double("first"), Double("second"))
        asking = asyncio.create_task(bench.ask())
        await until(lambda: asking.done() or bench.plane.levels({}, {})["first"].queued > 0, 2.0)
        bench.plane.remove(lost)
        assert await asking == "answered"
        await bench.check()

    asyncio.run(story())


def test_a_client_that_leaves_is_counted_once(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        slow = Double("first", 0.05)
        bench.add(slow, Double("second"))
        leaving = asyncio.create_task(bench.ask())
        await until(lambda: bench.plane.levels({}, {})["first"].in_service > 0, 2.0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        bench.accounts.client["gone"] += 1
        assert await bench.ask() == "answered"
        await bench.check()

    asyncio.run(story())


@pytest.mark.parametrize("leap_s", [0.0, 3600.0, -3600.0])
def test_a_leap_of_the_clock_ends_every_request_and_serving_goes_on(leap_s: float, tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.add(Double("first", 0.05), Double("second"))
        asking = [asyncio.create_task(bench.ask()) for _ in range(10)]
        await until(lambda: bench.plane.levels({}, {})["first"].in_service > 0, 2.0)
        bench.leap_s = leap_s
        assert "hung" not in await asyncio.gather(*asking)
        if bench.stuck:  # its batch seemed to take an hour; the plant starts another
            bench.add(Double("first"))
        assert await bench.ask() == "answered"
        if leap_s >= 0.0:  # backwards, arrivals of the seconds that come again are not reported
            await bench.check()

    asyncio.run(story())


def test_a_burst_of_fifty_times_the_capacity_is_refused_early_and_is_over_at_once(tmp_path: Path) -> None:
    service_s, slo_s = 0.02, 0.5  # 100 requests a second in batches of 2

    async def story() -> None:
        bench = Bench(tmp_path, slo_s=slo_s, service_s=service_s / 2, batch=2)
        first = Double("first", service_s)
        bench.add(first, Double("second"))
        endings = await asyncio.gather(*(bench.ask() for _ in range(2500)))
        answered = endings.count("answered")
        assert set(endings) <= {"answered", "refused", "dropped"}
        assert answered >= 1
        assert first.served <= answered + endings.count("dropped")  # no work for those refused
        assert await bench.ask() == "answered"
        await bench.check()

    asyncio.run(story())


def test_a_replica_that_is_ten_times_slower_gets_less_work(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, service_s=0.01)
        slow, fast = Double("first", 0.1, "slow"), Double("first", 0.01, "fast")
        bench.add(slow, fast, Double("second"))
        for _ in range(40):
            assert await bench.ask() == "answered"
        assert slow.served <= fast.served
        await bench.check()

    asyncio.run(story())
