"""REST: the Open Inference Protocol V2 as an ASGI application, with `/metrics` beside it.

One object, no framework: a request for an inference passes one split of its path and one decoder on its way to the
`InferenceService`. Every answer that is an error is `{"error": "…"}`, also for paths that do not exist. This is the
one place that turns the errors of `trimtab.errors` into status codes. `docs/reference/rest.md` is its contract.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import trimtab
from trimtab.errors import (
    DeadlineError,
    InvalidInputError,
    RefusedError,
    RequestError,
    TooLargeError,
    UnknownModelError,
)
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.oip import codec, deadlines
from trimtab.runtime.service import InferenceService, InferRequest, InferResponse, ModelInfo

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[RequestError], int], ...] = (
    (InvalidInputError, 400),
    (UnknownModelError, 404),
    (TooLargeError, 413),
    (RefusedError, 503),
    (DeadlineError, 504),
)
_READ_HEADERS = {
    name.encode(): name
    for name in (
        "accept",
        "content-encoding",
        "content-length",
        "inference-header-content-length",
        *deadlines.HEADERS,
    )
}
_JSON = (b"content-type", b"application/json")
_BINARY = (b"content-type", b"application/octet-stream")
_CLOSE = (b"connection", b"close")
_SHOWN_PATH = 200


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one request may take from the server."""

    body_bytes: int = 32 * 1024 * 1024
    """Largest body."""
    body_s: float = 30.0
    """Longest time that a body may take to arrive."""
    drain_bytes: int = 256 * 1024 * 1024
    """A body too large is read and thrown away up to this length, so that its sender sees the answer; beyond it the
    connection is closed."""


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = (_JSON,)


class _GoneError(Exception):
    """The client is gone: there is nobody to answer."""


def make_app(service: InferenceService, metrics: Metrics, limits: HttpLimits | None = None) -> AsgiApp:
    """The ASGI application that serves `service`."""
    return _RestApp(service, metrics, limits or HttpLimits())


class _RestApp:
    def __init__(self, service: InferenceService, metrics: Metrics, limits: HttpLimits) -> None:
        self._service = service
        self._metrics = metrics
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"only HTTP is served here, not {scope['type']}")
        incoming = _Incoming(receive)
        try:
            reply = await self._answer(scope, incoming)
        except _GoneError:
            self._metrics.request_rejected("rest", "disconnected")
            return
        except RequestError as error:
            reply = self._error(error)
        except asyncio.CancelledError:  # the server stops and the grace is over: this task ends here in any case
            reply = _error_reply(503, "the server is stopping", (b"retry-after", b"1"), _CLOSE)
        except Exception:  # whatever it is, the client gets an answer and the server lives on
            log.exception("%s %s failed", scope["method"], scope["path"][:_SHOWN_PATH])
            reply = _error_reply(500, "internal error")
        length = (b"content-length", b"%d" % len(reply.body))
        await send({"type": "http.response.start", "status": reply.status, "headers": [*reply.headers, length]})
        if incoming.complete or _CLOSE in reply.headers or not _closes(scope):
            await send({"type": "http.response.body", "body": reply.body})
            return
        # This answer would close the connection, and a client that still sends would see a reset instead of it.
        await send({"type": "http.response.body", "body": reply.body, "more_body": True})
        await self._discard(incoming)
        await send({"type": "http.response.body", "body": b""})

    async def _discard(self, incoming: _Incoming) -> None:
        """Read and throw away a body that nobody wants, within the limits."""
        left = self._limits.drain_bytes
        try:
            async with asyncio.timeout(self._limits.body_s):
                while not incoming.complete and left > 0:
                    left -= len((await incoming()).get("body", b""))
        except TimeoutError:
            return

    # --- which answer ---

    async def _answer(self, scope: Scope, receive: Receive) -> _Reply:
        path: str = scope["path"]
        method: str = scope["method"]
        parts = path.split("/")[1:]
        if len(parts) > 1 and not parts[-1]:
            parts.pop()  # a trailing slash
        match parts:
            case ["v2", "models", model, "infer"]:
                version = None
            case ["v2", "models", model, "versions", version, "infer"]:
                pass
            case _:
                reply = self._read(parts, _headers(scope).get("accept", ""))
                if reply is None:
                    return _error_reply(404, f"no such path: {path[:_SHOWN_PATH]}; the protocol's paths start with /v2")
                return reply if method in ("GET", "HEAD") else _wrong_method(method, "GET, HEAD")
        if method != "POST":
            return _wrong_method(method, "POST")
        return await self._infer(model, version, scope, receive)

    def _read(self, parts: list[str], accept: str) -> _Reply | None:
        """Everything but inference: answered at once, without the request's body. None: there is no such path."""
        match parts:
            case ["v2"]:
                return _reply({"name": "trimtab", "version": trimtab.__version__, "extensions": codec.EXTENSIONS})
            case ["v2", "health", "live"]:
                live = self._service.live()
                return _reply({"live": live}, ready=live)
            case ["v2", "health", "ready"]:
                ready = self._service.ready()
                return _reply({"ready": ready}, ready=ready)
            case ["v2", "models"]:
                return _reply({"models": [info.name for info in self._service.models()]})
            case ["v2", "models", model] | ["v2", "models", model, "versions", _]:
                return _reply(codec.metadata(self._info(model, parts)))
            case ["v2", "models", model, "ready"] | ["v2", "models", model, "versions", _, "ready"]:
                ready = self._service.ready(self._info(model, parts).name)
                return _reply({"name": model, "ready": ready}, ready=ready)
            case ["metrics"]:
                body, content_type = self._metrics.exposition(accept)
                return _Reply(200, body, ((b"content-type", content_type.encode()),))
        return None

    def _info(self, model: str, parts: list[str]) -> ModelInfo:
        """What is known of `model`, in the version that the path names, if it names one."""
        models = {info.name: info for info in self._service.models()}
        if model not in models:
            raise UnknownModelError("no such model", got=repr(model[:_SHOWN_PATH]), wanted=" or ".join(models))
        info = models[model]
        if len(parts) > 4 and parts[3] == "versions" and parts[4] not in info.versions:
            raise UnknownModelError(
                f"model '{model}' has no such version",
                got=repr(parts[4][:_SHOWN_PATH]),
                wanted=" or ".join(info.versions) or "no version in the path",
            )
        return info

    # --- inference ---

    async def _infer(self, model: str, version: str | None, scope: Scope, receive: Receive) -> _Reply:
        headers = _headers(scope)
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            self._metrics.request_rejected("rest", "encoding")
            text = f"unsupported content encoding {encoding[:40]!r}: send the body as it is, without compression"
            return _error_reply(415, text, (b"accept-encoding", b"identity"))
        claimed = headers.get("content-length", "")
        claimed_bytes = int(claimed[:20]) if claimed.isdecimal() else 0  # 20 digits are too large in any case
        if claimed_bytes > self._limits.body_bytes:
            reply = self._error(self._too_large(f"{claimed_bytes} bytes"))
            close = () if claimed_bytes <= self._limits.drain_bytes else (_CLOSE,)
            return _Reply(reply.status, reply.body, (*reply.headers, *close))
        try:
            async with asyncio.timeout(self._limits.body_s):
                body = await self._body(receive)
        except TimeoutError:
            self._metrics.request_rejected("rest", "stalled")
            return _error_reply(408, f"the body did not arrive within {self._limits.body_s:g} s", _CLOSE)
        request, form = codec.decode_request(
            body,
            model=model,
            version=version,
            header_length=headers.get("inference-header-content-length"),
            deadlines={name: headers[name] for name in deadlines.HEADERS if name in headers},
        )
        encoded = codec.encode_response(await self._answered(request, receive), form)
        if encoded.header_bytes is None:
            return _Reply(200, encoded.body)
        return _Reply(200, encoded.body, (_BINARY, (b"inference-header-content-length", b"%d" % encoded.header_bytes)))

    async def _body(self, receive: Receive) -> bytes | bytearray:
        """The whole body; never holds more than the limit, whatever length was claimed."""
        message = await _received(receive)
        chunk: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            if len(chunk) > self._limits.body_bytes:
                raise self._too_large(f"{len(chunk)} bytes")
            return chunk
        body = bytearray(chunk)
        while message.get("more_body", False):
            if len(body) > self._limits.body_bytes:
                raise self._too_large(f"more than {self._limits.body_bytes} bytes")
            message = await _received(receive)
            body += message.get("body", b"")
        if len(body) > self._limits.body_bytes:
            raise self._too_large(f"{len(body)} bytes")
        return body

    async def _answered(self, request: InferRequest, receive: Receive) -> InferResponse:
        """The service's answer. The call is cancelled when the client goes away in the meantime."""
        caller = asyncio.current_task()
        gone = False

        async def watch() -> None:
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            gone = True
            if caller is not None:
                caller.cancel()

        watcher = asyncio.create_task(watch())
        try:
            return await self._service.infer(request)
        except asyncio.CancelledError:
            if gone and caller is not None and not caller.uncancel():
                raise _GoneError from None
            raise
        finally:
            watcher.cancel()

    # --- errors ---

    def _error(self, error: RequestError) -> _Reply:
        """The answer for an error of a request; those that the service never counted as offered are counted here."""
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        if status in (400, 404, 413):
            self._metrics.request_rejected("rest", error.reason)
        headers: tuple[tuple[bytes, bytes], ...] = (_JSON,)
        if isinstance(error, RefusedError):
            headers = (_JSON, (b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
        return _Reply(status, codec.encode_error(error), headers)

    def _too_large(self, got: str) -> TooLargeError:
        return TooLargeError(
            "the body is too large",
            got=got,
            wanted=f"at most {self._limits.body_bytes} bytes",
            next_step="send fewer rows per request, or binary tensors",
        )


class _Incoming:
    """A request's messages as they come, and whether its body has come whole (or its sender is gone)."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.complete = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self.complete = message["type"] != "http.request" or not message.get("more_body", False)
        return message


def _closes(scope: Scope) -> bool:
    """Whether the client wants the connection closed after the answer."""
    return scope.get("http_version") == "1.0" or (b"connection", b"close") in scope["headers"]


async def _received(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise _GoneError
    return message


def _headers(scope: Scope) -> dict[str, str]:
    """The headers that matter here, by lower-case name; the last one counts."""
    return {_READ_HEADERS[name]: value.decode("latin-1") for name, value in scope["headers"] if name in _READ_HEADERS}


def _reply(value: object, *, ready: bool = True) -> _Reply:
    body = codec.encode_json(value)
    return _Reply(200, body) if ready else _Reply(503, body, (_JSON, (b"retry-after", b"1")))


def _error_reply(status: int, text: str, *headers: tuple[bytes, bytes]) -> _Reply:
    return _Reply(status, codec.encode_error(text), (_JSON, *headers))


def _wrong_method(method: str, allowed: str) -> _Reply:
    text = f"method {method[:20]} is not allowed here; allowed: {allowed}"
    return _error_reply(405, text, (b"allow", allowed.encode()))
