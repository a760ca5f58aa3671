"""Runs a client program in its own environment and process against a running server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from conformance.environments import ROOT, Environment
from conformance.servers import Running

_RUN_S = 120.0


class ProgramError(Exception):
    """A client program ended with an error of its own; the message ends with what it said."""


def run_program(environment: Environment, module: str, server: Running, out: Path, client: str = "") -> None:
    """Run `python -m module` and wait; it writes its results to `out`.

    Raises:
        ProgramError: it failed.
    """
    command = [str(environment.python), "-m", module, "--rest-address", server.rest, "--grpc-address", server.grpc]
    command += ["--out", str(out), *(("--client", client) if client else ())]
    run_command(command, out.parent)


def run_command(command: list[str], folder: Path) -> str:
    """Run a command in `folder`; what it wrote to its standard output.

    Raises:
        ProgramError: it failed, or took too long.
    """
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command, cwd=folder, env=surroundings, capture_output=True, text=True, timeout=_RUN_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"{command[0]} took longer than {_RUN_S:g} s") from error
    if done.returncode:
        raise ProgramError(
            f"{' '.join(command[:3])} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}"
        )
    return done.stdout
