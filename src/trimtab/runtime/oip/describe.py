"""What the server tells about itself and its models, as plain dicts of JSON: shared by REST and gRPC.

The forms are the protocol's, and Triton's where the protocol has none: its `ModelConfig`, its statistics in
nanoseconds, its repository index. A field that has no meaning here is left out rather than filled with a guess.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import trimtab
from trimtab.runtime.oip import tensors
from trimtab.runtime.service import ModelInfo, ModelStatistics, RepositoryEntry, Spent, TensorInfo

EXTENSIONS = ("binary_tensor_data", "schedule_policy", "model_configuration", "statistics", "model_repository")
"""What the server can do beyond the protocol's core; of the schedule policy, `timeout` and `priority`."""


def server_metadata() -> dict[str, Any]:
    """Name, version and extensions of the server."""
    return {"name": "trimtab", "version": trimtab.__version__, "extensions": list(EXTENSIONS)}


def model_metadata(info: ModelInfo) -> dict[str, Any]:
    """Versions, inputs and outputs of a model; shapes begin with the rows axis."""
    return {
        "name": info.name,
        "versions": list(info.versions),
        "platform": info.platform,
        "inputs": [_tensor(tensor) for tensor in info.inputs],
        "outputs": [_tensor(tensor) for tensor in info.outputs],
    }


def model_config(info: ModelInfo) -> dict[str, Any]:
    """A model in the fields of Triton's `ModelConfig`; `dims` are without the rows axis, -1 for a free one."""
    return {
        "name": info.name,
        "platform": info.platform,
        "backend": "trimtab",
        "max_batch_size": info.max_rows,
        "input": [_config_tensor(tensor) for tensor in info.inputs],
        "output": [_config_tensor(tensor) for tensor in info.outputs],
    }


def statistics(stats: Iterable[ModelStatistics]) -> dict[str, Any]:
    """Statistics in Triton's form: durations in nanoseconds, the last answer in milliseconds of Unix time."""
    return {"model_stats": [_statistics_of(one) for one in stats]}


def repository_index(entries: Iterable[RepositoryEntry]) -> list[dict[str, str]]:
    """What can be loaded: the state is `READY` or `UNAVAILABLE`, the latter with its reason where that is known."""
    return [
        {
            "name": entry.name,
            "version": entry.version,
            "state": "READY" if entry.ready else "UNAVAILABLE",
            "reason": entry.reason,
        }
        for entry in entries
    ]


def _tensor(info: TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "datatype": tensors.datatype_of(info.dtype), "shape": list(info.shape)}


def _config_tensor(info: TensorInfo) -> dict[str, Any]:
    datatype = tensors.datatype_of(info.dtype)
    data_type = "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
    return {"name": info.name, "data_type": data_type, "dims": list(info.shape[1:])}


def _statistics_of(stats: ModelStatistics) -> dict[str, Any]:
    return {
        "name": stats.model,
        "version": stats.version,
        "last_inference": 0 if stats.last_inference_s is None else round(stats.last_inference_s * 1e3),
        "inference_count": stats.items,
        "execution_count": stats.executions,
        "inference_stats": {
            "success": _spent(stats.success),
            "fail": _spent(stats.fail),
            "queue": _spent(stats.queue),
            "compute_infer": _spent(stats.compute),
        },
        "batch_stats": [
            {"batch_size": rows, "compute_infer": _spent(spent)} for rows, spent in sorted(stats.batches.items())
        ],
    }


def _spent(spent: Spent) -> dict[str, int]:
    return {"count": spent.count, "ns": round(spent.seconds * 1e9)}
