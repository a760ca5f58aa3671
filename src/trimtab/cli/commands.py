"""The table of commands. A new command is one line here: its name, where its function is, what it does in a sentence.

The function is an ordinary Typer command (or a `typer.Typer` with commands of its own); its module is imported when the
command runs or its own help is asked for, not before.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "init": ("trimtab.cli.init:init", "Write a pipeline file from a folder of models."),
    "check": ("trimtab.cli.check:check", "Check a pipeline file and its profile, and sum them up."),
    "profile": ("trimtab.cli.profile:profile", "Measure what each variant can do on this machine."),
    "evaluate": ("trimtab.cli.evaluate:evaluate", "Measure how accurate variants and pipeline are on labelled data."),
    "serve": ("trimtab.cli.serve:serve", "Serve a pipeline on this machine, adapting to the load."),
    "plan": ("trimtab.cli.plan:plan", "Plan for a rate, and tell why."),
    "pareto": ("trimtab.cli.pareto:pareto", "Tell what accuracy costs at a rate."),
    "simulate": ("trimtab.cli.simulate:simulate", "Try a policy on a trace before it serves, in a simulated plant."),
    "compare": ("trimtab.cli.compare:compare", "Compare policies on traces: tables, pictures and a page."),
    "trace": ("trimtab.cli.trace:app", "Make traces of requests per second, and tell what one is like."),
    "forecast": ("trimtab.cli.forecast:app", "Judge forecasters on a recorded load, and fit one to it."),
    "load": ("trimtab.cli.load:load", "Replay a trace against a server, and tell what clients saw."),
    "report": ("trimtab.cli.report:report", "Compare runs in a table, a picture and a page."),
    "schema": ("trimtab.cli.schema:schema", "Print the JSON schema of a file, for editors."),
}
"""Name → (`module:function`, the line in `trimtab --help`), in the order in which the help shows them."""


def make_app() -> typer.Typer:
    """The application with all commands."""
    app = typer.Typer(
        cls=_Commands,
        name="trimtab",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    return app


def _print_version(wish: bool) -> None:
    if wish:
        from trimtab import __version__

        typer.echo(f"trimtab {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Serves machine-learning pipelines that stay accurate, fast and cheap at once while the load changes."""


class _Commands(TyperGroup):
    """The group of all commands, each a stand-in until it is used."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (target, summary) in COMMANDS.items():
            self.add_command(_Deferred(name, target, summary))


class _Deferred(TyperCommand):
    """Stands in the help for a command whose module is not imported yet; becomes the command when it is used."""

    def __init__(self, name: str, target: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self._target = target

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the real command, so that it is the one that runs."""
        module, _, function = self._target.partition(":")
        found = getattr(importlib.import_module(module), function)
        if isinstance(found, typer.Typer):
            app = found
        else:
            app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            app.command(self.name)(found)
        return typer.main.get_command(app).make_context(info_name, args, parent=parent, **extra)
