"""InfAdapter's published measurements as profile files, to try other policies and traces with the `trimtab` commands.

    python experiments/infadapter/write_profile.py --data ../shared/data --out out/experiments/infadapter
    trimtab plan experiments/infadapter/pipeline.yaml --rate 200 --policy infadapter --set profile=…/capacity.json

`capacity.json` holds the capacity tables, `service.json` the service times. Neither may be published.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.command import Options, parser, run
from experiments.infadapter.measurements import capacity_profile, service_profile

from trimtab.profile.file import save_profile


def experiment(asked: Options, _: Namespace) -> list[Path]:
    """Both files."""
    capacity, service = asked.out / "capacity.json", asked.out / "service.json"
    save_profile(capacity_profile(asked.data), capacity)
    save_profile(service_profile(asked.data), service)
    return [capacity, service]


if __name__ == "__main__":
    run(parser(__doc__ or "", "infadapter", seeds=1), experiment)
