"""Autoscalers of the literature: they follow load or utilisation with replicas or cores, not accuracy."""
