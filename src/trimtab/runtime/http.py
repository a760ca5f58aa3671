"""REST: the Open Inference Protocol V2 as an ASGI application, with metrics and its own description beside it.

One object, no framework: a request for an inference passes one split of its path and one decoder on its way to the
`InferenceService`. Every answer that is an error is `{"error": "…"}`, also for paths that do not exist. This is the
one place that turns the errors of `trimtab.errors` into status codes. `docs/reference/rest.md` is its contract.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Protocol

from trimtab.errors import (
    DeadlineError,
    InvalidInputError,
    RefusedError,
    RequestError,
    TooLargeError,
    UnknownModelError,
)
from trimtab.runtime import docs_page, openapi
from trimtab.runtime.asgi import (
    BODY_IS_HERE,
    CLOSE,
    JSON,
    ON_DISCONNECT,
    AsgiApp,
    Header,
    HttpLimits,
    Message,
    Receive,
    Reply,
    Scope,
    Send,
    error_reply,
    json_reply,
)
from trimtab.runtime.bodies import Bodies, GoneError, too_large
from trimtab.runtime.oip import codec, deadlines, describe, repository
from trimtab.runtime.security import Security
from trimtab.runtime.service import InferenceService, InferRequest, InferResponse, ModelInfo

__all__ = ["AsgiApp", "HttpLimits", "Message", "Receive", "RestMetrics", "Scope", "Send", "make_app"]

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
        "authorization",
        "content-encoding",
        "content-length",
        "inference-header-content-length",
        *deadlines.HEADERS,
    )
}
_BINARY = (b"content-type", b"application/octet-stream")
_RETRY_SOON = (b"retry-after", b"1")
_SHOWN_PATH = 200
_OPEN_PATHS = ("/v2/health/live", "/v2/health/ready")
"""Need no token: what asks for them is a load balancer or a kubelet."""
_NONE: dict[str, Any] = {}


class RestMetrics(Protocol):
    """What this layer tells of itself, and the metrics that it shows."""

    def request_rejected(self, protocol: str, reason: str) -> None:
        """A request was turned away before it was offered."""
        ...

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics in the format that `accept` asks for, and its content type."""
        ...


def make_app(
    service: InferenceService,
    metrics: RestMetrics,
    limits: HttpLimits | None = None,
    *,
    security: Security | None = None,
    repository: bool = True,
) -> AsgiApp:
    """The ASGI application that serves `service`.

    Args:
        service: what answers.
        metrics: what is counted and shown.
        limits: what clients may take.
        security: of it, the token is looked at here.
        repository: whether clients may load and unload; where not, they get 403.
    """
    return _RestApp(service, metrics, limits or HttpLimits(), security or Security(), repository=repository)


class _RestApp:
    def __init__(
        self,
        service: InferenceService,
        metrics: RestMetrics,
        limits: HttpLimits,
        security: Security,
        *,
        repository: bool,
    ) -> None:
        self._service = service
        self._metrics = metrics
        self._limits = limits
        self._security = security
        self._repository = repository
        self._bodies = Bodies(limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"only HTTP is served here, not {scope['type']}")
        try:
            reply = await self._answer(scope, receive)
        except GoneError:
            self._metrics.request_rejected("rest", "disconnected")
            return
        except RequestError as error:
            reply = self._error(error)
        except asyncio.CancelledError:  # the server stops and the grace is over: this task ends here in any case
            reply = error_reply(503, "the server is stopping", _RETRY_SOON, CLOSE)
        except Exception:  # whatever it is, the client gets an answer and the server lives on
            log.exception("%s %s failed", scope["method"], scope["path"][:_SHOWN_PATH])
            reply = error_reply(500, "internal error")
        headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    # --- which answer ---

    async def _answer(self, scope: Scope, receive: Receive) -> Reply:
        path: str = scope["path"]
        method: str = scope["method"]
        headers = _headers(scope)
        parts = path.split("/")[1:]
        if len(parts) > 1 and not parts[-1]:
            parts.pop()  # a trailing slash
        if self._security.token is not None:
            refused = self._unauthorised(path.rstrip("/"), headers)
            if refused is not None:
                return refused
        match parts:
            case ["v2", "models", model, "infer"]:
                handler = self._infer(model, None, headers, scope, receive)
            case ["v2", "models", model, "versions", version, "infer"]:
                handler = self._infer(model, version, headers, scope, receive)
            case ["v2", "repository", "index"]:
                handler = self._index(headers, scope, receive)
            case ["v2", "repository", "models", model, "load" | "unload" as action]:
                handler = self._load(model, action, headers, scope, receive)
            case _:
                reply = self._read(parts, headers.get("accept", ""))
                if reply is None:
                    return error_reply(404, f"no such path: {path[:_SHOWN_PATH]}; see /docs and /openapi.json")
                return reply if method in ("GET", "HEAD") else _wrong_method(method, "GET, HEAD")
        if method != "POST":
            handler.close()
            return _wrong_method(method, "POST")
        return await handler

    def _read(self, parts: list[str], accept: str) -> Reply | None:
        """What is answered at once, without the request's body. None: there is no such path."""
        match parts:
            case ["v2"]:
                return json_reply(describe.server_metadata())
            case ["v2", "health", "live"]:
                live = self._service.live()
                return _state({"live": live}, good=live)
            case ["v2", "health", "ready"]:
                ready = self._service.ready()
                return _state({"ready": ready}, good=ready)
            case ["v2", "models"]:
                return json_reply({"models": [info.name for info in self._service.models()]})
            case ["v2", "models", "stats"]:
                return json_reply(describe.statistics(self._service.statistics()))
            case ["v2", "models", model] | ["v2", "models", model, "versions", _]:
                return json_reply(describe.model_metadata(self._info(model, parts)))
            case ["v2", "models", model, what] | ["v2", "models", model, "versions", _, what]:
                return self._read_model(model, parts, what)
            case ["metrics"]:
                body, content_type = self._metrics.exposition(accept)
                return Reply(200, body, ((b"content-type", content_type.encode()),))
            case ["openapi.json"]:
                return json_reply(openapi.document(self._service.models(), token=self._security.token is not None))
            case ["docs"]:
                return docs_page.page()
            case ["docs", name]:
                return docs_page.asset(name)
        return None

    def _read_model(self, model: str, parts: list[str], what: str) -> Reply | None:
        match what:
            case "ready":
                ready = self._service.ready(self._info(model, parts).name)
                return _state({"name": model, "ready": ready}, good=ready)
            case "config":
                return json_reply(describe.model_config(self._info(model, parts)))
            case "stats":
                name = self._info(model, parts).name
                version = parts[4] if len(parts) > 5 else None
                mine = [s for s in self._service.statistics() if s.model == name and version in (None, s.version)]
                return json_reply(describe.statistics(mine))
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

    def _unauthorised(self, path: str, headers: dict[str, str]) -> Reply | None:
        if path in _OPEN_PATHS or self._security.admits(headers.get("authorization")):
            return None
        self._metrics.request_rejected("rest", "token")
        text = "a token is needed: send it in the header 'Authorization: Bearer …'"
        if "authorization" not in headers:
            return error_reply(401, text, (b"www-authenticate", b'Bearer realm="trimtab"'))
        return error_reply(
            401, f"wrong token; {text}", (b"www-authenticate", b'Bearer realm="trimtab", error="invalid_token"')
        )

    # --- inference ---

    async def _infer(
        self, model: str, version: str | None, headers: dict[str, str], scope: Scope, receive: Receive
    ) -> Reply:
        body = await self._body(headers, scope, receive)
        if isinstance(body, Reply):
            return body
        arrived_s = time.monotonic()
        try:
            request, form = codec.decode_request(
                body,
                model=model,
                version=version,
                header_length=headers.get("inference-header-content-length"),
                deadlines={name: headers[name] for name in deadlines.HEADERS if name in headers},
                arrived_s=arrived_s,
            )
            encoded = codec.encode_response(await self._answered(request, scope, receive), form)
        finally:
            self._bodies.release(body)
        if encoded.header_bytes is None:
            return Reply(200, encoded.body)
        return Reply(200, encoded.body, (_BINARY, (b"inference-header-content-length", b"%d" % encoded.header_bytes)))

    async def _body(self, headers: dict[str, str], scope: Scope, receive: Receive) -> bytes | memoryview | Reply:
        """A request's body, to be released; or why it is not taken."""
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            self._metrics.request_rejected("rest", "encoding")
            text = f"unsupported content encoding {encoding[:40]!r}: send the body as it is, without compression"
            return error_reply(415, text, (b"accept-encoding", b"identity"))
        claimed = headers.get("content-length", "")
        claimed_bytes = int(claimed[:20]) if claimed.isdecimal() else 0  # 20 digits are too large in any case
        if claimed_bytes > self._limits.body_bytes:
            reply = self._error(too_large(f"{claimed_bytes} bytes", self._limits.body_bytes))
            close = () if claimed_bytes <= self._limits.drain_bytes else (CLOSE,)
            return Reply(reply.status, reply.body, (*reply.headers, *close))
        length = headers.get("inference-header-content-length", "")
        json_bytes = int(length[:20]) if length.isdecimal() else 0  # whether it is right is for the decoder to say
        here = scope.get("extensions", _NONE).get(BODY_IS_HERE)
        if here is not None and here():
            return await self._bodies.read(receive, json_bytes)
        try:
            async with asyncio.timeout(self._limits.body_s):
                return await self._bodies.read(receive, json_bytes)
        except TimeoutError:
            self._metrics.request_rejected("rest", "stalled")
            return error_reply(408, f"the body did not arrive within {self._limits.body_s:g} s", CLOSE)

    async def _answered(self, request: InferRequest, scope: Scope, receive: Receive) -> InferResponse:
        """The service's answer. The call is cancelled when the client goes away in the meantime."""
        caller = asyncio.current_task()
        gone = False

        def leave() -> None:
            nonlocal gone
            gone = True
            if caller is not None:
                caller.cancel()

        forget = _on_disconnect(scope, receive, leave)
        try:
            return await self._service.infer(request)
        except asyncio.CancelledError:
            if gone and caller is not None and not caller.uncancel():
                raise GoneError from None
            raise
        finally:
            forget()

    # --- the repository ---

    async def _index(self, headers: dict[str, str], scope: Scope, receive: Receive) -> Reply:
        body = await self._body(headers, scope, receive)
        if isinstance(body, Reply):
            return body
        try:
            ready_only = repository.wants_ready_only(body)
        finally:
            self._bodies.release(body)
        entries = [entry for entry in self._service.repository() if entry.ready or not ready_only]
        return json_reply(describe.repository_index(entries))

    async def _load(self, model: str, action: str, headers: dict[str, str], scope: Scope, receive: Receive) -> Reply:
        if not self._repository:
            self._metrics.request_rejected("rest", "forbidden")
            return error_reply(403, repository.FORBIDDEN)
        body = await self._body(headers, scope, receive)
        if isinstance(body, Reply):
            return body
        try:
            repository.check_parameters(repository.parameters_of(body), action)
        finally:
            self._bodies.release(body)
        await (self._service.load(model) if action == "load" else self._service.unload(model))
        return json_reply({"name": model, action: True})

    # --- errors ---

    def _error(self, error: RequestError) -> Reply:
        """The answer for an error of a request; those that the service never counted as offered are counted here."""
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        if status in (400, 404, 413) or error.reason == "busy":
            self._metrics.request_rejected("rest", error.reason)
        headers: tuple[Header, ...] = (JSON,)
        if isinstance(error, RefusedError):
            headers = (JSON, (b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
        return Reply(status, codec.encode_error(error), headers)


def _on_disconnect(scope: Scope, receive: Receive, leave: Callable[[], None]) -> Callable[[], None]:
    """Have `leave` called when the client goes away; returns what ends that."""
    watch = scope.get("extensions", _NONE).get(ON_DISCONNECT)
    if watch is not None:
        watch(leave)
        return lambda: watch(None)

    async def wait() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        leave()

    task = asyncio.create_task(wait())
    return lambda: bool(task.cancel())  # type: ignore[return-value]


def _headers(scope: Scope) -> dict[str, str]:
    """The headers that matter here, by lower-case name; the last one counts."""
    return {_READ_HEADERS[name]: value.decode("latin-1") for name, value in scope["headers"] if name in _READ_HEADERS}


def _state(value: object, *, good: bool) -> Reply:
    return json_reply(value) if good else json_reply(value, _RETRY_SOON, status=503)


def _wrong_method(method: str, allowed: str) -> Reply:
    text = f"method {method[:20]} is not allowed here; allowed: {allowed}"
    return error_reply(405, text, (b"allow", allowed.encode()))
