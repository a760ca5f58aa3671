"""How tensors flow through a pipeline: which input of which task comes from where. Checked once, before serving.

An input comes from the request or from the output of a task before it: as the task's `inputs` say, else the output of
the same name of a task that it comes `after`, else, for a task that comes after none, the request's tensor of the name.

Fan-out: when the source has exactly one axis more (right after the rows) than the input, each slice along that axis is
one item of work: `boxes [?, k, 4]` of one task into `box [?, 4]` of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trimtab.errors import ModelError, SpecError
from trimtab.runtime.models.allowed import allowed_folders
from trimtab.runtime.models.model import Interface, ModelSource, format_dtype, format_shape
from trimtab.runtime.models.registry import inspect_source, source_of
from trimtab.runtime.service import TensorInfo
from trimtab.spec.model import REQUEST, Pipeline, Task


@dataclass(frozen=True, slots=True)
class Source:
    """Where an input comes from: `tensor` of the request (`task` is `request`) or of an earlier task."""

    task: str
    tensor: str
    fan_out: bool = False
    """Each slice along the source's first axis after the rows is one item of work."""

    def __str__(self) -> str:
        return f"{self.task}.{self.tensor}"


@dataclass(frozen=True, slots=True)
class TaskWiring:
    """One task's interface, the same for all its variants, and the source of each of its inputs by name."""

    task: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    sources: Mapping[str, Source]

    @property
    def fans_out(self) -> bool:
        """Whether one row of the task before gives several items here."""
        return any(source.fan_out for source in self.sources.values())


@dataclass(frozen=True, slots=True)
class Wiring:
    """All of a pipeline's tensors. Tasks are in topological order."""

    tasks: Mapping[str, TaskWiring]
    request: tuple[TensorInfo, ...]
    """What a request has to bring."""
    outputs: Mapping[str, Source]
    """The pipeline's answer: public name → output of a task without successors. The name is the tensor's own, or
    `task.tensor` where two tasks would give the same."""
    answers: tuple[TensorInfo, ...]
    """The tensors of `outputs`, under their public names."""
    models: Mapping[str, Mapping[str, ModelSource]] = field(default_factory=dict)
    """Task → variant → where its model comes from, as it was checked."""


def check_interfaces(
    pipeline: Pipeline, *, folders: Iterable[Path] = (), inspect: Callable[[ModelSource], Interface] = inspect_source
) -> Wiring:
    """Read every variant's model and wire the tasks together.

    Args:
        pipeline: What is served.
        folders: Folders that models may lie in, besides the pipeline file's own.
        inspect: Reads one model's interface.

    Raises:
        ModelError: a model is missing, corrupt or not allowed; variants of one task differ in their interface; an input
            has no source or one of another dtype or shape. It names task, variant, tensor, what was got and wanted.
        MissingExtraError: the library of a model's runtime is not installed.
        SpecError: a task's `inputs` names a tensor or a source that does not exist.
    """
    allowed = allowed_folders(pipeline, folders)
    models = {task.name: _sources(task, allowed) for task in pipeline.tasks.values()}
    interfaces = {task.name: _common_interface(task, models[task.name], inspect) for task in pipeline.tasks.values()}
    wired: dict[str, TaskWiring] = {}
    request: dict[str, TensorInfo] = {}
    for task in pipeline.tasks.values():
        interface = interfaces[task.name]
        for name in task.inputs:
            if name not in {info.name for info in interface.inputs}:
                raise SpecError(
                    f"the models of task '{task.name}' have no input '{name}'",
                    where=_field(pipeline, task, name),
                    wanted=_names(interface.inputs),
                )
        sources = {info.name: _connect(pipeline, task, info, interfaces, request) for info in interface.inputs}
        wired[task.name] = TaskWiring(task.name, interface.inputs, interface.outputs, sources)
    outputs: dict[str, Source] = {}
    answers: list[TensorInfo] = []
    leaves = pipeline.leaves()
    given = [info.name for leaf in leaves for info in interfaces[leaf].outputs]
    for leaf in leaves:
        for info in interfaces[leaf].outputs:
            public = info.name if given.count(info.name) == 1 else f"{leaf}.{info.name}"
            outputs[public] = Source(leaf, info.name)
            answers.append(TensorInfo(public, info.dtype, info.shape))
    return Wiring(wired, tuple(request.values()), outputs, tuple(answers), models)


def _sources(task: Task, folders: tuple[Path, ...]) -> Mapping[str, ModelSource]:
    """Where the models of a task's variants come from."""
    sources: dict[str, ModelSource] = {}
    for variant in task.variants.values():
        try:
            sources[variant.name] = source_of(variant, folders)
        except ModelError as error:
            raise ModelError(f"task '{task.name}', variant '{variant.name}': {error}") from error
    return sources


def _common_interface(
    task: Task, sources: Mapping[str, ModelSource], inspect: Callable[[ModelSource], Interface]
) -> Interface:
    """The interface that all variants of a task share; the first variant's order."""
    first: tuple[str, Interface] | None = None
    for name, source in sources.items():
        try:
            interface = inspect(source)
        except ModelError as error:
            raise ModelError(f"task '{task.name}', variant '{name}': {error}") from error
        if first is None:
            first = name, interface
            continue
        for role, wanted, got in (
            ("input", first[1].inputs, interface.inputs),
            ("output", first[1].outputs, interface.outputs),
        ):
            if difference := _difference(wanted, got):
                tensor, has, should = difference
                who = f"task '{task.name}', variant '{name}'"
                raise ModelError(
                    f"{who}: {role} '{tensor}' differs from variant '{first[0]}'",
                    where=str(source.path),
                    got=has,
                    wanted=should,
                    next_step="all variants of a task take and give the same tensors",
                )
    if first is None:
        raise SpecError(f"task '{task.name}' has no variants")
    return first[1]


def _difference(wanted: tuple[TensorInfo, ...], got: tuple[TensorInfo, ...]) -> tuple[str, str, str] | None:
    """The first tensor in which two interfaces differ, with both sides in words. The rows' axis does not count."""
    by_name = {info.name: info for info in got}
    for info in wanted:
        other = by_name.pop(info.name, None)
        if other is None:
            return info.name, "none of that name", describe(info)
        if (other.dtype, other.shape[1:]) != (info.dtype, info.shape[1:]):
            return info.name, describe(other), describe(info)
    for extra in by_name.values():
        return extra.name, describe(extra), "none of that name"
    return None


def _connect(
    pipeline: Pipeline,
    task: Task,
    info: TensorInfo,
    interfaces: Mapping[str, Interface],
    request: dict[str, TensorInfo],
) -> Source:
    """The source of one input; a tensor that the request has to bring is added to `request`."""
    source = _source(pipeline, task, info, interfaces)
    if source.task == REQUEST:
        known = request.setdefault(source.tensor, TensorInfo(source.tensor, info.dtype, info.shape))
        if (known.dtype, known.shape[1:]) != (info.dtype, info.shape[1:]):
            raise ModelError(
                f"task '{task.name}': input '{info.name}' and another task read '{source}' in different forms",
                got=describe(info),
                wanted=describe(known),
            )
        return source
    given = next(out for out in interfaces[source.task].outputs if out.name == source.tensor)
    if given.dtype == info.dtype:
        if _fits(given.shape[1:], info.shape[1:]):
            return source
        if len(given.shape) == len(info.shape) + 1 and _fits(given.shape[2:], info.shape[1:]):
            return Source(source.task, source.tensor, fan_out=True)
    raise ModelError(
        f"task '{task.name}': input '{info.name}' cannot be fed from '{source}'",
        where=", ".join(f"variant '{name}'" for name in task.variants),
        got=describe(given),
        wanted=f"{describe(info)}, or one axis more after the first for fan-out",
    )


def _source(pipeline: Pipeline, task: Task, info: TensorInfo, interfaces: Mapping[str, Interface]) -> Source:
    """Where an input comes from, by the pipeline file or by name."""
    named = task.inputs.get(info.name)
    if named is not None:
        where = _field(pipeline, task, info.name)
        name, _, tensor = named.partition(".")
        if not tensor:
            wanted = "`request.<tensor>` or `<task>.<output>`"
            raise SpecError("a source has two parts", where=where, got=named, wanted=wanted)
        if name == REQUEST:
            return Source(REQUEST, tensor)
        if name not in _ancestors(pipeline, task):
            earlier = ", ".join([REQUEST, *sorted(_ancestors(pipeline, task))])
            raise SpecError(f"'{name}' does not come before task '{task.name}'", where=where, got=named, wanted=earlier)
        if tensor not in {out.name for out in interfaces[name].outputs}:
            raise SpecError(
                f"the models of task '{name}' have no output '{tensor}'",
                where=where,
                got=named,
                wanted=_names(interfaces[name].outputs),
            )
        return Source(name, tensor)
    if not task.after:
        return Source(REQUEST, info.name)
    givers = [e.upstream for e in task.after if info.name in {out.name for out in interfaces[e.upstream].outputs}]
    if len(givers) == 1:
        return Source(givers[0], info.name)
    offered = "; ".join(f"{e.upstream}: {_names(interfaces[e.upstream].outputs)}" for e in task.after)
    what = "no task before it gives that tensor" if not givers else f"tasks {', '.join(givers)} all give that tensor"
    raise ModelError(
        f"task '{task.name}': input '{info.name}' has no clear source: {what}",
        where=", ".join(f"variant '{name}'" for name in task.variants),
        got=offered,
        wanted=describe(info),
        next_step=f"name its source in the pipeline file: tasks.{task.name}.inputs.{info.name}",
    )


def _ancestors(pipeline: Pipeline, task: Task) -> set[str]:
    """Names of the tasks that run before `task`."""
    found: set[str] = set()
    waiting = [edge.upstream for edge in task.after]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [edge.upstream for edge in pipeline.tasks[name].after]
    return found


def _fits(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether shapes agree; a free axis agrees with any."""
    return len(given) == len(wanted) and all(g == w or -1 in (g, w) for g, w in zip(given, wanted, strict=True))


def describe(info: TensorInfo) -> str:
    """A tensor's form for people: `float32 [?, 10]`."""
    return f"{format_dtype(info)} {format_shape(info.shape)}"


def _names(infos: tuple[TensorInfo, ...]) -> str:
    return ", ".join(info.name for info in infos)


def _field(pipeline: Pipeline, task: Task, tensor: str) -> str:
    source = f"{pipeline.source}: " if pipeline.source else ""
    return f"{source}tasks.{task.name}.inputs.{tensor}"
