"""Train the LSTMs of InfAdapter, IPA and Themis anew, and compare them with what needs no training.

    python experiments/forecast/train_lstm.py --kind infadapter    # or ipa, or themis; a few minutes each

Learns from days 0–13 of the trace and is judged on days 14–16. Zeros of this trace are seconds that were not recorded.
Both papers delete them, after which hours no longer begin where they did; here they are missing (`--zeros mask`), so
that a window is known by the seconds that it has, and one that has none is no sample. `--zeros delete` does as they do,
in training; it is judged as before.

The layers, their start and the optimiser are those of the papers' Keras programs, with Keras' defaults: Glorot's
uniform kernel, an orthogonal recurrent one, a forget bias of 1, Adam at 1e-3, batches of 64 in a new order each epoch.
One thing is added: gradients longer than 1 are cut to it. Without that, ReLU in raw units now and then throws the
weights far off, and InfAdapter's ends worse than `last`. PyTorch's own LSTM knows no ReLU, hence the few lines of
`Network`. Seeded, one thread: the same file again on the same machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import TrimtabError
from trimtab.forecast import make_forecaster
from trimtab.forecast.exceed import THRESHOLD, LstmExceedModel
from trimtab.forecast.file import Fitted, write_fitted
from trimtab.forecast.lstm import WEIGHTS
from trimtab.workload.trace import read_trace

try:
    import torch
except ModuleNotFoundError:
    raise SystemExit(
        "training needs the package 'torch', which is not installed\n  → pip install 'trimtab[train]'"
    ) from None

Array = NDArray[np.float64]
TRACE = "trace/twitter_2021-08_first17days_rps.txt.gz"
DAY_S = 86_400
TRAIN_DAYS, JUDGE_DAYS = (0, 14), (14, 17)
UNITS, LEARNING_RATE, PENALTY = 25, 1e-3, 1e-5
CLIP = 1.0
"""Longest gradient."""
SPREAD = 0.4
"""Of the logarithm of the targets that Themis's model is asked about."""
DIGITS = 6
"""Significant digits of the weights in the file."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one paper trains."""

    name: str
    window_s: int
    windows: int
    horizon_s: int
    stride_s: int
    """Seconds from one sample to the next."""
    divisor: int = 1
    """The trace is divided by this and rounded down."""
    fallback: str = ""
    epochs: int = 30
    batch: int = 64

    @property
    def exceeds(self) -> bool:
        """Whether it says if a target will be exceeded, instead of the maximum."""
        return not self.fallback


RECIPES: Mapping[str, Recipe] = {
    "infadapter": Recipe("lstm-infadapter", 60, 10, 60, stride_s=60, fallback="ewm"),
    "ipa": Recipe("lstm-ipa", 10, 12, 20, stride_s=10, divisor=8, fallback="max-window"),
    "themis": Recipe("themis", 10, 6, 10, stride_s=10, batch=256),
}


class Network(torch.nn.Module):  # type: ignore[misc]  # torch is skipped by mypy
    """The layer of `trimtab.forecast.lstm.Lstm`, to be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = torch.nn.Parameter(torch.empty(1, 4 * UNITS))
        self.recurrent = torch.nn.Parameter(torch.empty(UNITS, 4 * UNITS))
        self.bias = torch.nn.Parameter(torch.zeros(4 * UNITS))
        self.dense = torch.nn.Parameter(torch.empty(UNITS, 1))
        self.dense_bias = torch.nn.Parameter(torch.zeros(1))
        torch.nn.init.xavier_uniform_(self.kernel)
        torch.nn.init.orthogonal_(self.recurrent)
        torch.nn.init.xavier_uniform_(self.dense)
        with torch.no_grad():
            self.bias[UNITS : 2 * UNITS] = 1.0

    def forward(self, sequences: Any) -> Any:
        """One number for each row of `sequences`, shape (samples, steps)."""
        hidden = cell = torch.zeros(len(sequences), UNITS)
        for value in sequences.split(1, dim=1):
            total = torch.addmm(torch.addmm(self.bias, value, self.kernel), hidden, self.recurrent)
            entry, kept, exit_ = torch.sigmoid(total[:, : 3 * UNITS]).chunk(3, dim=1)
            cell = kept * cell + entry * torch.relu(total[:, 3 * UNITS :])
            hidden = exit_ * torch.relu(cell)
        return (hidden @ self.dense + self.dense_bias)[:, 0]

    def parameters_told(self) -> dict[str, Any]:
        """The weights as the file has them."""
        return {
            "activation": "relu",
            "kernel": _rounded(self.kernel[0]),
            "recurrent": _rounded(self.recurrent),
            "bias": _rounded(self.bias),
            "dense": _rounded(self.dense[:, 0]),
            "dense_bias": _rounded(self.dense_bias)[0],
        }


def _rounded(tensor: Any) -> Any:
    def short(value: Any) -> Any:
        return [short(v) for v in value] if isinstance(value, list) else float(f"{value:.{DIGITS}g}")

    return short(tensor.detach().tolist())


def samples(counts: Sequence[int | None], recipe: Recipe) -> tuple[Array, Array]:
    """Maxima of past windows, shape (samples, windows), and the maximum of the horizon, where all of them are known."""
    seconds = np.array([np.nan if count is None else count // recipe.divisor for count in counts])
    past = recipe.window_s * recipe.windows
    begins = range(0, len(seconds) - past - recipe.horizon_s + 1, recipe.stride_s)
    inputs = np.full((len(begins), recipe.windows), np.nan)
    targets = np.full(len(begins), np.nan)
    for row, begin in enumerate(begins):
        now = begin + past
        inputs[row] = np.fmax.reduce(seconds[begin:now].reshape(recipe.windows, recipe.window_s), axis=1)
        targets[row] = np.fmax.reduce(seconds[now : now + recipe.horizon_s])
    known = np.isfinite(inputs).all(axis=1) & np.isfinite(targets)
    return inputs[known], targets[known]


def train(inputs: Array, targets: Array, recipe: Recipe, seed: int, epochs: int) -> Network:
    """A network that minimises the squared error, or for Themis the cross-entropy, and L1 of the input kernel."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    network = Network()
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, eps=1e-7)
    past, coming = torch.tensor(inputs, dtype=torch.float32), torch.tensor(targets, dtype=torch.float32)
    for epoch in range(epochs):
        total, (x, y, loss_of) = 0.0, _task(past, coming, recipe)
        for chosen in torch.randperm(len(x)).split(recipe.batch):
            loss = loss_of(network(x[chosen]), y[chosen])
            optimiser.zero_grad(set_to_none=True)
            (loss + PENALTY * network.kernel.abs().sum()).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimiser.step()
            total += loss.item() * len(chosen)
        print(f"epoch {epoch + 1} of {epochs}: loss {total / len(x):.4f}", file=sys.stderr, flush=True)
    return network


def _task(past: Any, coming: Any, recipe: Recipe) -> tuple[Any, Any, Callable[[Any, Any], Any]]:
    """What is read, what is to be told, and the loss.

    Themis: the target is read last. It is drawn around the newest maximum, log-normal, anew in
    each epoch, so that each moment of the trace is asked about many targets.
    """
    if not recipe.exceeds:
        return past, coming, torch.nn.functional.mse_loss
    asked = _targets(past[:, -1], torch.randn(len(past)).exp())
    read = torch.cat([past, asked[:, None]], dim=1)
    return read, (coming > asked).float(), torch.nn.functional.binary_cross_entropy_with_logits


def _targets(newest: Any, lognormal: Any) -> Any:
    return (newest + 1.0) * lognormal**SPREAD


def judge(name: str, counts: Sequence[int | None], recipe: Recipe) -> list[float | None]:
    """What a forecaster expects as the maximum at each sample's moment of the days to judge, after all days before."""
    forecaster = make_forecaster(name, clock_s=0.0)
    told: list[float | None] = []
    begin = DAY_S * JUDGE_DAYS[0]
    own = [None if count is None else count // recipe.divisor for count in counts]
    forecaster.observe(own[:begin])
    for now in range(begin, len(own) - recipe.horizon_s + 1, recipe.stride_s):
        forecast = forecaster.forecast(recipe.horizon_s)
        peak = None if forecast is None else forecast.peak.expected if forecast.peak else forecast.at(0.5)
        told.append(peak)
        forecaster.observe(own[now : now + recipe.stride_s])
    return told


def seen(counts: Sequence[int | None], recipe: Recipe) -> list[int | None]:
    """The maximum that came at each of these moments; None where nothing was recorded."""
    begin = DAY_S * JUDGE_DAYS[0]
    own = [None if count is None else count // recipe.divisor for count in counts]
    return [
        max((count for count in own[now : now + recipe.horizon_s] if count is not None), default=None)
        for now in range(begin, len(own) - recipe.horizon_s + 1, recipe.stride_s)
    ]


def compare(forecasts: Mapping[str, Sequence[float | None]], came: Sequence[int | None]) -> list[str]:
    """MSE, MAE and SMAPE (2·|a-b| ÷ (a+b); zero for two zeros) of each, where all of them and the truth are known."""
    kept = [
        i for i, truth in enumerate(came) if truth is not None and all(f[i] is not None for f in forecasts.values())
    ]
    truth = np.array([came[i] for i in kept], dtype=np.float64)
    lines = []
    for name, told in forecasts.items():
        guess = np.array([told[i] for i in kept], dtype=np.float64)
        error, total = np.abs(guess - truth), guess + truth
        smape = np.divide(2.0 * error, total, out=np.zeros_like(total), where=total > 0.0)
        mse, mae, percent = np.mean(error**2), np.mean(error), 100.0 * np.mean(smape)
        lines.append(f"{name:16} MSE {mse:9.3f}   MAE {mae:7.3f}   SMAPE {percent:6.2f} %")
    return [f"{len(kept):,} moments of days {JUDGE_DAYS[0]}-{JUDGE_DAYS[1] - 1}", *lines]


def compare_exceed(path: Path, counts: Sequence[int | None], recipe: Recipe) -> list[str]:
    """How well P(exceeded) tells the targets that were exceeded, beside saying that the newest maximum repeats."""
    past, coming = samples(counts[DAY_S * JUDGE_DAYS[0] - recipe.window_s * recipe.windows :], recipe)
    asked = _targets(past[:, -1], np.random.default_rng(7).lognormal(size=len(past)))
    model = LstmExceedModel.from_file(path)
    exceeded = coming > asked
    lines = [f"{len(past):,} targets, {100.0 * np.mean(exceeded):.1f} % exceeded"]
    for name, told in {
        "themis": np.array([model.probabilities(row, [target])[0] for row, target in zip(past, asked, strict=True)]),
        "last > target": (past[:, -1] > asked).astype(np.float64),
    }.items():
        alarm = told > THRESHOLD
        lines.append(
            f"{name:16} AUC {auc(told, exceeded):.4f}   Brier {np.mean((told - exceeded) ** 2):.4f}   "
            f"at {THRESHOLD}: caught {100.0 * np.mean(alarm[exceeded]):.1f} %, "
            f"false alarms {100.0 * np.mean(alarm[~exceeded]):.1f} %"
        )
    return lines


def auc(told: Array, happened: NDArray[np.bool_]) -> float:
    """The chance that one that happened was told a higher number than one that did not (Mann & Whitney 1947)."""
    ordered = np.sort(told[~happened])
    below = np.searchsorted(ordered, told[happened], "left") + np.searchsorted(ordered, told[happened], "right")
    return float(np.mean(below) / (2.0 * len(ordered)))


def told_of(recipe: Recipe, network: Network) -> dict[str, Any]:
    """What the file holds."""
    told = {name: getattr(recipe, name) for name in ("name", "window_s", "windows", "horizon_s")}
    return told | ({} if recipe.exceeds else {"fallback": recipe.fallback}) | network.parameters_told()


def main() -> None:
    """Train, write, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path, default=Path("../shared/data") / TRACE, help="counts per second")
    parser.add_argument("--kind", choices=tuple(RECIPES), required=True, help="whose forecaster")
    parser.add_argument("--output", type=Path, help="the fitted forecaster, a JSON file (else the one of the package)")
    parser.add_argument("--zeros", choices=("mask", "delete", "keep"), default="mask", help="what a count of 0 means")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--epochs", type=int, help="passes over the samples (else the paper's)")
    parser.add_argument("--beside", nargs="*", default=["last"], metavar="NAME", help="forecasters to compare with")
    parser.add_argument("--judge", action="store_true", help="do not train, only compare the file")
    asked = parser.parse_args()
    recipe = RECIPES[asked.kind]
    output = asked.output or WEIGHTS / f"{recipe.name}.json"
    try:
        recorded = read_trace(asked.trace).counts
        counts = [None if count == 0 and asked.zeros != "keep" else count for count in recorded]
        if not asked.judge:
            learnt: list[int | None] = counts[DAY_S * TRAIN_DAYS[0] : DAY_S * TRAIN_DAYS[1]]
            if asked.zeros == "delete":
                learnt = [count for count in learnt if count is not None]
            inputs, targets = samples(learnt, recipe)
            epochs = asked.epochs or recipe.epochs
            network = train(inputs, targets, recipe, asked.seed, epochs)
            divided = f", counts divided by {recipe.divisor}" if recipe.divisor > 1 else ""
            made = {
                "trace": f"{asked.trace.name}, days {TRAIN_DAYS[0]}-{TRAIN_DAYS[1] - 1}, zeros: {asked.zeros}{divided}",
                "how": f"{len(inputs)} samples, {epochs} epochs, batch {recipe.batch}, seed {asked.seed}",
                "tool": f"experiments/forecast/train_lstm.py, PyTorch {torch.__version__.partition('+')[0]}",
            }
            write_fitted(Fitted("exceed" if recipe.exceeds else "lstm", made, told_of(recipe, network)), output)
        if recipe.exceeds:
            print("\n".join(compare_exceed(output, counts, recipe)))
        names = [*asked.beside, str(output)]
        told = {Path(name).stem: judge(name, counts, recipe) for name in names}
        print("\n".join(compare(told, seen(counts, recipe))))
    except TrimtabError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
