"""`Listening` as bytes, as a front process is told it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from trimtab.runtime.serve_options import Listening


def encode(listening: Listening) -> bytes:
    """As JSON."""
    return msgspec.json.encode(listening, enc_hook=str)


def decode(text: bytes) -> Listening:
    """What `encode` made."""
    return msgspec.json.decode(text, type=Listening, dec_hook=_path)


def _path(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError(kind.__name__)
