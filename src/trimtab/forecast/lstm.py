"""The LSTM forecasters of InfAdapter and IPA, as their papers have them, run with NumPy.

A layer of 25 LSTM units (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000) reads the maxima of
past windows, oldest first and in raw requests per second; one number out of its last state is the highest second to
come. With x the maximum of a window, h the state and c the cells:

    i, f, o = sigmoid(x·W + h·U + b),   g = a(x·W + h·U + b),   c ← f·c + i·g,   h ← o·a(c),

each with its own quarter of W, U and b, and a = ReLU, as in both papers' programs.

- `lstm-infadapter` (Salmani et al., EuroMLSys 2023): ten maxima of a minute → the highest second of the next minute.
- `lstm-ipa` (Ghafouri et al., JSys 2024): twelve maxima of 10 s → that of the next 20 s, for the trace divided by 8.

Both were trained anew by `experiments/forecast/train_lstm.py`, for neither paper published its weights. They answer for
their own horizon, whatever is asked. Until each of their windows holds a known second, they answer as the programs do
with a short history: InfAdapter with the weighted mean of the maxima (`ewm`), IPA with the highest of two minutes
(`max-window`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.forecast.file import read_fitted
from trimtab.forecast.model import Forecaster
from trimtab.forecast.windowed import EwmForecaster, MaxWindowForecaster, Told, Windowed, certain, unready

Array = NDArray[np.float64]
State = tuple[Array, Array]
"""h and c, each of shape (units,), or (sequences, units) for several sequences at once."""

WEIGHTS = Path(__file__).with_name("weights")
"""Where the trained weights are."""
_MOST_WINDOWS = 1000
_ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {"relu": lambda x: np.maximum(x, 0.0), "tanh": np.tanh}
)
_FALLBACKS: Mapping[str, Callable[[], Windowed]] = MappingProxyType(
    {"ewm": EwmForecaster, "max-window": MaxWindowForecaster}
)


@dataclass(frozen=True, slots=True)
class Lstm:
    """One layer of LSTM units that reads one number per step, and one number out of its state.

    Quarters of the last axis of `kernel`, `recurrent` and `bias`: input, forget and output gate, candidate.
    """

    kernel: Array
    """W, shape (4·units,)."""
    recurrent: Array
    """U, shape (units, 4·units)."""
    bias: Array
    """b, shape (4·units,)."""
    dense: Array
    """Weights of the last layer, shape (units,)."""
    dense_bias: float
    activation: str
    """a: `relu` or `tanh`."""

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Lstm:
        """Read the weights; ValueError, KeyError or TypeError where they are none."""
        dense = _numbers(parameters["dense"], "dense")
        units = len(dense)
        made = cls(
            kernel=_numbers(parameters["kernel"], "kernel"),
            recurrent=_numbers(parameters["recurrent"], "recurrent"),
            bias=_numbers(parameters["bias"], "bias"),
            dense=dense,
            dense_bias=float(_numbers(parameters["dense_bias"], "dense_bias")),
            activation=parameters["activation"],
        )
        shapes = made.kernel.shape, made.recurrent.shape, made.bias.shape, dense.shape
        wanted = (4 * units,), (units, 4 * units), (4 * units,), (units,)
        if shapes != wanted:
            raise ValueError(f"the weights have shapes {shapes}, wanted {wanted}")
        if made.activation not in _ACTIVATIONS:
            raise ValueError(f"activation is {made.activation!r}, wanted one of {', '.join(_ACTIVATIONS)}")
        return made

    def start(self) -> State:
        """The state before the first step."""
        return np.zeros(len(self.dense)), np.zeros(len(self.dense))

    def step(self, value: float | Array, state: State) -> State:
        """Read one number, or one per sequence as a column of shape (sequences, 1)."""
        return self._next(value * self.kernel + self.bias, state)

    def read(self, values: Sequence[float] | Array) -> State:
        """The state after some numbers, oldest first."""
        state = self.start()
        for entering in np.multiply.outer(np.asarray(values, dtype=np.float64), self.kernel) + self.bias:
            state = self._next(entering, state)
        return state

    def _next(self, entering: Array, state: State) -> State:
        hidden, cell = state
        activate, units = _ACTIVATIONS[self.activation], len(self.dense)
        total = hidden @ self.recurrent + entering
        gates = 0.5 * np.tanh(0.5 * total[..., : 3 * units]) + 0.5  # the sigmoid, in a form that cannot overflow
        cell = gates[..., units : 2 * units] * cell + gates[..., :units] * activate(total[..., 3 * units :])
        return gates[..., 2 * units :] * activate(cell), cell

    def output(self, state: State) -> Array:
        """The number out of a state; one per sequence."""
        result: Array = state[0] @ self.dense + self.dense_bias
        return result


class LstmForecaster(Windowed):
    """The highest second to come by an LSTM over maxima of windows, for the horizon that it was trained for."""

    def __init__(self, network: Lstm, name: str, *, window_s: int, windows: int, horizon_s: int, fallback: str) -> None:
        """With its trained weights.

        Args:
            network: reads one maximum per step.
            name: for journals and reports.
            window_s: length of a window.
            windows: how many of them are read.
            horizon_s: length of the time whose maximum it was trained to tell.
            fallback: who answers until each window holds a known second: `ewm` or `max-window`.
        """
        super().__init__()
        self.name = name
        self._network, self._window_s, self._windows, self._horizon_s = network, window_s, windows, horizon_s
        self._fallback = _FALLBACKS[fallback]()

    def observe(self, counts: Sequence[int | None]) -> None:
        """Take in one count per second, oldest first; None is a second of which nothing is known."""
        super().observe(counts)
        self._fallback.observe(counts)

    def _told(self, seconds: int) -> Told | None:
        maxima = self._maxima(self._window_s, self._windows)
        if maxima is None:
            return unready(self.name, self._fallback.forecast(self._window_s))
        highest = float(self._network.output(self._network.read(maxima)))
        own = "" if seconds == self._horizon_s else f", as for {self._horizon_s} s"
        return certain(max(0.0, highest)), f"an LSTM over {self._windows} maxima of {self._window_s} s{own}"


def from_parameters(parameters: Mapping[str, Any]) -> LstmForecaster:
    """A forecaster of what a file holds; ValueError, KeyError or TypeError where that is none."""
    fallback = parameters["fallback"]
    if fallback not in _FALLBACKS:
        raise ValueError(f"fallback is {fallback!r}, wanted one of {', '.join(_FALLBACKS)}")
    return LstmForecaster(
        Lstm.from_parameters(parameters),
        str(parameters["name"]),
        window_s=whole(parameters, "window_s"),
        windows=whole(parameters, "windows"),
        horizon_s=whole(parameters, "horizon_s"),
        fallback=fallback,
    )


def infadapter() -> Forecaster:
    """InfAdapter's, trained on the Twitter trace that the paper replays."""
    return trained("lstm-infadapter")


def ipa() -> Forecaster:
    """IPA's, trained on the same trace divided by 8."""
    return trained("lstm-ipa")


def trained(name: str) -> Forecaster:
    """A forecaster whose weights come with Trimtab."""
    path = WEIGHTS / f"{name}.json"
    return read_fitted(path).forecaster(str(path))


def whole(parameters: Mapping[str, Any], name: str) -> int:
    """A positive whole number of a file's parameters."""
    value = parameters[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_WINDOWS:
        raise ValueError(f"{name} is {value!r}, wanted a whole number from 1 to {_MOST_WINDOWS}")
    return value


def _numbers(value: object, name: str) -> Array:
    numbers = np.asarray(value, dtype=np.float64)
    if not np.all(np.isfinite(numbers)):
        raise ValueError(f"{name} holds a number that is not finite")
    return numbers
