"""Where the answers of Trimtab and of a peer differ, and whether that is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from conformance.differential.allowed import ALLOWED, Allowed

_MADE_UP_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Answers = Mapping[str, Mapping[str, Any]]
"""Case → the parts of the answer that are compared."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One case in which a peer answers otherwise."""

    peer: str
    protocol: str
    case: str
    part: str
    """`status`, or where that is equal: body, form, model_name, id, outputs."""
    ours: str
    theirs: str


def differences(peer: str, protocol: str, ours: Answers, theirs: Answers) -> list[Difference]:
    """Every difference; where the statuses differ, the rest is not compared."""
    found: list[Difference] = []
    for case in ours:
        mine, other = ours[case], theirs[case]
        parts: Iterable[str] = ["status"] if mine["status"] != other["status"] else sorted(mine.keys() | other.keys())
        found += [
            Difference(peer, protocol, case, part, _short(mine.get(part)), _short(other.get(part)))
            for part in parts
            if mine.get(part) != other.get(part)
        ]
    return found


def judge(found: list[Difference], peers: Iterable[str]) -> list[str]:
    """What is wrong, in words: differences that are not allowed, and allowed ones that no longer occur."""
    wrong = [
        f"{d.peer}, {d.protocol}, {d.case}: {d.part} is {d.ours} here and {d.theirs} there, which is not allowed"
        for d in found
        if reason_of(d) is None
    ]
    for entry in ALLOWED:
        if entry.peer not in peers:
            continue
        seen = {d.case for d in found if _covers(entry, d)}
        gone = sorted(entry.cases - seen)
        wrong += [
            f"{entry.peer}, {entry.protocol}, {case}: the allowed difference in {entry.part} is gone" for case in gone
        ]
    return wrong


def reason_of(difference: Difference) -> str | None:
    """Why a difference is allowed; None: it is not."""
    return next((entry.reason for entry in ALLOWED if _covers(entry, difference)), None)


def _covers(entry: Allowed, difference: Difference) -> bool:
    same = (entry.peer, entry.protocol, entry.part) == (difference.peer, difference.protocol, difference.part)
    return same and difference.case in entry.cases


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if _MADE_UP_ID.fullmatch(text):
        return "one made up"
    if text in ("", "null"):
        return "none"
    return text if len(text) <= 80 else text[:77] + "…"
