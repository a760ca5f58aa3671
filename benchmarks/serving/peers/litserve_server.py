"""LitServe with the echo model: one worker process, `POST /predict`."""

from __future__ import annotations

import os
from typing import Any

import litserve
import model


class Echo(litserve.LitAPI):  # type: ignore[misc]  # the library has no types here
    """The model."""

    def setup(self, device: str) -> None:
        """Open the session."""
        del device
        self._ort = model.session()

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request."""
        return {"y": model.run(self._ort, request["x"]).tolist()}


if __name__ == "__main__":
    litserve.LitServer(Echo(), accelerator="cpu").run(
        host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False, log_level="error"
    )
