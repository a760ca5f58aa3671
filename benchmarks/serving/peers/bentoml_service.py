"""BentoML with the echo model: one worker process, `POST /predict`."""

from __future__ import annotations

import bentoml
import model


@bentoml.service(workers=1)
class Echo:
    """The model."""

    def __init__(self) -> None:
        self._ort = model.session()

    @bentoml.api  # type: ignore[misc]  # the library has no types here
    def predict(self, x: list[list[float]]) -> list[list[float]]:
        """Answer one request."""
        answer: list[list[float]] = model.run(self._ort, x).tolist()
        return answer
