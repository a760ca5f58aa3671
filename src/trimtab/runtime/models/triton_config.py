"""Triton's `config.pbtxt`: the few of its fields that say where a model is, and what it takes and gives.

It is protobuf's text format, which protobuf's own library reads; the message is declared here with the fields that are
used, under Triton's names, and fields that are not are passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from trimtab.errors import MissingExtraError, ModelError

_TYPES = (
    *("TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64", "TYPE_INT8"),
    *("TYPE_INT16", "TYPE_INT32", "TYPE_INT64", "TYPE_FP16", "TYPE_FP32", "TYPE_FP64", "TYPE_STRING", "TYPE_BF16"),
)
_IGNORED_LISTS = ("instance_group", "parameters", "model_warmup", "batch_input", "batch_output")
"""Declared, because a list of messages that the reader does not know at all is an error to it."""


@dataclass(frozen=True, slots=True)
class TritonConfig:
    """What a configuration says."""

    kind: str
    """Its backend or platform; empty where it says none."""
    max_batch_size: int
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    """Name, datatype of the protocol, shape."""
    outputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    versions: tuple[int, ...]
    """The versions that its policy names; empty for the latest."""

    def tensors(self) -> dict[str, Any]:
        """The options `inputs` and `outputs` of a variant."""
        return {
            role: {name: {"datatype": datatype, "shape": list(shape)} for name, datatype, shape in tensors}
            for role, tensors in (("inputs", self.inputs), ("outputs", self.outputs))
        }


def read_config(path: Path) -> TritonConfig:
    """A model's configuration.

    Raises:
        ModelError: it cannot be read.
        MissingExtraError: protobuf is not installed.
    """
    try:
        from google.protobuf import text_format
    except ImportError:
        raise MissingExtraError("protobuf", "grpc", "reading a Triton repository") from None
    config: Any = _message()()
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), config, allow_unknown_field=True)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        got = " ".join(str(error).split())[:300]
        raise ModelError("the model's configuration cannot be read", where=str(path), got=got) from error

    def tensors(given: Any) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        rows = (-1,) if config.max_batch_size > 0 else ()
        return tuple((t.name, _datatype(_TYPES[t.data_type]), (*rows, *t.dims)) for t in given)

    return TritonConfig(
        kind=config.backend or config.platform,
        max_batch_size=config.max_batch_size,
        inputs=tensors(config.input),
        outputs=tensors(config.output),
        versions=tuple(config.version_policy.specific.versions),
    )


def version_folder(model: Path) -> Path | None:
    """The folder of the version that Triton would serve: the latest, or the latest that the policy names."""
    versions = {int(item.name): item for item in model.iterdir() if item.is_dir() and item.name.isdecimal()}
    path = model / "config.pbtxt"
    if versions and path.is_file() and (named := read_config(path).versions):
        versions = {number: item for number, item in versions.items() if number in named}
    return versions[max(versions)] if versions else None


def _datatype(triton: str) -> str:
    return "BYTES" if triton == "TYPE_STRING" else triton.removeprefix("TYPE_")


@cache
def _message() -> type[Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="config.proto", package="config", syntax="proto3")
    kinds = file.enum_type.add(name="DataType")
    for number, name in enumerate(_TYPES):
        kinds.value.add(name=name, number=number)
    field = descriptor_pb2.FieldDescriptorProto
    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED

    def declare(name: str, *fields: tuple[str, Any, Any, str]) -> None:
        message = file.message_type.add(name=name)
        for number, (of, label, kind, type_name) in enumerate(fields, 1):
            message.field.add(name=of, number=number, label=label, type=kind, type_name=type_name or None)

    declare(
        "Tensor",
        ("name", one, field.TYPE_STRING, ""),
        ("data_type", one, field.TYPE_ENUM, ".config.DataType"),
        ("dims", many, field.TYPE_INT64, ""),
    )
    declare("Specific", ("versions", many, field.TYPE_INT64, ""))
    declare("Ignored")
    declare("Policy", ("specific", one, field.TYPE_MESSAGE, ".config.Specific"))
    declare(
        "Model",
        ("backend", one, field.TYPE_STRING, ""),
        ("platform", one, field.TYPE_STRING, ""),
        ("max_batch_size", one, field.TYPE_INT32, ""),
        ("input", many, field.TYPE_MESSAGE, ".config.Tensor"),
        ("output", many, field.TYPE_MESSAGE, ".config.Tensor"),
        ("version_policy", one, field.TYPE_MESSAGE, ".config.Policy"),
        *((name, many, field.TYPE_MESSAGE, ".config.Ignored") for name in _IGNORED_LISTS),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("config.Model"))
