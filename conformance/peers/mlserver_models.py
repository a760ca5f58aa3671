"""The models `identity` and `sum` for MLServer, and the folder that it reads. Runs in the environment `mlserver`."""

from __future__ import annotations

from conformance.peers import models
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.codecs.string import StringCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput, ResponseOutput


class Peer(MLModel):  # type: ignore[misc]  # the library has no types here
    """One model; which one, its name says."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request."""
        try:
            for one in payload.inputs:
                models.check(self.name, one.name, _datatype(one), tuple(one.shape))
            arrays = {
                one.name: (StringCodec if _datatype(one) == "BYTES" else NumpyCodec).decode_input(one)
                for one in payload.inputs
            }
            wanted = [output.name for output in payload.outputs or ()]
            outputs = models.predict(self.name, arrays, wanted)
        except models.WrongInputError as error:
            raise InferenceError(str(error)) from error
        tensors: list[ResponseOutput] = []
        for name, value in outputs.items():
            if models.OUTPUTS[self.name][name] == "BYTES":
                tensors.append(StringCodec.encode_output(name, value))
            else:
                tensors.append(NumpyCodec.encode_output(name, value))
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=tensors)


def _datatype(tensor: RequestInput) -> str:
    """The datatype as the protocol writes it; the library has it as an enumeration or as text."""
    return str(getattr(tensor.datatype, "value", tensor.datatype))
