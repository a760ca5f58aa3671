"""Ray Serve with the echo model: one proxy, one replica, `POST /`."""

from __future__ import annotations

import os
import signal
from typing import Any

import model
from ray import serve


@serve.deployment(max_ongoing_requests=100)  # type: ignore[misc]  # the library has no types here
class Echo:
    """The model."""

    def __init__(self) -> None:
        self._ort = model.session()

    async def __call__(self, request: Any) -> dict[str, Any]:
        """Answer one request."""
        return {"y": model.run(self._ort, (await request.json())["x"]).tolist()}


if __name__ == "__main__":
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Echo.bind())
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
