"""Boosted trees as arrays: many small ensembles answered at once, without the library that grew them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Ensembles of regression trees, flattened. A row walks all trees together, one level at a time."""

    names: tuple[str, ...]
    """One for each ensemble."""
    first_tree: NDArray[np.intp]
    """Where each ensemble's trees begin in `roots`."""
    roots: NDArray[np.intp]
    feature: NDArray[np.intp]
    threshold: NDArray[np.float64]
    left: NDArray[np.intp]
    """Child where feature ≤ threshold; a leaf's is itself."""
    right: NDArray[np.intp]
    unknown_left: NDArray[np.bool_]
    """Whether an unknown value goes left."""
    value: NDArray[np.float64]
    depth: int
    """Levels below the roots."""

    def predict(self, rows: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Name → the sum over its trees for each row; `rows` has shape (rows, features), NaN being unknown."""
        at = np.broadcast_to(self.roots, (len(rows), len(self.roots)))
        row = np.arange(len(rows))[:, None]
        for _ in range(self.depth):
            seen = rows[row, self.feature[at]]
            left = np.where(np.isnan(seen), self.unknown_left[at], seen <= self.threshold[at])
            at = np.where(left, self.left[at], self.right[at])
        sums = np.add.reduceat(self.value[at], self.first_tree, axis=1)
        return {name: sums[:, k] for k, name in enumerate(self.names)}

    def parameters(self) -> dict[str, Any]:
        """This forest as plain values for a file."""
        return {
            "names": list(self.names),
            "first_tree": self.first_tree.tolist(),
            "roots": self.roots.tolist(),
            "feature": self.feature.tolist(),
            "threshold": self.threshold.tolist(),
            "left": self.left.tolist(),
            "right": self.right.tolist(),
            "unknown_left": self.unknown_left.astype(int).tolist(),
            "value": self.value.tolist(),
        }

    @classmethod
    def of(cls, told: Mapping[str, Any], features: int) -> Forest:
        """The forest of such values.

        Raises:
            KeyError, TypeError, ValueError: they are none, or not for so many features.
        """
        try:
            first, roots, feature, left, right = (
                np.array(told[name], dtype=np.intp) for name in ("first_tree", "roots", "feature", "left", "right")
            )
        except OverflowError as error:
            raise ValueError("a number of the trees is out of range") from error
        unknown = np.array(told["unknown_left"], dtype=np.bool_)
        threshold, value = (np.array(told[name], dtype=np.float64) for name in ("threshold", "value"))
        columns = (feature, left, right, unknown, threshold, value)
        if any(a.ndim != 1 or not len(a) for a in (first, roots, *columns)) or len({len(a) for a in columns}) != 1:
            raise ValueError("nodes of the trees do not fit together")
        at = np.arange(len(value))
        # A child stands behind its parent, so that every walk ends.
        inner, leaf = (left > at) & (right > at), (left == at) & (right == at)
        last = len(value) - 1
        if not (inner | leaf).all() or max(left.max(), right.max()) > last or roots.min() < 0 or roots.max() > last:
            raise ValueError("nodes of the trees do not fit together")
        if feature.min() < 0 or feature.max() >= features:
            raise ValueError("the trees ask for features that there are not")
        steps = np.diff(first)
        if len(first) != len(told["names"]) or first[0] != 0 or (steps < 1).any() or first[-1] >= len(roots):
            raise ValueError("ensembles of the trees do not fit together")
        if not (np.isfinite(value).all() and np.isfinite(threshold).all()):
            raise ValueError("the trees hold a value that is not finite")
        return cls(
            names=tuple(str(name) for name in told["names"]),
            first_tree=first,
            roots=roots,
            feature=feature,
            threshold=threshold,
            left=left,
            right=right,
            unknown_left=unknown,
            value=value,
            depth=_depth(left, right),
        )


def flatten(ensembles: Mapping[str, Sequence[Mapping[str, Any]]]) -> Forest:
    """The forest of ensembles of nested trees, as LightGBM's `dump_model()["tree_info"]` tells them.

    Thresholds and values are rounded to six significant digits, to keep files small. The rounded forest is the one
    that is judged.
    """
    nodes: list[list[float]] = []
    roots: list[int] = []
    first: list[int] = []
    for trees in ensembles.values():
        first.append(len(roots))
        for tree in trees:
            roots.append(len(nodes))
            _add(tree["tree_structure"], nodes)
    columns = list(zip(*nodes, strict=True))
    feature, left, right = (np.array(columns[k], dtype=np.intp) for k in (0, 2, 3))
    return Forest(
        names=tuple(ensembles),
        first_tree=np.array(first, dtype=np.intp),
        roots=np.array(roots, dtype=np.intp),
        feature=feature,
        threshold=np.array(columns[1]),
        left=left,
        right=right,
        unknown_left=np.array(columns[4], dtype=np.bool_),
        value=np.array(columns[5]),
        depth=_depth(left, right),
    )


def _add(node: Mapping[str, Any], nodes: list[list[float]]) -> None:
    """Append a subtree, each node before its children."""
    at = len(nodes)
    if "leaf_value" in node:
        nodes.append([0, 0.0, at, at, 1, _short(node["leaf_value"])])
        return
    threshold = _short(node["threshold"])
    # LightGBM takes an unknown value for zero where it met none while the tree grew.
    unknown_left = node["default_left"] if node["missing_type"] == "NaN" else threshold >= 0.0
    nodes.append([node["split_feature"], threshold, at, at, unknown_left, 0.0])
    nodes[at][2] = len(nodes)
    _add(node["left_child"], nodes)
    nodes[at][3] = len(nodes)
    _add(node["right_child"], nodes)


def _depth(left: NDArray[np.intp], right: NDArray[np.intp]) -> int:
    """Levels below the roots; children stand behind their parents."""
    level = [0] * len(left)
    for at, children in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        for child in children:
            if child != at:
                level[child] = level[at] + 1
    return max(level)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
