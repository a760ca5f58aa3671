"""Trimtab: serves machine-learning pipelines that stay accurate, fast and cheap at once while the load changes.

The package imports nothing when it is imported; take what you need from its layers, which stand in one line:

    spec → profile → observe → forecast → queueing → plan → dispatch → control → { sim | runtime | load } → report → cli
"""

__version__ = "0.1.0"
