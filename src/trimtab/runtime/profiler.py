"""The profiler's run: it works through an agenda on real worker processes and builds the profile.

After every step the profile so far is handed out, so that a run that is interrupted can be resumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from trimtab import rng as randomness
from trimtab.profile.model import Profile
from trimtab.runtime import affinity
from trimtab.runtime.agenda import Agenda, Settings, find_point
from trimtab.runtime.measuring import batch_of, check_capacity, made_up_inputs, measure_service
from trimtab.runtime.models.model import ModelSource
from trimtab.runtime.replica import Replica
from trimtab.runtime.service import Tensor

CHECK_MIN_ARRIVALS = 60
"""A capacity check of a slow variant runs on until it has about this many, but at most four times its length."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step done."""

    name: str
    done: int
    of: int
    profile: Profile
    """All that is measured so far, kept cells included."""


async def measure(
    models: Mapping[str, Mapping[str, ModelSource]],
    settings: Settings,
    agenda: Agenda,
    on_step: Callable[[Step], None],
    *,
    inputs: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> Profile:
    """Measure what is on the agenda; `on_step` is told after each step and may save the profile so far.

    Args:
        models: Task → variant → where its model comes from.
        settings: What to measure and how long.
        agenda: What of it is left to do.
        on_step: Called after each step.
        inputs: Task → input → rows to measure with, repeated where a batch has more. A task that is not named is
            measured with its models' own examples, or with random values where they know none.

    When it is cancelled, all processes are ended and what was reported stays valid.

    Raises:
        TrimtabError: a model cannot be served or a process was lost; what was reported stays valid.
    """
    run = _Run(models, settings, agenda, on_step, inputs or {})
    try:
        await run.load()
        await run.measure_cells()
        await run.check()
    finally:
        await run.stop()
    return run.profile


class _Run:
    """One run of the profiler: one replica a task, and the profile as it grows."""

    def __init__(
        self,
        models: Mapping[str, Mapping[str, ModelSource]],
        settings: Settings,
        agenda: Agenda,
        on_step: Callable[[Step], None],
        inputs: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        self._models = models
        self._inputs = inputs
        self._settings = settings
        self._agenda = agenda
        self._on_step = on_step
        self._wanted = tuple(dict.fromkeys([*((c.task, c.variant) for c in agenda.cells), *agenda.checks]))
        self._steps = len(self._wanted) + len(agenda.cells) + len(agenda.checks)
        self._done = 0
        self._replicas: dict[str, Replica] = {}
        self._variants = {task: dict(variants) for task, variants in agenda.kept.variants.items()}
        self._rng = randomness.generator(settings.seed, "profile")

    @property
    def profile(self) -> Profile:
        """All that is measured so far."""
        measured = {task: {n: v for n, v in of.items() if v.points} for task, of in self._variants.items()}
        return Profile({task: of for task, of in measured.items() if of}, self._agenda.kept.provenance)

    async def load(self) -> None:
        """Start one replica a task and load what is to be measured into it, one after the other."""
        threads = tuple(sorted({t for _, t in self._settings.shapes()}))
        for task, variant in self._wanted:
            if task not in self._replicas:
                self._replicas[task] = await Replica.start(
                    replica_id=f"profile-{task}",
                    task=task,
                    models={},
                    core_ids=_core_ids(max(self._settings.cores)),
                    threads=1,
                    thread_options=threads,
                    warm_batches=(max(self._settings.batches),),
                )
            report = await self._replicas[task].load(variant, self._models[task][variant])
            before = self._variants[task][variant]
            self._variants[task][variant] = replace(
                before, load_time_s=report.load_time_s, memory_bytes=report.memory_bytes
            )
            self._tell(f"{variant}: load")

    async def measure_cells(self) -> None:
        """Measure the agenda's cells in its order."""
        for cell in self._agenda.cells:
            replica = self._replicas[cell.task]
            await self._place(replica, cell.cores, cell.threads)
            inputs = self._batch(replica, cell.variant, cell.batch)
            point = await measure_service(replica, cell.variant, inputs, cell.batch, self._settings.effort)
            before = self._variants[cell.task][cell.variant]
            outdated = find_point(before, cell.cores, cell.threads, cell.batch)
            others = [p for p in before.points if p is not outdated]
            points = sorted([*others, point], key=lambda p: (p.cores, p.threads, p.batch))
            self._variants[cell.task][cell.variant] = replace(before, points=tuple(points))
            self._tell(str(cell))

    async def check(self) -> None:
        """Check, on the smallest shape and one row at a time, that the profiled capacity holds for an open load."""
        cores, threads = self._settings.shapes()[0]
        for task, variant in self._agenda.checks:
            replica = self._replicas[task]
            await self._place(replica, cores, threads)
            before = self._variants[task][variant]
            batch = min(self._settings.batches)
            point = find_point(before, cores, threads, batch)
            asked_s = self._settings.check_seconds
            assert point is not None, "its cell is measured by now"
            assert asked_s is not None, "without a length there are no checks on the agenda"
            rate_rps = self._settings.check_share * point.throughput_rps
            seconds = max(asked_s, min(CHECK_MIN_ARRIVALS / rate_rps, 4 * asked_s))
            check = await check_capacity(
                replica,
                variant,
                self._batch(replica, variant, batch),
                batch=batch,
                rate_rps=rate_rps,
                seconds=seconds,
                rng=randomness.generator(self._settings.seed, "arrivals", task, variant),
            )
            self._variants[task][variant] = replace(before, checks=(check,))
            self._tell(f"{variant}: capacity check")

    async def stop(self) -> None:
        """End all processes."""
        await asyncio.gather(*(replica.stop(0.0) for replica in self._replicas.values()))

    def _batch(self, replica: Replica, variant: str, rows: int) -> Mapping[str, Tensor]:
        """What to measure with: the inputs that were given, else the model's own example, else random values."""
        known = self._inputs.get(replica.task) or replica.examples[variant]
        return batch_of(known, rows) if known else made_up_inputs(replica.interfaces[variant], rows, self._rng)

    async def _place(self, replica: Replica, cores: int, threads: int) -> None:
        if (len(replica.core_ids), replica.threads) != (cores, threads):
            await replica.set_cores(_core_ids(cores), threads)

    def _tell(self, step: str) -> None:
        self._done += 1
        self._on_step(Step(step, self._done, self._steps, self.profile))


def _core_ids(count: int) -> tuple[int, ...]:
    """The last `count` cores: the first is then left to the profiler itself where there is one to spare."""
    return affinity.usable_cores()[-count:]
