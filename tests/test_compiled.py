"""Kernels in both forms, and the cache between them. A module of small kernels stands in for the planner's."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from trimtab import compiled

SMALL = """
from trimtab.compiled import kernel
from limits import MOST

@kernel()
def clipped(x: float) -> float:
    return min(x, MOST)

@kernel("float64(int64)")
def up_to(n: int) -> float:
    total = 0.0
    for i in range(n):
        total += clipped(float(i))
    return total
"""


def run(folder: Path, script: str) -> list[str]:
    """The printed words of a fresh process that sees only the small kernels."""
    head = "from trimtab import compiled\ncompiled.PARTS = {'plan': ('small',)}\n"
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(script)],
        env={"PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.py").write_text(SMALL)
    (tmp_path / "limits.py").write_text("MOST = 2.0\n")
    return tmp_path


def test_a_kernel_is_plain_python_until_it_is_loaded(folder: Path) -> None:
    script = """
    import small, sys
    print(small.up_to(5), compiled.is_loaded(), compiled.load_when_cached(), 'numba' in sys.modules)
    compiled.load()
    print(small.up_to(5), compiled.is_loaded(), small.up_to.call is small.up_to.compiled)
    compiled.unload()
    print(small.up_to(5), compiled.is_loaded(), small.up_to.call is small.up_to.__wrapped__)
    """
    assert run(folder, script) == [*["7.0", "False", "False", "False", "7.0", "True", "True", "7.0", "False", "True"]]


def test_the_cache_serves_the_next_process_until_a_source_changes(folder: Path) -> None:
    script = """
    import small
    cached = compiled.is_cached()
    compiled.load()
    print(cached, sum(small.up_to.compiled.stats.cache_hits.values()), small.up_to(5))
    """
    assert run(folder, script) == ["False", "0", "7.0"]
    assert run(folder, script) == ["True", "1", "7.0"]
    (folder / "small.py").write_text(SMALL.replace("min(x, MOST)", "min(x, 1.0)"))
    assert run(folder, script) == ["False", "0", "4.0"]


def test_all_threads_may_load_and_call_at_once(folder: Path) -> None:
    script = """
    import small, threading
    wrong = []
    def work():
        compiled.load()
        wrong.extend(v for v in (small.up_to(5) for _ in range(100)) if v != 7.0)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads: thread.start()
    while any(thread.is_alive() for thread in threads):
        wrong.extend(v for v in (small.up_to(5) for _ in range(100)) if v != 7.0)
    print(len(wrong), compiled.is_loaded())
    """
    assert run(folder, script) == ["0", "True"]


def test_importing_trimtab_imports_no_compiler() -> None:
    script = "import sys, trimtab, trimtab.plan.solve; print('numba' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_every_module_with_kernels_is_listed() -> None:
    root = Path(compiled.__file__).parent
    holders = {
        ".".join(("trimtab", *file.relative_to(root).with_suffix("").parts))
        for file in root.rglob("*.py")
        if "import kernel" in file.read_text() and "@kernel" in file.read_text()
    }
    script = "import sys; from trimtab import compiled; [compiled.is_cached(p) for p in compiled.PARTS]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert holders <= set(done.stdout.split())


def test_a_change_of_form_waits_for_nobody() -> None:
    held = threading.Event()

    def ask() -> None:
        compiled.is_loaded()
        held.set()

    with compiled._lock:
        threading.Thread(target=ask).start()
        assert held.wait(5.0)
