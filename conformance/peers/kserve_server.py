"""A `kserve.ModelServer` with the models `identity` and `sum`. Runs in the environment `kserve`."""

from __future__ import annotations

from typing import Any

import numpy as np
from conformance.peers import models
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.errors import InvalidInput
from kserve.utils.utils import generate_uuid


class Peer(Model):  # type: ignore[misc]  # the library has no types here
    """One model."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ready = True

    async def predict(self, payload: InferRequest, *_more: Any, **_headers: Any) -> InferResponse:
        """Answer one request."""
        try:
            for one in payload.inputs:
                models.check(self.name, one.name, one.datatype, tuple(one.shape))
            arrays = {one.name: one.as_numpy() for one in payload.inputs}
            wanted = [output.name for output in payload.request_outputs or ()]
            outputs = models.predict(self.name, arrays, wanted)
        except models.WrongInputError as error:
            raise InvalidInput(str(error)) from error
        tensors = []
        for name, array in outputs.items():
            datatype = models.OUTPUTS[self.name][name]
            tensor = InferOutput(name, list(array.shape), datatype)
            if datatype == "BYTES":
                array = np.array([_as_bytes(one) for one in array.flat], np.object_).reshape(array.shape)
            tensor.set_data_from_numpy(array, binary_data=payload.use_binary_outputs)
            tensors.append(tensor)
        return InferResponse(payload.id or generate_uuid(), self.name, tensors)


def _as_bytes(one: Any) -> bytes:
    return one if isinstance(one, bytes) else str(one).encode()


if __name__ == "__main__":
    ModelServer().start([Peer("identity"), Peer("sum")])
