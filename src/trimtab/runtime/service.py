"""What the protocol layers (REST and gRPC) call: one protocol-neutral handler with neutral values.

Tensors are NumPy arrays whose leading axis counts the rows of the request; a row is one item of work for a task.
Text and other bytes are arrays of Python `bytes` (dtype object), which the protocol calls BYTES.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.generic]

FIRST_PRIORITY, DEFAULT_PRIORITY, LAST_PRIORITY = 1, 5, 9
"""Priorities of a request: 1 is served first. A client that says none, or 0, gets the default."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Name, NumPy dtype and shape of a tensor; -1 for a free axis. The leading axis is the rows."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A thing that can be called: the pipeline, or one of its tasks."""

    name: str
    versions: tuple[str, ...]
    """Names of the variants that may answer (for a pipeline: none)."""
    platform: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    max_rows: int = 1
    """Most rows of one request."""


@dataclass(frozen=True, slots=True)
class Spent:
    """How often something was done, and the seconds that it took in all."""

    count: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """What was done since the start, for the pipeline (no version) or for one variant of a task."""

    model: str
    version: str
    """The variant; empty for the pipeline."""
    last_inference_s: float | None = None
    """Unix time of the last answer; None: there was none."""
    items: int = 0
    """Rows answered."""
    executions: int = 0
    """Batches; for the pipeline, requests."""
    success: Spent = Spent()
    fail: Spent = Spent()
    queue: Spent = Spent()
    """Waiting before service."""
    compute: Spent = Spent()
    """In service."""
    batches: Mapping[int, Spent] = field(default_factory=dict)
    """Rows of a batch → batches of that size and their service time."""


@dataclass(frozen=True, slots=True)
class RepositoryEntry:
    """A thing that can be loaded or unloaded: the pipeline, a task, or a variant of a task."""

    name: str
    """The pipeline or the task."""
    version: str
    """The variant; empty for the pipeline and for a task as a whole."""
    ready: bool
    """A variant is ready when some replica holds it loaded."""
    reason: str = ""
    """Why it is not ready, in words."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """One call."""

    model: str
    inputs: Mapping[str, Tensor]
    id: str | None = None
    version: str | None = None
    """A variant asked for by name; None: the server chooses."""
    outputs: tuple[str, ...] | None = None
    """Names of the tensors wanted; None: all."""
    timeout_s: float | None = None
    """The client's own deadline, seconds from arrival; the smaller of it and the pipeline's SLO counts."""
    priority: int = DEFAULT_PRIORITY
    """From `FIRST_PRIORITY` to `LAST_PRIORITY`."""
    arrived_s: float | None = None
    """When it was all here, by the monotonic clock that all processes of a machine share; None: now."""


@dataclass(frozen=True, slots=True)
class InferResponse:
    """One answer."""

    model: str
    version: str
    """The variants that answered, by task, joined with `+`."""
    outputs: Mapping[str, Tensor]
    id: str | None = None
    parameters: Mapping[str, str | float | bool] = field(default_factory=dict)
    """`variant.<task>`, `accuracy` (of the variants that answered), `plan`."""


class InferenceService(Protocol):
    """The handler behind every protocol."""

    def models(self) -> tuple[ModelInfo, ...]:
        """The pipeline first, then its tasks in topological order."""
        ...

    def live(self) -> bool:
        """Whether the process works at all."""
        ...

    def ready(self, model: str | None = None) -> bool:
        """Whether every task (that `model` needs) has a ready replica.

        Raises:
            UnknownModelError: no such pipeline or task.
        """
        ...

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer one request.

        Raises:
            RequestError: one of its subclasses; each carries a bounded `reason`.
        """
        ...

    def statistics(self) -> tuple[ModelStatistics, ...]:
        """What was done since the start: the pipeline first, then every variant of its tasks."""
        ...

    def repository(self) -> tuple[RepositoryEntry, ...]:
        """What there is to load: the pipeline, then each task and its variants."""
        ...

    async def load(self, model: str) -> None:
        """Let the planner use a variant (`<task>.<variant>`), all variants of a task, or of the pipeline; read its file
        anew. What is served meanwhile is not disturbed, and when the new file cannot be served the old one stays.

        Raises:
            UnknownModelError: there is no such thing.
            FailedError: it cannot be loaded, with the reason.
        """
        ...

    async def unload(self, model: str) -> None:
        """Take a variant (`<task>.<variant>`) out of service and free its memory; requests under way are answered.

        Raises:
            UnknownModelError: there is no such thing.
            InvalidInputError: it is the last variant of its task, a task or the pipeline: these cannot be unloaded.
        """
        ...
