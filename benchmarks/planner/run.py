"""The planner's benchmarks: tables of ratios, all measured in this run, with equal objectives asserted.

    python benchmarks/planner/run.py [--quick] [--out DIR]

Sections: IPA's problem, the joint problem, growth with size (and a picture in DIR), start of the process, and
InfAdapter's problem, where its benchmark stands beside this file.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import highspy

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Run all sections."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer instances and smaller ones: a minute or two")
    parser.add_argument("--out", type=Path, default=Path("out/planner"), help="where the picture goes")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    make: Any = highspy.Highs  # ships no types
    make().run()  # it prints its licence at the first run: here, and not inside a table
    print()
    sys.path.insert(0, str(ROOT))
    for section in ("startup", "ipa", "joint", "growth"):
        importlib.import_module(f"benchmarks.planner.{section}").run(quick=options.quick, out=options.out)
        print()
    infadapter = Path(__file__).with_name("infadapter.py")
    if infadapter.exists():
        print("InfAdapter's problem")
        sys.stdout.flush()
        subprocess.run([sys.executable, str(infadapter), *(["--quick"] if options.quick else [])], check=True)


if __name__ == "__main__":
    main()
