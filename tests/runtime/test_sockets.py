"""Addresses: which can be had, and what is said of the others."""

from __future__ import annotations

import pytest

from trimtab.errors import AddressInUseError, PlantError
from trimtab.runtime.sockets import bound_socket

HOST = "127.0.0.1"


def test_port_0_is_a_free_one_and_a_listener_keeps_others_off() -> None:
    with bound_socket(HOST, 0, option="--port") as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(AddressInUseError, match=rf"{HOST}:{port}: the port is in use\n.*--grpc-port"):
            bound_socket(HOST, port, option="--grpc-port")
        with pytest.raises(AddressInUseError):  # sharing takes both
            bound_socket(HOST, port, option="--port", reuse_port=True)


def test_those_that_all_say_so_share_a_port() -> None:
    with bound_socket(HOST, 0, option="--port", reuse_port=True) as first:
        first.listen()
        with bound_socket(HOST, first.getsockname()[1], option="--port", reuse_port=True) as second:
            second.listen()


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        (HOST, 65536, "no such port"),
        (HOST, -1, "no such port"),
        ("a..b", 0, "no such address"),
        ("a" * 300, 0, "no such address"),
        ("192.0.2.1", 0, "cannot listen there"),  # an address of documents, never of a machine
    ],
)
def test_what_cannot_be_had_is_said(host: str, port: int, words: str) -> None:
    with pytest.raises(PlantError, match=words) as caught:
        bound_socket(host, port, option="--port")
    assert "choose another with --host and --port" in str(caught.value)
