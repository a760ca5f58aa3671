"""One run from end to end: what to send, when, to whom, by which SLO; then the replay and its figures.

Checks everything that can be known before the first request, so that a mistake costs no run.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from trimtab.errors import LoadError
from trimtab.load.client import Client
from trimtab.load.dataset import Dataset, match, order
from trimtab.load.generator import Progress, replay
from trimtab.load.result import LoadResult, Record, Run, measure
from trimtab.workload.arrivals import Arrivals, send_times
from trimtab.workload.trace import Trace


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What to do."""

    url: str
    trace: Trace
    data: Dataset
    slo_s: float | None = None
    """Longest response time that is in time; None: as the server says in its metrics."""
    slo_quantile: float | None = None
    """Share of the requests that shall be in time; None: as the server says, else 0.99."""
    name: str | None = None
    """What the run stands for in tables and pictures; None: the model's name."""
    model: str | None = None
    """None: the only model that the server lists, or the first where the server is Trimtab's (its pipeline)."""
    label: str | None = None
    output: str | None = None
    rate_scale: float = 1.0
    time_compress: float = 1.0
    missing: Literal["hold", "cut"] | None = None
    """What to do about missing seconds; None: there must be none."""
    arrivals: Arrivals = "poisson"
    seed: int = 0
    connections: int = 256
    timeout_s: float = 10.0
    binary: bool = True


async def run_load(
    request: LoadRequest,
    *,
    stop: asyncio.Event | None = None,
    on_start: Callable[[str, int, float], None] = lambda _model, _requests, _seconds: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> tuple[LoadResult, list[Record]]:
    """Replay the trace against the server; `stop` ends it early, with the figures of what was offered until then.

    `on_start` is told the model, the number of requests and the length in seconds once all checks have passed.

    Raises:
        LoadError: the server cannot be reached, is not ready, or does not serve the model.
        TraceError: the trace or the data cannot be sent to it.
    """
    trace = request.trace if request.missing is None else request.trace.filled(request.missing)
    rates = trace.rates(scale=request.rate_scale, compress=request.time_compress)
    times_s = send_times(rates, request.arrivals, request.seed)
    async with Client(request.url, connections=request.connections, timeout_s=request.timeout_s) as client:
        await client.check_ready()
        model = request.model or await _only_model(client, request.url)
        data = match(request.data, await client.metadata(model), label=request.label, output=request.output)
        slo_s, slo_quantile = await _slo(client, request)
        run = Run(
            name=request.name or model,
            url=request.url,
            model=model,
            slo_s=slo_s,
            slo_quantile=slo_quantile,
            trace=trace.name,
            arrivals=request.arrivals,
            seed=request.seed,
            seconds=float(len(rates)),
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            data=request.data.name,
            rate_scale=request.rate_scale,
            time_compress=request.time_compress,
        )
        on_start(model, len(times_s), run.seconds)
        replayed = await replay(
            client,
            model,
            data,
            times_s=times_s,
            rows=order(len(times_s), data.rows, request.seed),
            slo_s=slo_s,
            binary=request.binary,
            stop=stop,
            on_progress=on_progress,
        )
    notes = []
    if replayed.stopped:
        done_s = replayed.records[-1].intended_s if replayed.records else 0.0
        notes.append(
            f"stopped after {done_s:.0f} of {run.seconds:.0f} s; what had not been sent by then is not counted"
        )
        run = dataclasses.replace(run, seconds=done_s)
    return measure(run, replayed.records, waited=client.waited, cost=replayed.cost, notes=notes), replayed.records


async def _slo(client: Client, request: LoadRequest) -> tuple[float, float]:
    """(bound in seconds, quantile): as asked for, else as the server says."""
    if request.slo_s is not None:
        return request.slo_s, request.slo_quantile or 0.99
    served = await client.slo()
    if served is None:
        raise LoadError(
            "it is not known when an answer is in time: this server does not say",
            where=request.url,
            wanted="an SLO",
            next_step="give --slo 400ms, or --spec FILE",
        )
    return served[0], request.slo_quantile or served[1]


async def _only_model(client: Client, url: str) -> str:
    listed = await client.models()
    if len(listed) == 1 or (listed and await client.server_name() == "trimtab"):
        return listed[0]
    raise LoadError(
        "it is not clear which model to load",
        where=url,
        got=", ".join(listed) or "no list of models",
        next_step="name it with --model",
    )
