"""IPA's published measurements as profiles: what its planner read, and how long service really takes.

Source: what the notebooks and figures published with Ghafouri et al., Journal of Systems Research 4(1), 2024, show. The
raw profiles were not published. Three sources are laid over each other, the later one counts:

1. the table put together for all variants at their base cores, batch 1 to 8. It is *synthetic* where nothing was
   measured; some of it was fitted to the very costs that experiments compare with;
2. single measurements of a batch of one, of the profiling series that the final runs read;
3. for core counts that neither has, `scaling.model`, one fitted form, where a policy asks for them.

The planner read the throughput that was measured, which the load during profiling caps: 10 requests/s for summaries
and translation, 20 for the rest. It knew p99 latencies where they were recorded. The simulator serves with the mean
time of a batch, which no cap hides.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.data import Row, number, rows

from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.spec.load import load_pipeline
from trimtab.spec.model import Pipeline

NAMES = ("video", "audio-qa", "audio-sent", "sum-qa", "nlp")
BATCHES = (1, 2, 4, 8)
"""Larger ones were profiled, but no final run could choose them."""
PROFILING_LOAD_RPS = {"nlp-sum": 10.0, "nlp-trans": 10.0}
"""What was offered during profiling, where it was not `USUAL_LOAD_RPS`."""
USUAL_LOAD_RPS = 20.0
_CAPPED = 0.95
"""A throughput of this share of the offered load or more says what was offered, not what can be served."""

Basis = Literal["measured", "reconstructed", "modelled"]
Size = tuple[int, int]
"""Cores and batch size."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One batch on one replica that uses all its cores for it."""

    mean_s: float
    p99_s: float | None
    """None: not recorded."""
    planned_rps: float
    """The throughput that the published planner read."""
    basis: Basis


Timings = Mapping[tuple[str, str], Mapping[Size, Timing]]
"""Task and variant → cores and batch → timing."""


def pipeline(name: str) -> Pipeline:
    """One of the five, as its file says."""
    return load_pipeline(Path(__file__).with_name(f"{name}.yaml"))


def timings(data: Path, *, overlaid: bool = True) -> Timings:
    """What is known of all variants without a model: sources 1 and, if `overlaid`, 2."""
    return _timings(data.resolve(), overlaid)


@functools.cache
def _timings(data: Path, overlaid: bool) -> Timings:
    known: dict[tuple[str, str], dict[Size, Timing]] = {}
    for row in rows(data, "ipa/profiles_reconstructed"):
        batch, mean_s = int(row["batch"]), number(row, "latency_s")
        if batch in BATCHES:
            rate = _capped(row["task"], number(row, "throughput_rps"))
            timing = Timing(mean_s, None, rate, "reconstructed")
            known.setdefault((row["task"], row["variant"]), {})[int(row["cores"]), batch] = timing
    for row in rows(data, "ipa/profiles_measured") if overlaid else ():
        name = (row["task"], row["model_variant"])
        measured = _measured(row)
        if measured and name in known and int(row["batch"]) == 1 and row["profile_used_in_paper"] == "True":
            known[name][int(row["cores"]), 1] = measured
    return known


def _measured(row: Row) -> Timing | None:
    """A measurement of service time and throughput; None where a line does not tell both."""
    if not row["throughput_max_rps"]:
        return None
    p99_s = number(row, "latency_p99_s") if row["latency_p99_s"] else None
    mean_s = service_s(row)
    if mean_s is None:
        return None
    return Timing(mean_s, p99_s, _capped(row["task"], number(row, "throughput_max_rps")), "measured")


def service_s(row: Row) -> float | None:
    """Mean time of a batch by a line of the measurements: the mean if recorded, else from a throughput that the load
    did not cap, else the p99; None where none of these is there.
    """
    if row["latency_avg_s"]:
        return number(row, "latency_avg_s")
    if row["throughput_max_rps"] and row["offered_rps"]:
        rate = number(row, "throughput_max_rps")
        if rate < _CAPPED * number(row, "offered_rps"):
            return int(row["batch"]) / rate
    return number(row, "latency_p99_s") if row["latency_p99_s"] else None


def _capped(task: str, rate: float) -> float:
    return min(rate, PROFILING_LOAD_RPS.get(task, USUAL_LOAD_RPS))


def profile(
    of: Pipeline, known: Timings, *, seen_as: Literal["planner", "truth"], load_s: float, slower: float = 1.0
) -> Profile:
    """Timings as a profile.

    Args:
        of: the pipeline.
        known: from `timings`, or `scaling.with_model`.
        seen_as: `planner`: the mean is batch ÷ the throughput that the published planner read, the one quantile its
            p99, or the mean time where that is not known. `truth`: mean times, and the p99 where it is known.
        load_s: from the creation of a replica until it serves.
        slower: factor on all times.
    """
    found: dict[str, dict[str, VariantProfile]] = {}
    for task in of.tasks.values():
        found[task.name] = {
            name: VariantProfile(
                task.name,
                name,
                tuple(_points(known[task.name, name], seen_as, slower)),
                load_time_s=load_s,
            )
            for name in task.variants
        }
    return Profile(found)


def _points(
    known: Mapping[Size, Timing], seen_as: Literal["planner", "truth"], slower: float
) -> Iterator[ServicePoint]:
    for (cores, batch), timing in sorted(known.items()):
        p99_s = timing.mean_s if timing.p99_s is None else timing.p99_s
        if seen_as == "planner":
            mean_s, quantiles_s = batch / timing.planned_rps, {0.99: slower * p99_s}
        else:
            mean_s = timing.mean_s
            quantiles_s = {} if timing.p99_s is None else {0.5: slower * mean_s, 0.99: slower * max(p99_s, mean_s)}
        yield ServicePoint(cores, cores, batch, slower * mean_s, quantiles_s, samples=0)
