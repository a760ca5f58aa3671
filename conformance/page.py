"""The page that tells the results: what each client checked, and the differences that are meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conformance.differential.allowed import ALLOWED
from conformance.differential.compare import Difference
from conformance.environments import pinned_version
from conformance.verdicts import Verdict

_HEAD = """# Conformance

Real clients, each in its own environment and process, against `trimtab serve`. This page is written by
`python -m conformance.run --write-docs` (`make conformance` runs the same and compares).
"""

_DIFFERENTIAL = """## Beside MLServer and KServe

The same models run by MLServer {mlserver} and by KServe's model server {kserve} get the same requests as Trimtab,
valid and malformed ones, over REST and gRPC. Compared are the status, the kind of body, model name, id, and every
output's name, datatype, shape and values. What differs stands here with its reason; any other difference fails, and so
does one that is listed and no longer occurs.
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What one client found."""

    client: str
    version: str
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> int:
        """Checks without a defect."""
        return sum(verdict.ok for verdict in self.verdicts)


def page(results: Sequence[Result], found: Sequence[Difference]) -> str:
    """The page as Markdown."""
    lines = [_HEAD, "| client | version | checks | passed |", "| --- | --- | --- | --- |"]
    lines += [f"| {one.client} | {one.version} | {len(one.verdicts)} | {one.passed} |" for one in results]
    lines += ["", "## What was checked", ""]
    for checks, clients in _by_checks(results).items():
        lines += [f"**{'; '.join(clients)}**", "", *(f"- {check}" for check in checks), ""]
    failed = [(one.client, verdict) for one in results for verdict in one.verdicts if not verdict.ok]
    if failed:
        lines += ["## Failed", "", *(f"- {client}: {verdict.check}" for client, verdict in failed), ""]
    lines.append(_DIFFERENTIAL.format(mlserver=pinned_version("mlserver"), kserve=pinned_version("kserve")))
    lines += [
        "| peer | protocol | request | what | Trimtab | peer's | reason |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in ALLOWED:
        values = {
            one.case: one
            for one in found
            if (one.peer, one.protocol, one.part) == (entry.peer, entry.protocol, entry.part)
        }
        groups: dict[tuple[str, str], list[str]] = {}
        for case in sorted(entry.cases & values.keys()):
            groups.setdefault((values[case].ours, values[case].theirs), []).append(case)
        for (ours, theirs), cases in groups.items():
            cells = (entry.peer, entry.protocol, "; ".join(cases), entry.part, ours, theirs, entry.reason)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines).rstrip() + "\n"


def _by_checks(results: Sequence[Result]) -> dict[tuple[str, ...], list[str]]:
    """Clients with the same checks together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for one in results:
        groups.setdefault(tuple(verdict.check for verdict in one.verdicts), []).append(one.client)
    return groups
