"""The REST contract, endpoint by endpoint, driven as ASGI: no socket, no server."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import (
    DeadlineError,
    FailedError,
    InvalidInputError,
    RefusedError,
    TooLargeError,
    UnknownModelError,
)
from trimtab.runtime.http import AsgiApp, HttpLimits, Message, Receive, Send, make_app
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.security import Security
from trimtab.spec.model import Pipeline, Slo, Task, Variant
from trimtab.testing.inference import EchoService

INFER = "/v2/models/echo/infer"
TENSOR = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
BODY = json.dumps({"inputs": [TENSOR]}).encode()
Headers = dict[str, str]


def _metrics() -> Metrics:
    task = Task("echo", {"plain": Variant("plain", Path("plain.onnx"), 0.9)})
    return Metrics(Pipeline("pipe", {"echo": task}, Slo(0.1)))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def _exchange(
    app: AsgiApp,
    method: str,
    path: str,
    chunks: Sequence[bytes],
    headers: Headers,
    *,
    leaves: asyncio.Event | None = None,
) -> tuple[Answer | None, int]:
    """The answer (None: none was sent) and the number of body chunks that the app took.

    With `leaves`, the client goes away once it is set and all its chunks are taken, its body unfinished.
    """
    sent: list[Message] = []
    left = list(chunks)
    finished = asyncio.Event()

    async def receive() -> Message:
        if left:
            chunk = left.pop(0)
            more = bool(left) or (leaves is not None and leaves.is_set())
            return {"type": "http.request", "body": chunk, "more_body": more}
        await (finished if leaves is None else leaves).wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await app({"type": "http", "method": method, "path": path, "headers": raw}, receive, send)
    taken = len(chunks) - len(left)
    if not sent:
        return None, taken
    start, body = sent
    names = {name.decode(): value.decode() for name, value in start["headers"]}
    assert int(names["content-length"]) == len(body["body"])
    return Answer(start["status"], names, body["body"]), taken


def ask(
    method: str,
    path: str,
    body: bytes | Sequence[bytes] = b"",
    *,
    service: EchoService | None = None,
    metrics: Metrics | None = None,
    limits: HttpLimits | None = None,
    **headers: str,
) -> Answer:
    app = make_app(service or EchoService(), metrics or _metrics(), limits)
    chunks = [body] if isinstance(body, bytes) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer, _ = asyncio.run(_exchange(app, method, path, chunks, named))
    assert answer is not None
    return answer


# --- what can be read ---


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models", {"models": ["echo"]}),
        ("/v2/models/echo/ready", {"name": "echo", "ready": True}),
        ("/v2/models/echo/versions/plain/ready", {"name": "echo", "ready": True}),
    ],
)
def test_small_answers(path: str, slash: str, wanted: dict[str, Any]) -> None:
    answer = ask("GET", path + slash)
    assert (answer.status, answer.headers["content-type"], answer.json) == (200, "application/json", wanted)


def test_server_metadata() -> None:
    answer = ask("GET", "/v2").json
    assert answer["name"] == "trimtab"
    assert {"binary_tensor_data", "schedule_policy"} <= set(answer["extensions"])
    assert answer == ask("GET", "/v2/").json


@pytest.mark.parametrize("path", ["/v2/models/echo", "/v2/models/echo/", "/v2/models/echo/versions/plain"])
def test_model_metadata(path: str) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
    wanted = {"name": "echo", "versions": ["plain"], "platform": "echo", "inputs": [tensor], "outputs": [tensor]}
    assert ask("GET", path).json == wanted


def test_not_ready() -> None:
    service = EchoService()
    service.is_ready = False
    for path in ("/v2/health/ready", "/v2/models/echo/ready"):
        answer = ask("GET", path, service=service)
        assert (answer.status, answer.json["ready"], answer.headers["retry-after"]) == (503, False, "1")
    assert ask("GET", "/v2/health/live", service=service).status == 200


def test_metrics_page() -> None:
    answer = ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert b'trimtab_slo_latency_seconds{pipeline="pipe"} 0.1' in answer.body
    openmetrics = ask("GET", "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/v1",
        "//v2",
        "/v2/health",
        "/v2/models/other",
        "/v2/models/other/ready",
        "/v2/models/echo/versions/other",
        "/v2/models/echo/versions/other/ready",
        "/v2/models//ready",
        "/v2/models/echo/other",
        "/v2/models/echo/infer/more",
        "/" + "x" * 5000,
    ],
)
def test_what_does_not_exist_is_told_in_json(path: str) -> None:
    answer = ask("GET", path)
    assert answer.status == 404
    assert 0 < len(answer.json["error"]) < 500


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", INFER, "POST"),
        ("PUT", INFER, "POST"),
        ("POST", "/v2", "GET, HEAD"),
        ("DELETE", "/v2/models/echo", "GET, HEAD"),
        ("POST", "/metrics", "GET, HEAD"),
        ("OPTIONS", "/v2/health/live", "GET, HEAD"),
    ],
)
def test_wrong_method(method: str, path: str, allowed: str) -> None:
    answer = ask(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    assert method in answer.json["error"]


# --- inference ---


@pytest.mark.parametrize("path", [INFER, INFER + "/"])
def test_infer_json(path: str) -> None:
    body = json.dumps({"id": "seven", "inputs": [TENSOR]}).encode()
    answer = ask("POST", path, body)
    assert answer.status == 200
    assert answer.json == {
        "model_name": "echo",
        "model_version": "plain",
        "id": "seven",
        "parameters": {"variant.echo": "plain", "accuracy": 1.0},
        "outputs": [{**TENSOR, "data": [1.0, 2.0, 3.0, 4.0]}],
    }


def test_infer_binary_both_ways() -> None:
    numbers = np.array([[1, 2, 3, 4.5]], np.float32).tobytes()
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    answer = ask("POST", INFER, header + numbers, inference_header_content_length=str(len(header)))
    length = int(answer.headers["inference-header-content-length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert json.loads(answer.body[:length])["outputs"] == [tensor]
    assert answer.body[length:] == numbers


def test_version_and_deadline_reach_the_service() -> None:
    service = EchoService()
    ask("POST", "/v2/models/echo/versions/plain/infer", BODY, service=service, x_request_timeout_ms="40")
    (request,) = service.requests
    assert (request.model, request.version, request.timeout_s) == ("echo", "plain", 0.04)


def test_a_body_in_many_chunks() -> None:
    assert ask("POST", INFER, [BODY[i : i + 1] for i in range(len(BODY))]).status == 200


def test_malformed_requests_are_400_and_counted() -> None:
    metrics = _metrics()
    cases: list[tuple[bytes, Headers]] = [
        (b"", {}),
        (b"{", {}),
        (b"[" * 100_000, {}),
        (BODY.replace(b"FP32", b"FP33"), {}),
        (BODY, {"x_request_timeout_ms": "soon"}),
        (BODY, {"inference_header_content_length": "9999"}),
    ]
    for body, headers in cases:
        answer = ask("POST", INFER, body, service=None, metrics=metrics, limits=None, **headers)
        assert answer.status == 400
        assert "\n" not in answer.json["error"]
    labels = {"pipeline": "pipe", "protocol": "rest", "reason": "invalid"}
    assert metrics.registry.get_sample_value("trimtab_rejected_requests_total", labels) == 6


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, identity"])
def test_compressed_bodies_are_415(encoding: str) -> None:
    answer = ask("POST", INFER, BODY, content_encoding=encoding)
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "identity")
    assert encoding.split(",", maxsplit=1)[0] in answer.json["error"]


def test_identity_encoding_is_no_encoding() -> None:
    assert ask("POST", INFER, BODY, content_encoding="identity").status == 200


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (InvalidInputError("wrong"), 400, {}),
        (UnknownModelError("unknown"), 404, {}),
        (TooLargeError("large"), 413, {}),
        (RefusedError("busy", retry_after_s=2.1, reason="overload"), 503, {"retry-after": "3"}),
        (RefusedError("busy", retry_after_s=0.0, reason="overload"), 503, {"retry-after": "1"}),
        (DeadlineError("late"), 504, {}),
        (FailedError("broken"), 500, {}),
    ],
)
def test_status_of_each_error(error: Exception, status: int, headers: Headers) -> None:
    answer = ask("POST", INFER, BODY, service=EchoService(error=error))
    assert (answer.status, answer.json) == (status, {"error": str(error)})
    assert headers.items() <= answer.headers.items()


def test_an_unexpected_error_is_logged_and_hidden(caplog: pytest.LogCaptureFixture) -> None:
    answer = ask("POST", INFER, BODY, service=EchoService(error=ZeroDivisionError("secret")))
    assert (answer.status, answer.json) == (500, {"error": "internal error"})
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_an_answer_that_json_cannot_carry() -> None:
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}
    header = json.dumps({"inputs": [tensor]}).encode()
    body = header + np.array([np.nan], np.float32).tobytes()
    answer = ask("POST", INFER, body, inference_header_content_length=str(len(header)))
    assert answer.status == 500
    assert "binary_data_output" in answer.json["error"]


# --- what a client may take ---


def test_a_length_too_large_is_refused_before_the_body() -> None:
    app = make_app(EchoService(), _metrics(), HttpLimits(body_bytes=100, drain_bytes=1000))
    for claimed, closes in [("101", False), ("1001", True), ("9" * 5000, True)]:
        answer, taken = asyncio.run(_exchange(app, "POST", INFER, [b"x"] * 3, {"content-length": claimed}))
        assert answer is not None
        assert (answer.status, taken) == (413, 0)
        assert (answer.headers.get("connection") == "close") == closes


@pytest.mark.parametrize("chunks", [[b"x" * 101], [b"x" * 60] * 2, [b"x" * 60] * 9])
def test_a_body_that_grows_too_large_is_refused_while_it_comes(chunks: list[bytes]) -> None:
    app = make_app(EchoService(), _metrics(), HttpLimits(body_bytes=100))
    answer, taken = asyncio.run(_exchange(app, "POST", INFER, chunks, {}))
    assert answer is not None
    assert answer.status == 413
    assert taken <= 2


def test_a_body_of_just_the_limit_is_served() -> None:
    limits = HttpLimits(body_bytes=len(BODY))
    assert ask("POST", INFER, [BODY[:9], BODY[9:]], limits=limits, content_length=str(len(BODY))).status == 200
    assert ask("POST", INFER, BODY + b" ", limits=limits).status == 413


def test_a_body_that_never_comes_is_given_up() -> None:
    async def run() -> Answer | None:
        app = make_app(EchoService(), _metrics(), HttpLimits(body_s=0.01))
        answer, _ = await _exchange(app, "POST", INFER, [], {"content-length": "100"}, leaves=asyncio.Event())
        return answer

    answer = asyncio.run(run())
    assert answer is not None
    assert (answer.status, answer.headers["connection"]) == (408, "close")


# --- clients that leave ---


def test_a_client_that_leaves_amid_its_body_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        service, metrics, leaves = EchoService(), _metrics(), asyncio.Event()
        leaves.set()
        answer, _ = await _exchange(make_app(service, metrics), "POST", INFER, [BODY[:20]], {}, leaves=leaves)
        assert answer is None
        assert service.requests == []
        labels = {"pipeline": "pipe", "protocol": "rest", "reason": "disconnected"}
        assert metrics.registry.get_sample_value("trimtab_rejected_requests_total", labels) == 1

    asyncio.run(run())
    assert caplog.records == []


def test_a_client_that_leaves_while_it_waits_cancels_its_call_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        service, leaves = EchoService(held=True), asyncio.Event()
        app = make_app(service, _metrics())
        impatient = asyncio.create_task(_exchange(app, "POST", INFER, [BODY], {}, leaves=leaves))
        patient = asyncio.create_task(_exchange(app, "POST", INFER, [BODY], {}))
        await service.called.wait()
        leaves.set()
        assert (await impatient)[0] is None
        service.release()
        answer, _ = await patient
        assert answer is not None
        assert (answer.status, service.cancelled) == (200, 1)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())
    assert caplog.records == []


def test_a_call_that_the_server_cancels_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> Answer | None:
        service = EchoService(held=True)
        call = asyncio.create_task(_exchange(make_app(service, _metrics()), "POST", INFER, [BODY], {}))
        await service.called.wait()
        call.cancel()
        return (await call)[0]

    answer = asyncio.run(run())
    assert answer is not None
    assert (answer.status, answer.headers["connection"]) == (503, "close")
    assert caplog.records == []


def test_other_protocols_than_http_are_not_served() -> None:
    app = make_app(EchoService(), _metrics())

    async def nothing() -> Message:
        raise AssertionError

    async def nowhere(message: Message) -> None:
        raise AssertionError(message)

    with pytest.raises(NotImplementedError):
        asyncio.run(app({"type": "websocket"}, nothing, nowhere))  # type: ignore[arg-type]  # any awaitable will do


def test_nothing_is_logged_for_bad_requests(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="trimtab")
    ask("POST", INFER, b"{")
    ask("GET", "/nowhere")
    assert [record for record in caplog.records if record.name.startswith("trimtab")] == []


# --- statistics, configuration and the repository ---


def test_configuration_and_statistics() -> None:
    service = EchoService()
    ask("POST", INFER, BODY, service=service)
    assert ask("GET", "/v2/models/echo/config").json["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}]
    paths = ("/v2/models/stats", "/v2/models/echo/stats", "/v2/models/echo/versions/plain/stats")
    for answer in (ask("GET", path, service=service) for path in paths):
        (stats,) = answer.json["model_stats"]
        assert (stats["name"], stats["version"], stats["inference_count"]) == ("echo", "plain", 1)
    assert ask("GET", "/v2/models/other/stats").status == 404
    assert {"statistics", "model_configuration", "model_repository"} <= set(ask("GET", "/v2").json["extensions"])


def test_the_index_of_the_repository() -> None:
    service = EchoService()
    assert len(ask("POST", "/v2/repository/index", service=service).json) == 2
    service.is_ready = False
    assert [entry["state"] for entry in ask("POST", "/v2/repository/index", service=service).json] == [
        "UNAVAILABLE"
    ] * 2
    assert ask("POST", "/v2/repository/index", b'{"ready": true}', service=service).json == []
    assert ask("POST", "/v2/repository/index", b'{"ready": 1}').status == 400
    assert ask("GET", "/v2/repository/index").status == 405


def test_load_and_unload() -> None:
    service = EchoService()
    assert ask("POST", "/v2/repository/models/echo/load", service=service).json == {"name": "echo", "load": True}
    body = b'{"parameters": {"unload_dependents": true}}'
    assert ask("POST", "/v2/repository/models/echo/unload", body, service=service).status == 200
    assert service.loads == [("load", "echo"), ("unload", "echo")]
    assert ask("POST", "/v2/repository/models/other/load").status == 404


@pytest.mark.parametrize(
    "parameters", [{"config": "{}"}, {"file:1/model.onnx": "AA=="}, {"other": 1}, {"unload_dependents": True}]
)
def test_nothing_is_loaded_from_the_network(parameters: dict[str, Any]) -> None:
    service = EchoService()
    answer = ask(
        "POST", "/v2/repository/models/echo/load", json.dumps({"parameters": parameters}).encode(), service=service
    )
    assert (answer.status, service.loads) == (400, [])
    assert next(iter(parameters)) in answer.json["error"]


def _ask_app(app: AsgiApp, method: str, path: str, body: bytes = b"", headers: Headers | None = None) -> Answer:
    answer, _ = asyncio.run(_exchange(app, method, path, [body], headers or {}))
    assert answer is not None
    return answer


def test_loading_can_be_forbidden() -> None:
    service = EchoService()
    app = make_app(service, _metrics(), repository=False)
    for action in ("load", "unload"):
        assert _ask_app(app, "POST", f"/v2/repository/models/echo/{action}").status == 403
    assert service.loads == []
    assert _ask_app(app, "POST", "/v2/repository/index").status == 200


def test_every_path_but_health_needs_the_token() -> None:
    app = make_app(EchoService(), _metrics(), security=Security(token="0123456789abcdef"))
    for path in ("/v2", "/metrics", "/openapi.json", "/docs", "/nowhere", "/v2/models/echo"):
        answer = _ask_app(app, "GET", path)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="trimtab"')
        assert answer.json["error"]
    assert _ask_app(app, "POST", INFER, BODY, {"authorization": "Bearer wrong"}).status == 401
    assert _ask_app(app, "POST", INFER, BODY, {"authorization": "Bearer 0123456789abcdef"}).status == 200
    for path in ("/v2/health/live", "/v2/health/ready/"):
        assert _ask_app(app, "GET", path).status == 200


# --- priorities, and bodies together ---


def test_a_request_says_when_it_was_all_here() -> None:
    service, before_s = EchoService(), time.monotonic()
    ask("POST", INFER, BODY, service=service)
    arrived_s = service.requests[0].arrived_s
    assert arrived_s is not None
    assert before_s <= arrived_s <= time.monotonic()


@pytest.mark.parametrize(("sent", "served"), [(0, 5), (1, 1), (9, 9), (None, 5)])
def test_priority_reaches_the_service(sent: int | None, served: int) -> None:
    service = EchoService()
    body = json.dumps({"inputs": [TENSOR], "parameters": {"priority": sent}}).encode()
    assert ask("POST", INFER, body, service=service).status == 200
    assert service.requests[0].priority == served


@pytest.mark.parametrize("sent", [-1, 10, 1.5, True, "1", 2**70])
def test_a_priority_that_is_none(sent: object) -> None:
    body = json.dumps({"inputs": [TENSOR], "parameters": {"priority": sent}}).encode()
    assert ask("POST", INFER, body).status == 400


def test_all_bodies_together_have_a_limit() -> None:
    async def run() -> None:
        service, metrics = EchoService(held=True), _metrics()
        app = make_app(service, metrics, HttpLimits(bodies_bytes=2 * len(BODY) - 1))
        first = asyncio.create_task(_exchange(app, "POST", INFER, [BODY], {}))
        await service.called.wait()
        answer, _ = await _exchange(app, "POST", INFER, [BODY], {})
        assert answer is not None
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        labels = {"pipeline": "pipe", "protocol": "rest", "reason": "busy"}
        assert metrics.registry.get_sample_value("trimtab_rejected_requests_total", labels) == 1
        service.release()
        assert (await first)[0] is not None
        for _ in range(3):  # what was held is given back, whatever the answer was
            answer, _ = await _exchange(app, "POST", INFER, [BODY], {})
            assert answer is not None
            assert answer.status == 200

    asyncio.run(run())


# --- whatever is sent ---

_BINARY_TENSOR = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
_BINARY_HEADER = json.dumps({"inputs": [_BINARY_TENSOR]}).encode()


@given(st.data())
def test_no_bytes_make_it_fail(data: st.DataObject) -> None:
    binary = data.draw(st.booleans())
    body = bytearray(_BINARY_HEADER + bytes(16) if binary else BODY)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    headers = {"inference-header-content-length": str(len(_BINARY_HEADER))} if binary else {}
    answer = _ask_app(make_app(EchoService(), _METRICS), "POST", INFER, bytes(body), headers)
    assert answer.status in (200, 400)
    json.loads(answer.body)


@given(
    st.sampled_from(["GET", "POST", "HEAD", "PUT"]),
    st.text(max_size=40),
    st.text(st.characters(max_codepoint=255), max_size=30),
)
def test_no_path_and_no_header_makes_it_fail(method: str, path: str, value: str) -> None:
    names = (
        "inference-header-content-length",
        "content-length",
        "content-encoding",
        "authorization",
        "accept",
        "grpc-timeout",
    )
    headers = [(name.encode(), value.encode("latin-1")) for name in names]
    for where in ("/" + path, "/v2/models/" + path, INFER):
        sent: list[Message] = []

        async def send(message: Message, into: list[Message] = sent) -> None:
            into.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": BODY, "more_body": False}

        for token in ("0123456789abcdef", None):
            sent.clear()
            app = make_app(EchoService(), _METRICS, security=Security(token=token))
            scope: Message = {"type": "http", "method": method, "path": where, "headers": headers}
            asyncio.run(_call(app, scope, receive, send))
            assert sent[0]["status"] < 500


async def _call(app: AsgiApp, scope: Message, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


_METRICS = _metrics()
