"""Policies by name. Built-in ones enter by the door that is open to everyone: a dotted `module:Class`."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from types import MappingProxyType

from trimtab.errors import PlanRequestError
from trimtab.plan.policies.base import Policy
from trimtab.plan.policies.settings import override
from trimtab.spec.model import Pipeline

DEFAULT_POLICY = "trimtab"

POLICIES: Mapping[str, str] = MappingProxyType(
    {
        "trimtab": "trimtab.plan.policies.trimtab:TrimtabPolicy",
        "ipa": "trimtab.plan.policies.ipa.policy:IpaPolicy",
        "ipa-as-coded": "trimtab.plan.policies.ipa.policy:IpaAsCodedPolicy",
        "ipa-v1": "trimtab.plan.policies.ipa.policy:IpaV1Policy",
        "fa2-low": "trimtab.plan.policies.ipa.policy:Fa2LowPolicy",
        "fa2-high": "trimtab.plan.policies.ipa.policy:Fa2HighPolicy",
        "rim": "trimtab.plan.policies.ipa.policy:RimPolicy",
        "infadapter": "trimtab.plan.policies.infadapter.policy:InfAdapterPolicy",
        "infadapter-as-coded": "trimtab.plan.policies.infadapter.policy:InfAdapterAsCodedPolicy",
        "ms+": "trimtab.plan.policies.infadapter.policy:MsPlusPolicy",
        "hpa": "trimtab.plan.policies.autoscalers.hpa:HpaPolicy",
        "vpa": "trimtab.plan.policies.autoscalers.vpa:VpaPolicy",
        "vpa+": "trimtab.plan.policies.autoscalers.vpa:VpaPlusPolicy",
        "autopilot": "trimtab.plan.policies.autoscalers.autopilot:AutopilotPolicy",
        "mark": "trimtab.plan.policies.autoscalers.mark:MarkPolicy",
        "infaas": "trimtab.plan.policies.autoscalers.infaas:InfaasPolicy",
        "fa2": "trimtab.plan.policies.pipelines.fa2:Fa2Policy",
        "inferline": "trimtab.plan.policies.pipelines.inferline:InferLinePolicy",
        "proteus": "trimtab.plan.policies.pipelines.proteus:ProteusPolicy",
        "loki": "trimtab.plan.policies.pipelines.loki:LokiPolicy",
        "sponge": "trimtab.plan.policies.pipelines.sponge:SpongePolicy",
        "themis": "trimtab.plan.policies.pipelines.themis:ThemisPolicy",
        "model-switching": "trimtab.plan.policies.pipelines.model_switching:ModelSwitchingPolicy",
        "static-min": "trimtab.plan.policies.provisioning:StaticMinPolicy",
        "static-peak": "trimtab.plan.policies.provisioning:StaticPeakPolicy",
        "cheapest": "trimtab.plan.policies.static:CheapestPolicy",
        "most-accurate": "trimtab.plan.policies.static:MostAccuratePolicy",
        "oracle": "trimtab.plan.policies.oracle:OraclePolicy",
    }
)
"""Name → where its class is."""


def check_settings(pipeline: Pipeline) -> None:
    """Refuse settings that no policy would ever read: those of an unknown policy, or of one that has none.

    Raises:
        PlanRequestError: a policy's name or a setting is wrong.
    """
    for name in pipeline.policies:
        where = f"policies.{name}"
        if ":" in name:
            continue
        if name not in POLICIES:
            close = difflib.get_close_matches(name, POLICIES, n=1)
            raise PlanRequestError(
                "no such policy",
                where=where,
                wanted=f"one of {', '.join(POLICIES)}, or module:Class of your own",
                next_step=f"did you mean '{close[0]}'?" if close else None,
            )
        defaults = getattr(make_policy(name), "defaults", None)
        if defaults is None:
            raise PlanRequestError("this policy has no settings", where=where, next_step="leave them out")
        override(defaults, pipeline, name)


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
