"""What a client program found: one verdict for each thing that it checked. Standard library only."""

from __future__ import annotations

import argparse
import contextlib
import json
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check."""

    check: str
    ok: bool
    detail: str = ""
    """What was wrong; empty where nothing was."""


class Checks:
    """Collects verdicts. Each check is a `with` block that raises, most often by `assert`, when it finds a defect."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """One check; what it raises is its verdict, and the next one runs all the same."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 — whatever the client raises is what we want to know
            at = traceback.extract_tb(error.__traceback__)[-1]
            text = " ".join(f"{type(error).__name__}: {error}".split())[:600]
            self.verdicts.append(Verdict(name, ok=False, detail=f"{text} ({Path(at.filename).name}:{at.lineno})"))
        else:
            self.verdicts.append(Verdict(name, ok=True))

    def save(self, path: Path) -> None:
        """Write all verdicts as a JSON list."""
        path.write_text(json.dumps([asdict(verdict) for verdict in self.verdicts]), encoding="utf-8")


def load_verdicts(path: Path) -> list[Verdict]:
    """What `Checks.save` wrote."""
    return [Verdict(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a client program."""

    rest: str
    """`host:port` of REST."""
    grpc: str
    """`host:port` of gRPC."""
    out: Path
    """Where the results go."""
    client: str
    """Which of the program's clients; empty where it has but one."""


def arguments(*clients: str) -> Arguments:
    """The program's arguments; `clients` are the values that `--client` may have.

    The names of the options are long because importing KServe's library parses them too, abbreviations included.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--rest-address", required=True)
    parser.add_argument("--grpc-address", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--client", required=bool(clients), choices=clients, default="")
    given = parser.parse_args()
    return Arguments(given.rest_address, given.grpc_address, given.out, given.client)


def same(got: object, wanted: object) -> None:
    """Raise unless both are equal."""
    if got != wanted:
        raise AssertionError(f"got {got!r}, wanted {wanted!r}")
