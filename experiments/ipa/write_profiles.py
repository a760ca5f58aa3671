"""IPA's published measurements as profile files, to try other policies and traces with the `trimtab` commands.

    python experiments/ipa/write_profiles.py --data ../shared/data --out out/experiments/ipa
    trimtab plan experiments/ipa/video.yaml --rate 20 --cores 20 --set profile=out/experiments/ipa/video.json

One file a pipeline: what is known, and `scaling.py`'s model for other core counts and batches, so results are
extrapolated. None of them may be published.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.command import Options, parser, run
from experiments.ipa.contenders import READY_S
from experiments.ipa.measurements import NAMES, pipeline, profile
from experiments.ipa.published import base_cores, settings_row
from experiments.ipa.scaling import with_model

from trimtab.profile.file import save_profile


def experiment(asked: Options, _: Namespace) -> list[Path]:
    """A file for each pipeline."""
    written = []
    for name in NAMES:
        of = pipeline(name)
        row = settings_row(asked.data, name, "steady_low", "IPA")
        known = with_model(asked.data, of, base_cores(asked.data, of, row))
        path = asked.out / f"{name}.json"
        save_profile(profile(of, known, seen_as="truth", load_s=READY_S), path)
        written.append(path)
    return written


if __name__ == "__main__":
    run(parser(__doc__ or "", "ipa", seeds=1), experiment)
