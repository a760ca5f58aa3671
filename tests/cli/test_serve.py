"""`trimtab serve` as its users run it: a process of its own, real workers, HTTP, signals."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pwd
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import typer
from tests import models
from tests.control.clocked import CLOCKED

from trimtab.cli import main
from trimtab.cli.serve import serve
from trimtab.control.journal import read_journal
from trimtab.control.replay import replay

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(len(psutil.Process().cpu_affinity() or ()) < 2, reason="needs two cores"),
]

SPEC = """
name: sums
tasks:
  add:
    variants:
      plus-two: {model: p2.onnx, accuracy: 0.9}
      plus-one: {model: p1.onnx, accuracy: 0.8}
  times:
    after: [add]
    variants:
      hundred: {model: h.onnx, accuracy: 0.9}
slo: {latency: 2s}
budget: {cores: 2}
profile:
  tasks:
    add:
      plus-two: {points: [{cores: 1, batch: 1, quantiles_s: {0.5: 0.002, 0.99: 0.004}}]}
      plus-one: {points: [{cores: 1, batch: 1, quantiles_s: {0.5: 0.001, 0.99: 0.002}}]}
    times:
      hundred: {points: [{cores: 1, batch: 1, quantiles_s: {0.5: 0.001, 0.99: 0.002}}]}
"""
WITHIN_S = 60.0


def write(folder: Path) -> Path:
    models.affine(folder / "p2.onnx", scale=1, offset=2)
    models.affine(folder / "p1.onnx", scale=1, offset=1)
    models.affine(folder / "h.onnx", scale=100, offset=0, name="y", output="z")
    path = folder / "pipeline.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return write(tmp_path)


def command(spec: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "trimtab", "serve", str(spec), "--port", "0", "--grpc-port", "0", *more]


@dataclass
class Served:
    process: subprocess.Popen[str]
    url: str

    def workers(self, module: str = "") -> list[psutil.Process]:
        """Its processes; those that run `module`, or all."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [p for p in found if not module or f"trimtab.runtime.{module}" in p.cmdline()]

    def ask(self, value: float = 1.0) -> tuple[int, dict[str, object]]:
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [value] * 4}]}
        return self.post("/v2/models/sums/infer", json.dumps(body).encode())

    def post(self, path: str, body: bytes) -> tuple[int, dict[str, object]]:
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, body), timeout=WITHIN_S) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=WITHIN_S) as response:
            text: str = response.read().decode()
            return text


@contextlib.contextmanager
def serving(spec: Path, *more: str, user: int | None = None) -> Iterator[Served]:
    with subprocess.Popen(
        command(spec, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, user=user
    ) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], WITHIN_S)[0], "it did not say that it serves"
            line = process.stdout.readline()
            assert line.startswith("trimtab: serving sums on http://127.0.0.1:"), line
            yield Served(process, line.split(" on ")[1].split()[0])
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with two gateways; a test may do to it whatever it gets over, and waits until it did."""
    with serving(write(tmp_path_factory.mktemp("shared")), "--gateways", "2") as served:
        yield served
        code, errors = stop(served, signal.SIGTERM)
        assert code == 0
        assert "Traceback" not in errors


def stop(served: Served, number: signal.Signals) -> tuple[int, str]:
    """End it with a signal; its exit code and stderr. Its workers must be gone."""
    workers = served.workers()
    served.process.send_signal(number)
    _, errors = served.process.communicate(timeout=WITHIN_S)
    assert not psutil.wait_procs(workers, timeout=5)[1], "workers were left behind"
    return served.process.returncode, errors


def test_it_serves_says_who_answered_and_answers_what_is_under_way_when_it_stops(spec: Path) -> None:
    with serving(spec, "--max-queue", "30") as served, ThreadPoolExecutor(20) as pool:
        status, answer = served.ask()
        assert status == 200
        assert answer["outputs"] == [{"name": "z", "datatype": "FP32", "shape": [1, 4], "data": [300.0] * 4}]
        assert answer["parameters"]["variant.add"] == "plus-two"  # type: ignore[index]  # an object
        assert json.loads(served.get("/v2/health/ready")) == {"ready": True}
        assert 'trimtab_requests_total{outcome="in_time",pipeline="sums",reason=""} 1.0' in served.get("/metrics")
        rows = {"name": "x", "datatype": "FP32", "shape": [31, 4], "data": [1.0] * 124}
        status, answer = served.post("/v2/models/sums/infer", json.dumps({"inputs": [rows]}).encode())
        assert status == 503
        assert "the queue of task" in str(answer["error"])  # either: it is to pass through both
        asking = [pool.submit(served.ask, float(i)) for i in range(20)]
        asking[0].result()
        assert stop(served, signal.SIGINT) == (0, "")
        for done in asking:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):  # it came after the door was closed
                assert done.result()[0] in (200, 503)
        assert asking[0].result()[0] == 200


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for what another process does."""
    end_s = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < end_s, what
        time.sleep(0.05)


def test_a_worker_killed_under_load_is_replaced_and_every_request_is_told(shared: Served) -> None:
    lost = sum(figures(shared, "trimtab_replicas_lost_total").values())
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(shared.ask, 1.0) for _ in range(100)]
        shared.workers("worker")[0].send_signal(signal.SIGKILL)
        answers = [future.result() for future in asking]
    assert {status for status, _ in answers} <= {200, 503, 504}
    for status, body in answers:
        assert ("error" in body) == (status != 200)
    until(lambda: shared.ask()[0] == 200, "the worker was not replaced")
    assert sum(figures(shared, "trimtab_replicas_lost_total").values()) == lost + 1


def test_bad_requests_get_the_protocols_errors_and_harm_nobody(shared: Served) -> None:
    def tensor(**changes: object) -> bytes:
        base = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0] * 4}
        return json.dumps({"inputs": [base | changes]}).encode()

    for path, body, status, words in [
        ("/v2/models/sums/infer", b"{", 400, "JSON"),
        ("/v2/models/sums/infer", tensor(shape=[1, 3]), 400, "x"),
        ("/v2/models/sums/infer", tensor(shape=[1, 3], data=[1.0] * 3), 400, "shape of input 'x'"),
        ("/v2/models/sums/infer", tensor(datatype="INT64", data=[1] * 4), 400, "wanted float32"),
        ("/v2/models/summs/infer", tensor(), 404, "no model 'summs'"),
        ("/v2/models/sums/infer", b"0" * 50_000_000, 413, "too large"),
        ("/v3", b"{}", 404, "no such path"),
    ]:
        got, answer = shared.post(path, body)
        assert got == status
        assert words in str(answer["error"])
    with socket.create_connection(("127.0.0.1", int(shared.url.rsplit(":", 1)[1]))) as client:
        client.sendall(b"POST /v2/models/sums/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    until(lambda: shared.ask()[0] == 200, "it does not serve on")


def test_a_live_journal_replays_to_the_same_decisions(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])  # where the forecaster is found
    path, began = tmp_path / "journal.jsonl", datetime.now(UTC).timestamp()
    with serving(spec, "--journal", str(path), "--forecaster", CLOCKED) as served:
        until(lambda: bool(served.ask()) and path.read_bytes().count(b"\n") >= 5, "the controller does not decide")
        assert stop(served, signal.SIGTERM) == (0, "")
    journal = read_journal(path)
    seen = [entry.observation for entry in journal.entries if entry.observation is not None]
    assert sum(o.outcomes.ended for o in seen) > 0
    assert replay(journal) == ()
    # Its clock is that of the first second that it was told: it began before anything did, and a second is counted.
    assert journal.header.forecaster == CLOCKED
    assert journal.header.clock_s is not None
    assert began - 1.0 < journal.header.clock_s < datetime.now(UTC).timestamp() - sum(len(o.arrivals) for o in seen)


def test_a_port_in_use_is_said(spec: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        more = command(spec, "--port", port)
        result = subprocess.run(more, capture_output=True, text=True, timeout=WITHIN_S, check=False)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith(f"error: 127.0.0.1:{port}: the port is in use")
        assert "Traceback" not in result.stderr


Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """The message of a command that ends by itself with exit code 2; in this process, which is quicker."""
    monkeypatch.setenv("GRPC_ENABLE_FORK_SUPPORT", "false")  # the command sets it too: it is set back

    def told(spec: Path, *more: str) -> str:
        monkeypatch.setattr(sys, "argv", command(spec, *more)[2:])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert (ended.value.code, said.out) == (2, "")
        assert said.err.startswith("error: ")
        return said.err

    return told


def test_models_that_cannot_be_served_are_said(spec: Path, tmp_path: Path, refused: Refused) -> None:
    models.corrupt(tmp_path / "p1.onnx")
    assert "p1.onnx" in refused(spec)
    models.affine(tmp_path / "p1.onnx", size=5)
    message = refused(spec)
    assert "task 'add', variant 'plus-one'" in message
    assert "float32 [?, 5], wanted float32 [?, 4]" in message
    (tmp_path / "p1.onnx").unlink()
    assert "p1.onnx" in refused(spec)


def test_a_task_whose_input_does_not_fit_is_said(spec: Path, tmp_path: Path, refused: Refused) -> None:
    models.affine(tmp_path / "h.onnx", name="y", output="z", size=7)
    assert "task 'times': input 'y' cannot be fed from 'add.y'" in refused(spec)


def test_a_budget_too_small_for_any_plan_is_said(spec: Path, refused: Refused) -> None:
    spec.write_text(SPEC.replace("budget: {cores: 2}", "budget: {cores: 1}"))
    assert "cores" in refused(spec)


def test_an_unknown_policy_and_a_used_journal_are_said(spec: Path, tmp_path: Path, refused: Refused) -> None:
    assert "trimtab" in refused(spec, "--policy", "trimtap")
    assert "did you mean 'ewm'" in refused(spec, "--forecaster", "emw")
    assert "no such file" in refused(spec, "--forecaster", "week.json")
    (tmp_path / "old.jsonl").write_text("")
    assert "exists already" in refused(spec, "--journal", str(tmp_path / "old.jsonl"))


def test_a_profile_of_another_model_is_said(spec: Path, refused: Refused) -> None:
    text = SPEC.replace("plus-one: {points", f'plus-one: {{model_sha256: "{"0" * 64}", points')
    spec.write_text(text)
    assert "plus-one" in refused(spec)


def test_a_signal_while_it_starts_ends_it(spec: Path) -> None:
    with subprocess.Popen(command(spec), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        end_s = time.monotonic() + WITHIN_S
        while not (workers := psutil.Process(process.pid).children()):
            assert time.monotonic() < end_s
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 0, errors
        assert "stopped" in output
        assert not psutil.wait_procs(workers, timeout=5)[1]


def figures(served: Served, name: str) -> dict[str, float]:
    """Values of one metric, by labels."""
    rows = [row.rsplit(" ", 1) for row in served.get("/metrics").splitlines() if row.startswith(name)]
    return {labels[len(name) :]: float(value) for labels, value in rows}


def test_two_gateways_serve_one_queue_and_every_request_is_told(shared: Served) -> None:
    assert len(shared.workers("gateway.process")) == 2
    names = [f"trimtab_{name}_total" for name in ("requests_offered", "requests", "rejected_requests")]

    def counts() -> list[Counter[str]]:
        return [Counter(figures(shared, name)) for name in names]

    before = counts()
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(shared.ask) for _ in range(100)]
        wrong = [pool.submit(shared.post, "/v2/models/sums/infer", b'{"inputs": 1}') for _ in range(30)]
        answered = Counter(future.result()[0] for future in asking)
        assert {future.result()[0] for future in wrong} == {400}
    assert set(answered) <= {200, 503, 504}
    assert answered[200] > 0
    offered, ended, rejected = (after - earlier for after, earlier in zip(counts(), before, strict=True))
    assert offered.total() == ended.total() == 100
    told = sum(value for labels, value in ended.items() if 'outcome="in_time"' in labels or '"late"' in labels)
    assert told == answered[200]
    assert rejected.total() == 30


def test_a_gateway_killed_under_load_comes_back(shared: Served) -> None:
    front, other = shared.workers("gateway.process")

    def ask(_: int) -> int:
        try:
            return shared.ask()[0]
        except (OSError, http.client.HTTPException):  # it was this client's front
            return 0

    with ThreadPoolExecutor(8) as pool:
        first = pool.map(ask, range(60))
        front.kill()
        assert set(first) <= {0, 200, 503, 504}
    until(lambda: len(shared.workers("gateway.process")) == 2 and ask(0) == 200, "the gateway was not started again")
    assert other.is_running()
    offered, ended = (figures(shared, f"trimtab_{name}_total") for name in ("requests_offered", "requests"))
    assert sum(offered.values()) == sum(ended.values())


def test_no_worker_or_gateway_outlives_a_killed_data_plane(spec: Path) -> None:
    with serving(spec, "--gateways", "2") as served:
        started = served.workers()
        assert len(served.workers("worker")) == len(served.workers("gateway.process")) == 2
        served.process.kill()
        assert not psutil.wait_procs(started, timeout=10)[1]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
def test_it_runs_as_a_user_without_rights(spec: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(spec.parent, folder, dirs_exist_ok=True)
        folder.chmod(0o755)
        look = [sys.executable, "-c", "import trimtab"]
        try:
            subprocess.run(look, user=nobody.pw_uid, capture_output=True, check=True)
        except (PermissionError, subprocess.CalledProcessError):
            pytest.skip("this Python is closed to other users")
        with serving(folder / spec.name, "--gateways", "1", user=nobody.pw_uid) as served:
            assert psutil.Process(served.process.pid).uids().effective == nobody.pw_uid
            assert {worker.uids().effective for worker in served.workers()} == {nobody.pw_uid}
            assert served.ask()[0] == 200
            assert stop(served, signal.SIGTERM) == (0, "")


def test_the_page_lists_every_option() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/serve.md").read_text()
    told = dict(re.findall(r"^\| (`-.*?) \| (.*?) \|", page, re.MULTILINE))
    listed = {option for cell in told for option in re.findall(r"(--[a-z-]+)", cell)}
    app = typer.Typer()
    app.command()(serve)
    options = [p for p in typer.main.get_command(app).params if any(name.startswith("--") for name in p.opts)]
    assert listed == {
        flag
        for o in options
        for flag in (*o.opts, *o.secondary_opts)
        if flag.startswith("--") and "completion" not in flag
    }
    for option in options:
        if isinstance(option.default, (str, int, float)) and not isinstance(option.default, bool):
            cell = next(default for names, default in told.items() if f"`{option.opts[0]} " in names)
            assert cell == f"`{option.default}`"


def test_options_that_contradict_each_other_are_said(spec: Path, tmp_path: Path, refused: Refused) -> None:
    assert "cannot share a port" in refused(spec, "--port", "9000", "--grpc-port", "9000")
    assert "key without a certificate" in refused(spec, "--tls-key", str(tmp_path / "key.pem"))
    assert "cannot read the token" in refused(spec, "--token-file", str(tmp_path / "none"))
