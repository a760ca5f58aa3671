"""Clients that misbehave, on a real server: others are served meanwhile, and nothing of them is left."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest
from tests.faults.stand import Stand, a_pipeline, standing

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(len(psutil.Process().cpu_affinity() or ()) < 2, reason="needs two cores"),
]
IDLE = 200
"""Idle connections here; `benchmarks/reliability/idle.py` holds ten thousand."""


def a_head(stand: Stand) -> bytes:
    path = stand.url[stand.url.index("/v2") :]
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(stand.body)}\r\n\r\n".encode()


async def connect(stand: Stand) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", stand.port)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)


def test_a_body_that_comes_byte_by_byte_holds_nobody_up_and_is_answered(tmp_path: Path) -> None:
    async def story() -> None:
        async with standing(a_pipeline(tmp_path)) as stand:
            reader, writer = await connect(stand)
            writer.write(a_head(stand))
            for number, byte in enumerate(stand.body):
                writer.write(bytes([byte]))
                await writer.drain()
                if number % 100 == 0:
                    assert (await stand.ask()).ending == "answered"
            async with asyncio.timeout(10.0):
                assert b" 200 " in await reader.readline()
            stand.accounts.client["answered"] += 1
            await close(writer)

    asyncio.run(story())


def test_a_body_that_never_ends_is_not_offered(tmp_path: Path) -> None:
    async def story() -> None:
        async with standing(a_pipeline(tmp_path)) as stand:
            _, writer = await connect(stand)
            writer.write(a_head(stand) + stand.body[:-1])
            await writer.drain()
            assert (await stand.ask()).ending == "answered"
            await close(writer)

    asyncio.run(story())


def test_answers_that_are_never_read_hold_nobody_up(tmp_path: Path) -> None:
    count = 50

    async def story() -> None:
        async with standing(a_pipeline(tmp_path)) as stand:
            _, writer = await connect(stand)
            writer.write((a_head(stand) + stand.body) * count)  # one behind the other, on one connection
            for _ in range(count):
                assert (await stand.ask()).ending == "answered"
            async with asyncio.timeout(20.0):
                while stand.accounts.metric("requests_offered") < 2 * count:  # noqa: ASYNC110 — it sets no event
                    await asyncio.sleep(0.01)
                while stand.accounts.metric("requests") < 2 * count:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            stand.accounts.client["answered"] += count
            await close(writer)

    asyncio.run(story())


def test_idle_connections_hold_nobody_up(tmp_path: Path) -> None:
    async def story() -> None:
        async with standing(a_pipeline(tmp_path)) as stand:
            idle = [await connect(stand) for _ in range(IDLE)]
            answers = await asyncio.gather(*(stand.ask() for _ in range(50)))
            assert {answer.ending for answer in answers} == {"answered"}
            assert not any(reader.at_eof() for reader, _ in idle)
            await asyncio.gather(*(close(writer) for _, writer in idle))

    asyncio.run(story())


def test_a_burst_is_answered_or_refused_with_the_time_to_come_back(tmp_path: Path) -> None:
    async def story() -> None:
        pipeline = a_pipeline(tmp_path, slo_s=0.3, work=1500)
        async with standing(pipeline, seconds={"big": 0.02, "small": 0.01}) as stand:
            answers = await asyncio.gather(*(stand.ask() for _ in range(150)))
            assert {answer.ending for answer in answers} <= {"answered", "refused", "dropped"}
            assert all(answer.retry_after for answer in answers if answer.ending == "refused")
            assert any(answer.ending == "refused" for answer in answers)
            assert (await stand.ask(0.3)).ending in {"answered", "refused"}

    asyncio.run(story())
