"""Measure the committed models on the test split, with ONNX Runtime and NumPy alone.

    python examples/digits/evaluate.py            # writes accuracy.json: the same numbers wherever it runs
    python examples/digits/evaluate.py --times    # writes times.json: service times of this machine

What is measured, always as a share of scenes:

* *locate*, ``hit_rate``: the centre is found within 6 pixels. So far off, a crop of 48 pixels still holds the
  largest upright digit (34 pixels: 24 - 17 = 7 to spare).
* *read*, ``true_crop``: the digit is right when the crop is cut about the true centre; ``best_locate_crop``: when
  it is cut by the most accurate locator, its misses included.
* end to end, for every pair of variants: the digit is right when ``read`` gets what ``locate`` gave. Beside it the
  product ``hit_rate × true_crop``, which is what a planner assumes (PAS). How far the two agree says whether that
  proxy is fair.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import scenes

HERE = Path(__file__).parent
LOCATE = ("locate-s", "locate-m", "locate-l")
READ = ("read-xs", "read-s", "read-m", "read-l", "read-xl")
TOLERANCE = 6.0  # pixels
BATCH = 20


def open_model(name: str, models: Path = HERE / "models") -> Any:
    """A session that computes on one thread and does not spin, as a worker of one core would run it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(models / f"{name}.onnx", options, providers=["CPUExecutionProvider"])


def locate(session: Any, scene: npt.NDArray[np.uint8]) -> tuple[scenes.Floats, scenes.Floats]:
    """Centres [N, 2] and crops [N, 1, 48, 48] of scenes [N, 1, 96, 96]."""
    parts = [session.run(["center", "crop"], {"scene": scene[i : i + BATCH]}) for i in range(0, len(scene), BATCH)]
    return np.concatenate([center for center, _ in parts]), np.concatenate([crop for _, crop in parts])


def read(session: Any, crop: scenes.Floats) -> npt.NDArray[np.int64]:
    """Digits [N] of crops [N, 1, 48, 48]."""
    parts = [session.run(["digit"], {"crop": crop[i : i + BATCH]})[0] for i in range(0, len(crop), BATCH)]
    return np.concatenate(parts)


def hits(center: scenes.Floats, truth: scenes.Floats) -> npt.NDArray[np.bool_]:
    """Which centres are within the tolerance of the true ones."""
    return np.asarray(np.hypot(*(center - truth).T) <= TOLERANCE)


def measure_accuracy(split: scenes.Split, count: int, seed: int) -> dict[str, Any]:
    """Everything that ``accuracy.json`` holds."""
    test = scenes.make_scenes(split, count, seed)
    crops = {"truth": scenes.crop_at(test.scene, test.center)}
    hit_rate = {}
    for name in LOCATE:
        center, crops[name] = locate(open_model(name), test.scene)
        hit_rate[name] = _share(hits(center, test.center))

    def accuracy(pair: tuple[str, str]) -> float:
        return _share(read(open_model(pair[1]), crops[pair[0]]) == test.digit)

    pairs = [(source, name) for name in reversed(READ) for source in crops]
    with ThreadPoolExecutor() as pool:
        right = dict(zip(pairs, pool.map(accuracy, pairs), strict=True))
    best = max(LOCATE, key=hit_rate.__getitem__)
    combinations = [
        {
            "locate": first,
            "read": second,
            "accuracy": right[first, second],
            "product": round(hit_rate[first] * right["truth", second], 4),
        }
        for first in LOCATE
        for second in READ
    ]
    measured = np.array([each["accuracy"] for each in combinations])
    product = np.array([each["product"] for each in combinations])
    return {
        "split": split,
        "count": count,
        "seed": seed,
        "tolerance_px": TOLERANCE,
        "locate": {name: {"hit_rate": hit_rate[name]} for name in LOCATE},
        "read": {name: {"true_crop": right["truth", name], "best_locate_crop": right[best, name]} for name in READ},
        "end_to_end": combinations,
        "product_as_proxy": {
            "correlation": round(float(np.corrcoef(measured, product)[0, 1]), 4),
            "rank_correlation": round(_rank_correlation(measured, product), 4),
            "mean_gap": round(float((measured - product).mean()), 4),
            "largest_gap": round(float(np.abs(measured - product).max()), 4),
        },
    }


def measure_times(repeats: int) -> dict[str, Any]:
    """Service time of each variant for one item on one thread: median and p99 in milliseconds, and the machine they
    hold for.
    """
    test = scenes.make_scenes("test", 1, 7)
    fed = {"locate": {"scene": test.scene}, "read": {"crop": scenes.crop_at(test.scene, test.center)}}
    service_ms = {}
    for name in LOCATE + READ:
        session, item = open_model(name), fed[name.split("-", maxsplit=1)[0]]
        spent = []
        for _ in range(repeats + 5):
            started = time.perf_counter()
            session.run(None, item)
            spent.append((time.perf_counter() - started) * 1e3)
        median, p99 = np.quantile(spent[5:], (0.5, 0.99))
        service_ms[name] = {"median": round(float(median), 2), "p99": round(float(p99), 2)}
    runtime = f"onnxruntime {onnxruntime.__version__}"
    machine = {"cpu": _cpu(), "runtime": runtime, "threads": 1, "batch_size": 1, "repeats": repeats}
    return {"machine": machine, "service_ms": service_ms}


def _share(right: npt.NDArray[np.bool_]) -> float:
    return round(float(right.mean()), 4)


def _rank_correlation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Spearman's, for values that are (nearly) all different."""
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", maxsplit=1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.processor() or 'unknown'} ({platform.machine()})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the digits example's models on the test split.")
    parser.add_argument("--count", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--times", action="store_true", help="measure service times instead of accuracy")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("-o", "--output", type=Path, help="default: times.json or accuracy.json beside this script")
    arguments = parser.parse_args()
    if arguments.times:
        found = measure_times(arguments.repeats)
    else:
        found = measure_accuracy("test", arguments.count, arguments.seed)
    path = arguments.output or HERE / ("times.json" if arguments.times else "accuracy.json")
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    main()
