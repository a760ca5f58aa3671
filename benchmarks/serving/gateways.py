"""Requests per second and CPU time per request with 0, 1 and 2 gateway processes, of an echo that costs nothing.

    python benchmarks/serving/gateways.py [--seconds 3] [--clients 16]

What is measured is the way of a request alone; the client runs in a process of its own, on the same machine, and needs
cores too: with few of them the rates of several gateways say little, the CPU times still do.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time

import aiohttp

from trimtab.runtime.front import Front
from trimtab.runtime.gateway.answering import ServiceServer
from trimtab.runtime.gateway.fronts import Fronts
from trimtab.runtime.serve_options import Listening, addresses_of
from trimtab.runtime.server import new_event_loop
from trimtab.testing.inference import EchoService

BODY = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]}]}'


class _NoMetrics:
    def request_rejected(self, protocol: str, reason: str) -> None:
        raise AssertionError(f"{protocol}: {reason}")

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        return b"", accept


async def load(url: str, seconds: float, clients: int) -> int:
    """Ask as fast as answers come; returns the number of answers."""
    end_s = time.monotonic() + seconds
    connector = aiohttp.TCPConnector(limit=clients)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def client() -> int:
            count = 0
            while time.monotonic() < end_s:
                async with session.post(f"{url}/v2/models/echo/infer", data=BODY) as response:
                    await response.read()
                    response.raise_for_status()
                count += 1
            return count

        return sum(await asyncio.gather(*(client() for _ in range(clients))))


async def measure(gateways: int, seconds: float, clients: int) -> None:
    """Serve with so many gateways, load it from another process, and print what it took."""
    service = EchoService()
    listening = Listening(port=0, grpc_port=None)
    server = ServiceServer(service, _NoMetrics())
    fronts = Fronts(server, listening, gateways) if gateways else None
    doors = fronts or Front(service, _NoMetrics(), listening)
    url = addresses_of(await doors.start()).url
    own_s, fronts_s = time.process_time(), fronts.cpu_s() if fronts else 0.0
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--url", url, "--seconds", f"{seconds}", "--clients", f"{clients}"),
        stdout=subprocess.PIPE,
    )
    output, _ = await client.communicate()
    own_s, fronts_s = time.process_time() - own_s, (fronts.cpu_s() if fronts else 0.0) - fronts_s
    count = int(output)
    print(
        f"{gateways} gateways: {count / seconds:8.0f} requests/s; CPU per request: data plane "
        f"{own_s / count * 1e6:6.1f} µs, gateways {fronts_s / count * 1e6:6.1f} µs"
    )
    await doors.stop(1.0)
    await server.close()


def main() -> None:
    """Measure, or be the client."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    told = parser.parse_args()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        if told.url:
            print(runner.run(load(told.url, told.seconds, told.clients)))
            return
        for gateways in (0, 1, 2):
            runner.run(measure(gateways, told.seconds, told.clients))


if __name__ == "__main__":
    main()
