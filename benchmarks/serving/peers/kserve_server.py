"""KServe's `ModelServer` with the echo model; Open Inference Protocol over REST."""

from __future__ import annotations

from typing import Any

import model
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Echo(Model):  # type: ignore[misc]  # the library has no types here
    """The model."""

    def __init__(self) -> None:
        super().__init__("echoes")
        self._ort = model.session()
        self.ready = True

    async def predict(self, payload: InferRequest, *_more: Any, **_headers: Any) -> InferResponse:
        """Answer one request."""
        answer = model.run(self._ort, payload.inputs[0].as_numpy())
        output = InferOutput("y", list(answer.shape), "FP32", data=answer.reshape(-1).tolist())
        return InferResponse(payload.id or "", "echoes", [output])


if __name__ == "__main__":
    ModelServer().start([Echo()])
