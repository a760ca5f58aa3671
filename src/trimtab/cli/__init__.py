"""The command line: argument parsing and printing; the work is done by the layers below.

`main` is what the `trimtab` command runs. Each command stands in the table of `cli.commands` and is imported only when
it is used, so that `trimtab --help` stays quick.
"""

from __future__ import annotations

import sys

from trimtab.errors import TrimtabError

BAD_INPUT = 2
"""Exit code of every error that Trimtab raises on purpose, and of a wrong command line."""


def main() -> None:
    """Run the command line of this process; bad input ends in one message on stderr and exit code 2, Ctrl-C in 130."""
    from trimtab.cli.commands import make_app

    try:
        make_app()()
    except TrimtabError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
