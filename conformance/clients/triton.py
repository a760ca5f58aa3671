"""Triton's client against a server: `--client http`, `http-aio`, `grpc` or `grpc-aio`, each with the same checks.

Runs in the environment `tritonclient`. The four clients have the same calls; where one returns an awaitable, it is
awaited, and gRPC's messages are asked for as JSON, where int64 are strings and defaults are left out.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import queue
from typing import Any

import numpy as np
from conformance.verdicts import Checks, arguments, same
from tritonclient.utils import InferenceServerException

VALUES: dict[str, Any] = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[0, 65535]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "FP16": np.array([[-0.5, 65504.0]], np.float16),
    "FP32": np.array([[0.1, -3.4e38]], np.float32),
    "FP64": np.array([[0.1, 1.7e308]], np.float64),
    "BYTES": np.array([["grüße".encode(), b""]], np.object_),
}
"""One row of `echo`, with the ends of each range."""


class Client:
    """One of the four clients under one face."""

    def __init__(self, kind: str, address: str) -> None:
        self.grpc = kind.startswith("grpc")
        self.aio = kind.endswith("aio")
        self._forms = importlib.import_module("tritonclient.grpc" if self.grpc else "tritonclient.http")
        module = self._forms.__name__ + (".aio" if self.aio else "")
        self._client = importlib.import_module(module).InferenceServerClient(address)

    async def call(self, method: str, *args: Any, **more: Any) -> Any:
        """Call a method of the client."""
        if self.grpc and "as_json" in inspect.signature(getattr(self._client, method)).parameters:
            more["as_json"] = True
        result = getattr(self._client, method)(*args, **more)
        return await result if inspect.isawaitable(result) else result

    def tensor(self, name: str, array: Any, datatype: str, *, binary: bool = True) -> Any:
        """An input of a request."""
        tensor = self._forms.InferInput(name, list(array.shape), datatype)
        if self.grpc:
            tensor.set_data_from_numpy(array)
        else:
            tensor.set_data_from_numpy(array, binary_data=binary)
        return tensor

    def output(self, name: str, *, binary: bool = True) -> Any:
        """A requested output."""
        if self.grpc:
            return self._forms.InferRequestedOutput(name)
        return self._forms.InferRequestedOutput(name, binary_data=binary)

    async def stream(self, requests: list[list[Any]]) -> list[Any]:
        """Send requests for `sum` over one stream; results or errors in the order in which they came."""
        if self.aio:

            async def ask() -> Any:
                for i, inputs in enumerate(requests):
                    yield {"model_name": "sum", "inputs": inputs, "request_id": f"s{i}"}

            answers = self._client.stream_infer(ask())
            found = [answer async for answer in answers]
        else:
            came: queue.Queue[Any] = queue.Queue()
            self._client.start_stream(lambda result, error: came.put((result, error)))
            for i, inputs in enumerate(requests):
                self._client.async_stream_infer("sum", inputs, request_id=f"s{i}")
            found = [came.get(timeout=20) for _ in requests]
            self._client.stop_stream()
        return [result if error is None else error for result, error in found]


async def refused(client: Client, said: str, statuses: tuple[str, ...], method: str, *args: Any, **more: Any) -> None:
    """See that a call fails with a clean message and one of these statuses (HTTP, gRPC)."""
    try:
        await client.call(method, *args, **more)
    except InferenceServerException as caught:
        error = caught
    else:
        raise AssertionError(f"{method} was answered")
    assert said in str(error.message()), f"message without {said!r}: {error.message()!r}"
    status = str(error.status())
    assert any(status.endswith(one) for one in statuses), f"status {status}, wanted one of {statuses}"


async def run(client: Client, checks: Checks) -> None:
    """All checks."""
    await _about(client, checks)
    await _infer(client, checks)
    await _errors(client, checks)
    await _repository(client, checks)
    if client.grpc:
        await _stream(client, checks)


async def _about(client: Client, checks: Checks) -> None:
    with checks("server live, server ready, model ready"):
        assert await client.call("is_server_live") is True
        assert await client.call("is_server_ready") is True
        for model in ("types", "echo", "sum"):
            assert await client.call("is_model_ready", model) is True, model
        assert await client.call("is_model_ready", "sum", "plain") is True
    with checks("an unknown model is not ready"):
        if client.grpc:  # these raise what the server says
            await refused(client, "nowhere", ("NOT_FOUND",), "is_model_ready", "nowhere")
        else:
            assert await client.call("is_model_ready", "nowhere") is False
    with checks("server metadata"):
        about = await client.call("get_server_metadata")
        same(about["name"], "trimtab")
        assert about["version"], about
        wanted = {"binary_tensor_data", "schedule_policy", "model_configuration", "statistics", "model_repository"}
        assert wanted <= set(about["extensions"]), about
    with checks("model metadata"):
        about = await client.call("get_model_metadata", "sum")
        same(about["name"], "sum")
        assert "plain" in about["versions"], about
        same(
            [(t["name"], t["datatype"], list(map(int, t["shape"]))) for t in about["inputs"]], [("x", "FP32", [-1, 4])]
        )
        same([t["name"] for t in about["outputs"]], ["total"])
        about = await client.call("get_model_metadata", "echo")
        same({t["datatype"] for t in about["inputs"]}, set(VALUES))
    with checks("model configuration"):
        config = await client.call("get_model_config", "sum")
        config = config.get("config", config)
        same(config["name"], "sum")
        assert config["max_batch_size"] >= 1, config
        same(
            [(t["name"], t["data_type"], list(map(int, t["dims"]))) for t in config["input"]], [("x", "TYPE_FP32", [4])]
        )
    with checks("statistics count an inference"):
        before = await _count(client)
        await client.call("infer", "sum", [client.tensor("x", np.ones((2, 4), np.float32), "FP32")])
        same(await _count(client) - before, 2)


async def _count(client: Client) -> int:
    """Rows that `sum` answered so far."""
    stats = await client.call("get_inference_statistics", "sum")
    return sum(int(one.get("inference_count", 0)) for one in stats["model_stats"] if one["name"] == "sum")


async def _infer(client: Client, checks: Checks) -> None:
    forms = ((True, True),) if client.grpc else ((True, True), (True, False), (False, True), (False, False))
    for binary_in, binary_out in forms:
        kinds = [name for name in VALUES if name != "FP16" or (binary_in and binary_out)]
        if client.grpc:
            title = "all 13 datatypes there and back, raw"
        else:
            words = ["binary" if form else "JSON" for form in (binary_in, binary_out)]
            title = f"{len(kinds)} datatypes, {words[0]} there and {words[1]} back"
        with checks(title):
            inputs = [
                client.tensor(f"in_{name}", VALUES[name], name, binary=binary_in or name == "FP16") for name in VALUES
            ]
            outputs = [client.output(f"out_{name}", binary=binary_out) for name in kinds]
            result = await client.call("infer", "echo", inputs, outputs=outputs)
            for name in kinds:
                array = result.as_numpy(f"out_{name}")
                assert array is not None, f"no out_{name}"
                same((name, array.shape), (name, VALUES[name].shape))
                if name == "BYTES" and not binary_out:  # the client leaves JSON strings as they are
                    array = np.array([one.encode() if isinstance(one, str) else one for one in array.flat], np.object_)
                assert np.array_equal(array.reshape(VALUES[name].shape), VALUES[name]), f"{name}: {array!r}"
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    with checks("values: the sum of each row, as often as there are rows"):
        result = await client.call("infer", "sum", [client.tensor("x", rows, "FP32")])
        same(result.as_numpy("total").tolist(), [[6.0], [22.0]])
    with checks("no output asked for gives all; one asked for gives that one"):
        inputs = [client.tensor("x", rows, "FP32")]
        inputs += [client.tensor(f"in_{name}", np.repeat(array, 2, axis=0), name) for name, array in VALUES.items()]
        whole = await client.call("infer", "types", inputs)
        assert whole.as_numpy("total") is not None, "no total"
        assert whole.as_numpy("out_INT8") is not None, "no out_INT8"
        part = await client.call("infer", "types", inputs, outputs=[client.output("total")])
        same(part.as_numpy("total").tolist(), [[6.0], [22.0]])
        assert part.as_numpy("out_INT8") is None, "out_INT8 was not asked for"
    with checks("id comes back, model name is the one asked for, model version says the variant"):
        result = await client.call("infer", "sum", [client.tensor("x", rows, "FP32")], request_id="id 7")
        about = result.get_response(as_json=True) if client.grpc else result.get_response()
        same((about.get("id"), about.get("model_name")), ("id 7", "sum"))
        assert "plain" in about["model_version"] or "spare" in about["model_version"], about
    with checks("priority, timeout and parameters of one's own are accepted"):
        more = {"priority": 1, "timeout": 3_000_000, "parameters": {"tenant": "a", "level": 3, "fast": True}}
        result = await client.call("infer", "sum", [client.tensor("x", rows, "FP32")], **more)
        same(result.as_numpy("total").tolist(), [[6.0], [22.0]])
    with checks("no tensor elements: a request of no rows is refused with its reason"):
        none = client.tensor("x", np.zeros((0, 4), np.float32), "FP32")
        await refused(client, "rows", ("400", "INVALID_ARGUMENT"), "infer", "sum", [none])
    if client.grpc:
        with checks("client_timeout that suffices"):
            await client.call("infer", "sum", [client.tensor("x", rows, "FP32")], client_timeout=3.0)
        with checks("compressed requests"):
            result = await client.call("infer", "sum", [client.tensor("x", rows, "FP32")], compression_algorithm="gzip")
            same(result.as_numpy("total").tolist(), [[6.0], [22.0]])


async def _errors(client: Client, checks: Checks) -> None:
    good = client.tensor("x", np.ones((1, 4), np.float32), "FP32")
    bad = ("400", "INVALID_ARGUMENT")
    missing = ("404", "NOT_FOUND")
    with checks("unknown model: inference, metadata, configuration"):
        await refused(client, "nowhere", missing, "infer", "nowhere", [good])
        await refused(client, "nowhere", missing, "get_model_metadata", "nowhere")
        await refused(client, "nowhere", missing, "get_model_config", "nowhere")
    with checks("unknown version"):
        await refused(client, "v9", missing, "infer", "sum", [good], model_version="v9")
        await refused(client, "v9", missing, "get_model_metadata", "sum", "v9")
    with checks("wrong shape, wrong datatype, wrong name, unknown output"):
        wide = client.tensor("x", np.ones((1, 5), np.float32), "FP32")
        await refused(client, "'x'", bad, "infer", "sum", [wide])
        await refused(client, "'x'", bad, "infer", "sum", [client.tensor("x", np.ones((1, 4), np.int64), "INT64")])
        await refused(client, "x", bad, "infer", "sum", [client.tensor("z", np.ones((1, 4), np.float32), "FP32")])
        await refused(client, "nothing", bad, "infer", "sum", [good], outputs=[client.output("nothing")])
    with checks("priority out of range"):
        await refused(client, "priority", bad, "infer", "sum", [good], priority=77)
    with checks("a timeout that no variant can keep: refused at once"):
        refusing = ("503", "504", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")
        await refused(client, "", refusing, "infer", "sum", [good], timeout=1)
    if client.grpc:
        with checks("client_timeout that cannot be kept"):
            await refused(
                client, "", ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"), "infer", "sum", [good], client_timeout=0.0005
            )
        with checks("what is not served says so"):
            await refused(client, "", ("UNIMPLEMENTED",), "get_trace_settings")
            await refused(client, "", ("UNIMPLEMENTED",), "get_system_shared_memory_status")
    else:
        with checks("compressed requests are refused with 415"):
            await refused(client, "encoding", ("415",), "infer", "sum", [good], request_compression_algorithm="gzip")
        with checks("what is not served says so, as JSON"):
            await refused(client, "no such path", missing, "get_trace_settings")
            await refused(client, "no such path", missing, "get_system_shared_memory_status")


async def _repository(client: Client, checks: Checks) -> None:
    async def state(name: str, version: str) -> str:
        index = await client.call("get_model_repository_index")
        entries = index.get("models", []) if isinstance(index, dict) else index
        found = [one for one in entries if one["name"] == name and one.get("version", "") == version]
        same(len(found), 1)
        return str(found[0].get("state"))

    with checks("repository index"):
        same(await state("sum", "plain"), "READY")
        same(await state("types", ""), "READY")
    with checks("unload a variant and load it again"):
        await client.call("unload_model", "sum.spare")
        same(await state("sum", "spare"), "UNAVAILABLE")
        await client.call("load_model", "sum.spare")
        assert await client.call("is_model_ready", "sum") is True
    with checks("load and unload what cannot be"):
        await refused(client, "nowhere", ("404", "NOT_FOUND"), "load_model", "nowhere")
        await refused(client, "", ("400", "INVALID_ARGUMENT"), "unload_model", "echo.plain")


async def _stream(client: Client, checks: Checks) -> None:
    rows = [np.full((1, 4), i, np.float32) for i in range(5)]
    with checks("a stream answers every request, in order, with its id"):
        results = await client.stream([[client.tensor("x", row, "FP32")] for row in rows])
        same([result.get_response(as_json=True).get("id") for result in results], [f"s{i}" for i in range(5)])
        same([float(result.as_numpy("total")[0, 0]) for result in results], [0.0, 4.0, 8.0, 12.0, 16.0])
    with checks("a stream goes on after a request that is wrong"):
        wrong = client.tensor("x", np.ones((1, 5), np.float32), "FP32")
        results = await client.stream([[wrong], [client.tensor("x", rows[1], "FP32")]])
        kinds = [isinstance(result, InferenceServerException) for result in results]
        same(kinds, [True, False])
        same(float(results[1].as_numpy("total")[0, 0]), 4.0)


async def main() -> None:
    """Run one client."""
    given = arguments("http", "http-aio", "grpc", "grpc-aio")
    checks = Checks()
    client = Client(given.client, given.grpc if given.client.startswith("grpc") else given.rest)
    try:
        await run(client, checks)
    finally:
        await client.call("close")
        checks.save(given.out)


if __name__ == "__main__":
    asyncio.run(main())
