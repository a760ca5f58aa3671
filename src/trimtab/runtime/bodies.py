"""Reads the bodies of requests within the limits: of each, and of all that are held at one moment."""

from __future__ import annotations

from trimtab.errors import RefusedError, TooLargeError
from trimtab.runtime.asgi import HttpLimits, Message, Receive

_RETRY_AFTER_S = 1.0
_ALIGNMENT = 16


class GoneError(Exception):
    """The client is gone: there is nobody to answer."""


class Bodies:
    """The bodies that are held. Each `read` is followed by one `release`."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self.held_bytes = 0

    async def read(self, receive: Receive, json_bytes: int = 0) -> bytes | memoryview:
        """The whole body; never holds more than the limit, whatever length was claimed.

        Its byte `json_bytes`, where tensors begin, is put where the processor wants numbers to begin: they can then be
        used where they lie.

        Raises:
            TooLargeError: it exceeds the limits' `body_bytes`.
            RefusedError: with it, all bodies under way would exceed what may be held; the reason is `busy`.
            GoneError: the client left.
        """
        chunks: list[bytes] = []
        body_bytes = 0
        more = True
        try:
            while more:
                chunk, more = _part(await receive())
                body_bytes += len(chunk)
                self.held_bytes += len(chunk)
                self._check(body_bytes, more=more)
                chunks.append(chunk)
        except BaseException:
            self.held_bytes -= body_bytes
            raise
        if len(chunks) == 1:
            return chunks[0]
        padding = bytes(-json_bytes % _ALIGNMENT)
        return memoryview(b"".join((padding, *chunks)))[len(padding) :]

    def release(self, body: bytes | memoryview) -> None:
        """Its request is answered."""
        self.held_bytes -= len(body)

    def _check(self, body_bytes: int, *, more: bool) -> None:
        limit = self._limits.body_bytes
        if body_bytes > limit:
            raise too_large(f"more than {limit} bytes" if more else f"{body_bytes} bytes", limit)
        if self.held_bytes > self._limits.bodies_bytes:
            raise RefusedError(
                "the server holds as many requests as it has memory for",
                retry_after_s=_RETRY_AFTER_S,
                reason="busy",
                next_step="try again later",
            )


def too_large(got: str, limit: int) -> TooLargeError:
    """The error for a body that exceeds `limit` bytes."""
    return TooLargeError(
        "the body is too large",
        got=got,
        wanted=f"at most {limit} bytes",
        next_step="send fewer rows per request, or binary tensors",
    )


def _part(message: Message) -> tuple[bytes, bool]:
    """A part of the body, and whether more of it comes."""
    if message["type"] == "http.disconnect":
        raise GoneError
    return message.get("body", b""), message.get("more_body", False)
