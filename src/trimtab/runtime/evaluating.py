"""Measures how accurate the variants of a pipeline are on labelled rows, one by one and put together.

A task's variants are judged on inputs of their own where the data hold them, otherwise on what the reference variants
of the tasks before give; the reference of a task is the most accurate one that was measured. Then the whole pipeline is
run for each combination of variants, split just as the server does it. Each variant runs in a process of its own, so
that one that crashes takes nothing with it: it is reported with its reason, and the rest goes on.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from trimtab import rng as randomness
from trimtab.errors import SpecError, TraceError, TrimtabError, WorkerError
from trimtab.observe.scores import Metric, Score
from trimtab.runtime import affinity
from trimtab.runtime.models.model import format_dtype, format_shape
from trimtab.runtime.replica import Replica
from trimtab.runtime.requests import PipelineInterface, Request
from trimtab.runtime.service import Tensor, TensorInfo
from trimtab.runtime.wiring import Wiring
from trimtab.spec.model import Pipeline

Combinations = Literal["all", "best", "none"]
_Done = list[list[dict[str, Tensor] | None]]
"""A task's output rows, by block of the data."""


_MOST_PROCESSES = 4
"""Variants held at once, each in a process of its own; another one is loaded in the place of the one unused longest."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a task's answers are compared with, and how."""

    task: str
    output: str
    column: str
    """The array of the data that holds the labels."""
    metric: Metric


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure."""

    combinations: Combinations = "all"
    """Of the whole pipeline: every one, just that of the reference variants, or none."""
    most: int = 500
    """More combinations than this are not begun."""
    batch: int = 16
    """Rows in a call of a model."""
    seed: int = 0
    """Of the bootstrap."""


@dataclass(frozen=True, slots=True)
class VariantResult:
    """One variant of a labelled task. Either a score, or why there is none."""

    task: str
    variant: str
    metric: str
    given: str
    """Where its inputs came from: `data`, or the variants before, `locate=locate-l`."""
    score: Score | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CombinationResult:
    """The whole pipeline with one variant of each task. Either a score, or why there is none."""

    variants: Mapping[str, str]
    metric: str
    score: Score | None = None
    product: float | None = None
    """Product of the tasks' own accuracies (PAS), where every task's was measured."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that was measured so far."""

    rows: int
    variants: tuple[VariantResult, ...] = ()
    combinations: tuple[CombinationResult, ...] = ()
    notes: tuple[str, ...] = ()
    """What was not measured, and why."""

    @property
    def failed(self) -> bool:
        """Whether something that was to be measured could not be."""
        errors = [*(each.error for each in self.variants), *(each.error for each in self.combinations)]
        return any(error is not None for error in errors)


@dataclass(frozen=True, slots=True)
class Step:
    """One step done."""

    name: str
    done: int
    of: int
    evaluation: Evaluation


async def evaluate(
    pipeline: Pipeline,
    wiring: Wiring,
    data: Mapping[str, Tensor],
    labels: Sequence[Label],
    settings: Settings,
    on_step: Callable[[Step], None],
) -> Evaluation:
    """Measure; `on_step` is told after each step and may save what is measured so far.

    Args:
        pipeline: What to measure.
        wiring: Its tensors and models, as `check_interfaces` found them.
        data: Named arrays with the same number of rows.
        labels: At most one a task.
        settings: What to measure of it.
        on_step: Called after each step.

    When it is cancelled, all processes are ended and what was reported stays valid.

    Raises:
        TraceError: the data lack what a labelled task needs, or labels and answers do not go together.
        SpecError: there are more combinations than `settings.most`.
    """
    run = _Run(pipeline, wiring, data, labels, settings, on_step)
    try:
        await run.measure_tasks()
        await run.measure_combinations()
    finally:
        await run.stop()
    return run.evaluation


@dataclass(slots=True)
class _Held:
    """What variants of a task gave, all behind the same variants before it."""

    behind: Mapping[str, str] = field(default_factory=dict)
    done: dict[str, _Done] = field(default_factory=dict)


class _Run:
    """One evaluation: the processes, what was given last, and the results as they grow."""

    def __init__(
        self,
        pipeline: Pipeline,
        wiring: Wiring,
        data: Mapping[str, Tensor],
        labels: Sequence[Label],
        settings: Settings,
        on_step: Callable[[Step], None],
    ) -> None:
        self._pipeline = pipeline
        self._wiring = wiring
        self._interface = PipelineInterface(pipeline, wiring)
        self._data = data
        self._labels = {label.task: label for label in labels}
        self._settings = settings
        self._on_step = on_step
        self._replicas: dict[tuple[str, str], Replica] = {}
        self._lost: dict[tuple[str, str], TrimtabError] = {}
        self._held = {task: _Held() for task in pipeline.tasks}
        self._reference: dict[str, str] = {}
        self._before = {task: _ancestors(pipeline, task) for task in pipeline.tasks}
        self._rows = len(next(iter(data.values())))
        self._request = _inputs(data, wiring.request)
        self._own = {
            task: _inputs(data, wiring.tasks[task].inputs, f"{task}.")
            for task in pipeline.tasks
            if task in self._labels
        }
        self._choices = self._planned()
        self._done = 0
        self._steps = len(self._choices) + sum(len(pipeline.tasks[task].variants) for task in self._labels)
        self.evaluation = Evaluation(self._rows, notes=self._notes())

    async def measure_tasks(self) -> None:
        """Measure each labelled task's variants, in the pipeline's order, and choose the tasks' references."""
        for task in self._pipeline.tasks.values():
            best = max(task.variants.values(), key=lambda v: v.accuracy).name
            self._reference[task.name] = best
            if task.name not in self._labels:
                continue
            found = [await self._measure_variant(task.name, variant) for variant in task.variants]
            scores = {each.variant: each.score.value for each in found if each.score is not None}
            self._reference[task.name] = max(scores, key=scores.__getitem__, default=best)

    async def measure_combinations(self) -> None:
        """Measure the whole pipeline with each combination that is wanted."""
        alone = {(each.task, each.variant): each.score.value for each in self.evaluation.variants if each.score}
        for choice in self._choices:
            chosen = choice or {task: self._reference[task] for task in self._pipeline.tasks}
            leaf = next(task for task in self._pipeline.leaves() if task in self._labels)
            label = self._labels[leaf]
            accuracies = [alone.get(pair) for pair in chosen.items()]
            known = [accuracy for accuracy in accuracies if accuracy is not None]
            product = math.prod(known) if len(known) == len(accuracies) else None
            result = CombinationResult(chosen, label.metric.name, product=product)
            try:
                score = self._judge(label, await self._flow(leaf, chosen))
                result = replace(result, score=score)
            except TrimtabError as error:
                _raise_if_bad_data(error)
                result = replace(result, error=error.what)
            self.evaluation = replace(self.evaluation, combinations=(*self.evaluation.combinations, result))
            self._tell(" + ".join(chosen.values()))

    async def stop(self) -> None:
        """End all processes."""
        await asyncio.gather(*(replica.stop(0.0) for replica in self._replicas.values()))

    def _planned(self) -> list[Mapping[str, str] | None]:
        """The combinations to measure; None stands for that of the references, which are not known yet.

        Raises:
            SpecError: there are too many.
        """
        whole = self._request is not None and any(leaf in self._labels for leaf in self._pipeline.leaves())
        if self._settings.combinations == "none" or not whole:
            return []
        if self._settings.combinations == "best":
            return [None]
        tasks = self._pipeline.tasks.values()
        count = math.prod(len(task.variants) for task in tasks)
        if count > self._settings.most:
            raise SpecError(
                "too many combinations of variants",
                got=f"{count}",
                wanted=f"at most {self._settings.most}",
                next_step="choose --combinations best, or allow more with --most",
            )
        names = [task.name for task in tasks]
        return [
            dict(zip(names, combination, strict=True))
            for combination in itertools.product(*(task.variants for task in tasks))
        ]

    def _notes(self) -> tuple[str, ...]:
        notes = [f"task {task}: no labels" for task in self._pipeline.tasks if task not in self._labels]
        labelled = [leaf for leaf in self._pipeline.leaves() if leaf in self._labels]
        if self._request is None:
            needed = ", ".join(info.name for info in self._wiring.request)
            notes.append(f"the whole pipeline: the data lack a request's inputs ({needed})")
        elif len(labelled) > 1:
            notes.append(f"the whole pipeline is judged by its task {labelled[0]}, the first of {', '.join(labelled)}")
        return tuple(notes)

    async def _measure_variant(self, task: str, variant: str) -> VariantResult:
        label = self._labels[task]
        own = self._own[task]
        behind = {before: self._reference[before] for before in self._before[task]}
        given = (
            "data"
            if own is not None or not behind
            else ", ".join(f"{name}={chosen}" for name, chosen in behind.items())
        )
        result = VariantResult(task, variant, label.metric.name, given)
        try:
            if own is not None:
                done = await self._serve(task, variant, [self._block(task, own, at) for at in self._starts()])
            elif self._request is not None:
                done = await self._flow(task, {**behind, task: variant})
            else:
                own_names = [f"{task}.{info.name}" for info in self._wiring.tasks[task].inputs]
                needed = ", ".join([*own_names, "or", *(info.name for info in self._wiring.request)])
                raise TraceError(f"the data lack inputs for task '{task}'", got=", ".join(self._data), wanted=needed)
            result = replace(result, score=self._judge(label, done))
        except TrimtabError as error:
            _raise_if_bad_data(error)
            result = replace(result, error=error.what if error.got is None else f"{error.what}: {error.got}")
        self.evaluation = replace(self.evaluation, variants=(*self.evaluation.variants, result))
        self._tell(variant)
        return result

    async def _flow(self, task: str, chosen: Mapping[str, str]) -> _Done:
        """What `task` gives when the request goes through the chosen variants; what was given last is used again."""
        assert self._request is not None, "nothing flows without a request"
        blocks = [self._block(self._pipeline.name, self._request, at) for at in self._starts()]
        for name in (*self._before[task], task):
            behind = {before: chosen[before] for before in self._before[name]}
            held = self._held[name]
            if held.behind != behind:
                held = self._held[name] = _Held(behind)
            if chosen[name] not in held.done:
                held.done[chosen[name]] = await self._serve(name, chosen[name], blocks)
            for block, done in zip(blocks, held.done[chosen[name]], strict=True):
                block.done[name] = done
        return self._held[task].done[chosen[task]]

    def _starts(self) -> range:
        return range(0, self._rows, self._settings.batch)

    def _block(self, model: str, inputs: Mapping[str, Tensor], at: int) -> Request:
        """Some rows of the data as one request."""
        part = {name: array[at : at + self._settings.batch] for name, array in inputs.items()}
        rows = len(next(iter(part.values())))
        answer: asyncio.Future[dict[str, Tensor]] = asyncio.get_running_loop().create_future()
        return Request(model, self._interface.enter(model), part, rows, 0.0, math.inf, math.inf, answer)

    async def _serve(self, task: str, variant: str, blocks: Sequence[Request]) -> _Done:
        """The output rows of one variant for all blocks."""
        found: _Done = []
        for block in blocks:
            items = self._interface.split(block, task)
            rows: list[dict[str, Tensor] | None] = []
            for at in range(0, len(items), self._settings.batch):
                some = items[at : at + self._settings.batch]
                batch = {name: _stacked([item.inputs[name] for item in some]) for name in some[0].inputs}
                outputs = await self._call(task, variant, batch)
                rows += [{name: array[i : i + 1] for name, array in outputs.items()} for i in range(len(some))]
            found.append(rows)
        return found

    async def _call(self, task: str, variant: str, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """One batch on the variant's own process, which is started when it is first needed."""
        key = task, variant
        if key in self._lost:
            raise self._lost[key]
        try:
            if key not in self._replicas:
                if len(self._replicas) >= _MOST_PROCESSES:  # models are large: the one unused longest goes
                    await self._replicas.pop(next(iter(self._replicas))).stop(0.0)
                self._replicas[key] = await self._start(task, variant)
            self._replicas[key] = self._replicas.pop(key)  # the last one used stands last
            return (await self._replicas[key].run(variant, batch)).outputs
        except TrimtabError as error:
            self._lost[key] = WorkerError(f"variant '{variant}' failed", got=str(error))
            raise self._lost[key] from error

    async def _start(self, task: str, variant: str) -> Replica:
        cores = affinity.usable_cores()
        return await Replica.start(
            replica_id=f"evaluate-{variant}",
            task=task,
            models={variant: self._wiring.models[task][variant]},
            core_ids=cores,
            threads=len(cores),
            thread_options=(len(cores),),
            warm_batches=(),
            start_timeout_s=_LOAD_TIMEOUT_S,
        )

    def _judge(self, label: Label, done: _Done) -> Score:
        wanted = self._data[label.column]
        column = [row[label.output] for block in done for row in block if row is not None]
        answers = _stacked(column)
        if len(answers) != len(wanted):  # behind a fan-out: the items of a row along a second axis
            answers = answers.reshape((len(wanted), len(answers) // len(wanted), *answers.shape[1:]))
        return label.metric.score(answers, wanted, randomness.generator(self._settings.seed, "bootstrap"))

    def _tell(self, step: str) -> None:
        self._done += 1
        self._on_step(Step(step, self._done, self._steps, self.evaluation))


_LOAD_TIMEOUT_S = 600.0
"""Longest wait for a variant's process and its model."""


def _raise_if_bad_data(error: TrimtabError) -> None:
    """Data that do not fit are the user's to mend, not one variant's failure."""
    if isinstance(error, TraceError):
        raise error


def _ancestors(pipeline: Pipeline, task: str) -> tuple[str, ...]:
    """The tasks that run before `task`, in topological order."""
    found: set[str] = set()
    waiting = [task]
    while waiting:
        for edge in pipeline.tasks[waiting.pop()].after:
            if edge.upstream not in found:
                found.add(edge.upstream)
                waiting.append(edge.upstream)
    return tuple(name for name in pipeline.tasks if name in found)


def _inputs(data: Mapping[str, Tensor], infos: Sequence[TensorInfo], prefix: str = "") -> Mapping[str, Tensor] | None:
    """The arrays for these inputs, under their names behind `prefix`; None where one is missing.

    Raises:
        TraceError: one has another type or shape than the models take.
    """
    found = {}
    for info in infos:
        column = f"{prefix}{info.name}"
        if column not in data:
            return None
        found[info.name] = _fitting(data[column], info, column)
    return found


def _fitting(array: Tensor, info: TensorInfo, column: str) -> Tensor:
    """The array in the dtype that the models take, where it is of the same kind."""
    fits = array.ndim == len(info.shape) and all(
        want in (-1, have) for want, have in zip(info.shape[1:], array.shape[1:], strict=True)
    )
    kinds = {array.dtype.kind, info.dtype.kind}
    if (
        not fits
        or (len(kinds) > 1 and not kinds <= set("iuf"))
        or (info.dtype.kind in "iu" and array.dtype.kind == "f")
    ):
        raise TraceError(
            f"the data's '{column}' has another form than the models take",
            got=f"{array.dtype.name} {format_shape((-1, *array.shape[1:]))}",
            wanted=f"{format_dtype(info)} {format_shape((-1, *info.shape[1:]))}",
        )
    return array.astype(info.dtype, copy=False)


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    """Rows, each with a leading axis of length 1, as one array."""
    try:
        return np.concatenate(rows)
    except ValueError:
        raise TraceError(
            "answers to different batches have different shapes: no array of labels goes with them",
            got=f"{list(rows[0].shape)} and others",
        ) from None
