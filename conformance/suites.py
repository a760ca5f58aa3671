"""What is run against `trimtab serve`: each suite is one client, and gives verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from conformance.environments import Environment, environment, pinned_version
from conformance.programs import ProgramError, run_command, run_program
from conformance.servers import Running
from conformance.verdicts import Checks, Verdict, load_verdicts, same

_LINES = 20
_EXAMPLES, _FUZZ_S = 20, 40
_FUZZ_CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@dataclass(frozen=True, slots=True)
class Suite:
    """One client."""

    name: str
    """For people: the client and how it is used."""
    environment: str
    run: Callable[[Environment, Running, Path], list[Verdict]]
    """Given the environment, a server with the pipeline `types` and an empty folder."""
    package: str | None = None
    """The client's package, where the environment has another one's name."""

    @property
    def version(self) -> str:
        """The pinned version of the client."""
        return pinned_version(self.environment, self.package)


def run_suite(suite: Suite, server: Running, folder: Path) -> list[Verdict]:
    """Run one suite; a program that fails as a whole is one failed verdict.

    Raises:
        InstallError: its environment cannot be made.
    """
    ready = environment(suite.environment)
    folder.mkdir(parents=True)
    try:
        return suite.run(ready, server, folder)
    except ProgramError as error:
        return [Verdict("the program runs to its end", ok=False, detail=" ".join(str(error).split())[-600:])]


def _program(name: str, where: str, module: str, client: str = "", package: str | None = None) -> Suite:
    def run(ready: Environment, server: Running, folder: Path) -> list[Verdict]:
        out = folder / "verdicts.json"
        run_program(ready, f"conformance.clients.{module}", server, out, client)
        return load_verdicts(out)

    return Suite(name, where, run, package)


def _mlserver_infer(ready: Environment, server: Running, folder: Path) -> list[Verdict]:
    """A batch of lines through `mlserver infer`; every line has its answer."""
    lines = [
        {"id": f"line {i}", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [float(i)] * 4}]}
        for i in range(_LINES)
    ]
    given, got = folder / "in.jsonl", folder / "out.jsonl"
    given.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    checks = Checks()
    with checks(f"{_LINES} lines, four at once: every line answered with its id and value"):
        command = [str(ready.program("mlserver")), "infer", "--url", server.rest, "--model-name", "sum"]
        run_command([*command, "--workers", "4", "-i", str(given), "-o", str(got)], folder)
        answers = [json.loads(line) for line in got.read_text(encoding="utf-8").splitlines()]
        found = {one["id"]: one["outputs"][0]["data"] for one in answers}
        same(found, {f"line {i}": [4.0 * i] for i in range(_LINES)})
    return checks.verdicts


def _schemathesis(ready: Environment, server: Running, folder: Path) -> list[Verdict]:
    """Generated requests, right and wrong ones, for every path of our own OpenAPI document."""
    checks = Checks()
    with checks(
        f"every path of /openapi.json, at most {_EXAMPLES} generated requests each: " + _FUZZ_CHECKS.replace(",", ", ")
    ):
        command = [str(ready.program("schemathesis")), "run", f"http://{server.rest}/openapi.json"]
        command += ["--checks", _FUZZ_CHECKS, "--max-examples", str(_EXAMPLES), "--phases", "examples,coverage,fuzzing"]
        command += ["--max-time", str(_FUZZ_S), "--seed", "7", "--no-shrink", "--suppress-health-check", "all"]
        run_command(command, folder)
    return checks.verdicts


QUICK: tuple[Suite, ...] = (
    _program("tritonclient, HTTP", "tritonclient", "triton", "http"),
    _program("tritonclient, HTTP, asyncio", "tritonclient", "triton", "http-aio"),
    _program("tritonclient, gRPC", "tritonclient", "triton", "grpc"),
    _program("tritonclient, gRPC, asyncio", "tritonclient", "triton", "grpc-aio"),
    _program("grpcio: health and reflection", "tritonclient", "grpc_plain", package="grpcio-health-checking"),
)
"""Those of one environment, which is made in about 20 s: they run with every test run."""

SUITES: tuple[Suite, ...] = (
    *QUICK,
    _program("KServe InferenceRESTClient", "kserve", "kserve", "rest"),
    _program("KServe InferenceGRPCClient", "kserve", "kserve", "grpc"),
    Suite("mlserver infer", "mlserver", _mlserver_infer),
    Suite("Schemathesis", "schemathesis", _schemathesis),
)
