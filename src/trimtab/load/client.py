"""The load generator's HTTP client: one pool of keep-alive connections to one server. Holds no policy and no clock."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from trimtab.errors import LoadError
from trimtab.load.wire import HEAD_LENGTH, Body, ModelMetadata, decode_error, decode_metadata, decode_object

COST_METRIC = "trimtab_core_seconds_total"
"""The counter of what the server has held."""
BOUND_METRIC, QUANTILE_METRIC = "trimtab_slo_latency_seconds", "trimtab_slo_quantile_ratio"
"""The SLO that the server is run by."""
CHECK_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 2.0
"""Shorter than servers' own idle limits, so that a request never meets a connection that the server is closing."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer to an inference request."""

    status: int
    data: bytes
    head_length: int | None


class Client:
    """Speaks to one server; an async context manager.

    At most `connections` are open at once. A request that finds none free waits for one, and `waited` counts it: the
    wait is part of its response time.
    """

    def __init__(self, url: str, *, connections: int, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self.waited = 0
        self._session: aiohttp.ClientSession | None = None
        self._control: aiohttp.ClientSession | None = None  # apart, so that questions never wait behind the load

    async def __aenter__(self) -> Self:
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_queued_start.append(self._count_waiting)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=KEEP_ALIVE_S),
            timeout=self._timeout,
            trace_configs=[tracing],
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._control = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CHECK_TIMEOUT_S))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in (self._session, self._control):
            if session is not None:
                await session.close()

    async def check_ready(self) -> None:
        """Return when the server answers that it is ready.

        Raises:
            LoadError: it cannot be reached, or answers that it is not ready.
        """
        reply = await self._get("/v2/health/ready")
        if reply.status != 200:
            raise LoadError(
                "the server is not ready",
                where=self._url,
                got=_told(reply),
                next_step="wait until it serves (its log says so), then try again",
            )

    async def models(self) -> list[str]:
        """Names of the models that the server lists; empty when it lists none."""
        reply = await self._get("/v2/models")
        try:
            listed = decode_object(reply.data).get("models", []) if reply.status == 200 else []
        except ValueError:
            return []
        return [str(m.get("name", "")) if isinstance(m, dict) else str(m) for m in listed]

    async def server_name(self) -> str | None:
        """What the server calls itself; None when it does not say."""
        reply = await self._get("/v2")
        try:
            name = decode_object(reply.data).get("name") if reply.status == 200 else None
        except ValueError:
            return None
        return None if name is None else str(name)

    async def metadata(self, model: str) -> ModelMetadata:
        """What the server says about `model`.

        Raises:
            LoadError: the server does not know it, or its words cannot be read.
        """
        reply = await self._get(f"/v2/models/{model}")
        if reply.status == 404:
            known = ", ".join(await self.models())
            raise LoadError(
                "the server does not know this model",
                where=self._url,
                got=model,
                wanted=f"one of {known}" if known else None,
                next_step="name it with --model",
            )
        if reply.status != 200:
            raise LoadError("the server does not describe the model", where=f"{self._url}, {model}", got=_told(reply))
        try:
            return decode_metadata(reply.data)
        except ValueError as error:
            raise LoadError(
                "the server's description of the model is not in the Open Inference Protocol",
                where=f"{self._url}, {model}",
                got=str(error),
            ) from error

    async def infer(self, model: str, body: Body) -> Reply:
        """Send one inference request and read its answer.

        Raises:
            TimeoutError: no whole answer within the timeout.
            aiohttp.ClientError: the connection could not be made, or broke.
        """
        async with _opened(self._session).post(
            f"{self._url}/v2/models/{model}/infer", data=body.data, headers=body.headers
        ) as response:
            data = await response.read()
            length = response.headers.get(HEAD_LENGTH)
            return Reply(response.status, data, int(length) if length and length.isdigit() else None)

    async def core_seconds(self) -> float | None:
        """What the server has cost so far; None when it does not say."""
        return (await self._metrics()).get(COST_METRIC)

    async def slo(self) -> tuple[float, float] | None:
        """The SLO that the server is run by, as (bound in seconds, quantile); None when it does not say."""
        metrics = await self._metrics()
        if BOUND_METRIC not in metrics or QUANTILE_METRIC not in metrics:
            return None
        return metrics[BOUND_METRIC], metrics[QUANTILE_METRIC]

    async def _metrics(self) -> dict[str, float]:
        """The server's metrics by name, summed over labels; empty when it has none."""
        try:
            reply = await self._get("/metrics")
        except LoadError:
            return {}
        if reply.status != 200:
            return {}
        values: dict[str, float] = {}
        try:
            for family in text_string_to_metric_families(reply.data.decode()):
                for sample in family.samples:
                    values[sample.name] = values.get(sample.name, 0.0) + sample.value
        except ValueError:
            return {}
        return values

    async def _get(self, path: str) -> Reply:
        try:
            async with _opened(self._control).get(self._url + path) as response:
                return Reply(response.status, await response.read(), None)
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise LoadError(
                "this is no address of a server", got=self._url, wanted="a URL such as http://127.0.0.1:8080"
            ) from error
        except TimeoutError as error:
            raise LoadError(
                "the server does not answer", where=self._url, got=f"nothing within {CHECK_TIMEOUT_S:g} s"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise LoadError(
                "the server cannot be reached",
                where=self._url,
                got=str(error) or type(error).__name__,
                next_step="start it (trimtab serve) or check the address",
            ) from error

    async def _count_waiting(self, *_: object) -> None:
        self.waited += 1


def _opened(session: aiohttp.ClientSession | None) -> aiohttp.ClientSession:
    if session is None:
        raise LoadError("the client is not open", next_step="use it as `async with Client(…)`")
    return session


def _told(reply: Reply) -> str:
    said = decode_error(reply.data)
    return f"status {reply.status}" + (f", {said}" if said else "")
