"""Where models may lie: in the pipeline file's own folder, and in folders that whoever runs Trimtab has allowed.

A model is code that runs with our rights: a pickled one literally, any other through its library. A pipeline file that
was sent to us must not reach for files elsewhere. Links are followed before the answer is given; the gateway asks when
it reads the pipeline's models, and each worker again when it loads one, because files change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from trimtab.errors import ModelError
from trimtab.spec.model import Pipeline


def allowed_folders(pipeline: Pipeline, more: Iterable[Path] = ()) -> tuple[Path, ...]:
    """The folders that the models of a pipeline may lie in; none, for no limit, where code built it and named none."""
    own = [pipeline.source.parent] if pipeline.source else []
    return tuple(folder.resolve() for folder in [*own, *more])


def check_allowed(path: Path, folders: Sequence[Path]) -> None:
    """See that a model, with all files in it where it is a folder, lies in one of `folders` (empty: anywhere).

    Raises:
        ModelError: it does not, or a link in it leads out of them.
    """
    if not folders:
        return
    for file in (path, *sorted(path.rglob("*"))) if path.is_dir() else (path,):
        real = file.resolve()
        if not any(real.is_relative_to(folder) for folder in folders):
            raise ModelError(
                "the model lies outside the folders that models may be loaded from",
                where=str(path),
                got=str(real),
                wanted="a file in " + " or ".join(map(str, folders)),
                next_step=f"move it there, or allow its folder: --model-folder {real.parent}",
            )
