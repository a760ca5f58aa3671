"""Exact solvers: they see numbers and options, not pipelines."""
