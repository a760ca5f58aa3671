"""Files of runs that are kept, so that a sweep can go on: what may be taken again, and which code made a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar, get_args

import msgspec

import trimtab

Reuse = Literal["same-code", "published", "all"]
REUSES: tuple[Reuse, ...] = get_args(Reuse)
"""Which kept runs are taken: those made by the very code that runs now; those of published policies whatever the code;
all whatever the code."""

_NOT_IN_A_RUN = ("cli", "cluster", "dashboard", "load", "report", "runtime", "testing")
"""Folders of Trimtab that no simulated run goes through."""
Kept = TypeVar("Kept")


def keep(path: Path, run: object) -> None:
    """Write a run, whole or not at all."""
    partial = path.with_suffix(".part")
    partial.write_bytes(msgspec.json.encode(run))
    partial.replace(path)


def read(path: Path, kind: type[Kept]) -> Kept | None:
    """A run that was kept; None where there is none, or what is there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None


def code_digest(set_up: Iterable[Path]) -> str:
    """Digest of what makes a run: Trimtab's sources up to the simulator, and the files that set it up."""
    package = Path(trimtab.__file__).parent
    made_by = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in _NOT_IN_A_RUN]
    digest = hashlib.sha256()
    for path in sorted([*made_by, *set_up]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:20]
