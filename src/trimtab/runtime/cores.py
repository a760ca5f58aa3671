"""Which replica runs on which cores: a pure assignment, changed as little as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def assign(
    held: Mapping[str, tuple[int, ...]], wanted: Mapping[str, int], usable: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """Core ids for every replica in `wanted`.

    A replica keeps the cores it holds as far as it still needs them; free cores fill the rest, lowest first. When there
    are not enough (replicas that drain still hold theirs), the cores that fewest replicas use are shared.

    Args:
        held: replica → core ids that it has now; replicas missing from `wanted` (draining) keep theirs.
        wanted: replica → number of cores; at most `len(usable)` each.
        usable: ids of the cores that replicas may use.
    """
    users = dict.fromkeys(usable, 0)
    assigned: dict[str, tuple[int, ...]] = {}
    for replica, ids in held.items():
        kept = tuple(i for i in ids if i in users)[: wanted.get(replica, len(ids))]
        for i in kept:
            users[i] += 1
        if replica in wanted:
            assigned[replica] = kept
    for replica, count in wanted.items():
        chosen = list(assigned.get(replica, ()))
        while len(chosen) < count:
            best = min((i for i in usable if i not in chosen), key=lambda i: (users[i], i))
            users[best] += 1
            chosen.append(best)
        assigned[replica] = tuple(sorted(chosen))
    return assigned
