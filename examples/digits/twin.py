"""Reality and its twin: the same trace, profile and policy in `trimtab serve` and in the simulator.

    python examples/digits/twin.py --out out/twin

measures the example's variants on this machine, serves a bursty trace under each policy, simulates the same, and says
how far the two are apart. Takes about six minutes on two cores; the machine should have nothing else to do.

What the way of a request through gateway, sockets and workers adds is measured first, with lone requests, and given to
the simulator as the time of a *hop*; everything else it knows from the profile. Arrivals are the same to the last one.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import demo
from rich.console import Console
from rich.table import Table

from trimtab import compiled
from trimtab.control.journal import read_journal
from trimtab.control.settings import settings_for
from trimtab.errors import TrimtabError
from trimtab.load.result import LoadResult, read_result
from trimtab.plan.policies import make_policy
from trimtab.profile.file import load_profile
from trimtab.profile.model import Profile
from trimtab.sim import PLANTS, Serving, SimResult, simulate
from trimtab.sim.run import Load
from trimtab.spec.load import load_pipeline
from trimtab.units import format_duration
from trimtab.workload.trace import Trace, read_trace, write_trace

LONE_RPS, LONE_S = 4, 15
"""Rate and length of the load of lone requests."""
ATTAINMENT_POINTS, QUANTILE_SHARE = 1.0, 0.15
"""How far attainment (percentage points) and the 50 and 99 % response times (share) may be apart."""

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Pair:
    """One figure in reality and in the simulator."""

    name: str
    real: float
    simulated: float
    limit: float
    relative: bool

    @property
    def both(self) -> tuple[float, float]:
        """The real one, and the simulated one."""
        return self.real, self.simulated

    @property
    def gap(self) -> float:
        """How far they are apart: a share of the real one, or points."""
        return (self.simulated - self.real) / self.real if self.relative else 100.0 * (self.simulated - self.real)

    @property
    def holds(self) -> bool:
        """Whether that is within the limit."""
        return abs(self.gap) <= self.limit


def main() -> int:
    """Run it all; 0 when every figure is within its limit."""
    parser = argparse.ArgumentParser(description="Serve and simulate the same load, and compare.")
    parser.add_argument("--out", type=Path, default=Path("out/twin"), help="folder for all results")
    parser.add_argument("--profile", type=Path, help="a profile of this machine, in place of measuring one")
    parser.add_argument("--policy", action="append", help="policies to compare under; all three of the demo if none")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    try:
        pairs = compare(asked.out, asked.profile, asked.policy or list(demo.POLICIES))
    except (demo.DemoError, TrimtabError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2
    told = {name: [asdict(pair) for pair in ps] for name, ps in pairs.items()}
    (asked.out / "twin.json").write_text(json.dumps(told, indent=2) + "\n")
    print_pairs(pairs)
    return 0 if all(p.holds for ps in pairs.values() for p in ps) else 1


def compare(out: Path, profile_file: Path | None, policies: list[str]) -> dict[str, list[Pair]]:
    """Policy → its figures."""
    scenes, profile_file, trace = out / "test.npz", profile_file or out / "profile.json", out / "trace.txt"
    demo.run([demo.HERE / "scenes.py", "--split", "test", "--count", demo.SCENES, "--seed", demo.SEED, "-o", scenes],
             timeout_s=60)  # fmt: skip
    if not profile_file.exists():
        demo.run(["-m", "trimtab", "profile", demo.PIPELINE, "--quick", "--no-resume", "-o", profile_file],
                 timeout_s=demo.PROFILE_S)  # fmt: skip
    demo.make_trace(demo.choose_levels(profile_file), trace)
    profile = load_profile(profile_file)
    hop_s = measure_hop(profile, profile_file, scenes, out)
    pairs = {}
    for policy in policies:
        console.print(f"[bold]{policy}[/bold]")
        with demo.server(policy, profile_file, out) as url:
            real = demo.load(policy, url, scenes, trace, out)
        load = Load(read_trace(trace), "poisson", demo.SEED, compress=demo.COMPRESS)
        pairs[policy] = figures(real, twin(policy, profile, load, hop_s))
        console.print(f"  service took {measured_ratio(out / f'{policy}.journal.jsonl')} of what was profiled")
    return pairs


def measure_hop(profile: Profile, profile_file: Path, scenes: Path, out: Path) -> float:
    """Seconds that a batch's way to a worker and back takes, with its share of the gateway, by lone requests."""
    trace = Trace((LONE_RPS,) * LONE_S, "lone")
    file = out / "lone.txt"
    write_trace(trace, file)
    with demo.server("cheapest", profile_file, out) as url:
        result = out / "lone.load.json"
        demo.run(
            ["-m", "trimtab", "load", url, "--spec", demo.PIPELINE, "--data", scenes, "--label", "digit", "--trace",
             file, "--arrivals", "even", "--seed", demo.SEED, "--json", result],
            timeout_s=LONE_S + 60, log=out / "lone.load.log",
        )  # fmt: skip
    real_s = read_result(result).summary.p50_s
    simulated_s = twin("cheapest", profile, Load(trace, "even", demo.SEED), 0.0).summary.p50_s
    if real_s is None or simulated_s is None:
        raise demo.DemoError(f"no lone request was answered; see {result}")
    hop_s = max(0.0, (real_s - simulated_s) / len(load_pipeline(demo.PIPELINE).tasks))
    console.print(f"lone requests take {format_duration(real_s)}, {format_duration(hop_s)} a task beside service")
    return hop_s


def twin(policy: str, profile: Profile, load: Load, hop_s: float) -> SimResult:
    """The simulator in the place of this machine."""
    made = make_policy(policy)
    return simulate(
        load_pipeline(demo.PIPELINE, check_files=False),
        profile,
        load,
        made,
        PLANTS["instant-resident"],
        cores=2,
        settings=settings_for(made, 1.0),
        serving=Serving(hop_s=hop_s),
    )


def measured_ratio(journal: Path) -> str:
    """Task → measured ÷ profiled service time over a run, in words."""
    sums: dict[str, list[float]] = {}
    for entry in read_journal(journal).entries:
        for name, task in entry.observation.tasks.items() if entry.observation else ():
            if task.service_ratio is not None:
                sums.setdefault(name, []).append(task.service_ratio)
    return ", ".join(f"{name} {sum(ratios) / len(ratios):.2f}" for name, ratios in sums.items())


def figures(real: LoadResult, simulated: SimResult) -> list[Pair]:
    """What is compared."""
    lived, twin_told = real.summary, simulated.summary
    return [
        Pair("in time", lived.attainment or 0.0, twin_told.attainment or 0.0, ATTAINMENT_POINTS, relative=False),
        Pair("p50", lived.p50_s or 0.0, twin_told.p50_s or 0.0, QUANTILE_SHARE, relative=True),
        Pair("p99", lived.p99_s or 0.0, twin_told.p99_s or 0.0, QUANTILE_SHARE, relative=True),
        Pair("stated accuracy", lived.stated_accuracy or 0.0, twin_told.accuracy or 0.0, ATTAINMENT_POINTS,
             relative=False),
    ]  # fmt: skip


def print_pairs(pairs: dict[str, list[Pair]]) -> None:
    """One line a figure."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("policy", "figure", "real", "simulated", "apart", "limit"):
        table.add_column(name, justify="left" if name in {"policy", "figure"} else "right", no_wrap=True)
    for policy, ps in pairs.items():
        for pair in ps:
            real, simulated = (format_duration(x) if pair.relative else f"{100 * x:.1f} %" for x in pair.both)
            gap = f"{100 * pair.gap:+.1f} %" if pair.relative else f"{pair.gap:+.2f} points"
            limit = f"{100 * pair.limit:.0f} %" if pair.relative else f"{pair.limit:g} points"
            colour = "green" if pair.holds else "red"
            table.add_row(policy, pair.name, real, simulated, f"[{colour}]{gap}[/]", limit)
    console.print(table)


if __name__ == "__main__":
    if compiled.is_available():
        compiled.load("sim")
    sys.exit(main())
