"""Folders of models as they stand elsewhere: Triton's repositories, MLServer's folders, and plain folders of files.

What such a repository says about batching, queues and instances is left aside: Trimtab decides those itself. What it
says about where a model is and what it takes and gives is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trimtab.errors import ModelError
from trimtab.runtime.models.registry import runtime_by_form
from trimtab.runtime.models.triton_config import read_config, version_folder

MLSERVER_RUNTIMES = {
    "mlserver_sklearn.SKLearnModel": "sklearn",
    "mlserver_onnx.OnnxModel": "onnx",
    "mlserver_huggingface.HuggingFaceRuntime": "transformers",
}
"""MLServer's implementation → our runtime."""
_MLSERVER_FILES = ("model.joblib", "model.pickle", "model.pkl", "model.onnx")
_CONFIG, _SETTINGS = "config.pbtxt", "model-settings.json"


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model in a repository."""

    name: str
    path: Path
    runtime: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Of its file, or of all in its folder."""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())


def find_models(folder: Path) -> tuple[FoundModel, ...]:
    """The models in a folder, smallest first: in Triton's form, in MLServer's, or else plain files and folders.

    Raises:
        ModelError: there are none, or one is of a kind that is not served; tells which.
    """
    if not folder.is_dir():
        raise ModelError("there is no such folder", where=str(folder), wanted="a folder of models")
    found: list[FoundModel] = []
    for item in [folder, *sorted(folder.iterdir())]:
        if (item / _SETTINGS).is_file():
            found.append(_mlserver(item / _SETTINGS))
        elif item is folder:
            continue
        elif item.is_dir() and (version := version_folder(item)) is not None:
            found.append(_triton(item, version))
        elif (runtime := runtime_by_form(item)) is not None and runtime != "python":
            found.append(FoundModel(item.name if item.is_dir() else item.stem, item, runtime))
    if not found:
        raise ModelError(
            "the folder holds no models",
            where=str(folder),
            wanted=f"model files such as ONNX, folders with a config.json, a version folder, or a {_SETTINGS}",
        )
    return tuple(sorted(found, key=lambda model: (model.size_bytes, model.name)))


def _triton(folder: Path, version: Path) -> FoundModel:
    config = read_config(folder / _CONFIG) if (folder / _CONFIG).is_file() else None
    for file, runtime in (("model.onnx", "onnx"), ("model.pt", "torchscript")):
        if (version / file).is_file():
            options = config.tensors() if config is not None and runtime == "torchscript" else {}
            return FoundModel(folder.name, version / file, runtime, options)
    raise ModelError(
        "a model of this kind is not served",
        where=str(version),
        got=(config.kind if config else None) or ", ".join(sorted(file.name for file in version.iterdir())),
        wanted="model.onnx or model.pt",
        next_step="a model in Python: write it as a class (runtime python)",
    )


def _mlserver(path: Path) -> FoundModel:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        implementation, parameters = str(settings.get("implementation")), settings.get("parameters") or {}
        name, uri, extra = settings.get("name"), parameters.get("uri"), parameters.get("extra") or {}
        task, pretrained = extra.get("task"), extra.get("pretrained_model")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError("the settings cannot be read", where=str(path), got=" ".join(str(error).split())) from error
    runtime = MLSERVER_RUNTIMES.get(implementation)
    if runtime is None:
        raise ModelError(
            "a model of this implementation is not served",
            where=str(path),
            got=implementation,
            wanted=", ".join(MLSERVER_RUNTIMES),
            next_step="write it as a class with predict (runtime python)",
        )
    named = uri or (pretrained if runtime == "transformers" else None)
    usual = (path.parent / file for file in _MLSERVER_FILES)
    model = path.parent / named if named else next((file for file in usual if file.is_file()), path.parent)
    if not model.exists():
        raise ModelError(
            "the model is not in the folder",
            where=str(path),
            got=str(named),
            wanted="a file or folder beside the settings; nothing is fetched",
        )
    options = {"task": task.replace("_", "-")} if runtime == "transformers" and task else {}
    return FoundModel(str(name or path.parent.name), model, runtime, options)
