"""KServe's REST and gRPC clients: `--client rest` or `grpc`. Runs in the environment `kserve`."""

from __future__ import annotations

import asyncio
import http.client
import re
from typing import Any

import grpc
import httpx
import numpy as np
from conformance.verdicts import Checks, arguments, same
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)
TYPED: dict[str, tuple[list[int], list[Any]]] = {
    "BOOL": ([1, 2], [True, False]),
    "UINT8": ([1, 2], [0, 255]),
    "UINT16": ([1, 2], [0, 65535]),
    "UINT32": ([1, 2], [0, 2**32 - 1]),
    "UINT64": ([1, 2], [0, 2**64 - 1]),
    "INT8": ([1, 2], [-128, 127]),
    "INT16": ([1, 2], [-(2**15), 2**15 - 1]),
    "INT32": ([1, 2], [-(2**31), 2**31 - 1]),
    "INT64": ([1, 2], [-(2**63), 2**63 - 1]),
    "FP32": ([1, 2], [0.5, -2.0]),
    "FP64": ([1, 2], [0.1, 1.7e308]),
}
"""What these clients carry as values; FP16 and BYTES are sent as binary data beside them."""


class Both:
    """The two clients under one face."""

    def __init__(self, kind: str, rest: str, address: str) -> None:
        self.grpc = kind == "grpc"
        self._url = f"http://{rest}"
        self._client: Any
        if self.grpc:
            self._client = InferenceGRPCClient(address, timeout=20)
        else:
            self._client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=20))

    async def ask(self, method: str, *args: Any, **more: Any) -> Any:
        """Call a method of the client."""
        if not self.grpc:
            args = (self._url, *args)
        return await getattr(self._client, method)(*args, **more)

    async def infer(self, request: InferRequest) -> Any:
        """Infer with the model that the request names."""
        if self.grpc:
            return await self._client.infer(request)
        return await self._client.infer(self._url, request, model_name=request.model_name)

    async def status_of(self, request: InferRequest) -> tuple[str, str]:
        """The status with which a request is refused (HTTP's number or gRPC's name), and what was said."""
        try:
            await self.infer(request)
        except httpx.HTTPStatusError as error:
            return str(error.response.status_code), str(error)
        except grpc.RpcError as error:
            return error.code().name, str(error.details())
        raise AssertionError("the request was answered")

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()


def tensor(name: str, array: Any, datatype: str, *, binary: bool) -> InferInput:
    """An input from an array."""
    one = InferInput(name, list(array.shape), datatype)
    one.set_data_from_numpy(array, binary_data=binary)
    return one


def sum_request(*, binary: bool, **more: Any) -> InferRequest:
    """A request for `sum` that is right."""
    return InferRequest("sum", [tensor("x", ROWS, "FP32", binary=binary)], **more)


async def run(client: Both, rest: str, checks: Checks) -> None:
    """All checks."""
    with checks("live, ready, model ready"):
        assert await client.ask("is_server_live") is True
        assert await client.ask("is_server_ready") is True
        assert await client.ask("is_model_ready", "sum") is True
    with checks("an unknown model is not ready"):
        try:
            assert await client.ask("is_model_ready", "nowhere") is False
        except httpx.HTTPStatusError as error:
            same(error.response.status_code, 404)
        except grpc.RpcError as error:
            same(error.code(), grpc.StatusCode.NOT_FOUND)
    for binary in (False, True):
        form = ("raw" if client.grpc else "binary") if binary else ("typed contents" if client.grpc else "JSON")
        with checks(f"infer, {form}: values, id, model name"):
            answer = await client.infer(sum_request(binary=binary, request_id="id 7"))
            same((answer.id, answer.model_name), ("id 7", "sum"))
            same(answer.outputs[0].as_numpy().tolist(), [[6.0], [22.0]])
            same(
                (answer.outputs[0].name, answer.outputs[0].datatype, list(answer.outputs[0].shape)),
                ("total", "FP32", [2, 1]),
            )
    with checks("13 datatypes: values where the client has them, FP16 and BYTES beside them"):
        await _all_datatypes(client)
    with checks("requested outputs"):
        request = sum_request(binary=False, request_outputs=[RequestedOutput("total")])
        same([output.name for output in (await client.infer(request)).outputs], ["total"])
    with checks("errors: unknown model, wrong shape"):
        bad, missing = ("INVALID_ARGUMENT", "NOT_FOUND") if client.grpc else ("400", "404")
        status, text = await client.status_of(InferRequest("nowhere", [tensor("x", ROWS, "FP32", binary=False)]))
        same(status, missing)
        assert "nowhere" in text, text
        wide = tensor("x", np.ones((1, 5), np.float32), "FP32", binary=False)
        status, text = await client.status_of(InferRequest("sum", [wide]))
        same(status, bad)
        assert client.grpc or "400" in text, text
    with checks("a refusal is not tried again: one attempt seen by the server"):
        await _refused_once(client, rest)


async def _all_datatypes(client: Both) -> None:
    wanted: dict[str, Any] = {name: data for name, (_, data) in TYPED.items()}
    half = np.array([[0.5, -2.0]], np.float16)
    text = np.array([[b"abc", "grüße".encode()]], np.object_)
    if client.grpc:  # the message carries either values or raw data for all inputs: FP16 has no values
        kinds = {"BOOL": np.bool_, "FP32": np.float32, "FP64": np.float64}
        inputs = [
            tensor(f"in_{name}", np.array([data], kinds.get(name, name.lower())), name, binary=True)
            for name, (_, data) in TYPED.items()
        ]
    else:
        inputs = [InferInput(f"in_{name}", shape, name, data=data) for name, (shape, data) in TYPED.items()]
    inputs.append(tensor("in_FP16", half, "FP16", binary=True))
    inputs.append(tensor("in_BYTES", text, "BYTES", binary=True))
    asked = None if client.grpc else {"binary_data_output": True}
    answer = await client.infer(InferRequest("echo", inputs, parameters=asked))
    got = {output.name.removeprefix("out_"): output for output in answer.outputs}
    same(set(got), {*wanted, "FP16", "BYTES"})
    for name, data in wanted.items():
        same((name, got[name].as_numpy().ravel().tolist()), (name, data))
    same(got["FP16"].as_numpy().ravel().tolist(), [0.5, -2.0])
    same(
        [one if isinstance(one, bytes) else one.encode() for one in got["BYTES"].as_numpy().ravel()], list(text.ravel())
    )


async def _refused_once(client: Both, rest: str) -> None:
    before = _offered(rest)
    request = sum_request(binary=False, parameters={"timeout": 1000})
    status, _ = await client.status_of(request)
    assert status in ("503", "RESOURCE_EXHAUSTED", "UNAVAILABLE"), status
    same(_offered(rest) - before, 1)


def _offered(rest: str) -> int:
    """Requests that came in and were well formed, of all outcomes, as the server counts them."""
    connection = http.client.HTTPConnection(rest, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return round(
        sum(float(value) for value in re.findall(r"^trimtab_requests_total\{[^}]*\} (\S+)$", text, re.MULTILINE))
    )


async def main() -> None:
    """Run one client."""
    given = arguments("rest", "grpc")
    checks = Checks()
    client = Both(given.client, given.rest, given.grpc)
    try:
        await run(client, given.rest, checks)
    finally:
        await client.close()
        checks.save(given.out)


if __name__ == "__main__":
    asyncio.run(main())
