"""Takes the addresses that servers listen on, and says why one cannot be had."""

from __future__ import annotations

import errno
import os
import socket

from trimtab.errors import AddressInUseError, PlantError


def bound_socket(host: str, port: int, *, option: str, reuse_port: bool = False) -> socket.socket:
    """A socket that is bound and does not listen yet; IPv4 where a name has both kinds of address.

    Args:
        host: a name or an address.
        port: where; 0: a free one.
        option: what chooses the port on the command line, for the error's words.
        reuse_port: let other sockets that say the same have the port too.

    Raises:
        AddressInUseError: something else listens there.
        PlantError: there is no such address here, or no permission to use it.
    """
    where, elsewhere = f"{host}:{port}", f"choose another with --host and {option}"
    if not 0 <= port <= 65535:
        raise PlantError("there is no such port", where=where, wanted="0 to 65535", next_step=elsewhere)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        sock = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError) as error:
        raise PlantError("there is no such address", where=where, got=str(error), next_step=elsewhere) from error
    try:
        if os.name == "posix":  # elsewhere the option means that two programs may share the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            next_step = f"stop what listens there, or choose another port with {option}"
            raise AddressInUseError("the port is in use", where=where, next_step=next_step) from error
        raise PlantError("cannot listen there", where=where, got=error.strerror, next_step=elsewhere) from error
    return sock
