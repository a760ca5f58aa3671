"""Which tensor feeds which input, and every way in which that can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests import models

from trimtab.errors import ModelError, SpecError
from trimtab.runtime.models.model import Interface
from trimtab.runtime.service import TensorInfo
from trimtab.runtime.wiring import Source, Wiring, check_interfaces
from trimtab.spec.model import Edge, Pipeline, Slo, Task, Variant


def f32(name: str, *shape: int) -> TensorInfo:
    return TensorInfo(name, np.dtype(np.float32), (-1, *shape))


def a_task(name: str, *after: str, inputs: dict[str, str] | None = None, variants: tuple[str, ...] = ()) -> Task:
    names = variants or (name,)
    return Task(
        name, {v: Variant(v, Path(f"/{v}.onnx"), 0.9) for v in names}, tuple(Edge(up) for up in after), inputs or {}
    )


def wire(tasks: list[Task], interfaces: dict[str, tuple[list[TensorInfo], list[TensorInfo]]]) -> Wiring:
    """Check a pipeline whose model files are only said to exist: variant → (inputs, outputs)."""
    pipeline = Pipeline("p", {task.name: task for task in tasks}, Slo(1.0))
    known = {Path(f"/{name}.onnx"): Interface(tuple(i), tuple(o)) for name, (i, o) in interfaces.items()}
    return check_interfaces(pipeline, inspect=lambda source: known[source.path])


def test_inputs_are_matched_by_name_and_the_rest_is_the_request_and_the_answer() -> None:
    wiring = wire(
        [a_task("locate"), a_task("read", "locate")],
        {
            "locate": ([f32("scene", 8)], [f32("crop", 4), f32("center", 2)]),
            "read": ([f32("crop", 4)], [f32("scores", 10)]),
        },
    )
    assert wiring.tasks["read"].sources == {"crop": Source("locate", "crop")}
    assert wiring.request == (f32("scene", 8),)
    assert wiring.outputs == {"scores": Source("read", "scores")}
    assert wiring.answers == (f32("scores", 10),)
    assert not wiring.tasks["read"].fans_out


def test_the_pipeline_file_can_name_sources_across_tasks_and_from_the_request() -> None:
    wiring = wire(
        [a_task("a"), a_task("b", "a"), a_task("c", "b", inputs={"left": "a.y", "right": "request.x"})],
        {
            "a": ([f32("x", 4)], [f32("y", 4)]),
            "b": ([f32("y", 4)], [f32("z", 4)]),
            "c": ([f32("left", 4), f32("right", 4)], [f32("out", 1)]),
        },
    )
    assert wiring.tasks["c"].sources == {"left": Source("a", "y"), "right": Source("request", "x")}
    assert wiring.request == (f32("x", 4),)


def test_one_axis_more_is_fan_out(tmp_path: Path) -> None:
    tasks = [a_task("split"), a_task("each", "split", inputs={"x": "split.parts"})]
    files = {"split": models.split(tmp_path / "s.onnx"), "each": models.affine(tmp_path / "e.onnx")}
    real = {t.name: Task(t.name, {t.name: Variant(t.name, files[t.name], 0.9)}, t.after, t.inputs) for t in tasks}
    wiring = check_interfaces(Pipeline("p", real, Slo(1.0)))
    assert wiring.tasks["each"].sources == {"x": Source("split", "parts", fan_out=True)}
    assert wiring.tasks["each"].fans_out


def test_two_leaves_with_the_same_tensor_get_public_names_with_their_task() -> None:
    one = ([f32("x", 4)], [f32("y", 4)])
    wiring = wire([a_task("a"), a_task("b")], {"a": one, "b": one})
    assert wiring.outputs == {"a.y": Source("a", "y"), "b.y": Source("b", "y")}
    assert wiring.request == (f32("x", 4),)


def test_a_shape_that_does_not_match_names_task_variant_tensor_got_and_wanted() -> None:
    with pytest.raises(ModelError) as caught:
        wire(
            [a_task("a"), a_task("b", "a", variants=("b-s", "b-l"))],
            {
                "a": ([f32("x", 4)], [f32("y", 5)]),
                "b-s": ([f32("y", 6)], [f32("z", 1)]),
                "b-l": ([f32("y", 6)], [f32("z", 1)]),
            },
        )
    text = str(caught.value)
    for part in ("task 'b'", "variant 'b-s'", "'y'", "'a.y'", "got float32 [?, 5]", "wanted float32 [?, 6]"):
        assert part in text


def test_a_dtype_that_does_not_match_is_refused() -> None:
    taken = TensorInfo("y", np.dtype(np.int64), (-1, 4))
    with pytest.raises(ModelError, match=r"got float32 \[\?, 4\], wanted int64 \[\?, 4\]"):
        wire([a_task("a"), a_task("b", "a")], {"a": ([f32("x", 4)], [f32("y", 4)]), "b": ([taken], [f32("z", 1)])})


@pytest.mark.parametrize(
    ("other", "part"),
    [
        (([f32("x", 5)], [f32("y", 4)]), "input 'x' differs from variant 's'"),
        (([f32("x", 4)], [f32("y", 9)]), "output 'y' differs"),
        (([f32("x", 4)], [f32("y", 4), f32("extra", 1)]), "output 'extra' differs"),
        (([f32("z", 4)], [f32("y", 4)]), "got none of that name"),
    ],
)
def test_variants_of_a_task_must_share_their_interface(
    other: tuple[list[TensorInfo], list[TensorInfo]], part: str
) -> None:
    with pytest.raises(ModelError) as caught:
        wire([a_task("a", variants=("s", "l"))], {"s": ([f32("x", 4)], [f32("y", 4)]), "l": other})
    assert part in str(caught.value)
    assert "variant 'l'" in str(caught.value)


def test_an_input_without_a_clear_source_is_refused_with_what_there_is() -> None:
    gives = ([f32("x", 4)], [f32("y", 4)])
    with pytest.raises(ModelError, match=r"no task before it gives that tensor: got a: y"):
        wire([a_task("a"), a_task("b", "a")], {"a": gives, "b": ([f32("crop", 4)], [f32("z", 1)])})
    with pytest.raises(ModelError, match="tasks a, b all give that tensor"):
        wire(
            [a_task("a"), a_task("b"), a_task("c", "a", "b")],
            {"a": gives, "b": gives, "c": ([f32("y", 4)], [f32("z", 1)])},
        )


def test_sources_that_do_not_exist_are_mistakes_of_the_pipeline_file() -> None:
    gives = ([f32("x", 4)], [f32("y", 4)])
    for inputs, part in (
        ({"nope": "a.y"}, "have no input 'nope'"),
        ({"y": "a.nope"}, "have no output 'nope'"),
        ({"y": "c.y"}, "does not come before"),
        ({"y": "whole"}, "two parts"),
    ):
        with pytest.raises(SpecError, match=part):
            wire([a_task("a"), a_task("b", "a", inputs=inputs)], {"a": gives, "b": ([f32("y", 4)], [f32("z", 1)])})


def test_two_tasks_may_not_read_one_request_tensor_in_different_forms() -> None:
    with pytest.raises(ModelError, match="in different forms"):
        wire([a_task("a"), a_task("b")], {"a": ([f32("x", 4)], [f32("y", 4)]), "b": ([f32("x", 5)], [f32("z", 4)])})


def test_a_variant_without_a_model_file_cannot_be_served() -> None:
    task = Task("a", {"v": Variant("v", None, 0.9)})
    with pytest.raises(ModelError, match="task 'a', variant 'v': it has no model file"):
        check_interfaces(Pipeline("p", {"a": task}, Slo(1.0)))
