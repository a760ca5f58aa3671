"""A front process: `python -m trimtab.runtime.gateway.process FD`, where FD is its end of a local stream socket.

It is told where to listen, opens its doors and hands every request on. It ends when it is told to, and by itself when
the socket closes, because then the data plane is gone: it answers what it has with 503 first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from typing import Any

from trimtab.errors import RequestError, TrimtabError
from trimtab.runtime.front import Front
from trimtab.runtime.gateway import messages, setup
from trimtab.runtime.gateway.remote import RemoteService
from trimtab.runtime.http import AsgiApp, Receive, Scope, Send
from trimtab.runtime.server import new_event_loop, raise_descriptor_limit

log = logging.getLogger(__name__)

GONE_GRACE_S = 2.0
"""Longest wait, when the data plane is gone, for clients to take their answers."""


async def serve(sock: socket.socket) -> None:
    """Speak the protocols for the data plane at the other end, until it says so or is gone."""
    remote = await RemoteService.connect(sock)
    try:
        asked = await _asked(remote)
        if not isinstance(asked, messages.Setup):
            return
        try:
            front = Front(remote, remote, setup.decode(asked.listening))
            front.app = refreshed(front.app, remote)
            await front.start()
        except TrimtabError as error:
            remote.say(messages.Problem(asked.id, str(error)))
            await remote.flush()
            return
        remote.say(messages.Listening(asked.id))
        asked = await _asked(remote)
        await front.stop(asked.grace_s if isinstance(asked, messages.Stop) else GONE_GRACE_S)
    finally:
        remote.close()


def refreshed(app: AsgiApp, remote: RemoteService) -> AsgiApp:
    """`app`, which answers what is told rarely and must be exact (metrics, statistics) after asking the data plane."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "").rstrip("/")
        if path.endswith(("/metrics", "/stats", "/index")):
            accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
            with contextlib.suppress(RequestError):  # the data plane is gone: what was known last is shown
                await remote.refresh(accept)
        await app(scope, receive, send)

    return answer


async def _asked(remote: RemoteService) -> messages.Setup | messages.Stop | None:
    """The next that the data plane asks for; None when it is gone."""
    asking = asyncio.ensure_future(remote.asked.get())
    events: set[asyncio.Future[Any]] = {asking, remote.closed}
    await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
    if asking.done():
        return asking.result()
    asking.cancel()
    return None


def main() -> None:
    """Run until told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the data-plane process's to handle
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    raise_descriptor_limit()
    sock = socket.socket(fileno=int(sys.argv[1]))
    with asyncio.Runner(loop_factory=new_event_loop) as runner, contextlib.suppress(RequestError):
        runner.run(serve(sock))


if __name__ == "__main__":
    main()
