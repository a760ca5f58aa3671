"""One model for service times at core counts and batch sizes that were not published.

    python experiments/ipa/scaling.py --data ../shared/data --out out/experiments/ipa

shows the fit. The form is that of Sponge (EuroMLSys 2024) and Themis (arXiv 2407.14843) for CPUs,

    l(b, c) = s · f(b, c),   f(b, c) = g · b/c + d · b + e/c + h,   g + d + e + h = 1,   all at least 0,

with *one* shape f for all variants of all tasks and a scale s for each variant, which is its time for one request on
one core. f is fitted to every published measurement of service time with a batch of at most 8, of variants that have
at least two: the squared relative errors are least. A variant takes its scale from its known time for one request on
its base cores, so that the model goes through it.

What rests on the model is marked `modelled`; experiments that use it say that their results are extrapolated.
"""

from __future__ import annotations

import functools
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.command import Options, parser, run
from experiments.data import number, rows
from experiments.ipa.measurements import BATCHES, Size, Timing, Timings, service_s, timings
from experiments.pictures import COLOURS, figure, legend, panel, save
from experiments.results import Cell, show, write_csv

from trimtab.spec.model import Pipeline

CORES = (1, 2, 4, 8)
"""Core counts that the model fills in; larger ones are there where they were measured."""
_ROUNDS = 200
"""Scales and shape are fitted in turn; the shape no longer moves in the sixth digit long before this."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One published measurement."""

    task: str
    variant: str
    cores: int
    batch: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Shape:
    """f(b, c), in multiples of the time of one request on one core."""

    g: float
    """Work of each request that cores share."""
    d: float
    """Work of each request that they do not."""
    e: float
    """Work of each batch that they share."""
    h: float
    """Work of each batch that they do not."""

    def __call__(self, batch: int, cores: int) -> float:
        """The multiple."""
        return self.g * batch / cores + self.d * batch + self.e / cores + self.h


def samples(data: Path) -> tuple[Sample, ...]:
    """The measurements that the shape is fitted to; of several of one size, the one under most load."""
    best: dict[tuple[str, str, Size], tuple[float, Sample]] = {}
    for row in rows(data, "ipa/profiles_measured"):
        batch, cores = int(row["batch"]), int(row["cores"])
        told = row["profile_used_in_paper"] == "True" or row["latency_avg_s"] or row["latency_p99_s"]
        seconds = service_s(row)
        if batch not in BATCHES or seconds is None or not told:
            continue
        offered = number(row, "offered_rps") if row["offered_rps"] else 0.0
        key = (row["task"], row["model_variant"], (cores, batch))
        if key not in best or offered > best[key][0]:
            best[key] = (offered, Sample(row["task"], row["model_variant"], cores, batch, seconds))
    found = [sample for _, sample in best.values()]
    several = [s for s in found if sum(o.variant == s.variant for o in found) > 1]
    return tuple(sorted(several, key=lambda s: (s.task, s.variant, s.cores, s.batch)))


def fit(known: Sequence[Sample]) -> tuple[Shape, dict[str, float]]:
    """The shape, and the scale of each variant, seconds, for least squared relative errors.

    With the shape fixed each scale has a closed form; with the scales fixed the shape is a non-negative least-squares
    problem (Lawson and Hanson 1974). They are taken in turn.
    """
    terms = np.array([[s.batch / s.cores, s.batch, 1.0 / s.cores, 1.0] for s in known])
    seconds = np.array([s.seconds for s in known])
    names = sorted({s.variant for s in known})
    of = np.array([names.index(s.variant) for s in known])
    shape, scales = np.full(4, 0.25), np.ones(len(names))
    for _ in range(_ROUNDS):
        ratio = terms @ shape / seconds
        scales = np.array([ratio[of == v].sum() / (ratio[of == v] ** 2).sum() for v in range(len(names))])
        shape, _ = nnls(terms * (scales[of] / seconds)[:, None], np.ones(len(known)))
        scales, shape = scales * shape.sum(), shape / shape.sum()
    return Shape(*map(float, shape)), dict(zip(names, map(float, scales), strict=True))


@functools.cache
def shape_of(data: Path) -> Shape:
    """The fitted shape."""
    return fit(samples(data))[0]


def with_model(data: Path, of: Pipeline, base: dict[str, dict[str, int]]) -> Timings:
    """Known timings and, for all of `CORES` and `BATCHES` that they lack, the model through the base allocation.

    Args:
        data: where the measurements are.
        of: whose variants are wanted.
        base: task → variant → cores at which its scale is taken; they have to be known with a batch of one.
    """
    shape, known = shape_of(data.resolve()), timings(data)
    found: dict[tuple[str, str], dict[Size, Timing]] = {}
    for task in of.tasks:
        for variant, cores in base[task].items():
            own = dict(known[task, variant])
            scale = own[cores, 1].mean_s / shape(1, cores)
            for wanted in CORES:
                for batch in BATCHES:
                    mean_s = scale * shape(batch, wanted)
                    own.setdefault((wanted, batch), Timing(mean_s, None, batch / mean_s, "modelled"))
            found[task, variant] = own
    return found


def experiment(asked: Options, _: Namespace) -> list[Path]:
    """The shape, its errors, and a picture of both."""
    known = samples(asked.data)
    shape, scales = fit(known)
    lines: list[dict[str, Cell]] = []
    for s in known:
        modelled_s = scales[s.variant] * shape(s.batch, s.cores)
        error = 100.0 * (modelled_s / s.seconds - 1.0)
        lines.append(
            {"task": s.task, "variant": s.variant, "cores": s.cores, "batch": s.batch, "measured_s": s.seconds,
             "modelled_s": modelled_s, "error_percent": error}
        )  # fmt: skip
    show(
        "The shape: time of a batch of b on c cores, in multiples of that of one request on one core",
        [{"g (b/c)": f"{shape.g:.3f}", "d (b)": f"{shape.d:.3f}", "e (1/c)": f"{shape.e:.3f}", "h": f"{shape.h:.3f}"}],
    )
    by_task: list[dict[str, Cell]] = []
    for task in dict.fromkeys(s.task for s in known):
        errors = np.array([float(line["error_percent"] or 0.0) for line in lines if line["task"] == task])
        by_task.append(
            {"task": task, "measurements": errors.size, "rms error %": float(np.sqrt((errors**2).mean())),
             "largest error %": float(errors[np.abs(errors).argmax()])}
        )  # fmt: skip
    errors = np.array([float(line["error_percent"] or 0.0) for line in lines])
    by_task.append({"task": "all", "measurements": errors.size, "rms error %": float(np.sqrt((errors**2).mean())),
                    "largest error %": float(errors[np.abs(errors).argmax()])})  # fmt: skip
    show("Relative errors of the fit", by_task)
    made = figure(9.5, 3.6)
    left, right = made.subplots(1, 2)
    panel(left, "Time of one request by cores ÷ on one core (modelled): line is f(1, c)", "cores", "multiple")
    panel(right, "Time of a batch on the same cores ÷ one request's: lines are f(b, c) ÷ f(1, c)", "batch size")
    axis = np.linspace(1, 32, 200)
    left.plot(axis, [shape.g / c + shape.d + shape.e / c + shape.h for c in axis], color="black", lw=1.2)
    tasks = list(dict.fromkeys(s.task for s in known))
    for i, task in enumerate(tasks):
        own = [s for s in known if s.task == task]
        lone = [s for s in own if s.batch == 1]
        left.plot(
            [s.cores for s in lone], [s.seconds / scales[s.variant] for s in lone], ".", color=COLOURS[i], label=task
        )
        one = {(s.variant, s.cores): s.seconds for s in lone}
        full = [s for s in own if (s.variant, s.cores) in one]
        right.plot([s.batch for s in full], [s.seconds / one[s.variant, s.cores] for s in full], ".", color=COLOURS[i])
    for cores in (1, 4, 16):
        right.plot(BATCHES, [shape(b, cores) / shape(1, cores) for b in BATCHES], lw=1.0, label=f"{cores} cores")
    left.set_xscale("log", base=2)
    legend(left)
    legend(right)
    return [write_csv(asked.out / "scaling.csv", lines), save(made, asked.out / "scaling.png")]


if __name__ == "__main__":
    run(parser(__doc__ or "", "ipa"), experiment)
