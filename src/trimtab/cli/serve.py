"""`trimtab serve`: serve a pipeline on this machine, adapting to the load."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from trimtab.plan.policies import DEFAULT_POLICY


def serve(
    spec: Annotated[Path, typer.Argument(help="The pipeline file.")],
    profile: Annotated[
        Path | None, typer.Option(help="The profile, where it is not the one that the pipeline file names.")
    ] = None,
    policy: Annotated[
        str, typer.Option(help="How plans are proposed: a built-in policy, or module:Class.")
    ] = DEFAULT_POLICY,
    forecaster: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A forecaster, the file of a fitted one, or module:Class; by default the policy's own."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Cores for replicas; otherwise the budget's, as far as they are here.")
    ] = None,
    start_rate: Annotated[
        float, typer.Option(min=0.001, help="Requests per second that the first plan is made for.")
    ] = 1.0,
    journal: Annotated[Path | None, typer.Option(help="Write every decision to this new file, one a line.")] = None,
    grace: Annotated[
        float, typer.Option(min=0.0, help="At the end, wait this many seconds for requests under way.")
    ] = 10.0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell every change of plan.")] = False,
) -> None:
    """Serve a pipeline on this machine, over the Open Inference Protocol, until Ctrl-C."""
    from trimtab.control.protocols import Decision
    from trimtab.control.settings import forecaster_for
    from trimtab.plan.policies import make_policy
    from trimtab.plan.policies.registry import check_settings
    from trimtab.profile.file import load_profile_for
    from trimtab.runtime.serving import ServeOptions, run
    from trimtab.spec.load import load_pipeline

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    forecaster_for(make_policy(policy), forecaster)  # a misspelt name is said before anything else is read
    pipeline = load_pipeline(spec)
    check_settings(pipeline)
    options = ServeOptions(
        host=host,
        port=port,
        policy=policy,
        forecaster=forecaster,
        cores=cores,
        start_rate_rps=start_rate,
        journal=journal,
        grace_s=grace,
    )

    def ready(url: str, decision: Decision) -> None:
        variants = ", ".join(f"{task} {'+'.join(names)}" for task, names in decision.plan.variants().items())
        typer.echo(f"trimtab: serving {pipeline.name} on {url} (policy {policy}; {variants}; Ctrl-C ends it)")

    run(pipeline, load_profile_for(pipeline, profile), options, ready)
    typer.echo(f"trimtab: {pipeline.name} stopped")
