"""Randomness is an argument. The one way to make a generator from a seed, and independent ones from its name."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *names: str) -> np.random.Generator:
    """A generator for `seed`; generators of the same seed and other `names` are statistically independent.

    Naming the streams ("arrivals", "inputs") keeps one consumer's draws from shifting another's.
    """
    keys = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") for name in names]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy=seed, spawn_key=tuple(keys))))
