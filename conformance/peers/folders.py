"""The folder of models that MLServer reads."""

from __future__ import annotations

import json
from pathlib import Path

from conformance.peers.models import INPUTS


def write_mlserver_models(folder: Path) -> Path:
    """Write one `model-settings.json` for each model; returns the folder."""
    for name in INPUTS:
        (folder / name).mkdir(parents=True)
        settings = {"name": name, "implementation": "conformance.peers.mlserver_models.Peer"}
        (folder / name / "model-settings.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder
