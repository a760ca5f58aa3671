"""The calls of the Open Inference Protocol's gRPC service, over one `InferenceService`.

Messages come and go as bytes: what cannot be read is the client's error and told as such, and big tensors are parsed
where they lie. `docs/reference/grpc.md` is the contract.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import grpc
from google.protobuf import json_format

from trimtab.errors import InvalidInputError, UnknownModelError
from trimtab.runtime.grpc_status import RejectionCounter, Status, status_of
from trimtab.runtime.oip import deadlines, describe, grpc_codec, messages, repository
from trimtab.runtime.service import InferenceService, InferRequest, ModelInfo

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"  # gRPC's classes are generic for type checkers only
_Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
_SHOWN_NAME = 80
_FINAL = {"triton_final_response": True}
"""What Triton's clients look for in a stream: one request has one answer here, so each is its last."""


class InferenceCalls:
    """Handlers of every call.

    Args:
        service: answers.
        metrics: counts what never reached the service.
        stream_calls: requests of one stream that are under way at once; the next is read when one is answered.
        stopping: set when the server stops: streams then end once what they asked is answered.
        repository: whether clients may load and unload.
    """

    def __init__(
        self,
        service: InferenceService,
        metrics: RejectionCounter,
        *,
        stream_calls: int,
        stopping: asyncio.Event,
        repository: bool,
    ) -> None:
        self._service = service
        self._metrics = metrics
        self._stream_calls = stream_calls
        self._stopping = stopping
        self._repository = repository

    def handlers(self) -> Mapping[str, _Handler]:
        """Name of a call → what gRPC asks to answer it."""
        answers: dict[str, Callable[[Any], Awaitable[Any]]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        handlers: dict[str, _Handler] = {
            name: grpc.unary_unary_rpc_method_handler(self._ending(_parsing(name, answer)))
            for name, answer in answers.items()
        }
        if not self._repository:
            for name in ("RepositoryModelLoad", "RepositoryModelUnload"):
                handlers[name] = grpc.unary_unary_rpc_method_handler(self._forbidden)
        handlers["ModelInfer"] = grpc.unary_unary_rpc_method_handler(self._ending(self._infer))
        handlers[messages.STREAM_CALL] = grpc.stream_stream_rpc_method_handler(self._stream)
        return handlers

    def _ending(self, answer: Callable[[bytes, Context], Awaitable[bytes]]) -> Callable[[bytes, Context], Any]:
        """A call whose errors become its status."""

        async def call(data: bytes, context: Context) -> bytes:
            try:
                return await answer(data, context)
            except Exception as error:  # noqa: BLE001 — the status tells the client, and the log what is our fault
                status = status_of(error, self._metrics)
            await _abort(context, status)
            return b""  # never: the abort has left

        return call

    # --- inference ---

    async def _infer(self, data: bytes, context: Context) -> bytes:
        request, raw = _request(data, context)
        return grpc_codec.encode_response(await self._service.infer(request), raw=raw)

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> None:  # noqa: ARG002 — read by hand
        """Requests as they come, answers as they are ready; a request that fails does not end the stream."""
        free = asyncio.Semaphore(self._stream_calls)
        writing = asyncio.Lock()  # gRPC takes one message at a time

        async def answer(data: bytes) -> None:
            try:
                reply = await self._streamed(data, context)
                async with writing:
                    await context.write(reply)
            finally:
                free.release()

        async with asyncio.TaskGroup() as calls:
            while await free.acquire() and (data := await self._next(context)) is not None:
                calls.create_task(answer(data))
        if self._stopping.is_set():
            await _abort(context, Status(grpc.StatusCode.UNAVAILABLE, "the server is stopping"))

    async def _next(self, context: Context) -> bytes | None:
        """A stream's next request; None at its end, which is also where the server stops."""
        reading: asyncio.Future[Any] = asyncio.ensure_future(context.read())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not reading.done():
                reading.cancel()
        return reading.result() if reading.done() and reading.result() is not grpc.aio.EOF else None

    async def _streamed(self, data: bytes, context: Context) -> bytes:
        """The message that answers one request of a stream, be it an error."""
        request = None
        try:
            request, raw = _request(data, context)
            response = await self._service.infer(request)
            return grpc_codec.encode_streamed(grpc_codec.encode_response(response, raw=raw, parameters=_FINAL))
        except Exception as error:  # noqa: BLE001 — as above
            details = status_of(error, self._metrics).details
            return grpc_codec.encode_stream_error(details, request.id if request else grpc_codec.id_of(data))

    # --- what the server tells ---

    async def _server_live(self, _: Any) -> Any:
        return {"live": self._service.live()}

    async def _server_ready(self, _: Any) -> Any:
        return {"ready": self._service.ready()}

    async def _model_ready(self, asked: Any) -> Any:
        return {"ready": self._service.ready(self._info(asked).name)}

    async def _server_metadata(self, _: Any) -> Any:
        return describe.server_metadata()

    async def _model_metadata(self, asked: Any) -> Any:
        return describe.model_metadata(self._info(asked))

    async def _model_config(self, asked: Any) -> Any:
        return {"config": describe.model_config(self._info(asked))}

    async def _model_statistics(self, asked: Any) -> Any:
        name = self._info(asked).name if asked.name else None
        return describe.statistics(
            one
            for one in self._service.statistics()
            if name in (None, one.model) and asked.version in ("", one.version)
        )

    def _info(self, asked: Any) -> ModelInfo:
        """What is known of the model asked for, in the version that is named, if one is."""
        models = {info.name: info for info in self._service.models()}
        info = models.get(asked.name)
        if info is None:
            raise UnknownModelError("no such model", got=repr(asked.name[:_SHOWN_NAME]), wanted=" or ".join(models))
        if asked.version and asked.version not in info.versions:
            raise UnknownModelError(
                f"model '{info.name}' has no such version",
                got=repr(asked.version[:_SHOWN_NAME]),
                wanted=" or ".join(info.versions) or "no version",
            )
        return info

    # --- the repository ---

    async def _repository_index(self, asked: Any) -> Any:
        entries = (entry for entry in self._service.repository() if entry.ready or not asked.ready)
        return {"models": describe.repository_index(entries)}

    async def _load(self, asked: Any) -> Any:
        repository.check_parameters(grpc_codec.values_of(asked.parameters), "load")
        name = _repository_name(asked)
        await self._service.load(name)
        return {"model_name": name, "isLoaded": True}

    async def _unload(self, asked: Any) -> Any:
        repository.check_parameters(grpc_codec.values_of(asked.parameters), "unload")
        name = _repository_name(asked)
        await self._service.unload(name)
        return {"model_name": name, "isUnloaded": True}

    async def _forbidden(self, _: bytes, context: Context) -> bytes:
        self._metrics.request_rejected("grpc", "forbidden")
        await _abort(context, Status(grpc.StatusCode.PERMISSION_DENIED, repository.FORBIDDEN))
        return b""  # never: the abort has left


def _parsing(name: str, answer: Callable[[Any], Awaitable[Any]]) -> Callable[[bytes, Context], Awaitable[bytes]]:
    """A call from one message to another, for an `answer` that returns the latter as plain values."""
    asked_type, reply_type = messages.message_type(f"{name}Request"), messages.message_type(f"{name}Response")

    async def call(data: bytes, _: Context) -> bytes:
        values = await answer(grpc_codec.parse(asked_type, data))
        reply: bytes = json_format.ParseDict(values, reply_type(), descriptor_pool=messages.POOL).SerializeToString()
        return reply

    return call


def _repository_name(asked: Any) -> str:
    """The name to load or unload; KServe's clients send it in the field that holds the repository's elsewhere."""
    name: str = asked.model_name or asked.repository_name
    if not name:
        raise InvalidInputError("no model is named", where="model_name")
    return name


def _request(data: bytes, context: Context) -> tuple[InferRequest, bool]:
    """What `data`, which has just come, asks for, and whether its tensors are raw."""
    named = {
        name: value
        for name, value in context.invocation_metadata() or ()
        if name in deadlines.HEADERS and isinstance(value, str)
    }
    return grpc_codec.decode_request(
        data, deadlines=named, remaining_s=context.time_remaining(), arrived_s=time.monotonic()
    )


async def _abort(context: Context, status: Status) -> None:
    """End the call with a status; does not return."""
    await context.abort(status.code, status.details, status.trailers)
