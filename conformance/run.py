"""Runs all clients and the differential tests, prints what was found and writes the results page.

    python -m conformance.run [--quick] [--write-docs]

Ends with 1 when a check failed, a difference is not allowed, or an allowed one is gone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from conformance.differential.compare import Difference, judge
from conformance.differential.run import PEERS, compare_with
from conformance.environments import ROOT
from conformance.page import Result, page
from conformance.pipelines import types_pipeline
from conformance.suites import QUICK, SUITES, Suite, run_suite

from conformance import servers

PAGE = ROOT / "docs" / "reference" / "conformance.md"


def run_suites(suites: tuple[Suite, ...]) -> list[Result]:
    """Run these against one server.

    Raises:
        InstallError: an environment cannot be made.
        ServerError: the server did not start.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with servers.trimtab(types_pipeline(folder / "pipeline")) as server:
            return [
                Result(suite.name, suite.version, tuple(run_suite(suite, server, folder / f"{i}")))
                for i, suite in enumerate(suites)
            ]


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description="Real clients against trimtab serve.")
    parser.add_argument("--quick", action="store_true", help="only Triton's client and gRPC's own; no peers")
    parser.add_argument("--write-docs", action="store_true", help="write docs/reference/conformance.md")
    given = parser.parse_args()
    results = run_suites(QUICK if given.quick else SUITES)
    for result in results:
        print(f"{result.client} {result.version}: {result.passed} of {len(result.verdicts)}")
        for verdict in result.verdicts:
            if not verdict.ok:
                print(f"  FAILED {verdict.check}: {verdict.detail}")
    found: list[Difference] = [] if given.quick else compare_with(PEERS)
    wrong = [] if given.quick else judge(found, PEERS)
    if not given.quick:
        print(f"differences from {' and '.join(PEERS)}: {len(found)}, not as allowed: {len(wrong)}")
        for text in wrong:
            print(f"  {text}")
    if given.write_docs:
        PAGE.write_text(page(results, found), encoding="utf-8")
    return int(bool(wrong) or any(not verdict.ok for result in results for verdict in result.verdicts))


if __name__ == "__main__":
    sys.exit(main())
