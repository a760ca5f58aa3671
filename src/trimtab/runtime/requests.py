"""Requests on their way: what can be called with which tensors, how a request is split into items and gathered again.

A row of a request is one item of work for a task; behind a fan-out each item gives several. No queue and no clock here:
that is the data plane's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from trimtab.errors import FailedError, InvalidInputError, UnknownModelError
from trimtab.runtime.service import DEFAULT_PRIORITY, InferRequest, ModelInfo, Tensor, TensorInfo
from trimtab.runtime.wiring import Wiring
from trimtab.spec.model import REQUEST, Pipeline

MAX_ROWS = 1024
"""Rows of one request; more would let one client own the queue."""


@dataclass(eq=False, slots=True)
class Request:
    """A request on its way; `answer` resolves once."""

    model: str
    enter: frozenset[str]
    """The tasks that it visits."""
    inputs: Mapping[str, Tensor]
    rows: int
    arrived_s: float
    due_s: float
    """When it is late."""
    deadline_s: float
    """What the dispatcher works towards: a little before it is due, to leave time for the answer's way out."""
    answer: asyncio.Future[dict[str, Tensor]]
    done: dict[str, list[dict[str, Tensor] | None]] = field(default_factory=dict)
    """Task → output rows by item; None while an item is under way."""
    missing: dict[str, int] = field(default_factory=dict)
    """Task → items under way; no entry before the task was reached."""
    queued: set[Item] = field(default_factory=set)
    level: int = DEFAULT_PRIORITY
    """Its priority; lower numbers go first."""
    variants: dict[str, list[str]] = field(default_factory=dict)
    """Task → the variants that served its items."""

    def complete(self) -> bool:
        """Whether every task that it visits has served all its items."""
        return self.enter == self.missing.keys() and not any(self.missing.values())


@dataclass(eq=False, slots=True)
class Item:
    """One row of work for one task; its tensors keep their leading axis, of length 1."""

    request: Request
    task: str
    index: int
    inputs: dict[str, Tensor]
    retries: int = 0
    queued_s: float = 0.0

    @property
    def answered(self) -> bool:
        """Whether a replica has answered it."""
        return self.request.done[self.task][self.index] is not None

    @property
    def done(self) -> bool:
        """Whether it needs no more work: it is answered, or its request has ended."""
        return self.request.answer.done() or self.answered


class PipelineInterface:
    """What can be called, and how its tensors pass through the tasks."""

    def __init__(self, pipeline: Pipeline, wiring: Wiring) -> None:
        self._pipeline = pipeline
        self._wiring = wiring
        self.models = _model_infos(pipeline, wiring)
        """By name: the pipeline first, then its tasks."""

    def enter(self, model: str) -> frozenset[str]:
        """The tasks that a call of `model` visits.

        Raises:
            UnknownModelError: it is neither the pipeline nor a task.
        """
        if model == self._pipeline.name:
            return frozenset(self._pipeline.tasks)
        if model in self._pipeline.tasks:
            return frozenset((model,))
        raise UnknownModelError(
            f"no model '{model}'",
            wanted=f"the pipeline '{self._pipeline.name}' or a task: {', '.join(self._pipeline.tasks)}",
        )

    def check(self, request: InferRequest) -> tuple[str, ...]:
        """Check a call's tensors against its model's; returns the names of the outputs wanted.

        Raises:
            UnknownModelError: it asks for a version; the server chooses the variant.
            InvalidInputError: a tensor is missing, unknown, or of another dtype or shape; names it.
        """
        info = self.models[request.model]
        if request.version is not None:
            raise UnknownModelError(
                f"version '{request.version}' of '{info.name}' cannot be asked for: the server chooses the variant",
                next_step="ask without a version; the answer names the variant",
            )
        expected = {tensor.name: tensor for tensor in info.inputs}
        if request.inputs.keys() != expected.keys():
            raise InvalidInputError(
                f"inputs of '{info.name}'", got=", ".join(request.inputs) or "none", wanted=", ".join(expected)
            )
        rows: int | None = None
        for name, array in request.inputs.items():
            _check_tensor(expected[name], array)
            if rows is not None and array.shape[0] != rows:
                raise InvalidInputError(f"input '{name}'", got=f"{array.shape[0]} rows", wanted=f"{rows} rows")
            rows = array.shape[0]
        if rows is None or not 1 <= rows <= MAX_ROWS:
            raise InvalidInputError("rows of the request", got=f"{rows}", wanted=f"1 to {MAX_ROWS}")
        produced = tuple(tensor.name for tensor in info.outputs)
        wanted = produced if request.outputs is None else request.outputs
        for name in wanted:
            if name not in produced:
                raise InvalidInputError(f"output of '{info.name}'", got=f"'{name}'", wanted=", ".join(produced))
        return wanted

    def split(self, request: Request, task: str) -> list[Item]:
        """The items of `task`, whose inputs are all there; from now on the request waits for them.

        Raises:
            FailedError: the tasks before it gave different numbers of items, for one row or another, or none.
        """
        sources = self._wiring.tasks[task].sources
        columns: dict[str, list[Tensor]] = {}
        for name, source in sources.items():
            if request.model == task or source.task == REQUEST:
                tensor = request.inputs[name if request.model == task else source.tensor]
                columns[name] = [tensor] if request.rows == 1 else [tensor[i : i + 1] for i in range(request.rows)]
            else:
                rows = [_answered(row)[source.tensor] for row in request.done[source.task]]
                if source.fan_out and len({row.shape[1] for row in rows}) > 1:
                    raise FailedError(
                        f"task '{task}': the rows of the request give different numbers of items",
                        next_step="ask for one row at a time",
                    )
                columns[name] = (
                    [row[0, j : j + 1] for row in rows for j in range(row.shape[1])] if source.fan_out else rows
                )
        count = max(len(column) for column in columns.values())
        if any(not column or count % len(column) for column in columns.values()):
            lengths = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
            raise FailedError(f"task '{task}': its inputs have different numbers of items ({lengths})")
        request.done[task] = [None] * count
        request.missing[task] = count
        if count == 1:
            return [Item(request, task, 0, {name: column[0] for name, column in columns.items()})]
        return [
            Item(request, task, i, {name: column[i * len(column) // count] for name, column in columns.items()})
            for i in range(count)
        ]

    def gather(self, request: Request) -> dict[str, Tensor]:
        """The answer's tensors: rows stacked; behind a fan-out the items of a row along a second axis.

        Raises:
            FailedError: the rows have different shapes.
        """
        answer: dict[str, Tensor] = {}
        for tensor in self.models[request.model].outputs:
            task, name = request.model, tensor.name
            if request.model == self._pipeline.name:
                source = self._wiring.outputs[tensor.name]
                task, name = source.task, source.tensor
            rows = [_answered(row)[name] for row in request.done[task]]
            if len({row.shape for row in rows}) > 1:
                raise FailedError(
                    f"output '{tensor.name}': its rows have different shapes", next_step="ask for one row at a time"
                )
            stacked = rows[0] if len(rows) == 1 else np.concatenate(rows)
            per_row = len(stacked) // request.rows
            answer[tensor.name] = (
                stacked if per_row == 1 else stacked.reshape((request.rows, per_row, *stacked.shape[1:]))
            )
        return answer


def _answered(row: dict[str, Tensor] | None) -> dict[str, Tensor]:
    assert row is not None, "an item is read only when all items of its task are done"
    return row


def _check_tensor(expected: TensorInfo, array: Tensor) -> None:
    """Dtype, rank and fixed axes of one input."""
    if array.dtype != expected.dtype:
        raise InvalidInputError(f"dtype of input '{expected.name}'", got=str(array.dtype), wanted=str(expected.dtype))
    fits = array.ndim == len(expected.shape) and all(
        want in (-1, have) for want, have in zip(expected.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise InvalidInputError(
            f"shape of input '{expected.name}'", got=str(list(array.shape)), wanted=str([-1, *expected.shape[1:]])
        )


def _model_infos(pipeline: Pipeline, wiring: Wiring) -> dict[str, ModelInfo]:
    """What can be called, by name: the pipeline first."""
    infos = {
        pipeline.name: ModelInfo(
            name=pipeline.name,
            versions=(),
            platform="trimtab_pipeline",
            inputs=wiring.request,
            outputs=wiring.answers,
            max_rows=MAX_ROWS,
        )
    }
    for task in pipeline.tasks.values():
        wired = wiring.tasks[task.name]
        infos[task.name] = ModelInfo(
            name=task.name,
            versions=tuple(task.variants),
            platform="onnxruntime_onnx",
            inputs=wired.inputs,
            outputs=wired.outputs,
            max_rows=MAX_ROWS,
        )
    return infos
