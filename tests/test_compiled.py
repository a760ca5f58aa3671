"""Kernels in both forms, and the cache between them. A module of small kernels stands in for the planner's."""

from __future__ import annotations

import os
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


TINY = """
from trimtab.compiled import kernel
from small import clipped

@kernel("float64(float64)")
def twice(x: float) -> float:
    return 2.0 * clipped(x)
"""
"""The part beside it, which calls a kernel of the first one."""


def run(folder: Path, script: str, parts: str = "{'plan': ('small',)}") -> list[str]:
    """The printed words of a fresh process that sees only the small kernels."""
    head = f"from trimtab import compiled\ncompiled.PARTS = {parts}\n"
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
    (tmp_path / "tiny.py").write_text(TINY)
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


BOTH = "{'plan': ('small',), 'sim': ('tiny',)}"


@pytest.mark.parametrize(("first", "second"), [("plan", "sim"), ("sim", "plan")])
def test_parts_load_and_unload_apart(folder: Path, first: str, second: str) -> None:
    named = "" if first == "plan" else "'sim'"  # the planner's part is meant where none is named
    script = f"""
    import small, tiny
    kernels = {{'plan': small.up_to, 'sim': tiny.twice}}
    def state(part):
        k = kernels[part]
        told = compiled.is_loaded(part), compiled.is_cached(part), k.compiled is not None, k.call is k.compiled
        return ''.join('-+'[word] for word in told)
    def tell():
        print(state('{first}'), state('{second}'), small.up_to(5), tiny.twice(1.5))
    tell()
    compiled.load({named}); compiled.load_when_cached('{second}'); tell()
    compiled.load('{second}'); tell()
    compiled.unload({named}); tell()
    compiled.unload('{second}'); compiled.load('{second}'); tell()
    """
    assert run(folder, script, BOTH) == [
        *("----", "----", "7.0", "3.0"),
        *("++++", "----", "7.0", "3.0"),
        *("++++", "++++", "7.0", "3.0"),
        *("-++-", "++++", "7.0", "3.0"),
        *("-++-", "++++", "7.0", "3.0"),
    ]


def test_a_change_of_one_part_leaves_the_cache_of_the_other(folder: Path) -> None:
    script = "print(compiled._cache_folder('plan'), compiled._cache_folder('sim'))"
    plan, sim = run(folder, script, BOTH)
    (folder / "tiny.py").write_text(TINY.replace("2.0 *", "3.0 *"))
    same, other = run(folder, script, BOTH)
    assert same == plan
    assert other != sim
    (folder / "small.py").write_text(SMALL.replace("min(x, MOST)", "min(x, 1.0)"))
    new, newer = run(folder, script, BOTH)
    assert new != plan
    assert newer != other  # a kernel of the simulator's calls one of these


def test_the_cache_is_found_whatever_else_was_imported(folder: Path) -> None:
    half = "from trimtab.compiled import kernel\n@kernel()\ndef half(x):\n    return x / 2\n"
    (folder / "other.py").write_text(half)
    script = "print(compiled._cache_folder('plan'), compiled._cache_folder('sim'))"
    alone = run(folder, script, BOTH)
    assert len(set(alone)) == 2
    assert run(folder, f"import other, tiny, small\n{script}", BOTH) == alone
    assert run(folder, f"compiled._cache_folder('sim')\n{script}", BOTH) == alone


def test_a_process_that_dispatches_finds_the_planners_cache() -> None:
    def folder(imports: str) -> str:
        script = f"{imports}\nfrom trimtab import compiled\nprint(compiled._cache_folder('plan'))"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    alone = folder("")
    assert folder("import trimtab.dispatch.kernels") == alone
    assert folder("import trimtab.sim.engine") == alone


def test_where_nothing_can_be_kept_it_is_said_and_all_runs(folder: Path) -> None:
    (folder / "cache").write_text("no folder")
    script = """
    import logging, small, sys
    logging.basicConfig(stream=sys.stdout, format='%(levelname)s')
    print(compiled.is_cached(), compiled.load_when_cached())
    compiled.load()
    print(small.up_to(5), compiled.is_loaded(), compiled.is_cached())
    """
    assert run(folder, script) == ["False", "False", "WARNING", "7.0", "True", "False"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_is_only_readable_is_not_used(folder: Path) -> None:
    script = "import small; print(compiled.is_cached()); compiled.load(); print(small.up_to(5))"
    assert run(folder, script) == ["False", "7.0"]
    place = Path(run(folder, "print(compiled._cache_folder('plan'))")[0])
    place.chmod(0o555)
    assert run(folder, script) == ["False", "7.0"]
    place.chmod(0o755)


def test_a_cache_that_cannot_be_made_is_an_error_of_the_program_that_fills_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trimtab.compiled", "plan"],
        env={"XDG_CACHE_HOME": os.devnull, "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: machine code cannot be kept: ")
    assert done.stderr.count("\n") == 1


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
    script = (
        "import sys; from trimtab import compiled; [compiled.is_cached(p) for p in compiled.PARTS]; print(*sys.modules)"
    )
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
