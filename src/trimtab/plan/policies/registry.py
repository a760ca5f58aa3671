"""Policies by name. Built-in ones enter by the door that is open to everyone: a dotted `module:Class`."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from types import MappingProxyType

from trimtab.errors import PlanRequestError
from trimtab.plan.policies.base import Policy

DEFAULT_POLICY = "trimtab"

POLICIES: Mapping[str, str] = MappingProxyType(
    {
        "trimtab": "trimtab.plan.policies.trimtab:TrimtabPolicy",
        "ipa": "trimtab.plan.policies.ipa:IpaPolicy",
        "cheapest": "trimtab.plan.policies.static:CheapestPolicy",
        "most-accurate": "trimtab.plan.policies.static:MostAccuratePolicy",
    }
)
"""Name → where its class is."""


def make_policy(name: str) -> Policy:
    """The policy called `name`, or the one at a dotted `module:Class` that takes no arguments.

    Raises:
        PlanRequestError: there is none, or what is there is no policy.
    """
    path = POLICIES.get(name, name)
    module_name, separator, class_name = path.partition(":")
    if not separator:
        close = difflib.get_close_matches(name, POLICIES, n=1)
        raise PlanRequestError(
            "no such policy",
            where="policy",
            got=name,
            wanted=f"one of {', '.join(POLICIES)}, or module:Class of your own",
            next_step=f"did you mean '{close[0]}'?" if close else None,
        )
    try:
        policy = getattr(importlib.import_module(module_name), class_name)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise PlanRequestError(
            f"the policy cannot be loaded ({error})",
            where="policy",
            got=name,
            wanted="module:Class, importable and made without arguments",
        ) from error
    if not isinstance(policy, Policy):
        raise PlanRequestError(
            "what was loaded is no policy",
            where="policy",
            got=name,
            wanted="an object with name, decides and propose(request)",
            next_step="trimtab.testing.check_policy says what is missing",
        )
    return policy
