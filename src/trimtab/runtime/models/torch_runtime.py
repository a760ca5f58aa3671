"""PyTorch models that need no code of their own: TorchScript (`.pt`, torch.jit.save) and exported programs (`.pt2`,
torch.export.save).

Neither says its tensors' forms in a way that can be relied on, so the pipeline file does: the options `inputs` and
`outputs`, in the order in which the model takes and returns them. A model that returns a mapping is read by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.errors import MissingExtraError, ModelError
from trimtab.runtime.frames import BYTES
from trimtab.runtime.models.declared import declared, infos, known_options
from trimtab.runtime.models.model import Interface, ModelSource
from trimtab.runtime.service import Tensor

_OPTIONS = ("inputs", "outputs")


class TorchRuntime:
    """Loads `.pt` and `.pt2` files."""

    name = "torchscript"

    def inspect(self, source: ModelSource) -> Interface:
        """As declared, once it is sure that the file can be loaded."""
        return self.load(source, 1).interface

    def load(self, source: ModelSource, threads: int) -> TorchModel:
        """The module, in evaluation."""
        interface = _interface(source)
        if not source.path.is_file():
            raise ModelError("the model file does not exist", where=str(source.path), wanted="a TorchScript file")
        torch = _torch()
        torch.set_num_threads(threads)
        try:
            if source.path.suffix.lower() == ".pt2":
                module = torch.export.load(source.path).module()
            else:
                module = torch.jit.load(str(source.path), map_location="cpu").eval()
        except (RuntimeError, ValueError, OSError, EOFError) as error:
            raise ModelError(
                "PyTorch cannot load the model file",
                where=str(source.path),
                got=" ".join(str(error).split())[:400],
                wanted="a file that torch.jit.save (.pt) or torch.export.save (.pt2) wrote",
                next_step="a file of weights alone needs its code: use the runtime python",
            ) from error
        outputs = declared(source, "outputs") or ()
        return TorchModel(torch, module, interface, tuple(tensor.source for tensor in outputs), threads)


class TorchModel:
    """A loaded module. PyTorch's threads are those of the thread that runs it, so that any number of runs share it."""

    parallel = True

    def __init__(self, torch: Any, module: Any, interface: Interface, own_names: tuple[str, ...], threads: int) -> None:
        self.interface = interface
        self.any_threads = False
        self._torch = torch
        self._module = module
        self._own_names = own_names
        self._threads = threads

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One call of the module, without gradients."""
        torch = self._torch
        torch.set_num_threads(self._threads)
        with torch.inference_mode():
            # A copy, because tensors that came in a frame may not be written to, and PyTorch warns of those.
            given = self._module(*(torch.tensor(inputs[info.name]) for info in self.interface.inputs))
        if isinstance(given, Mapping):
            results = [given.get(name) for name in self._own_names]
        else:
            results = list(given) if isinstance(given, tuple | list) else [given]
        if len(results) != len(self._own_names) or any(result is None for result in results):
            raise ModelError(
                "the model returns other tensors than the pipeline file declares",
                got=", ".join(given) if isinstance(given, Mapping) else f"{len(results)}",
                wanted=", ".join(self._own_names),
            )
        named = zip(self.interface.outputs, results, strict=True)
        return {info.name: result.numpy() for info, result in named if result is not None}

    def example(self, rows: int) -> None:
        """None: the declared form is all that is known."""
        del rows


def _interface(source: ModelSource) -> Interface:
    known_options(source, _OPTIONS)
    interface = Interface(infos(source, "inputs"), infos(source, "outputs"))
    for info in (*interface.inputs, *interface.outputs):
        if info.dtype == BYTES:
            raise ModelError("PyTorch has no tensors of bytes", where=f"{source.path}: {info.name}", wanted="numbers")
    return interface


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch", "torch", "a TorchScript model") from None
    return torch
