"""The variants that a worker holds: for each, loaded instances of its model, and how a batch is run on them.

A model that runs several batches at once is loaded once for all concurrent runs; of any other, each concurrent run has
an instance of its own (in ONNX Runtime with more than one thread, a pool of threads of its own). A model whose
instances depend on the number of threads is loaded for each. Instances are built before they are needed; when a replica
grows beyond what was built, runs share the instances there are until the missing ones are ready: slower, never wrong.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from trimtab.errors import InvalidInputError, ModelError, WorkerError
from trimtab.runtime.frames import BYTES
from trimtab.runtime.models.model import Interface, Model, ModelSource, format_dtype, format_shape
from trimtab.runtime.models.registry import load_source
from trimtab.runtime.service import Tensor, TensorInfo


def instance_count(model: Model, cores: int, threads: int) -> int:
    """Instances needed so that a replica of `cores` cores never waits for one."""
    return 1 if model.parallel else max(cores // threads, 1)


@dataclass(slots=True)
class _Instance:
    """A loaded model and how many runs use it now."""

    model: Model
    running: int = 0
    turn: contextlib.AbstractContextManager[object] = field(default_factory=threading.Lock)
    """Held while a batch runs; lets everybody in where the model runs several at once."""

    def __post_init__(self) -> None:
        if self.model.parallel:
            self.turn = contextlib.nullcontext()


@dataclass(eq=False, slots=True)
class Resident:
    """One loaded variant."""

    variant: str
    source: ModelSource
    interface: Interface
    instances: dict[int, list[_Instance]]
    """Threads per inference → loaded instances; one list for all numbers of threads where these make no difference."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, inputs: Mapping[str, Tensor], threads: int) -> tuple[dict[str, Tensor], float]:
        """The outputs for one batch, and the seconds it took.

        Raises:
            InvalidInputError: the inputs are not those of the model.
            ModelError: the model failed on them, or gave something else than its interface says.
        """
        rows = check_inputs(inputs, self.interface)
        with self.lock:
            instance = min(self.instances[threads], key=lambda i: i.running)
            instance.running += 1
        try:
            started_s = time.perf_counter()
            with instance.turn:
                outputs = run_rows(instance.model, inputs, rows)
            return outputs, time.perf_counter() - started_s
        except InvalidInputError:
            raise
        except Exception as error:  # a library's or a user's own; they share no other base class
            raise ModelError(
                f"variant '{self.variant}' failed on a batch of {rows}", got=" ".join(str(error).split())[:400]
            ) from error
        finally:
            with self.lock:
                instance.running -= 1

    def example(self, rows: int) -> Mapping[str, Tensor] | None:
        """A batch that the model takes; None where it knows none."""
        return next(iter(self.instances.values()))[0].model.example(rows)


class Residents:
    """All variants that this process holds. Loading runs beside serving: a variant appears when it is warm."""

    def __init__(self, thread_options: tuple[int, ...], warm_batches: tuple[int, ...]) -> None:
        self._thread_options = thread_options
        self._warm_batches = tuple(sorted({1, *warm_batches}))
        self._by_name: dict[str, Resident] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The resident variants, in the order of loading."""
        return tuple(self._by_name)

    @property
    def thread_options(self) -> tuple[int, ...]:
        """Thread counts for which instances are built."""
        return self._thread_options

    def get(self, variant: str) -> Resident:
        """A resident variant.

        Raises:
            ModelError: it is not resident.
        """
        resident = self._by_name.get(variant)
        if resident is None:
            raise ModelError(f"variant '{variant}' is not resident", wanted=", ".join(self._by_name) or "a load first")
        return resident

    def load(self, variant: str, source: ModelSource, cores: int) -> Resident:
        """Load and warm instances of `variant` for all thread counts; replaces one of that name once this is ready.

        Raises:
            ModelError: the model cannot be served, or there is not enough memory for it; nothing has changed.
            MissingExtraError: the library of its runtime is not installed.
        """
        if not self._thread_options:
            raise WorkerError("there is no thread count to build instances for")
        resident: Resident | None = None
        shared: list[_Instance] = []
        for threads in self._thread_options:  # ascending: the first needs the most instances
            if resident is not None and shared and shared[0].model.any_threads:
                resident.instances[threads] = shared
                continue
            first = self._build(variant, source, threads)
            resident = resident or Resident(variant, source, first.model.interface, {})
            shared = [first]
            while len(shared) < instance_count(first.model, cores, threads):
                shared.append(self._build(variant, source, threads))
            resident.instances[threads] = shared
        assert resident is not None, "there is a thread count"
        self._by_name[variant] = resident
        return resident

    def grow(self, cores: int) -> None:
        """Build the instances that a replica of `cores` cores needs beyond those there are.

        Raises:
            ModelError: a model has become unreadable since it was loaded; what there is keeps serving.
        """
        for resident in list(self._by_name.values()):
            for threads, instances in resident.instances.items():
                while len(instances) < instance_count(instances[0].model, cores, threads):
                    instance = self._build(resident.variant, resident.source, threads)
                    with resident.lock:
                        instances.append(instance)

    def unload(self, variant: str) -> None:
        """Forget a variant; runs that use it finish.

        Raises:
            ModelError: it is not resident.
        """
        self.get(variant)
        del self._by_name[variant]

    def _build(self, variant: str, source: ModelSource, threads: int) -> _Instance:
        """A loaded instance after its first runs, so that no request pays for them.

        A model that knows no example and has free axes or text stays cold: we cannot make its input.
        """
        model = load_source(source, threads)
        for rows in (1,) if model.interface.one_row_only else self._warm_batches:
            inputs = model.example(rows) or zeros(model.interface, rows)
            if inputs is None:
                break
            try:
                run_rows(model, inputs, rows)
            except Exception as error:  # a library's or a user's own; they share no other base class
                raise ModelError(
                    f"variant '{variant}' fails on a batch of {rows}",
                    where=str(source.path),
                    got=" ".join(str(error).split())[:400],
                    next_step="it has to take any number of rows; export the model with a dynamic leading axis",
                ) from error
        return _Instance(model)


def run_rows(model: Model, inputs: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
    """A model's outputs for `rows` rows, row by row where it takes one at a time, in the form its interface says.

    Raises:
        ModelError: an output is missing or has another form than the interface says.
        Exception: what the model raises.
    """
    if rows == 1 or not model.interface.one_row_only:
        outputs = model.run(inputs)
    else:
        parts = [model.run({name: array[i : i + 1] for name, array in inputs.items()}) for i in range(rows)]
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {info.name: _as_promised(outputs.get(info.name), info, rows) for info in model.interface.outputs}


def _as_promised(given: Tensor | None, info: TensorInfo, rows: int) -> Tensor:
    """An output as a tensor that can be sent on. Text becomes UTF-8."""
    if given is None:
        raise ModelError(
            f"the model gives no output '{info.name}'", wanted=f"{format_dtype(info)}, as its interface says"
        )
    array = np.asarray(given)
    if info.dtype == BYTES and array.dtype.kind in "OSU":
        array = as_bytes(array)
    if not _matches(array, info) or array.shape[0] != rows:
        raise ModelError(
            f"the model's output '{info.name}' is not what its interface says",
            got=f"{array.dtype.name} {format_shape(array.shape)}",
            wanted=f"{format_dtype(info)} {format_shape((rows, *info.shape[1:]))}",
        )
    return array


def as_bytes(array: Tensor) -> Tensor:
    """An array of text or bytes as an array of `bytes` objects; text becomes UTF-8, anything else stays as it is."""
    items = np.empty(array.size, BYTES)
    items[:] = [item.encode() if isinstance(item, str) else item for item in array.reshape(-1).tolist()]
    return items.reshape(array.shape)


def zeros(interface: Interface, rows: int) -> dict[str, Tensor] | None:
    """A batch of zeros; None where it cannot be made up."""
    if not interface.fixed:
        return None
    return {info.name: np.zeros((rows, *info.shape[1:]), info.dtype) for info in interface.inputs}


def check_inputs(inputs: Mapping[str, Tensor], interface: Interface) -> int:
    """The number of rows of a batch.

    Raises:
        InvalidInputError: names, dtypes, shapes or row counts are not those of the interface.
    """
    wanted = {info.name: info for info in interface.inputs}
    if inputs.keys() != wanted.keys():
        raise InvalidInputError("the inputs are not the model's", got=", ".join(inputs), wanted=", ".join(wanted))
    rows: int | None = None
    for name, info in wanted.items():
        array = inputs[name]
        if not _matches(array, info):
            raise InvalidInputError(
                f"input '{name}' does not fit the model",
                got=f"{array.dtype.name} {format_shape(array.shape)}",
                wanted=f"{format_dtype(info)} {format_shape((-1, *info.shape[1:]))}",
            )
        if rows is not None and array.shape[0] != rows:
            raise InvalidInputError("the inputs have different numbers of rows", got=f"{rows} and {array.shape[0]}")
        rows = array.shape[0]
    if not rows:
        raise InvalidInputError("the batch is empty", got="0 rows", wanted="at least 1")
    return rows


def _matches(array: Tensor, info: TensorInfo) -> bool:
    if array.dtype != info.dtype or array.ndim != len(info.shape):
        return False
    return all(want in (-1, got) for got, want in zip(array.shape[1:], info.shape[1:], strict=True))
