"""`trimtab plan`: the plan for a rate, with what it is expected to do and why it was chosen."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trimtab import compiled
from trimtab.cli.plan_text import print_answer
from trimtab.errors import PlanRequestError
from trimtab.plan.explain import explain
from trimtab.plan.file import PlanAnswer, format_json, read_plan
from trimtab.plan.model import Limits, PlanRequest, Scenario, Step
from trimtab.plan.policies import DEFAULT_POLICY, POLICIES, make_policy
from trimtab.plan.policies.registry import check_settings
from trimtab.plan.uncertainty import from_quantiles
from trimtab.profile.file import load_profile_for
from trimtab.profile.model import Profile
from trimtab.runtime.followable import START_S
from trimtab.spec.load import load_pipeline
from trimtab.spec.model import Pipeline

_ABOUT = {
    "trimtab": "the optimum of the objective",
    "ipa": "IPA as published (JSys 2024)",
    "ipa-as-coded": "IPA as programmed",
    "ipa-v1": "IPA's first version",
    "fa2-low": "IPA, least accurate variants",
    "fa2-high": "IPA, most accurate variants",
    "rim": "IPA, fixed replicas",
    "infadapter": "InfAdapter as published",
    "infadapter-as-coded": "as programmed",
    "ms+": "InfAdapter, one variant at a time",
    "hpa": "Kubernetes, replicas by use",
    "vpa": "Kubernetes, cores by use",
    "vpa+": "VPA as InfAdapter uses it",
    "autopilot": "Google's cores by use",
    "mark": "MArk's replicas by forecast",
    "infaas": "INFaaS, replicate or upgrade",
    "fa2": "FA2, replicas and batches",
    "inferline": "planner, then a tuner",
    "proteus": "variants on a fixed cluster",
    "loki": "Loki, hardware then accuracy",
    "sponge": "Sponge, cores of one replica",
    "themis": "Themis, cores, then replicas",
    "model-switching": "the variant alone",
    "static-min": "once, for the least rate",
    "static-peak": "once, for the peak rate",
    "cheapest": "always the cheapest variants",
    "most-accurate": "always the best ones",
    "oracle": "trimtab, knowing the future",
}
"""Short enough for one line of the help, which has 38 columns where the terminal has 80."""
_SLOW_S = 0.5
"""Planning that takes longer is worth a word about machine code."""


def policies_help() -> str:
    """What `--policy` says in the help: a line for each policy."""
    lines = [f"{name}: {_ABOUT[name]}" if name in _ABOUT else name for name in POLICIES]
    return "\n\n".join(["How to plan.", *lines, "module:Class: a policy of your own"])


def plan(
    spec: Annotated[Path, typer.Argument(help="The pipeline file.")],
    rate: Annotated[
        float | None, typer.Option(help="Requests per second to plan for; 0 plans for a lone request.")
    ] = None,
    rate_quantiles: Annotated[
        str | None,
        typer.Option(
            metavar="Q=R,…", help="In place of --rate, a forecast of it by quantiles, such as 0.5=40,0.9=60,0.99=80."
        ),
    ] = None,
    hold: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="With --rate-quantiles: hold the SLO with this probability. Without it, the best expected objective.",
        ),
    ] = None,
    policy: Annotated[str, typer.Option(metavar="NAME", help=policies_help())] = DEFAULT_POLICY,
    current: Annotated[
        Path | None, typer.Option(help="The plan in force, as --json printed it, for what a change waits for.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="A value in place of the file's, such as slo.latency=300ms."),
    ] = None,
    profile: Annotated[Path | None, typer.Option(help="Profile file, if not the one the pipeline file names.")] = None,
    cores: Annotated[float | None, typer.Option(help="Cores to plan for, in place of the budget's.")] = None,
    arrival_scv: Annotated[
        float, typer.Option(help="How bursty arrivals are: squared coefficient of variation; 1 is Poisson.")
    ] = 1.0,
    json_output: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Plan for a rate: what each task gets, what to expect of it, and why."""
    scenarios = _scenarios(rate, rate_quantiles, hold)
    planner = make_policy(policy)
    pipeline = load_pipeline(spec, check_files=False, overrides=settings or ())
    check_settings(pipeline)
    measured = load_profile_for(pipeline, profile, overrides=settings or ())
    asked = PlanRequest(
        pipeline,
        measured,
        rate if rate is not None else scenarios[-1].rate_rps,
        limits_for(pipeline, measured, cores),
        arrival_scv=arrival_scv,
        current=None if current is None else read_plan(current, pipeline),
        scenarios=scenarios,
        hold_probability=hold,
    )
    request, notes = (asked, ()) if "rate" in planner.decides else _for_one_rate(asked, planner.name)
    compiled.load_when_cached()
    began_s = time.perf_counter()
    result = planner.propose(request)
    took_s = time.perf_counter() - began_s
    result = explain(planner, request, result)
    slow = time.perf_counter() - began_s > _SLOW_S
    result = replace(result, steps=(*notes, *result.steps))
    answer = PlanAnswer.of(asked, result, plan_time_s=took_s, compiled=compiled.is_loaded())
    if json_output:
        typer.echo(format_json(answer), nl=False)
    else:
        print_answer(answer, asked, Console(highlight=False))
        if slow:
            tell_how_to_compile()


def limits_for(pipeline: Pipeline, profile: Profile, cores: float | None) -> Limits:
    """What the plan may hold: the cores asked for, else the budget's, else those of the machine that was measured.

    Replicas change as those of `trimtab serve` do: variants and cores in place.
    """
    if cores is not None and not 0.0 < cores < float("inf"):
        raise PlanRequestError("the core limit has no meaning", where="--cores", got=f"{cores}", wanted="more than 0")
    budget = pipeline.budget
    if cores is None:
        cores = budget.cores
    if cores is None and profile.provenance is not None:
        cores = float(profile.provenance.cores_available)
    if cores is None:
        raise PlanRequestError(
            "nothing says how many cores there are: the pipeline has no core budget and the profile no provenance",
            where=f"pipeline {pipeline.name}",
            next_step="name them with --cores, or set budget.cores",
        )
    return Limits(
        cores=cores,
        memory_bytes=budget.memory_bytes,
        replicas_per_task=budget.replicas_per_task,
        max_allocations_per_task=pipeline.planning.mix,
        replicas=budget.replicas,
        cost_per_hour=budget.cost_per_hour,
        in_place_cores=True,
        start_s=START_S,
    )


def tell_how_to_compile() -> None:
    """One line on stderr about the machine code that would have made planning faster; none where it was used."""
    if not compiled.is_loaded():
        first = "" if compiled.is_available() else "pip install 'trimtab[fast]' && "
        Console(stderr=True, highlight=False).print(
            f"planned without machine code; to make it once: {first}python -m trimtab.compiled",
            style="dim",
            markup=False,
            soft_wrap=True,
        )


def _scenarios(rate: float | None, quantiles: str | None, hold: float | None) -> tuple[Scenario, ...]:
    """The forecast; empty for a single rate."""
    if (rate is None) == (quantiles is None):
        what = "no rate was given" if rate is None else "both a rate and quantiles of it were given"
        raise PlanRequestError(what, wanted="either --rate, or --rate-quantiles")
    if hold is not None and quantiles is None:
        raise PlanRequestError(
            "a single rate is held, or is not; there is no probability to choose",
            where="--hold",
            next_step="give the rate as a forecast with --rate-quantiles, or leave --hold out",
        )
    if hold is not None and not 0.0 < hold < 1.0:
        raise PlanRequestError("not a probability to hold with", where="--hold", got=f"{hold:g}", wanted="between 0, 1")
    return () if quantiles is None else from_quantiles(_quantiles(quantiles))


def _quantiles(text: str) -> dict[float, float]:
    """`0.5=40,0.9=60` as numbers."""
    rates: dict[float, float] = {}
    for part in text.split(","):
        quantile, sign, rate = part.partition("=")
        try:
            pair = float(quantile), float(rate)
        except ValueError:
            sign = ""
        if not sign:
            raise PlanRequestError(
                "not a quantile and its rate",
                where="--rate-quantiles",
                got=f"'{part.strip()}'",
                wanted="quantile=rate, several with commas between them, such as 0.5=40,0.9=60",
            )
        if pair[0] in rates:
            raise PlanRequestError("a quantile is given twice", where="--rate-quantiles", got=f"{pair[0]:g}")
        rates[pair[0]] = pair[1]
    return rates


def _for_one_rate(asked: PlanRequest, policy: str) -> tuple[PlanRequest, tuple[Step, ...]]:
    """The question to a policy that knows no scenarios: the rate that holds with the probability asked for.

    Raises:
        PlanRequestError: the expected objective was asked for, which such a policy does not have; or the forecast says
            nothing about so high a probability.
    """
    if not asked.scenarios:
        return asked, ()
    if asked.hold_probability is None:
        raise PlanRequestError(
            f"the policy '{policy}' plans for one rate, and knows no expected objective",
            where="--rate-quantiles",
            next_step="say with --hold which rate that is, such as --hold 0.9, or give it with --rate",
        )
    below = 0.0
    for scenario in asked.scenarios:
        below += scenario.probability
        if below >= asked.hold_probability * (1.0 - 1e-9):
            words = f"{policy} plans for one rate: the one not exceeded with {100 * below:.4g} % probability"
            one = replace(asked, rate_rps=scenario.rate_rps, scenarios=(), hold_probability=None)
            return one, (Step("rate", f"{scenario.rate_rps:.4g}/s", words),)
    raise PlanRequestError(
        "the forecast says nothing about a rate that is not exceeded with this probability",
        where="--hold",
        got=f"{asked.hold_probability:g}",
        wanted=f"at most {below:g}, its highest quantile",
    )
