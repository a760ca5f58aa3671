"""How a plan is proposed: published policies and ours, behind one protocol."""

from __future__ import annotations

from trimtab.plan.policies.base import ObservingPolicy, Policy, Rhythm
from trimtab.plan.policies.registry import DEFAULT_POLICY, POLICIES, make_policy

__all__ = ["DEFAULT_POLICY", "POLICIES", "ObservingPolicy", "Policy", "Rhythm", "make_policy"]
