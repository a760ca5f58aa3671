"""Numeric kernels that run as plain Python at once, and compiled as soon as their machine code is at hand.

A function marked with `@kernel` is written once, in the part of Python that Numba compiles: numbers, NumPy arrays,
loops and calls of other kernels. Calling it never waits for a compiler: it runs as plain Python until `load()` has
succeeded, which takes the machine code from a cache on disk, or compiles it (a minute, once for a version of the
source).

    load()                       blocks, compiling if need be; what benchmarks and tests call
    load_when_cached()           blocks for a second at most: loads only what needs no compiling
    is_loaded()                  which of the two forms runs
    python -m trimtab.compiled   fills the cache; for images and set-ups, and for a process beside a serving one

Kernels come in parts that are loaded apart: the planner's (`plan`, of which all of the above speak if no part is
named) and the simulator's (`sim`). A server has no use for the second.

Numba is the extra `fast`; without it the plain form stays.

The cache lies in `$XDG_CACHE_HOME/trimtab/` (`~/.cache/trimtab/`) under a digest of all modules with kernels: a changed
kernel never meets the machine code of what it, or a kernel that it calls, was before. Where it cannot be written,
`load` says so and compiles for its own process alone.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import logging
import os
import platform
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType, MappingProxyType
from typing import Any, Generic, ParamSpec, TypeVar

from trimtab.errors import MissingExtraError

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
Signature = str | Callable[[], object] | None

PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "plan": (
            "trimtab.plan.groups",
            "trimtab.plan.latency",
            "trimtab.plan.pool",
            "trimtab.plan.solve.answer",
            "trimtab.plan.solve.mixes",
            "trimtab.plan.solve.sets",
            "trimtab.plan.solve.singles",
        ),
        "sim": ("trimtab.sim.engine",),
    }
)
"""Part → modules that hold its kernels or import those that do; `load` imports them. A kernel with a signature belongs
to the part that names its module, and to `plan` where none does."""

_LEAN = ("trimtab.sim.", "trimtab.dispatch.")
"""Modules whose kernels make no arrays, so that nothing has to count references."""
_DONE = "complete"
_lock = threading.Lock()
_kernels: list[Kernel[Any, Any]] = []
_loaded: set[str] = set()


class Kernel(Generic[P, R]):
    """A function in either form; called like it."""

    __slots__ = ("__name__", "__wrapped__", "call", "compiled", "inline", "signature")

    def __init__(self, function: Callable[P, R], signature: Signature, *, inline: bool) -> None:
        self.__wrapped__ = function
        self.__name__ = function.__name__
        self.signature = signature
        self.inline = inline
        self.call = function
        """The form in use."""
        self.compiled: Callable[P, R] | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.call(*args, **kwargs)


def kernel(signature: Signature = None, *, inline: bool = False) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Mark a function as a kernel.

    Args:
        signature: Numba's types of result and arguments, such as `"float64(int64, float64[::1])"`, or what makes them
            when they are needed; the kernel is compiled for these alone. None: only other kernels call it, once
            compiled, with whatever types they have.
        inline: compile it as a part of its callers. Machine code holds that of all it calls, so every level of calls
            compiles what is below once more: a long kernel high up is better inlined.
    """

    def mark(function: Callable[P, R]) -> Kernel[P, R]:
        made = Kernel(function, signature, inline=inline)
        _kernels.append(made)
        return made

    return mark


def is_loaded(part: str = "plan") -> bool:
    """Whether the kernels run compiled."""
    return part in _loaded


def is_cached(part: str = "plan") -> bool:
    """Whether `load` would find all machine code on disk."""
    if not is_available():
        return False
    folder = _cache_folder(part)
    return os.path.exists(folder / _DONE) and os.access(folder, os.W_OK)  # noqa: PTH110 — Path's raises where it may not look


def cache_obstacle(part: str = "plan") -> str | None:
    """Make the cache's folder; why nothing can be kept there, if so. Numba reads only where it may write."""
    folder = _cache_folder(part)
    if not folder.is_absolute():
        return f"there is no home folder: {folder}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return str(error)


def load(part: str = "plan") -> None:
    """Switch the kernels to their compiled form, compiling what is not cached. Does nothing the second time.

    Raises:
        MissingExtraError: Numba is not installed.
    """
    with _lock:
        if part in _loaded:
            return
        try:
            import numba
        except ImportError:
            raise MissingExtraError("numba", "fast", "compiled code") from None
        folder = _cache_folder(part)
        obstacle = cache_obstacle(part)
        if obstacle is not None:
            log.warning("machine code cannot be kept (%s): compiling for this process alone", obstacle)
        config: Any = numba.config  # its settings are made at run time
        before = config.CACHE_DIR
        config.CACHE_DIR = str(folder)
        try:
            for each in _entries(part):
                _compile(each, numba.njit, cache=obstacle is None)
        finally:
            config.CACHE_DIR = before
        for each in _entries(part):
            if each.compiled is not None:
                each.call = each.compiled
        if obstacle is None:
            (folder / _DONE).touch()
        _loaded.add(part)


def load_when_cached(part: str = "plan") -> bool:
    """`load`, if that takes no compiling; whether the compiled form runs now."""
    if part not in _loaded and is_cached(part):
        load(part)
    return part in _loaded


def unload(part: str = "plan") -> None:
    """Back to plain Python, for tests and for comparing the two forms."""
    with _lock:
        for each in _entries(part):
            each.call = each.__wrapped__
        _loaded.discard(part)


def _entries(part: str) -> list[Kernel[Any, Any]]:
    """The kernels of a part that are called from outside: those with a signature."""
    others = {module for name, modules in PARTS.items() if name != "plan" for module in modules}
    mine = set(PARTS[part])
    return [
        each
        for each in _kernels
        if each.signature is not None
        and (each.__wrapped__.__module__ not in others if part == "plan" else each.__wrapped__.__module__ in mine)
    ]


def is_available() -> bool:
    """Whether Numba is installed."""
    return importlib.util.find_spec("numba") is not None


def _called(each: Kernel[Any, Any]) -> dict[str, Kernel[Any, Any]]:
    """The kernels that a kernel calls, by the names under which it knows them."""
    function = each.__wrapped__
    assert isinstance(function, FunctionType)
    named = {name: function.__globals__.get(name) for name in function.__code__.co_names}
    return {name: found for name, found in named.items() if isinstance(found, Kernel)}


def _reached(entries: list[Kernel[Any, Any]]) -> set[Kernel[Any, Any]]:
    """These kernels and all that they call, whatever else this process has imported."""
    reached: set[Kernel[Any, Any]] = set()
    waiting = list(entries)
    while waiting:
        each = waiting.pop()
        if each not in reached:
            reached.add(each)
            waiting += _called(each).values()
    return reached


def _compile(each: Kernel[Any, Any], njit: Callable[..., Any], *, cache: bool) -> None:
    """Compile one kernel with the compiled forms of those that it calls in the place of their plain ones."""
    if each.compiled is not None:
        return
    function = each.__wrapped__
    assert isinstance(function, FunctionType)
    scope = dict(function.__globals__)
    for name, called in _called(each).items():
        if called is not each:
            _compile(called, njit, cache=cache)
        scope[name] = called.compiled
    twin = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, function.__closure__)
    twin.__module__, twin.__qualname__ = function.__module__, function.__qualname__
    # Of a namedtuple's arrays the simulator's kernels pass on dozens: only inlined, and not counted, they cost nothing.
    lean = function.__module__.startswith(_LEAN)
    options = {
        "cache": cache and each.signature is not None,
        "nogil": True,
        "error_model": "numpy",
        "inline": "always" if each.inline else "never",
        "forceinline": lean and each.signature is None,
        "_nrt": not lean,
    }
    signature = each.signature() if callable(each.signature) else each.signature
    each.compiled = njit(signature, **options)(twin) if signature else njit(**options)(twin)


def _cache_folder(part: str) -> Path:
    """Where the machine code lies that these sources, this Numba and this processor make.

    Numba itself looks a kernel up by its file's time of change, so that belongs to the key as much as the text: a copy
    of the sources elsewhere, or a new installation, is not cached. The text of whole files counts, for kernels hold
    constants of the modules that they import.
    """
    for module in PARTS[part]:
        importlib.import_module(module)
    digest = hashlib.sha256(part.encode())
    files = {Path(inspect.getfile(each.__wrapped__)) for each in _reached(_entries(part))}
    for file in sorted(files):
        digest.update(f"{file} {file.stat().st_mtime_ns}".encode())
        digest.update(file.read_bytes())
    digest.update(f"{sys.version} {importlib.metadata.version('numba')} {_processor()}".encode())
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 — Path's raises without a home
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
    compiled = importlib.import_module("trimtab.compiled")
    for part in sys.argv[1:] or PARTS:
        obstacle = compiled.cache_obstacle(part)
        if obstacle is not None:
            sys.exit(f"error: machine code cannot be kept: {obstacle}")
        compiled.load(part)
