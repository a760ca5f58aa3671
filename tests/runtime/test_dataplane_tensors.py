"""Bytes and tensors of free shapes through the data plane: batches, fan-outs, and answers that cannot be stacked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from tests.runtime.scripted import F32, Bench, Gate, ScriptedReplica, until

from trimtab.errors import FailedError, InvalidInputError
from trimtab.observe.model import Outcomes
from trimtab.runtime.service import InferRequest, Tensor, TensorInfo
from trimtab.runtime.wiring import Source, TaskWiring, Wiring

BYTES = np.dtype(object)


class Applies(ScriptedReplica):
    """Gives what a function makes of the whole batch."""

    def __init__(self, task: str, function: Callable[[Any], Any], gate: Gate | None = None) -> None:
        super().__init__(task, gate)
        self._function = function

    def answer(self, values: Tensor) -> Mapping[str, Tensor]:
        return {"y" if self.task == "add" else "z": self._function(values)}


def wired(dtype: np.dtype[Any], x: tuple[int, ...], y: tuple[int, ...], *, fan_out: bool = False) -> Wiring:
    """`add` makes y of x, `double` z of y, or of each of its parts."""
    part = (-1, *y[2:]) if fan_out else y
    return Wiring(
        tasks={
            "add": TaskWiring(
                "add", (TensorInfo("x", dtype, x),), (TensorInfo("y", dtype, y),), {"x": Source("request", "x")}
            ),
            "double": TaskWiring(
                "double",
                (TensorInfo("y", dtype, part),),
                (TensorInfo("z", dtype, part),),
                {"y": Source("add", "y", fan_out)},
            ),
        },
        request=(TensorInfo("x", dtype, x),),
        outputs={"z": Source("double", "z")},
        answers=(TensorInfo("z", dtype, part),),
    )


def words(rows: Tensor) -> Tensor:
    """Three words a row, each a row of its own behind the fan-out; shape (N, 1) → (N, 3, 1)."""
    return np.array([row[0].split(b" ") for row in rows.tolist()], dtype=object)[:, :, None]


def upper(rows: Tensor) -> Tensor:
    made = np.empty(rows.shape, dtype=object)
    made.ravel()[:] = [text.upper() for text in rows.ravel().tolist()]
    return made


def texts(*lines: bytes) -> Tensor:
    return np.array([[line] for line in lines], dtype=object)


async def asked(bench: Bench, x: Tensor) -> Any:
    return (await bench.plane.infer(InferRequest("sums", {"x": x}))).outputs["z"].tolist()


def test_bytes_pass_in_batches_of_several_requests_and_rows() -> None:
    async def story() -> None:
        bench = Bench(wiring=wired(BYTES, (-1, 1), (-1, 1)))
        gate = Gate()
        add = Applies("add", upper, gate)
        bench.add(add, Applies("double", lambda rows: rows + rows))
        odd = b"\x00\xff of any length"
        asking = [
            asyncio.ensure_future(asked(bench, x)) for x in (texts(b"a"), texts(b"", odd), texts(b"c", b"d", b"eee"))
        ]
        await until(lambda: bool(add.batches))
        gate.open.set()
        assert await asyncio.gather(*asking) == [
            [[b"AA"]],
            [[b""], [2 * odd.upper()]],
            [[b"CC"], [b"DD"], [b"EEEEEE"]],
        ]
        assert max(size for _, size in add.batches) > 1
        assert bench.outcomes() == Outcomes(in_time=3)

    asyncio.run(story())


def test_bytes_pass_a_fan_out() -> None:
    async def story() -> None:
        bench = Bench(wiring=wired(BYTES, (-1, 1), (-1, -1, 1), fan_out=True))
        double = Applies("double", upper)
        bench.add(Applies("add", words), double)
        found = await asked(bench, texts(b"a bb ccc", b"d ee fff"))
        assert found == [[[b"A"], [b"BB"], [b"CCC"]], [[b"D"], [b"EE"], [b"FFF"]]]
        assert sum(size for _, size in double.batches) == 6

    asyncio.run(story())


def test_bytes_are_no_numbers() -> None:
    async def story() -> None:
        bench = Bench(wiring=wired(BYTES, (-1, 1), (-1, 1)))
        bench.add(Applies("add", upper), Applies("double", upper))
        with pytest.raises(InvalidInputError, match="wanted object"):
            await asked(bench, np.ones((1, 1), F32))

    asyncio.run(story())


def test_requests_of_different_shapes_are_not_batched_together_and_spoil_nothing() -> None:
    async def story() -> None:
        bench = Bench(wiring=wired(F32, (-1, -1), (-1, -1)))
        gate = Gate()
        add = Applies("add", lambda x: x + np.float32(1), gate)
        bench.add(add, Applies("double", lambda x: x * np.float32(2)))
        widths = [2, 5, 2, 5, 5, 3, 2, 2]
        asking = [asyncio.ensure_future(asked(bench, np.full((1, width), width, F32))) for width in widths]
        await until(lambda: bool(add.batches))
        gate.open.set()
        assert await asyncio.gather(*asking) == [[[2.0 * (width + 1)] * width] for width in widths]
        assert sum(size for _, size in add.batches) == 8
        assert len(add.batches) < 8
        assert bench.outcomes() == Outcomes(in_time=8)

    asyncio.run(story())


def test_rows_whose_answers_cannot_be_stacked_fail_their_request_only() -> None:
    def cut(x: Any) -> Any:
        return x[:, : int(x[0, 0])]

    async def story() -> None:
        bench = Bench(wiring=wired(F32, (-1, 3), (-1, -1)))
        # Two replicas, so that both rows are batches of their own.
        bench.add(Applies("add", cut), Applies("add", cut), Applies("double", lambda y: y))
        with pytest.raises(FailedError, match="output 'z': its rows have different shapes"):
            await asked(bench, np.array([[1, 1, 1], [2, 2, 2]], np.float32))
        assert await asked(bench, np.array([[2, 2, 2]], np.float32)) == [[2.0, 2.0]]
        assert bench.outcomes() == Outcomes(in_time=1, failed=1)

    asyncio.run(story())


def test_rows_of_different_numbers_of_items_fail_their_request_only() -> None:
    def parts(x: Any) -> Any:
        return np.repeat(x[:, None, :], int(x[0, 0]), axis=1)

    async def story() -> None:
        bench = Bench(wiring=wired(F32, (-1, 1), (-1, -1, 1), fan_out=True))
        bench.add(Applies("add", parts), Applies("add", parts), Applies("double", lambda y: y))
        with pytest.raises(FailedError, match="different numbers of items"):
            await asked(bench, np.array([[1], [3]], np.float32))  # else three parts would be shared as two and two
        assert await asked(bench, np.array([[2]], np.float32)) == [[[2.0], [2.0]]]
        assert bench.outcomes() == Outcomes(in_time=1, failed=1)

    asyncio.run(story())
