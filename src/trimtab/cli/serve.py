"""`trimtab serve`: serve a pipeline on this machine, adapting to the load."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from trimtab.plan.policies import DEFAULT_POLICY

log = logging.getLogger(__name__)


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
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of REST; 0 takes a free one.")] = 8080,
    grpc_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port of gRPC; 0 takes a free one. By default 8081, or free as that of REST."
        ),
    ] = None,
    grpc: Annotated[bool, typer.Option("--grpc/--no-grpc", help="Speak gRPC too.")] = True,
    gateways: Annotated[
        int, typer.Option(min=0, max=64, help="Processes that speak the protocols; 0: the data plane's own does.")
    ] = 0,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM file of the certificate and its chain; with it, TLS only.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of its key, where that is another file.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that clients must send as Authorization: Bearer.")
    ] = None,
    model_folder: Annotated[
        list[Path] | None,
        typer.Option(help="A folder that models may lie in, besides the pipeline file's own; as often as needed."),
    ] = None,
    repository: Annotated[
        bool | None,
        typer.Option(
            "--repository/--no-repository",
            help="Let clients load and unload models; by default only on an address of this machine alone.",
        ),
    ] = None,
    max_body: Annotated[int, typer.Option(min=1024, metavar="BYTES", help="Largest request, in bytes.")] = 32
    * 1024
    * 1024,
    max_queue: Annotated[
        int, typer.Option(min=1, metavar="ITEMS", help="Items that may wait at one task; beyond, requests are refused.")
    ] = 10_000,
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
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")  # workers are started anew: its handlers only talk
    from trimtab.control.protocols import Decision
    from trimtab.control.settings import forecaster_for
    from trimtab.plan.policies import make_policy
    from trimtab.plan.policies.registry import check_settings
    from trimtab.profile.file import load_profile_for
    from trimtab.runtime.serve_options import Addresses, Listening, ServeOptions
    from trimtab.runtime.serving import run
    from trimtab.spec.load import load_pipeline

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    forecaster_for(make_policy(policy), forecaster)  # a misspelt name is said before anything else is read
    pipeline = load_pipeline(spec)
    check_settings(pipeline)
    options = ServeOptions(
        listening=Listening(
            host=host,
            port=port,
            grpc_port=_grpc_port(port, grpc_port) if grpc else None,
            certificate=tls_certificate,
            key=tls_key,
            token_file=token_file,
            body_bytes=max_body,
            repository=repository,
        ),
        gateways=gateways,
        policy=policy,
        forecaster=forecaster,
        cores=cores,
        start_rate_rps=start_rate,
        max_queued=max_queue,
        model_folders=tuple(model_folder or ()),
        journal=journal,
        grace_s=grace,
    )

    if not options.listening.local and hasattr(os, "geteuid") and os.geteuid() == 0:
        log.warning("serving other machines as root: a user of its own, without rights, is enough")

    def ready(addresses: Addresses, decision: Decision) -> None:
        variants = ", ".join(f"{task} {'+'.join(names)}" for task, names in decision.plan.variants().items())
        where = addresses.url + (f" and gRPC {addresses.grpc}" if addresses.grpc else "")
        through = f"{gateways} gateways; " if gateways else ""
        typer.echo(
            f"trimtab: serving {pipeline.name} on {where} ({through}policy {policy}; {variants}; Ctrl-C ends it)"
        )

    run(pipeline, load_profile_for(pipeline, profile), options, ready)
    typer.echo(f"trimtab: {pipeline.name} stopped")


def _grpc_port(port: int, grpc_port: int | None) -> int:
    """The port of gRPC: as asked; a free one where that of REST is free too, so that servers can run side by side."""
    from trimtab.runtime.serve_options import GRPC_PORT

    if grpc_port is not None:
        return grpc_port
    return GRPC_PORT if port else 0
