"""A small server of the Open Inference Protocol whose behaviour a test scripts, in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import numpy as np
from aiohttp import web

Answer = Callable[[int, np.ndarray], Awaitable[web.Response | None]]


class FakeServer:
    """Doubles one UINT8 input `x` of shape [1, 2] into INT64 `double` of shape [1], the sum of the doubled row.

    `answer(i, x)` may answer the i-th inference otherwise, or wait; None lets it be answered as usual.
    """

    def __init__(self) -> None:
        self.url = ""
        self.ready = True
        self.metrics: str | None = None
        self.seen: list[np.ndarray] = []
        self.connections: set[object] = set()
        self.answer: Answer | None = None

    async def infer(self, request: web.Request) -> web.Response:
        self.connections.add(request.transport)
        length = request.headers.get("Inference-Header-Content-Length")
        data = await request.read()
        head = json.loads(data if length is None else data[: int(length)])
        tensor = head["inputs"][0]
        if length is None:
            x = np.array(tensor["data"], np.uint8).reshape(tensor["shape"])
        else:
            x = np.frombuffer(data[int(length) :], np.uint8).reshape(tensor["shape"])
        i = len(self.seen)
        self.seen.append(x)
        if self.answer is not None and (answered := await self.answer(i, x)) is not None:
            return answered
        return respond(x, binary=length is not None)

    def app(self) -> web.Application:
        async def ready(_: web.Request) -> web.Response:
            return web.json_response(
                {"ready": True} if self.ready else {"error": "loading"}, status=200 if self.ready else 503
            )

        async def server(_: web.Request) -> web.Response:
            return web.json_response({"name": "trimtab", "version": "0", "extensions": []})

        async def models(_: web.Request) -> web.Response:
            return web.json_response({"models": ["doubler", "inner"]})

        async def model(request: web.Request) -> web.Response:
            if request.match_info["model"] != "doubler":
                return web.json_response({"error": "no such model"}, status=404)
            tensors = {
                "inputs": [{"name": "x", "datatype": "UINT8", "shape": [-1, 2]}],
                "outputs": [{"name": "double", "datatype": "INT64", "shape": [-1]}],
            }
            return web.json_response({"name": "doubler", "versions": [], "platform": "fake", **tensors})

        async def metrics(_: web.Request) -> web.Response:
            return web.Response(text=self.metrics) if self.metrics is not None else web.Response(status=404)

        app = web.Application()
        app.router.add_get("/v2", server)
        app.router.add_get("/v2/health/ready", ready)
        app.router.add_get("/v2/models", models)
        app.router.add_get("/v2/models/{model}", model)
        app.router.add_post("/v2/models/doubler/infer", self.infer)
        app.router.add_get("/metrics", metrics)
        return app


def respond(x: np.ndarray, *, binary: bool = True, shift: int = 0) -> web.Response:
    value = 2 * x.astype(np.int64).sum(axis=1) + shift
    head = {
        "model_name": "doubler",
        "model_version": "small",
        "parameters": {"variant.double": "small", "accuracy": 0.75, "plan": "p1"},
        "outputs": [{"name": "double", "datatype": "INT64", "shape": [len(value)]}],
    }
    if not binary:
        head["outputs"][0]["data"] = value.tolist()  # type: ignore[index]  # a literal with values of several types
        return web.json_response(head)
    head["outputs"][0]["parameters"] = {"binary_data_size": value.nbytes}  # type: ignore[index]  # as above
    told = json.dumps(head).encode()
    return web.Response(body=told + value.tobytes(), headers={"Inference-Header-Content-Length": str(len(told))})


@contextmanager
def serving() -> Iterator[FakeServer]:
    """A server that runs in a thread of its own while the context lasts."""
    fake = FakeServer()
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(fake.app(), shutdown_timeout=0.1, handler_cancellation=True)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        yield fake
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
