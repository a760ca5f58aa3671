"""What the protocol layers (REST now, gRPC next to it) call: one protocol-neutral handler with neutral values.

Tensors are NumPy arrays whose leading axis counts the rows of the request; a row is one item of work for a task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.generic]


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
