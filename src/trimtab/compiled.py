"""Numeric kernels that run as plain Python at once, and compiled as soon as their machine code is at hand.

A function marked with `@kernel` is written once, in the part of Python that Numba compiles: numbers, NumPy arrays,
loops and calls of other kernels. Calling it never waits for a compiler: it runs as plain Python until `load()` has
succeeded, which takes the machine code from a cache on disk, or compiles it (a minute, once for a version of the
source).

    load()                       blocks, compiling if need be; what benchmarks and tests call
    load_when_cached()           blocks for a second at most: loads only what needs no compiling
    is_loaded()                  which of the two forms runs
    python -m trimtab.compiled   fills the cache; for images and set-ups, and for a process beside a serving one

Numba is the extra `fast`; without it the plain form stays.

The cache lies in `$XDG_CACHE_HOME/trimtab/` (`~/.cache/trimtab/`) under a digest of all modules with kernels: a changed
kernel never meets the machine code of what it, or a kernel that it calls, was before.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import platform
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, Generic, ParamSpec, TypeVar

from trimtab.errors import MissingExtraError

P = ParamSpec("P")
R = TypeVar("R")

MODULES: tuple[str, ...] = (
    "trimtab.plan.groups",
    "trimtab.plan.latency",
    "trimtab.plan.solve.answer",
    "trimtab.plan.solve.mixes",
    "trimtab.plan.solve.sets",
    "trimtab.plan.solve.singles",
)
"""Modules that hold kernels or import those that do; `load` imports them."""

_DONE = "complete"
_lock = threading.Lock()
_kernels: list[Kernel[Any, Any]] = []
_loaded = False


class Kernel(Generic[P, R]):
    """A function in either form; called like it."""

    __slots__ = ("__name__", "__wrapped__", "call", "compiled", "inline", "signature")

    def __init__(self, function: Callable[P, R], signature: str | None, *, inline: bool) -> None:
        self.__wrapped__ = function
        self.__name__ = function.__name__
        self.signature = signature
        self.inline = inline
        self.call = function
        """The form in use."""
        self.compiled: Callable[P, R] | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.call(*args, **kwargs)


def kernel(signature: str | None = None, *, inline: bool = False) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Mark a function as a kernel.

    Args:
        signature: Numba's types of result and arguments, such as `"float64(int64, float64[::1])"`; the kernel is
            compiled for these alone. None: only other kernels call it, once compiled, with whatever types they have.
        inline: compile it as a part of its callers. Machine code holds that of all it calls, so every level of calls
            compiles what is below once more: a long kernel high up is better inlined.
    """

    def mark(function: Callable[P, R]) -> Kernel[P, R]:
        made = Kernel(function, signature, inline=inline)
        _kernels.append(made)
        return made

    return mark


def is_loaded() -> bool:
    """Whether the kernels run compiled."""
    return _loaded


def is_cached() -> bool:
    """Whether `load` would find all machine code on disk."""
    return is_available() and (_cache_folder() / _DONE).exists()


def load() -> None:
    """Switch all kernels to their compiled form, compiling what is not cached. Does nothing the second time.

    Raises:
        MissingExtraError: Numba is not installed.
    """
    global _loaded  # noqa: PLW0603 - the one switch of the process, guarded by the lock
    with _lock:
        if _loaded:
            return
        try:
            import numba
        except ImportError:
            raise MissingExtraError("numba", "fast", "compiled planning") from None
        folder = _cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        config: Any = numba.config  # its settings are made at run time
        before = config.CACHE_DIR
        config.CACHE_DIR = str(folder)
        try:
            for each in _kernels:
                _compile(each, numba.njit)
        finally:
            config.CACHE_DIR = before
        for each in _kernels:
            if each.signature is not None and each.compiled is not None:
                each.call = each.compiled
        (folder / _DONE).touch()
        _loaded = True


def load_when_cached() -> bool:
    """`load`, if that takes no compiling; whether the compiled form runs now."""
    if not _loaded and is_cached():
        load()
    return _loaded


def unload() -> None:
    """Back to plain Python, for tests and for comparing the two forms."""
    global _loaded  # noqa: PLW0603 - as in `load`
    with _lock:
        for each in _kernels:
            each.call = each.__wrapped__
        _loaded = False


def is_available() -> bool:
    """Whether Numba is installed."""
    return importlib.util.find_spec("numba") is not None


def _compile(each: Kernel[Any, Any], njit: Callable[..., Any]) -> None:
    """Compile one kernel with the compiled forms of those that it calls in the place of their plain ones."""
    if each.compiled is not None:
        return
    function = each.__wrapped__
    assert isinstance(function, FunctionType)
    scope = dict(function.__globals__)
    for name in function.__code__.co_names:
        called = scope.get(name)
        if isinstance(called, Kernel):
            if called is not each:
                _compile(called, njit)
            scope[name] = called.compiled
    twin = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, function.__closure__)
    twin.__module__, twin.__qualname__ = function.__module__, function.__qualname__
    options = {
        "cache": each.signature is not None,
        "nogil": True,
        "error_model": "numpy",
        "inline": "always" if each.inline else "never",
    }
    each.compiled = njit(each.signature, **options)(twin) if each.signature else njit(**options)(twin)


def _cache_folder() -> Path:
    """Where the machine code lies that these sources, this Numba and this processor make.

    Numba itself looks a kernel up by its file's time of change, so that belongs to the key as much as the text: a copy
    of the sources elsewhere, or a new installation, is not cached. The text of whole files counts, for kernels hold
    constants of the modules that they import.
    """
    for module in MODULES:
        importlib.import_module(module)
    digest = hashlib.sha256()
    files = {Path(inspect.getfile(each.__wrapped__)) for each in _kernels}
    for file in sorted(files):
        digest.update(f"{file} {file.stat().st_mtime_ns}".encode())
        digest.update(file.read_bytes())
    digest.update(f"{sys.version} {importlib.metadata.version('numba')} {_processor()}".encode())
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "trimtab" / "kernels" / digest.hexdigest()[:16]


def _processor() -> str:
    """What machine code depends on: the same home folder may serve several kinds of machines."""
    described = Path("/proc/cpuinfo")
    if not described.exists():
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "CPU part", "Features")
    return "".join(sorted({line for line in described.read_text().splitlines() if line.startswith(wanted)}))


if __name__ == "__main__":
    # `python -m trimtab.compiled` runs this file as `__main__`; the kernels register in the imported module.
    importlib.import_module("trimtab.compiled").load()
