"""Planners of the literature for pipelines, and for accuracy scaling on a fixed cluster."""
