"""The demonstration: one bursty load, three policies, one table and one picture.

    python examples/digits/demo.py --out out/demo

measures the example's variants on this machine, makes a trace whose level follows from what was measured, serves it
under three policies in turn (always the cheapest variants, always the most accurate ones, Trimtab) and compares what
clients saw. Takes about five minutes on two cores; everything is left in the folder: `results.json`, `overview.png`,
`report.html`, and per policy the result, the decision journal and the server's log.

Servers and load run as processes of their own, through the same commands that a user has. Whatever happens, Ctrl-C
included, none of them outlives this script.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from trimtab.errors import TrimtabError
from trimtab.load.result import LoadResult, read_result
from trimtab.plan.estimate import estimate
from trimtab.plan.model import Limits, PlanRequest
from trimtab.plan.policies import make_policy
from trimtab.profile.file import load_profile
from trimtab.report.page import write_report
from trimtab.report.summary import print_comparison, row
from trimtab.spec.load import load_pipeline
from trimtab.workload.generate import TraceShape, generate
from trimtab.workload.trace import write_trace

HERE = Path(__file__).resolve().parent
PIPELINE = HERE / "pipeline.yaml"
POLICIES = ("cheapest", "most-accurate", "trimtab")
SECONDS = 66
"""Length of each run."""
COMPRESS = 20
"""Seconds of the trace played in one: 22 minutes with three bursts in 66 seconds."""
SEED = 7
SCENES = 600
READY_S, STOP_S, PROFILE_S = 60.0, 30.0, 300.0
"""How long a server may take to be ready, to stop, and the profiler to measure."""

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Levels:
    """Arrival rates, requests per second, that show the same thing on a slow machine and on a fast one."""

    base_rps: float
    burst_rps: float


class DemoError(Exception):
    """The demonstration cannot go on; says why and where to look."""


def main() -> int:
    """Run it all; 0 when every run ended well."""
    parser = argparse.ArgumentParser(description="Serve one bursty load under three policies, and compare.")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for all results")
    out: Path = parser.parse_args().out
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the clean-up below runs then too
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    try:
        results = demonstrate(out)
    except (DemoError, TrimtabError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    (out / "results.json").write_text(json.dumps([row(result) for result in results], indent=2) + "\n")
    written = write_report(results, out, title="Digits under a bursty load")
    console.print()
    print_comparison(results, console)
    console.print()
    console.print(f"{time.monotonic() - began:.0f} s; see " + ", ".join(str(path) for path in written), soft_wrap=True)
    return 0


def demonstrate(out: Path) -> list[LoadResult]:
    """Scenes, profile, trace, then one run per policy."""
    console.rule("1 of 3: measure this machine", align="left")
    scenes, profile, trace = out / "test.npz", out / "profile.json", out / "trace.txt"
    run([HERE / "scenes.py", "--split", "test", "--count", SCENES, "--seed", SEED, "-o", scenes], timeout_s=60)
    run(["-m", "trimtab", "profile", PIPELINE, "--quick", "--no-resume", "-o", profile], timeout_s=PROFILE_S)

    console.rule("2 of 3: serve the same load under three policies", align="left")
    levels = choose_levels(profile)
    make_trace(levels, trace)
    results = []
    for policy in POLICIES:
        console.print(f"[bold]{policy}[/bold]")
        with server(policy, profile, out) as url:
            results.append(load(policy, url, scenes, trace, out))

    console.rule("3 of 3: compare", align="left")
    return results


def choose_levels(profile_file: Path) -> Levels:
    """A base that the most accurate variants hold with ease, and bursts that only cheaper ones can hold.

    They follow from the rates at which the two static plans would be busy all the time, by the measured profile. The
    bursts stay well below that of the cheapest plan, since gateway and load generator share its cores.
    """
    pipeline, profile = load_pipeline(PIPELINE), load_profile(profile_file)
    cores = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 2)
    request = PlanRequest(pipeline, profile, rate_rps=1.0, limits=Limits(cores=cores))
    capacity = {}
    for policy in ("cheapest", "most-accurate"):
        plan = make_policy(policy).propose(request).plan
        busy = estimate(plan, pipeline, profile, rate_rps=1.0)
        capacity[policy] = min(task.capacity_rps for task in busy.tasks.values())
        console.print(f"the {policy} plan can serve {capacity[policy]:.3g} requests/s at the very most", soft_wrap=True)
    most = 0.5 * capacity["cheapest"]
    burst_rps = min(2.2 * capacity["most-accurate"], most)
    if burst_rps < 1.3 * capacity["most-accurate"]:
        raise DemoError(
            "on this machine the cheapest plan can do too little more than the most accurate one for a burst to tell "
            f"them apart: {capacity['cheapest']:.3g} against {capacity['most-accurate']:.3g} requests/s"
        )
    return Levels(base_rps=0.45 * capacity["most-accurate"], burst_rps=burst_rps)


def make_trace(levels: Levels, path: Path) -> None:
    """A short "day" with three bursts, to be replayed `COMPRESS` times faster than it was "recorded"."""
    shape = TraceShape(
        seconds=SECONDS * COMPRESS,
        mean_rps=levels.base_rps,
        peak_rps=levels.burst_rps,
        bursts=3,
        burst_s=10 * COMPRESS,
        ramp_s=2 * COMPRESS,
        swing=0.2,
        day_s=SECONDS * COMPRESS,
    )
    write_trace(generate(shape, SEED), path, comments=["a day with three bursts, made by the demonstration"])
    console.print(
        f"load: {levels.base_rps:.3g} requests/s with three bursts of {levels.burst_rps:.3g} requests/s, {SECONDS} s",
        soft_wrap=True,
    )


def load(policy: str, url: str, scenes: Path, trace: Path, out: Path) -> LoadResult:
    """Replay the trace against the server and read the result."""
    result = out / f"{policy}.load.json"
    run(
        [
            "-m", "trimtab", "load", url, "--name", policy, "--spec", PIPELINE, "--data", scenes, "--label", "digit",
            "--trace", trace, "--time-compress", COMPRESS, "--arrivals", "poisson", "--seed", SEED, "--json", result,
        ],
        timeout_s=SECONDS + 60,
        log=out / f"{policy}.load.log",
    )  # fmt: skip
    told = read_result(result)
    figures = row(told)
    console.print(
        f"  {figures['attainment']:.1%} in time, {figures['delivered_accuracy'] or 0:.1%} of the answers right, "
        + ", ".join(f"{figures[end]} {end}" for end in ("refused", "dropped", "late", "failed")),
        soft_wrap=True,
    )
    return told


@contextlib.contextmanager
def server(policy: str, profile: Path, out: Path) -> Iterator[str]:
    """The server under one policy, from ready to stopped; gives its address.

    Raises:
        DemoError: it does not get ready, does not stop, or stops with an error.
    """
    journal, log = out / f"{policy}.journal.jsonl", out / f"{policy}.server.log"
    journal.unlink(missing_ok=True)
    command = [
        "-m", "trimtab", "serve", PIPELINE, "--profile", profile, "--policy", policy, "--port", 0, "--journal", journal,
    ]  # fmt: skip
    with child(command, log) as process:
        yield wait_ready(process, log)
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise DemoError(f"the server did not stop within {STOP_S:.0f} s; its log: {log}") from None
        if code != 0:
            raise DemoError(f"the server stopped with exit code {code}; its log: {log}")


def wait_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address from the line that the server writes when it is ready."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"^trimtab: serving .* on (http://\S+)", log.read_text(), re.MULTILINE):
            return found.group(1)
        time.sleep(0.1)
    ended = process.poll()
    how = f"is not ready after {READY_S:.0f} s" if ended is None else f"ended with exit code {ended}"
    raise DemoError(f"the server {how}; its log, {log}, ends with:\n{log.read_text()[-500:]}")


def run(arguments: Sequence[object], *, timeout_s: float, log: Path | None = None) -> None:
    """Run a Python command to its end; its stdout goes to `log` where one is given.

    Raises:
        DemoError: it failed or took too long.
    """
    words = " ".join(str(a) for a in arguments)
    with child(arguments, log, progress=True) as process:
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise DemoError(f"took longer than {timeout_s:.0f} s: {words}") from None
    if code != 0:
        raise DemoError(f"exit code {code} from: {words}" + (f"; its log: {log}" if log else ""))


@contextlib.contextmanager
def child(
    arguments: Sequence[object], log: Path | None, *, progress: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that does not outlive the context, nor do its own children."""
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(log.open("wb")) if log else None
        process = subprocess.Popen(
            [sys.executable, *(str(a) for a in arguments)],
            stdout=out,
            stderr=None if progress else subprocess.STDOUT,
            start_new_session=True,  # a group of its own: Ctrl-C comes here alone, and the group can be ended whole
        )
        stack.callback(end, process)
        yield process


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process if it still runs, first asking, then not; and whatever is left of its group."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    sys.exit(main())
