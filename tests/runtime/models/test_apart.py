"""Models that exit, hang, crash or take all memory when they are inspected: told, and no process is left."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from trimtab.errors import ModelError
from trimtab.runtime.models.apart import inspect_apart
from trimtab.runtime.models.model import ModelSource
from trimtab.runtime.models.registry import inspect_source

pytestmark = pytest.mark.live

CLASS = """
class Model:
    inputs = [("text", "BYTES", [-1]), ("x", "FP16", [-1, 4])]
    outputs = [("y", "INT64", [-1])]

    def __init__(self, **options):
        {body}

    def predict(self, **inputs):
        return {{}}
"""


def model(tmp_path: Path, body: str = "pass", head: str = "", **options: object) -> ModelSource:
    path = tmp_path / "own.py"
    path.write_text(head + CLASS.format(body=body))
    return ModelSource("python", path, "Model", options, (tmp_path.resolve(),))


def test_the_interface_comes_back_whole_whatever_the_model_prints(tmp_path: Path) -> None:
    source = model(
        tmp_path, "assert options == {'a': [1, 'ü']}; print('loud' * 100_000)", "print('hello')\n", a=[1, "ü"]
    )
    found = inspect_source(source)
    assert [(info.name, info.dtype, info.shape) for info in (*found.inputs, *found.outputs)] == [
        ("text", np.dtype(object), (-1,)),
        ("x", np.dtype(np.float16), (-1, 4)),
        ("y", np.dtype(np.int64), (-1,)),
    ]
    ran_here = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    assert str(source.path) not in ran_here


@pytest.mark.parametrize(
    ("body", "head", "told"),
    [
        ("print('so long', flush=True); import os; os._exit(3)", "", r"exited with code 3; its last words:\n +so long"),
        ("pass", "import os; os._exit(3)\n", "own.py: the runtime python could not find out(.|\n)*exited with code 3"),
        ("import os; os._exit(0)", "", "exited with code 0"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "",
            "killed by signal 9, perhaps for want of memory",
        ),
        ("import ctypes; ctypes.string_at(0)", "", "killed by signal 11"),
        ("raise ValueError('no luck')", "", r"own\.py:7: the model's code failed: got ValueError: no luck"),
        (
            "import resource as r; r.setrlimit(r.RLIMIT_AS, (1 << 30, 1 << 30)); bytearray(1 << 31)",
            "",
            "not enough memory to load",
        ),
        ("self.inputs = 3", "", "does not say its inputs"),
    ],
)
def test_what_ends_its_process_is_told_here(tmp_path: Path, body: str, head: str, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        inspect_source(model(tmp_path, body, head))
    assert not psutil.Process().children(recursive=True)


def test_a_model_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    body = (
        f"import subprocess, time; p = subprocess.Popen(['sleep', '600']); "
        f"open({str(mark)!r}, 'w').write(str(p.pid)); print('stuck', flush=True); time.sleep(600)"
    )
    with pytest.raises(ModelError, match=r"nothing within 3 s; its last words:\n +stuck"):
        inspect_apart(model(tmp_path, body), limit_s=3.0)
    assert not psutil.Process().children(recursive=True)
    pid = int(mark.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_an_endless_output_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="exited with code 4") as told:
        inspect_source(
            model(tmp_path, "import os\n        for _ in range(200): os.write(2, b'x' * 65536)\n        os._exit(4)")
        )
    assert len(str(told.value)) < 5000


def test_an_absent_library_names_its_extra(tmp_path: Path) -> None:
    (tmp_path / "m.pt").touch()
    form = {"x": {"datatype": "FP32", "shape": [-1, 4]}}
    source = ModelSource("torchscript", tmp_path / "m.pt", None, {"inputs": form, "outputs": form})
    with pytest.raises(ModelError, match=r"trimtab\[torch\]|PyTorch cannot load the model file"):
        inspect_source(source)


def test_it_ends_with_the_one_that_asked(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    source = model(tmp_path, f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    code = (
        "from pathlib import Path; from trimtab.runtime.models.apart import inspect_apart; "
        "from trimtab.runtime.models.model import ModelSource; "
        f"inspect_apart(ModelSource('python', Path({str(source.path)!r}), 'Model'))"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as asking:
        try:
            while not (mark.exists() and mark.read_text()):
                assert asking.poll() is None
                time.sleep(0.01)
            with contextlib.suppress(psutil.NoSuchProcess):
                inspecting = psutil.Process(int(mark.read_text()))
                asking.kill()
                inspecting.wait(timeout=10)
        finally:
            asking.kill()
