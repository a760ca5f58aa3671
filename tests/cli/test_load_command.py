"""`trimtab load` and `trimtab report` from the command line to their files, against a scripted server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from tests.load.fake_server import FakeServer, serving
from typer.testing import CliRunner

from trimtab.cli.load import load
from trimtab.cli.report import report
from trimtab.errors import LoadError, TraceError
from trimtab.load.result import read_result

pytestmark = pytest.mark.live


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as fake:
        yield fake


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    np.savez(tmp_path / "d.npz", x=np.array([[1, 2], [3, 4]], np.uint8), right=np.array([6, 0]))
    (tmp_path / "t.txt").write_text("20\n-\n")
    return ["--trace", str(tmp_path / "t.txt"), "--data", str(tmp_path / "d.npz")]


def invoke(command: object, *arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(command)  # type: ignore[type-var]  # either of the two commands
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    return result.exit_code, result.output


def test_a_run_is_told_and_kept_and_compared(server: FakeServer, files: list[str], tmp_path: Path) -> None:
    kept, records = tmp_path / "r.json", tmp_path / "r.csv"
    code, told = invoke(
        load, server.url, *files, "--label", "right", "--slo", "2s", "--missing", "cut", "--arrivals", "recorded",
        "--name", "mine", "--json", str(kept), "--records", str(records),
    )  # fmt: skip
    assert code == 0, told
    assert "20 requests in 1 s" in " ".join(told.split())
    result = read_result(kept)
    assert (result.run.name, result.run.model, result.run.slo_s) == ("mine", "doubler", 2.0)
    assert result.summary.offered == result.summary.in_time == 20
    assert result.summary.delivered_accuracy == 0.5  # every other label is wrong on purpose
    assert len(records.read_text().splitlines()) == 21
    code, told = invoke(report, str(kept), "-o", str(tmp_path / "out"))
    assert code == 0, told
    assert "mine answered 100 % of 20 requests within 2 s" in " ".join(told.split())
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "out" / "overview.png").read_bytes().startswith(b"\x89PNG")


def test_the_slo_is_the_servers_unless_another_is_given(server: FakeServer, files: list[str], tmp_path: Path) -> None:
    kept = tmp_path / "r.json"
    server.metrics = 'trimtab_slo_latency_seconds{pipeline="d"} 1.5\ntrimtab_slo_quantile_ratio{pipeline="d"} 0.9\n'
    code, told = invoke(load, server.url, *files, "--missing", "cut", "--json", str(kept))
    assert code == 0, told
    assert (read_result(kept).run.slo_s, read_result(kept).run.slo_quantile) == (1.5, 0.9)
    code, told = invoke(load, server.url, *files, "--missing", "cut", "--slo", "3s", "--json", str(kept))
    assert code == 0, told
    assert (read_result(kept).run.slo_s, read_result(kept).run.slo_quantile) == (3.0, 0.99)


def test_json_tensors(server: FakeServer, files: list[str], tmp_path: Path) -> None:
    kept = tmp_path / "r.json"
    code, told = invoke(
        load, server.url, *files, "--label", "right", "--slo", "2s", "--missing", "cut", "--json-tensors",
        "--json", str(kept),
    )  # fmt: skip
    assert code == 0, told
    assert read_result(kept).summary.failed == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--slo", "2s"], "1 of 2 seconds are missing"),
        (["--missing", "cut"], "not known when an answer is in time"),
        (["--slo", "soon"], "not a duration: got soon"),
        (["--slo", "0s"], "not a duration"),
        (["--slo", "2s", "--missing", "cut", "--model", "other"], "does not know this model"),
        (["--slo", "2s", "--missing", "cut", "--label", "left"], "no such label array"),
        (["--slo", "2s", "--missing", "cut", "--json", "/no/such/folder/r.json"], "no such folder"),
        (["--slo", "2s", "--missing", "cut", "--rate-scale", "-1"], "rate scale has no meaning"),
        (["--slo", "2s", "--missing", "cut", "--time-compress", "3"], "shorter than one second"),
    ],
)
def test_mistakes_cost_no_run(server: FakeServer, files: list[str], arguments: list[str], told: str) -> None:
    with pytest.raises((LoadError, TraceError), match=told):
        invoke(load, server.url, *files, *arguments)
    assert server.seen == []


def test_a_wrong_dtype_costs_no_run(server: FakeServer, files: list[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 2), np.float32))
    with pytest.raises(TraceError, match="another dtype"):
        invoke(load, server.url, *files, "--slo", "2s", "--missing", "cut")
    assert server.seen == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals are handled otherwise there")
def test_ctrl_c_ends_with_the_figures_of_what_was_done(server: FakeServer, files: list[str], tmp_path: Path) -> None:
    kept = tmp_path / "r.json"
    (tmp_path / "t.txt").write_text("20\n" * 3600)
    command = [sys.executable, "-m", "trimtab", "load", server.url, *files, "--slo", "2s", "--json", str(kept)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until = time.monotonic() + 30
        while len(server.seen) < 5 and time.monotonic() < until and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        told, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, told
    assert "stopped after" in told
    summary = read_result(kept).summary
    assert 5 <= summary.offered <= len(server.seen)
    assert summary.in_time == summary.offered


def test_an_unreachable_server_is_one_message_and_code_2(files: list[str]) -> None:
    command = [sys.executable, "-m", "trimtab", "load", "http://127.0.0.1:9", *files, "--slo", "2s", "--missing", "cut"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "http://127.0.0.1:9: the server cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
