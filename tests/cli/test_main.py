"""The command line's root: its table of commands, its exit codes, and that it starts without the layers below."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

import trimtab
from trimtab import cli
from trimtab.cli import commands
from trimtab.errors import PlanRequestError


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["trimtab", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def add_command(monkeypatch: pytest.MonkeyPatch, run: object) -> None:
    """A command `try` that calls `run`, in the table for this test."""
    monkeypatch.setattr(sys.modules[__name__], "_run", run, raising=False)
    monkeypatch.setitem(sys.modules, "tried_command", sys.modules[__name__])
    monkeypatch.setitem(commands.COMMANDS, "try", ("tried_command:_run", "Try."))


@pytest.mark.parametrize("name", list(commands.COMMANDS))
def test_every_command_in_the_table_exists_and_has_help(name: str) -> None:
    module, _, function = commands.COMMANDS[name][0].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    result = CliRunner().invoke(commands.make_app(), [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_help_names_every_command() -> None:
    result = CliRunner().invoke(commands.make_app(), ["--help"])
    assert result.exit_code == 0
    for name in commands.COMMANDS:
        assert f" {name} " in result.output


def test_help_imports_no_layer_below() -> None:
    code = (
        "import sys\nfrom trimtab.cli.commands import make_app\n"
        "try: make_app()(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('numpy', 'pydantic', 'yaml', 'onnxruntime', 'aiohttp', 'starlette') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version() -> None:
    result = CliRunner().invoke(commands.make_app(), ["--version"])
    assert result.exit_code == 0
    assert result.output == f"trimtab {trimtab.__version__}\n"


def test_it_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "trimtab", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"trimtab {trimtab.__version__}\n"


def test_an_error_that_was_meant_is_one_message_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> None:
        raise PlanRequestError("no such policy", got="'best'", wanted="one of a, b", next_step="choose one")

    add_command(monkeypatch, run)
    assert run_main(monkeypatch, "try") == 2
    told = capsys.readouterr()
    assert told.err == "error: no such policy: got 'best', wanted one of a, b\n  → choose one\n"
    assert told.out == ""


def test_ctrl_c_is_exit_code_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        raise KeyboardInterrupt

    add_command(monkeypatch, run)
    assert run_main(monkeypatch, "try") == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_error_that_was_not_meant_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> None:
        raise ZeroDivisionError

    add_command(monkeypatch, run)
    monkeypatch.setattr(sys, "argv", ["trimtab", "try"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_a_command_may_have_commands_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()
    app.command("one")(lambda: typer.echo("first"))
    app.command("two")(lambda: typer.echo("second"))
    add_command(monkeypatch, app)
    assert run_main(monkeypatch, "try", "two") == 0
    assert capsys.readouterr().out == "second\n"


@pytest.mark.parametrize("arguments", [["chek"], ["check"], ["check", "--nope", "x"], []])
def test_a_wrong_command_line_is_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run_main(monkeypatch, *arguments) == 2
    assert "Traceback" not in capsys.readouterr().err
