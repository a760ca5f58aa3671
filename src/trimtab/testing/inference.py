"""An `InferenceService` that answers with what it was asked: for tests of protocols and for measuring their cost."""

from __future__ import annotations

import asyncio

import numpy as np

from trimtab.errors import UnknownModelError
from trimtab.runtime.service import (
    InferRequest,
    InferResponse,
    ModelInfo,
    ModelStatistics,
    RepositoryEntry,
    Spent,
    TensorInfo,
)


class EchoService:
    """Serves the model `echo`, whose outputs are its inputs.

    Args:
        error: raised by every call instead of an answer.
        held: calls wait until `release` is called.
    """

    def __init__(self, *, error: Exception | None = None, held: bool = False) -> None:
        self.error = error
        self.is_ready = True
        self.requests: list[InferRequest] = []
        """All that was asked, in order."""
        self.cancelled = 0
        """Calls that were cancelled while they waited."""
        self.called = asyncio.Event()
        """Set once a call came in."""
        self.gave_up = asyncio.Event()
        """Set once a call was cancelled."""
        self.loads: list[tuple[str, str]] = []
        """Calls of `load` and `unload` and the names they had."""
        self._free = asyncio.Event()
        if not held:
            self._free.set()

    def release(self) -> None:
        """Let calls that wait go on."""
        self._free.set()

    def models(self) -> tuple[ModelInfo, ...]:
        """One model with one tensor in and out, FP32, four numbers a row."""
        tensor = (TensorInfo("x", np.dtype(np.float32), (-1, 4)),)
        return (ModelInfo("echo", ("plain",), "echo", tensor, tensor, max_rows=64),)

    def live(self) -> bool:
        """Always."""
        return True

    def ready(self, model: str | None = None) -> bool:
        """What `is_ready` says."""
        if model not in (None, "echo"):
            raise UnknownModelError(f"no model '{model}'")
        return self.is_ready

    async def infer(self, request: InferRequest) -> InferResponse:
        """The inputs as outputs; those asked for, or all."""
        self.requests.append(request)
        self.called.set()
        if not self._free.is_set():
            try:
                await self._free.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                self.gave_up.set()
                raise
        if self.error is not None:
            raise self.error
        wanted = request.inputs if request.outputs is None else request.outputs
        return InferResponse(
            model=request.model,
            version="plain",
            outputs={name: request.inputs[name] for name in wanted},
            id=request.id,
            parameters={"variant.echo": "plain", "accuracy": 1.0},
        )

    def statistics(self) -> tuple[ModelStatistics, ...]:
        """One answer a second, each of which took a tenth of it."""
        count = len(self.requests)
        spent = Spent(count, 0.1 * count)
        return (
            ModelStatistics(
                model="echo",
                version="plain",
                last_inference_s=1e9 if count else None,
                items=count,
                executions=count,
                success=spent,
                compute=spent,
                batches={1: spent},
            ),
        )

    def repository(self) -> tuple[RepositoryEntry, ...]:
        """The model and its version."""
        return (RepositoryEntry("echo", "", self.is_ready), RepositoryEntry("echo", "plain", self.is_ready))

    async def load(self, model: str) -> None:
        """Remember that it was asked."""
        self.ready(model)
        self.loads.append(("load", model))

    async def unload(self, model: str) -> None:
        """Remember that it was asked."""
        self.ready(model)
        self.loads.append(("unload", model))
