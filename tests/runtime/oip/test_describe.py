"""What the server tells of itself, in the words of the protocol and of Triton."""

from __future__ import annotations

import numpy as np

from trimtab.runtime.oip import describe
from trimtab.runtime.service import ModelInfo, ModelStatistics, RepositoryEntry, Spent, TensorInfo

IMAGE = TensorInfo("image", np.dtype(np.float32), (-1, 3, -1, 224))
TEXT = TensorInfo("text", np.dtype(np.object_), (-1, 1))
INFO = ModelInfo("read", ("s", "l"), "onnx", (IMAGE,), (TEXT,), max_rows=8)


def test_metadata_has_the_rows_axis_and_a_configuration_has_not() -> None:
    metadata, config = describe.model_metadata(INFO), describe.model_config(INFO)
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 3, -1, 224]}]
    assert metadata["outputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]
    assert config["max_batch_size"] == 8
    assert config["input"] == [{"name": "image", "data_type": "TYPE_FP32", "dims": [3, -1, 224]}]
    assert config["output"] == [{"name": "text", "data_type": "TYPE_STRING", "dims": [1]}]


def test_statistics_are_in_nanoseconds() -> None:
    stats = ModelStatistics(
        "read", "s", 1.5, 6, 3, success=Spent(3, 0.25), batches={4: Spent(1, 2e-9), 1: Spent(2, 1e-9)}
    )
    (told,) = describe.statistics([stats])["model_stats"]
    assert (told["last_inference"], told["inference_count"], told["execution_count"]) == (1500, 6, 3)
    assert told["inference_stats"]["success"] == {"count": 3, "ns": 250_000_000}
    assert [(batch["batch_size"], batch["compute_infer"]["ns"]) for batch in told["batch_stats"]] == [(1, 1), (4, 2)]
    assert describe.statistics([ModelStatistics("read", "")])["model_stats"][0]["last_inference"] == 0


def test_the_index_says_why_something_is_not_ready() -> None:
    entries = [
        RepositoryEntry("read", "s", ready=True),
        RepositoryEntry("read", "l", ready=False, reason="not in the plan"),
    ]
    assert [(e["state"], e["reason"]) for e in describe.repository_index(entries)] == [
        ("READY", ""),
        ("UNAVAILABLE", "not in the plan"),
    ]
