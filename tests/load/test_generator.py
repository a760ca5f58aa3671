"""The open-loop generator against a scripted server: absolute moments, honest response times, nothing lost."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from tests.load.fake_server import FakeServer

from trimtab.errors import LoadError
from trimtab.load.client import Client
from trimtab.load.dataset import Dataset, LabelledInputs, match
from trimtab.load.generator import Progress, Replayed, replay

DATA = Dataset({"x": np.array([[1, 2], [3, 4]], np.uint8), "right": np.array([6, 14])}, "d.npz")
pytestmark = pytest.mark.live


def run(
    server: FakeServer,
    times_s: Any,
    *,
    connections: int = 64,
    timeout_s: float = 5.0,
    slo_s: float = 0.25,
    binary: bool = True,
) -> tuple[Replayed, Client]:
    async def main() -> tuple[Replayed, Client]:
        async with Client(server.url, connections=connections, timeout_s=timeout_s) as client:
            data = match(DATA, await client.metadata("doubler"), label="right", output=None)
            rows = np.arange(len(times_s)) % 2
            replayed = await replay(client, "doubler", data, times_s=times_s, rows=rows, slo_s=slo_s, binary=binary)
            return replayed, client

    return asyncio.run(main())


@pytest.mark.parametrize("binary", [True, False])
def test_answers_are_judged_and_told(server: FakeServer, binary: bool) -> None:
    replayed, _ = run(server, np.linspace(0, 0.2, 10), slo_s=5.0, binary=binary)
    assert [r.index for r in replayed.records] == list(range(10))
    assert all(r.outcome == "in_time" and r.correct for r in replayed.records)
    assert replayed.records[0].variants == {"double": "small"}
    assert replayed.records[0].accuracy == 0.75
    assert replayed.records[0].plan == "p1"
    assert sorted(x.tolist() for x in server.seen) == [[[1, 2]]] * 5 + [[[3, 4]]] * 5


def test_a_stall_shows_in_every_request_that_it_meets(server: FakeServer) -> None:
    """No coordinated omission: while the server stalls, requests go on being offered, each timed from its moment."""
    stalled = asyncio.Event()

    async def stall(i: int, _: np.ndarray) -> None:
        if i == 5:
            asyncio.get_running_loop().call_later(0.6, stalled.set)
        if i >= 5:
            await stalled.wait()

    server.answer = stall
    times_s = np.arange(30) * 0.02
    replayed, _ = run(server, times_s)
    records = replayed.records
    assert [r.intended_s for r in records] == pytest.approx(times_s.tolist())
    begun = records[5].end_s - 0.6
    for r in records[6:]:
        # Each was sent while the server stalled, and its response time is what was left of the stall.
        assert r.sent_s < begun + 0.6
        assert r.response_s >= begun + 0.6 - r.intended_s - 0.01
    assert sum(r.outcome == "late" for r in records) >= 15


def test_waiting_for_a_connection_counts(server: FakeServer) -> None:
    async def slow(_i: int, _x: np.ndarray) -> None:
        await asyncio.sleep(0.1)

    server.answer = slow
    replayed, client = run(server, np.zeros(6), connections=2)
    assert len(server.connections) == 2
    assert client.waited == 4
    # Two at a time, a tenth of a second each: the last two were answered after three such times.
    assert max(r.response_s for r in replayed.records) >= 0.3
    assert len(replayed.records) == 6


def test_connections_are_kept(server: FakeServer) -> None:
    run(server, np.arange(10) * 0.03)
    assert len(server.connections) < 10


def test_every_kind_of_end_has_a_record(server: FakeServer) -> None:
    async def script(i: int, _: np.ndarray) -> web.Response | None:
        match i:
            case 1:
                return web.json_response({"error": "queue full"}, status=503)
            case 2:
                return web.json_response({"error": "deadline"}, status=504)
            case 3:
                return web.json_response({"error": "broken"}, status=500)
            case 4:
                return web.Response(body=b"not an answer")
            case 5:
                return web.json_response({"outputs": []})
            case 6:
                await asyncio.sleep(10)
            case 7:
                await asyncio.sleep(0.4)
            case 8:
                return web.json_response(
                    {"outputs": [{"name": "double", "datatype": "INT64", "shape": [1], "data": [-1]}]}
                )
        return None

    server.answer = script
    replayed, _ = run(server, np.arange(9) * 0.05, timeout_s=0.8, slo_s=0.3)
    outcomes = [r.outcome for r in replayed.records]
    assert outcomes == ["in_time", "refused", "dropped", "failed", "failed", "failed", "failed", "late", "in_time"]
    errors = [r.error or "" for r in replayed.records]
    assert errors[3] == "status 500, broken"
    assert "unusable answer" in errors[4]
    assert "no output 'double'" in errors[5]
    assert "no answer within" in errors[6]
    assert replayed.records[8].correct is False


def test_a_server_that_vanishes_loses_no_record() -> None:
    async def main() -> Replayed:
        async with Client("http://127.0.0.1:9", connections=4, timeout_s=1) as client:
            data = LabelledInputs({"x": DATA.arrays["x"]})
            return await replay(client, "m", data, times_s=np.array([0.0, 0.01, 0.02]), rows=np.zeros(3, int), slo_s=1)

    records = asyncio.run(main()).records
    assert [r.outcome for r in records] == ["failed"] * 3
    assert all(r.status is None and "Connect" in (r.error or "") for r in records)


def test_a_stop_ends_with_what_was_offered(server: FakeServer) -> None:
    async def main() -> Replayed:
        stop = asyncio.Event()
        told: list[int] = []

        def on_progress(progress: Progress) -> None:
            told.append(progress.sent)
            if progress.ended >= 3:
                stop.set()

        async with Client(server.url, connections=4, timeout_s=5) as client:
            data = match(DATA, await client.metadata("doubler"), label="right", output=None)
            times_s = np.array([0.0, 0.01, 0.02, 0.03, 3600.0])
            return await replay(
                client, "doubler", data, times_s=times_s, rows=np.zeros(5, int), slo_s=1, stop=stop,
                on_progress=on_progress,
            )  # fmt: skip

    replayed = asyncio.run(main())
    assert replayed.stopped
    assert [r.outcome for r in replayed.records] == ["in_time"] * 4


def test_cost_is_read_from_the_server(server: FakeServer) -> None:
    counter = "trimtab_core_seconds_total"
    server.metrics = f'# TYPE {counter} counter\n{counter}{{pipeline="p"}} 3.5\n{counter}{{pipeline="q"}} 1.0\n'
    replayed, _ = run(server, np.zeros(1))
    assert [value for _, value in replayed.cost] == [4.5, 4.5]
    assert replayed.cost[0][0] < 0 < replayed.cost[-1][0]


def test_no_cost_is_no_zero(server: FakeServer) -> None:
    assert run(server, np.zeros(1))[0].cost == []
    server.metrics = "another_metric 3\n"
    assert run(server, np.zeros(1))[0].cost == []


def ask(server_url: str, model: str = "doubler") -> None:
    async def main() -> None:
        async with Client(server_url, connections=1, timeout_s=1) as client:
            await client.check_ready()
            await client.metadata(model)

    asyncio.run(main())


def test_unfit_servers_are_told(server: FakeServer) -> None:
    with pytest.raises(LoadError, match="cannot be reached"):
        ask("http://127.0.0.1:9")
    with pytest.raises(LoadError, match="no address"):
        ask("not a url")
    with pytest.raises(LoadError, match="does not know this model: got other, wanted one of doubler, inner"):
        ask(server.url, "other")
    server.ready = False
    with pytest.raises(LoadError, match="not ready: got status 503, loading"):
        ask(server.url)
