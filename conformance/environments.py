"""Virtual environments of the real clients and servers: one for each requirement file, made once and kept.

They cannot share the project's environment, nor one another's: KServe and MLServer want different versions of the same
libraries. They live in the user's cache, in a folder named after what is installed, so that a change of a requirement
file makes a new one.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
NAMES = ("tritonclient", "kserve", "mlserver", "schemathesis")
_INSTALL_S = 300.0


class InstallError(Exception):
    """The packages cannot be had here; the message is the last line that pip said."""


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment that is ready to use."""

    name: str
    folder: Path
    made_in_s: float | None
    """Seconds that making it took; None: it was there."""

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.program("python")

    def program(self, name: str) -> Path:
        """A program that it installs."""
        return self.folder / "bin" / name


def environment(name: str, requirements: Path | None = None) -> Environment:
    """The environment `name`, made if it is not there yet, from its requirement file here or the one given.

    Raises:
        InstallError: its packages cannot be installed, most likely because the registry cannot be reached.
    """
    requirements = requirements or _requirements(name)
    words = f"{sys.version_info.major}.{sys.version_info.minor}\n{requirements.read_text(encoding='utf-8')}"
    digest = hashlib.sha256(words.encode()).hexdigest()[:16]
    folder = _cache() / f"{name}-{digest}"
    stamp = folder / ".complete"
    if stamp.exists():
        return Environment(name, folder, None)
    began_s = time.monotonic()
    _call([sys.executable, "-m", "venv", "--clear", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _call([*pip, "--no-input", "--retries", "1", "--timeout", "10", "--requirement", str(requirements)])
    stamp.touch()
    return Environment(name, folder, time.monotonic() - began_s)


def pinned_version(name: str, package: str | None = None) -> str:
    """The version that the requirement file of environment `name` pins; of the package of that name unless told."""
    for line in _requirements(name).read_text(encoding="utf-8").splitlines():
        pinned, _, version = line.partition("==")
        if pinned.partition("[")[0] == (package or name):
            return version.strip()
    raise ValueError(f"{_requirements(name)} pins no version of {package or name}")


def _requirements(name: str) -> Path:
    return HERE / "requirements" / f"{name}.txt"


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trimtab" / "conformance"


def _call(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"{' '.join(command[:4])} … took longer than {_INSTALL_S:g} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise InstallError(said[-1] if said else f"{' '.join(command[:4])} … ended with {done.returncode}")
