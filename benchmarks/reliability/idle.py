"""Ten thousand idle connections while others are served: nobody is kept waiting, and memory per connection is small.

python -m benchmarks.reliability.idle [--connections 10000] [--seconds 10]
"""

from __future__ import annotations

import asyncio
import resource
import sys
from asyncio.subprocess import PIPE
from collections import Counter

import numpy as np
import psutil
from benchmarks.reliability.load import capacity_rps, machine, one_task, options, steady
from tests.faults.stand import Answer

from trimtab.runtime.server import new_event_loop

MOST_BYTES = 32 * 1024
"""Memory of the server that an idle connection may take."""
OTHER_FILES = 500
HOLDER = """
import resource, socket, sys
port, count = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
held = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
print("all open", flush=True)
sys.stdin.read()
closed = 0
for connection in held:
    connection.setblocking(False)
    try:
        closed += connection.recv(1) == b""
    except BlockingIOError:
        pass
print(closed, flush=True)
"""
"""The other end of the idle connections, in a process of its own: one may not open so many files."""


async def run(seconds: float, connections: int) -> bool:
    """Run it and print the table; whether the claims hold."""
    served: dict[str, list[Answer]] = {"none idle": [], "all idle": []}
    me = psutil.Process()
    async with one_task(slo_s=2.0) as stand:
        rate_rps = await capacity_rps(stand) / 4
        await steady(stand, rate_rps, seconds, served["none idle"].append)
        before_bytes = me.memory_info().rss
        holder = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", HOLDER, str(stand.port), str(connections)), stdin=PIPE, stdout=PIPE
        )
        assert holder.stdin is not None and holder.stdout is not None, "they are pipes"  # noqa: PT018
        if await holder.stdout.readline() != b"all open\n":
            raise SystemExit("the connections could not be opened")
        each_bytes = (me.memory_info().rss - before_bytes) / connections
        await steady(stand, rate_rps, seconds, served["all idle"].append)
        said, _ = await holder.communicate(b"")  # closes its input
        closed = int(said)
    print(
        f"{machine()}\n{connections} idle connections; "
        f"{rate_rps:.0f} requests/s for {seconds:g} s without and with them"
    )
    print(f"{'':<12}{'requests':>10}{'answered':>10}{'p50':>12}{'p99':>12}")
    good = True
    for name, answers in served.items():
        count = Counter(answer.ending for answer in answers)
        p50_s, p99_s = np.quantile([answer.response_s for answer in answers], (0.5, 0.99))
        print(f"{name:<12}{len(answers):>10}{count['answered']:>10}{1e3 * p50_s:>9.1f} ms{1e3 * p99_s:>9.1f} ms")
        good = good and count["answered"] == len(answers)
    claims = {
        "every request is answered": good,
        f"none of the idle connections was closed ({closed} were)": closed == 0,
        f"{each_bytes / 1024:.1f} KiB a connection, at most {MOST_BYTES / 1024:g}": each_bytes <= MOST_BYTES,
    }
    for claim, holds in claims.items():
        print(f"{'PASS' if holds else 'FAIL'}: {claim}")
    return all(claims.values())


def main() -> None:
    """Run it; exit 1 when a claim fails, 2 where this system does not let a process open so many files."""
    parser = options(__doc__, 10.0)
    parser.add_argument("--connections", type=int, default=10_000)
    chosen = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = chosen.connections + OTHER_FILES
    if most != resource.RLIM_INFINITY and most < needed:
        parser.error(f"a process may open {most} files here, {needed} are needed: ask for fewer with --connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed if most == resource.RLIM_INFINITY else most, most))
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        sys.exit(not runner.run(run(chosen.seconds, chosen.connections)))


if __name__ == "__main__":
    main()
