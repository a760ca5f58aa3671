"""Serves the same models by Trimtab, MLServer and KServe, sends all of them the same corpus, and compares."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from conformance.differential import rest
from conformance.differential.compare import Difference, differences
from conformance.environments import environment
from conformance.peers.folders import write_mlserver_models
from conformance.pipelines import pair_pipeline
from conformance.programs import run_program

from conformance import servers

PEERS = ("mlserver", "kserve")
_PROGRAM = "conformance.differential.grpc_calls"


def compare_with(peers: Sequence[str] = PEERS) -> list[Difference]:
    """All differences between Trimtab and these peers.

    Raises:
        InstallError: an environment cannot be made.
        ServerError: a server did not start.
    """
    with contextlib.ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        caller = environment("tritonclient")
        running = {"trimtab": cleanup.enter_context(servers.trimtab(pair_pipeline(folder / "pipeline")))}
        if "mlserver" in peers:
            models = write_mlserver_models(folder / "mlserver")
            running["mlserver"] = cleanup.enter_context(servers.mlserver(environment("mlserver"), models))
        if "kserve" in peers:
            running["kserve"] = cleanup.enter_context(servers.kserve(environment("kserve")))
        by_rest = {name: {case.name: rest.ask(one.rest, case) for case in rest.CORPUS} for name, one in running.items()}
        by_grpc = {}
        for name, one in running.items():
            out = folder / f"{name}.json"
            run_program(caller, _PROGRAM, one, out)
            by_grpc[name] = json.loads(out.read_text(encoding="utf-8"))
    found: list[Difference] = []
    for peer in peers:
        found += differences(peer, "REST", by_rest["trimtab"], by_rest[peer])
        found += differences(peer, "gRPC", by_grpc["trimtab"], by_grpc[peer])
    return found
