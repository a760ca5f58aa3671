"""The corpus of gRPC calls, and what a server's answer to each comes down to. Runs in the environment `tritonclient`.

Writes a JSON object: case → the parts of the answer that are compared.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import grpc
from conformance.verdicts import arguments
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

_ROW = [1.0, 2.0, 3.0, 4.0]
_TIMEOUT_S = 20.0


def _request(**more: Any) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(**{"model_name": "sum", "id": "a", **more})


def _x(name: str = "x", datatype: str = "FP32", shape: tuple[int, ...] = (1, 4), **contents: Any) -> Any:
    tensor = pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    for kind, values in contents.items():
        getattr(tensor.contents, kind).extend(values)
    return tensor


def _three() -> list[Any]:
    return [
        _x(fp32_contents=_ROW),
        _x("n", "INT64", (1, 2), int64_contents=[-(2**60), 7]),
        _x("t", "BYTES", (1, 1), bytes_contents=["grüße".encode()]),
    ]


def corpus() -> Iterator[tuple[str, str, Any]]:
    """Name, method and message of each call."""
    asked = [pb.ModelInferRequest.InferRequestedOutputTensor(name="nothing")]
    raw = struct.pack("<4f", *_ROW)
    yield "live", "ServerLive", pb.ServerLiveRequest()
    yield "ready", "ServerReady", pb.ServerReadyRequest()
    yield "model ready", "ModelReady", pb.ModelReadyRequest(name="sum")
    yield "readiness of an unknown model", "ModelReady", pb.ModelReadyRequest(name="nowhere")
    yield "metadata of an unknown model", "ModelMetadata", pb.ModelMetadataRequest(name="nowhere")
    yield "values", "ModelInfer", _request(inputs=[_x(fp32_contents=_ROW)])
    yield "raw data", "ModelInfer", _request(inputs=[_x()], raw_input_contents=[raw])
    yield "no id", "ModelInfer", _request(inputs=[_x(fp32_contents=_ROW)], id="")
    yield "three rows", "ModelInfer", _request(inputs=[_x(shape=(3, 4), fp32_contents=_ROW * 3)])
    yield "FP32, INT64 and BYTES", "ModelInfer", _request(model_name="identity", inputs=_three())
    yield "wrong row size", "ModelInfer", _request(inputs=[_x(shape=(1, 5), fp32_contents=[*_ROW, 5.0])])
    yield "fewer elements than the shape says", "ModelInfer", _request(inputs=[_x(fp32_contents=_ROW[:3])])
    yield "too little raw data", "ModelInfer", _request(inputs=[_x()], raw_input_contents=[raw[:8]])
    yield "raw data for two inputs, one input", "ModelInfer", _request(inputs=[_x()], raw_input_contents=[raw, raw])
    yield "wrong datatype", "ModelInfer", _request(inputs=[_x(datatype="INT64", int64_contents=[1, 2, 3, 4])])
    yield "values of another datatype", "ModelInfer", _request(inputs=[_x(int64_contents=[1, 2, 3, 4])])
    yield "unknown datatype", "ModelInfer", _request(inputs=[_x(datatype="FP7", fp32_contents=_ROW)])
    yield "missing input", "ModelInfer", _request(model_name="identity", inputs=_three()[:1])
    yield "unknown input", "ModelInfer", _request(inputs=[_x("z", fp32_contents=_ROW)])
    yield "no inputs", "ModelInfer", _request()
    yield "unknown output", "ModelInfer", _request(inputs=[_x(fp32_contents=_ROW)], outputs=asked)
    yield "unknown model", "ModelInfer", _request(model_name="nowhere", inputs=[_x(fp32_contents=_ROW)])
    yield "no model name", "ModelInfer", _request(model_name="", inputs=[_x(fp32_contents=_ROW)])


def ask(stub: service_pb2_grpc.GRPCInferenceServiceStub, method: str, message: Any) -> dict[str, Any]:
    """Make one call."""
    try:
        answer = getattr(stub, method)(message, timeout=_TIMEOUT_S)
    except grpc.RpcError as error:
        return {"status": error.code().name}
    if not isinstance(answer, pb.ModelInferResponse):
        fields = {field.name: value for field, value in answer.ListFields() if isinstance(value, bool)}
        return {"status": "OK", "body": json.dumps(fields)}
    raw = list(answer.raw_output_contents)
    form = "raw" if raw else "values"
    outputs = [_output(output, raw[i] if raw else None) for i, output in enumerate(answer.outputs)]
    outputs.sort(key=lambda one: str(one["name"]))
    return {"status": "OK", "form": form, "model_name": answer.model_name, "id": answer.id, "outputs": outputs}


def _output(output: Any, raw: bytes | None) -> dict[str, Any]:
    if raw is None:
        data = [value for _, values in output.contents.ListFields() for value in values]
        data = [one.decode() if isinstance(one, bytes) else one for one in data]
    elif output.datatype == "BYTES":
        data = [raw[4:].decode()]  # one element in this corpus
    else:
        code = {"FP32": "f", "INT64": "q"}[output.datatype]
        data = list(struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw))
    return {"name": output.name, "datatype": output.datatype, "shape": list(output.shape), "data": data}


def main() -> None:
    """Make every call of the corpus."""
    given = arguments()
    with grpc.insecure_channel(given.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answers = {name: ask(stub, method, message) for name, method, message in corpus()}
    given.out.write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main()
