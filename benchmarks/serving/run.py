"""Trimtab beside MLServer, KServe, LitServe, BentoML and Ray Serve: one trivial model, one client, one run.

Each server in turn is saturated by 32 connections, then asked at half of that rate, at random moments. Trimtab is then
asked at half of the best peer's rate too. Rounds repeat the whole; medians over rounds are printed. The client shares
the machine, as it does for every server.

    python -m benchmarks.serving.run [--peers kserve,litserve] [--rounds 3] [--seconds 5]
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from benchmarks.gateway_latency import save_echo
from benchmarks.serving.client import Seen, replay, saturate
from benchmarks.serving.servers import PEERS, Server, serve
from conformance.environments import InstallError

CONNECTIONS = 32
WARM_UP_S = 4.0


@dataclass(slots=True)
class Figures:
    """A server's figures, one entry a round."""

    saturation_rps: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    """CPU time of all its processes per request, at saturation."""
    half_p50_ms: list[float] = field(default_factory=list)
    half_p99_ms: list[float] = field(default_factory=list)
    """Latency at half of its own saturation, or of the best peer's."""


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    peers = [name for name in options.peers.split(",") if name]
    figures = {name: Figures() for name in (*peers, "trimtab")}
    at_peers_half = Figures()
    rng = np.random.Generator(np.random.PCG64(1))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "echo.onnx"
        save_echo(model)
        for _ in range(options.rounds):
            best = 0.0
            for name in (*peers, "trimtab"):
                try:
                    with serve(name, model) as server:
                        rate = measure(server, figures[name], options.seconds, rng)
                        if name != "trimtab":
                            best = max(best, rate)
                        elif peers:
                            at_half(server, best / 2, at_peers_half, options.seconds, rng)
                except (InstallError, RuntimeError) as error:
                    print(f"{name}: left out: {error}")
                    figures.pop(name, None)
                    peers = [peer for peer in peers if peer != name]
    report(figures, at_peers_half)


def measure(server: Server, into: Figures, seconds: float, rng: np.random.Generator) -> float:
    """Saturate a server, then ask at half of that; returns its saturation."""
    saturate("127.0.0.1", server.port, server.request, connections=CONNECTIONS, seconds=WARM_UP_S)
    before_s = server.cpu_s()
    seen = saturate("127.0.0.1", server.port, server.request, connections=CONNECTIONS, seconds=seconds)
    _check(server, seen)
    into.cpu_ms.append(1e3 * (server.cpu_s() - before_s) / len(seen.latencies_s))
    into.saturation_rps.append(seen.rate_rps)
    at_half(server, seen.rate_rps / 2, into, seconds, rng)
    return seen.rate_rps


def at_half(server: Server, rate_rps: float, into: Figures, seconds: float, rng: np.random.Generator) -> None:
    """Ask at a rate, at random moments."""
    moments_s = np.cumsum(rng.exponential(1 / rate_rps, round(rate_rps * seconds)))
    seen = replay("127.0.0.1", server.port, server.request, moments_s.tolist())
    _check(server, seen)
    into.half_p50_ms.append(1e3 * seen.quantile_s(0.5))
    into.half_p99_ms.append(1e3 * seen.quantile_s(0.99))


def report(figures: dict[str, Figures], at_peers_half: Figures) -> None:
    """Print medians and ratios."""
    print(f"\n{'':<24}{'requests/s':>12}{'CPU a request':>16}{'p50 at half':>14}{'p99 at half':>14}")
    for name, of in figures.items():
        cpu = f"{median(of.cpu_ms):.3f} ms"
        p50, p99 = f"{median(of.half_p50_ms):.2f} ms", f"{median(of.half_p99_ms):.2f} ms"
        print(f"{name:<24}{median(of.saturation_rps):>12.0f}{cpu:>16}{p50:>14}{p99:>14}")
    peers = {name: of for name, of in figures.items() if name != "trimtab"}
    if not peers or "trimtab" not in figures:
        return
    p50, p99 = f"{median(at_peers_half.half_p50_ms):.2f} ms", f"{median(at_peers_half.half_p99_ms):.2f} ms"
    print(f"{'trimtab at peers’ half':<24}{'':>12}{'':>16}{p50:>14}{p99:>14}")
    fastest = max(peers, key=lambda name: median(peers[name].saturation_rps))
    calmest = min(peers, key=lambda name: median(peers[name].half_p99_ms))
    rates = [
        ours / theirs
        for ours, theirs in zip(figures["trimtab"].saturation_rps, peers[fastest].saturation_rps, strict=True)
    ]
    print(f"\nsaturation: {median(rates):.1f} × the best peer's ({fastest}); by round {_list(rates)}")
    ratio = median(at_peers_half.half_p99_ms) / median(peers[calmest].half_p99_ms)
    print(
        f"p99 at half of the best peer's saturation: {ratio:.2f} × the best p99 of theirs at half their own ({calmest})"
    )


def _check(server: Server, seen: Seen) -> None:
    if seen.refused:
        raise RuntimeError(f"{server.name}: {seen.refused} answers were not 200")


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


if __name__ == "__main__":
    main()
