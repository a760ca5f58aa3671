"""What this machine is: the provenance of what is measured on it."""

from __future__ import annotations

import platform
import socket
from importlib import metadata
from pathlib import Path

from trimtab.profile.model import Provenance
from trimtab.runtime import affinity


def describe_machine(*, measured_at: str, command: str, notes: tuple[str, ...] = ()) -> Provenance:
    """This host as a `Provenance`; the caller has the clock: `measured_at` is ISO 8601, UTC."""
    missing = affinity.missing()
    return Provenance(
        measured_at=measured_at,
        host=socket.gethostname(),
        cpu=_cpu_model(),
        cores_available=len(affinity.usable_cores()),
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
        versions={
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in ("trimtab", "onnxruntime", "numpy")},
        },
        command=command,
        notes=(*((missing,) if missing else ()), *notes),
    )


def differences(one: Provenance, other: Provenance) -> tuple[str, ...]:
    """In which respects that matter for service times two provenances differ, in words; empty when in none."""
    was, now = _facts(one), _facts(other)
    return tuple(
        f"{name} was {was.get(name, 'not recorded')} and is {now.get(name, 'not recorded')}"
        for name in dict.fromkeys([*was, *now])
        if was.get(name) != now.get(name)
    )


def _facts(provenance: Provenance) -> dict[str, str]:
    return {
        "host": provenance.host,
        "CPU": provenance.cpu,
        "number of cores": str(provenance.cores_available),
        "system": provenance.os,
        **provenance.versions,
    }


def _cpu_model() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()
