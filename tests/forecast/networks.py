"""Small LSTMs whose answer is known, and one worked out number by number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from trimtab.rng import generator

OPEN, SHUT = 60.0, -60.0
"""Biases that open or shut a gate."""


def newest_alone(weight: float, bias: float) -> dict[str, Any]:
    """One unit that forgets and passes on: its answer is weight × the last number read + bias."""
    return {
        "activation": "relu",
        "kernel": [0.0, 0.0, 0.0, 1.0],
        "recurrent": [[0.0, 0.0, 0.0, 0.0]],
        "bias": [OPEN, SHUT, OPEN, 0.0],
        "dense": [weight],
        "dense_bias": bias,
    }


def drawn(units: int, activation: str, seed: int) -> dict[str, Any]:
    """Weights at random."""
    rng = generator(seed, "weights")
    return {
        "activation": activation,
        "kernel": rng.normal(0.0, 0.3, 4 * units).tolist(),
        "recurrent": rng.normal(0.0, 0.3, (units, 4 * units)).tolist(),
        "bias": rng.normal(0.0, 0.3, 4 * units).tolist(),
        "dense": rng.normal(0.0, 0.3, units).tolist(),
        "dense_bias": float(rng.normal()),
    }


def by_hand(told: dict[str, Any], values: Sequence[float]) -> float:
    """The answer of an LSTM, gate by gate and unit by unit (Gers et al. 2000, without peepholes)."""
    units = len(told["dense"])
    hidden, cells = [0.0] * units, [0.0] * units
    activate: Callable[[float], float] = math.tanh if told["activation"] == "tanh" else (lambda x: max(x, 0.0))
    for value in values:
        before = list(hidden)
        for unit in range(units):
            sums = []
            for gate in range(4):
                column = gate * units + unit
                total = told["bias"][column] + value * told["kernel"][column]
                sums.append(total + sum(before[k] * told["recurrent"][k][column] for k in range(units)))
            entry, kept, leaving = (1.0 / (1.0 + math.exp(-x)) for x in sums[:3])
            cells[unit] = kept * cells[unit] + entry * activate(sums[3])
            hidden[unit] = leaving * activate(cells[unit])
    return math.fsum([told["dense_bias"], *(w * h for w, h in zip(told["dense"], hidden, strict=True))])
