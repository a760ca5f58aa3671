"""Real worker processes: answers, changes while serving, and every way in which a process can end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from tests import models

from trimtab.errors import InvalidInputError, ModelError, WorkerError
from trimtab.runtime import affinity, frames
from trimtab.runtime.models.model import ModelSource
from trimtab.runtime.replica import BatchResult, Replica
from trimtab.runtime.service import Tensor
from trimtab.runtime.worker import EXIT_BAD_BYTES

pytestmark = pytest.mark.live
CORES = affinity.usable_cores()
X = np.arange(12, dtype=np.float32).reshape(3, 4)
SLOW_X = np.ones((1, 64), np.float32)
two_cores = pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")
needs_affinity = pytest.mark.skipif(affinity.missing() is not None, reason="this system has no CPU affinity")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "double": models.affine(folder / "double.onnx", scale=2, offset=0),
        "next": models.affine(folder / "next.onnx", scale=1, offset=1),
        "single": models.affine(folder / "single.onnx", rows=1),
        "slow": models.slow(folder / "slow.onnx", work=2000),
        "corrupt": models.corrupt(folder / "corrupt.onnx"),
    }


async def start(files: Mapping[str, Path], *names: str, cores: int = 1, threads: int = 1) -> Replica:
    return await Replica.start(
        replica_id="t-1",
        task="t",
        models={name: ModelSource("onnx", files[name]) for name in names},
        core_ids=CORES[:cores],
        threads=threads,
        thread_options=tuple(range(1, cores + 1)),
        warm_batches=(2,),
    )


def assert_equal(result: BatchResult, wanted: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(np.asarray(result.outputs["y"], np.float32), wanted)


def with_replica(
    files: Mapping[str, Path], names: tuple[str, ...], act: Callable[[Replica], Awaitable[None]], cores: int = 1
) -> int:
    """Run `act` on a replica, end it and see that it is gone; returns the pid it had."""

    async def run() -> int:
        replica = await start(files, *names, cores=cores)
        try:
            await act(replica)
        finally:
            await replica.stop(5.0)
        return replica.pid

    pid = asyncio.run(run())
    assert not psutil.pid_exists(pid)
    return pid


def test_answers_equal_numpy_for_every_resident_variant(files: Mapping[str, Path]) -> None:
    async def act(replica: Replica) -> None:
        for variant, wanted in (("double", 2 * X), ("next", X + 1), ("single", 2 * X + 1)):
            result = await replica.run(variant, {"x": X})
            assert_equal(result, wanted)
            assert 0 < result.service_s < 10
        assert replica.interfaces["double"].inputs[0].shape == (-1, 4)
        assert replica.versions["onnxruntime"]
        status = await replica.status()
        assert status.resident == ("double", "next", "single")
        assert status.rss_bytes > 10_000_000
        assert status.cpu_s > 0

    with_replica(files, ("double", "next", "single"), act)


def test_many_concurrent_runs_get_their_own_answers(files: Mapping[str, Path]) -> None:
    async def act(replica: Replica) -> None:
        inputs = [np.full((1 + i % 5, 4), i, np.float32) for i in range(200)]
        results = await asyncio.gather(
            *(replica.run(("double", "next")[i % 2], {"x": x}) for i, x in enumerate(inputs))
        )
        for i, (x, result) in enumerate(zip(inputs, results, strict=True)):
            assert_equal(result, x + 1 if i % 2 else 2 * x)

    with_replica(files, ("double", "next"), act)


def test_a_large_batch_passes_in_one_frame(files: Mapping[str, Path]) -> None:
    async def act(replica: Replica) -> None:
        x = np.random.default_rng(0).random((200_000, 4), dtype=np.float32)
        assert_equal(await replica.run("double", {"x": x}), 2 * x)

    with_replica(files, ("double",), act)


def test_it_works_on_uvloop(files: Mapping[str, Path]) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def run() -> None:
        replica = await start(files, "double")
        assert_equal(await replica.run("double", {"x": X}), 2 * X)
        os.kill(replica.pid, signal.SIGKILL)
        assert "SIGKILL" in await replica.wait_lost()
        await replica.stop(1.0)

    uvloop.run(run())


def test_bad_batches_fail_alone_and_name_the_fault(files: Mapping[str, Path]) -> None:
    async def act(replica: Replica) -> None:
        bad: dict[str, dict[str, Tensor]] = {
            "not the model's": {"z": X},
            r"got float64 \[3, 4\], wanted float32 \[\?, 4\]": {"x": X.astype(np.float64)},
            r"got float32 \[3, 2\]": {"x": X[:, :2]},
            "the batch is empty": {"x": X[:0]},
            "cannot be sent": {"x": np.array([["a"]])},
        }
        for match, inputs in bad.items():
            with pytest.raises(InvalidInputError, match=match):
                await replica.run("double", inputs)
        with pytest.raises(ModelError, match="'nope' is not resident"):
            await replica.run("nope", {"x": X})
        assert_equal(await replica.run("double", {"x": X}), 2 * X)

    with_replica(files, ("double",), act)


def test_loading_and_unloading_beside_serving(files: Mapping[str, Path]) -> None:
    async def act(replica: Replica) -> None:
        stop = asyncio.Event()

        async def keep_serving() -> int:
            count = 0
            while not stop.is_set():
                assert_equal(await replica.run("double", {"x": X}), 2 * X)
                count += 1
            return count

        serving = asyncio.create_task(keep_serving())
        report = await replica.load("slow", ModelSource("onnx", files["slow"]))
        assert report.load_time_s > 0
        assert report.memory_bytes >= 0
        with pytest.raises(ModelError, match=r"corrupt\.onnx: ONNX Runtime cannot load"):
            await replica.load("corrupt", ModelSource("onnx", files["corrupt"]))
        with pytest.raises(ModelError, match="does not exist"):
            await replica.load("double", ModelSource("onnx", files["double"].with_name("gone.onnx")))
        assert (await replica.status()).resident == ("double", "slow")
        await replica.unload("slow")
        assert "slow" not in replica.interfaces
        with pytest.raises(ModelError, match="not resident"):
            await replica.unload("slow")
        stop.set()
        assert await serving > 0

    with_replica(files, ("double",), act)


def held_cores(pid: int) -> set[tuple[int, ...]]:
    """The core sets that the threads of a process are bound to."""
    return {tuple(sorted(os.sched_getaffinity(thread.id))) for thread in psutil.Process(pid).threads()}


@needs_affinity
@two_cores
def test_set_cores_moves_every_thread_and_running_batches_finish(files: Mapping[str, Path]) -> None:
    async def act(replica: Replica) -> None:
        assert held_cores(replica.pid) == {CORES[:2]}
        running = [asyncio.create_task(replica.run("slow", {"x": SLOW_X})) for _ in range(6)]
        for core_ids, threads in ((CORES[1:2], 1), (CORES[:2], 2), (CORES[:2], 1), (CORES[:1], 1)):
            await replica.set_cores(core_ids, threads)
            assert held_cores(replica.pid) == {core_ids}
            assert (replica.core_ids, replica.threads) == (core_ids, threads)
            assert replica.concurrency == len(core_ids) // threads
            assert_equal(await replica.run("double", {"x": X}), 2 * X)
        for result in await asyncio.gather(*running):
            assert_equal(result, SLOW_X)

    with_replica(files, ("double", "slow"), act, cores=2)


def test_cores_that_cannot_be_had_are_refused_and_nothing_changes(files: Mapping[str, Path]) -> None:
    async def act(replica: Replica) -> None:
        with pytest.raises(WorkerError, match="no sessions are built"):
            await replica.set_cores((CORES[0], CORES[-1], 1), 3)
        with pytest.raises(WorkerError, match="must fit the cores"):
            await replica.set_cores(CORES[:1], 2)
        if affinity.missing() is None:
            with pytest.raises(WorkerError, match="these cores cannot be used"):
                await replica.set_cores((100_000,), 1)
        assert replica.core_ids == CORES[:1]
        await replica.run("double", {"x": X})

    with_replica(files, ("double",), act)


def test_a_killed_worker_fails_what_waits_and_says_why(files: Mapping[str, Path]) -> None:
    async def act(replica: Replica) -> None:
        pending = [asyncio.create_task(replica.run("slow", {"x": SLOW_X})) for _ in range(20)]
        await pending[0]
        os.kill(replica.pid, signal.SIGKILL)
        results = await asyncio.gather(*pending, return_exceptions=True)
        failed = [r for r in results if isinstance(r, WorkerError)]
        assert failed
        assert all("killed by SIGKILL" in str(error) for error in failed)
        assert "killed by SIGKILL" in await replica.wait_lost()
        with pytest.raises(WorkerError, match="SIGKILL"):
            await replica.run("slow", {"x": SLOW_X})

    with_replica(files, ("slow",), act)


@pytest.mark.parametrize("how", ["SIGTERM", "stop"])
def test_it_drains_before_it_ends(files: Mapping[str, Path], how: str) -> None:
    async def act(replica: Replica) -> None:
        pending = [asyncio.create_task(replica.run("slow", {"x": SLOW_X})) for _ in range(8)]
        await asyncio.sleep(0)  # each of them has sent its batch now,
        await replica.status()  # and as messages are read in order, the worker has accepted all
        if how == "SIGTERM":
            os.kill(replica.pid, signal.SIGTERM)
            assert "exited with code 0" in await replica.wait_lost()
        else:
            await replica.stop(10.0)
            assert replica.lost.result() == "stopped"
        for result in await asyncio.gather(*pending):
            assert_equal(result, SLOW_X)

    with_replica(files, ("slow",), act)


def test_sigint_is_ignored_and_a_process_that_does_not_drain_in_time_is_killed(files: Mapping[str, Path]) -> None:
    async def act(replica: Replica) -> None:
        os.kill(replica.pid, signal.SIGINT)
        await replica.run("double", {"x": X})
        os.kill(replica.pid, signal.SIGSTOP)
        await replica.stop(0.05)
        assert replica.lost.result() == "stopped"

    with_replica(files, ("double",), act)


def test_start_fails_with_the_workers_reason_and_leaves_no_process(files: Mapping[str, Path]) -> None:
    async def run() -> None:
        with pytest.raises(ModelError, match=r"corrupt\.onnx"):
            await start(files, "double", "corrupt")
        with pytest.raises(WorkerError, match="not ready in time"):
            await Replica.start(
                replica_id="t-1",
                task="t",
                models={"slow": ModelSource("onnx", files["slow"])},
                core_ids=CORES[:1],
                threads=1,
                thread_options=(1,),
                warm_batches=(),
                start_timeout_s=0.001,
            )
        cancelled = asyncio.create_task(start(files, "slow"))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled

    asyncio.run(run())
    assert not psutil.Process().children(recursive=True)


def test_what_a_worker_prints_is_logged_with_its_name(
    files: Mapping[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    async def act(replica: Replica) -> None:
        replica._connection.write([b"garbage that is no frame at all"])
        reason = await replica.wait_lost()
        assert f"code {EXIT_BAD_BYTES}" in reason
        assert "no frame" in reason

    with caplog.at_level(logging.WARNING, "trimtab.runtime.replica"):
        with_replica(files, ("double",), act)
    assert "t-1: cannot go on" in caplog.text


def test_garbage_from_a_worker_ends_it(files: Mapping[str, Path]) -> None:
    async def act(replica: Replica) -> None:
        buffer = replica._connection.get_buffer(-1)
        buffer[:20] = b"x" * 20
        replica._connection.buffer_updated(20)
        assert "no frame" in await replica.wait_lost()

    with_replica(files, ("double",), act)


def test_starts_and_stops_leak_no_descriptors(files: Mapping[str, Path]) -> None:
    async def run() -> None:
        process = psutil.Process()
        counts = []
        for _ in range(4):
            replica = await start(files, "double")
            await replica.run("double", {"x": X})
            await replica.stop(5.0)
            await asyncio.sleep(0)
            counts.append(process.num_fds())
        assert counts[1:] == counts[1:2] * 3

    asyncio.run(run())


def test_the_gateways_death_ends_the_worker(files: Mapping[str, Path]) -> None:
    script = f"""
import asyncio, os, sys
from pathlib import Path
from trimtab.runtime.models.model import ModelSource
from trimtab.runtime.replica import Replica
async def main():
    replica = await Replica.start(replica_id="t-1", task="t",
        models={{"slow": ModelSource("onnx", Path({str(files["slow"])!r}))}},
        core_ids=({CORES[0]},), threads=1, thread_options=(1,), warm_batches=())
    print(replica.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    gateway = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert gateway.stdout is not None
        worker = psutil.Process(int(gateway.stdout.readline()))
    finally:
        gateway.kill()
        gateway.communicate()
    psutil.wait_procs([worker], timeout=10)
    assert not worker.is_running()


def test_a_worker_alone_exits_when_its_socket_closes() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = subprocess.Popen(
            [sys.executable, "-m", "trimtab.runtime.worker", str(theirs.fileno())], pass_fds=(theirs.fileno(),)
        )
        theirs.close()
        ours.sendall(b"".join(frames.encode(frames.AskStatus(1))))
        decoder = frames.Decoder()
        found: list[frames.Frame] = []
        while not found:
            found = decoder.buffer_updated(ours.recv_into(decoder.get_buffer()))
        assert isinstance(found[0].message, frames.Status)
    assert worker.wait(10) == 0


def test_it_starts_without_the_planner_and_the_server() -> None:
    script = "import sys, trimtab.runtime.worker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert "trimtab.runtime.worker" in loaded
    heavy = ("pydantic", "starlette", "uvicorn", "aiohttp", "onnxruntime", "trimtab.plan", "trimtab.control")
    assert not [module for module in loaded if module.startswith(heavy)]
