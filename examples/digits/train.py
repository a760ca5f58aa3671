"""Train the example's models anew and export them to ONNX: seeded, on a CPU with two cores in about an hour.

    python examples/digits/train.py                      # all variants, in order
    python examples/digits/train.py --only read-xs       # one of them
    python examples/digits/train.py --export             # write models/*.onnx from the checkpoints

Scenes and checkpoints are kept under ``out/digits`` (``--work``), so a run that was stopped goes on where it was.
Deeper variants are *grown* from a trained shallower one (``RECIPES``), which costs a fraction of training them from
nothing. Learning sees the train split alone; the validation split is only printed. ``evaluate.py`` measures on the
test split, without PyTorch.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scenes

try:
    import networks
    import torch
    from torch.nn import functional
except ModuleNotFoundError as missing:
    raise SystemExit(
        f"training needs {missing.name}, which is not installed: pip install 'trimtab[train]'"
    ) from missing

HERE = Path(__file__).parent
OPSET = 17
TRAIN_SCENES, VALIDATION_SCENES = 60_000, 1_500
BATCH = 64


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a variant is trained: scenes seen, peak learning rate, the variant that it is grown from."""

    samples: int
    rate: float
    grown_from: str | None = None


RECIPES = {
    "read-xs": Recipe(70_000, 3e-3),
    "read-s": Recipe(70_000, 3e-3),
    "read-m": Recipe(70_000, 3e-3),
    "read-l": Recipe(32_000, 2e-3, "read-m"),
    "locate-s": Recipe(30_000, 4e-3),
    "locate-m": Recipe(30_000, 3e-3),
    "read-xl": Recipe(25_600, 2e-3, "read-l"),
    "locate-l": Recipe(12_000, 2e-3, "locate-m"),
}


def build(name: str) -> Any:
    """The untrained network of a variant."""
    return networks.Locator(networks.LOCATE[name]) if name in networks.LOCATE else networks.Reader(networks.READ[name])


def load_scenes(split: scenes.Split, count: int, seed: int, work: Path) -> dict[str, Any]:
    """The split's scenes from ``work``, made there first if need be (by one process per core)."""
    path = work / f"{split}-{count}-{seed}.npz"
    if not path.exists():
        firsts = range(0, count, 500)
        with ProcessPoolExecutor() as pool:
            jobs = [pool.submit(scenes.make_scenes, split, min(500, count - at), seed, first=at) for at in firsts]
            parts = [job.result() for job in jobs]
        scene, digit, center = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("scene", "digit", "center")
        )
        np.savez(path, scene=scene, digit=digit, center=center)
        print(f"made {path}", flush=True)
    with np.load(path) as stored:
        return dict(stored)


def locate_batch(data: dict[str, Any], pick: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """Scenes (half of them with light and dark exchanged) and the wished heat [B, 24 * 24]: a Gaussian about the
    centre's cell.
    """
    image = np.where(rng.random((len(pick), 1, 1, 1)) < 0.5, data["scene"][pick], 255 - data["scene"][pick])
    cell = torch.from_numpy(data["center"][pick] * (networks.HEAT / networks.SCENE))
    grid = torch.arange(networks.HEAT, dtype=torch.float32)
    near = [torch.exp(-((grid - cell[:, axis, None]) ** 2) / (2 * 0.7**2)) for axis in (0, 1)]
    heat = (near[1][:, :, None] * near[0][:, None, :]).flatten(1)
    return torch.from_numpy(image), heat / heat.sum(1, keepdim=True)


def read_batch(data: dict[str, Any], pick: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """Crops about centres that are off by what a locator would be off, in half of them light and dark exchanged, in
    half of them a little turned and magnified (as a reader's views are), and their digits.
    """
    off = rng.normal(0, np.where(rng.random((len(pick), 1)) < 0.85, 1.2, 3.0), (len(pick), 2))
    crop = scenes.crop_at(data["scene"][pick], data["center"][pick] + off)
    crop = torch.from_numpy(np.where(rng.random((len(pick), 1, 1, 1)) < 0.5, crop, 1 - crop))
    turned = torch.from_numpy(rng.random(len(pick)) < 0.5)
    count = int(turned.sum())
    grid = networks.view_grid(
        torch.from_numpy(rng.uniform(-14, 14, count)), torch.from_numpy(np.exp(rng.uniform(-0.18, 0.2, count)))
    )
    crop[turned] = networks.sample(crop[turned], grid)
    return crop, torch.from_numpy(data["digit"][pick])


def train(name: str, data: dict[str, Any], validation: dict[str, Any], work: Path, seed: int) -> None:
    """Train one variant and keep its weights in ``work``."""
    recipe, locating = RECIPES[name], name in networks.LOCATE
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, list(RECIPES).index(name)])
    network = build(name)
    if recipe.grown_from:
        parent = build(recipe.grown_from)
        parent.load_state_dict(torch.load(work / f"{recipe.grown_from}.pt"))
        networks.grow(parent, network)
    network.to(memory_format=torch.channels_last)

    steps = recipe.samples // BATCH
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, steps, pct_start=0.15)
    started, smooth = time.monotonic(), None
    for step in range(steps):
        pick = rng.integers(len(data["digit"]), size=BATCH)
        image, wanted = (locate_batch if locating else read_batch)(data, pick, rng)
        network.train()
        with torch.autocast("cpu", torch.bfloat16):
            guess = network.heat(image) if locating else network.logits(image)
        loss = functional.cross_entropy(guess.float(), wanted, label_smoothing=0.0 if locating else 0.05)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if (step + 1) % 200 == 0 or step + 1 == steps:
            spent = time.monotonic() - started
            print(f"{name} {step + 1}/{steps} loss {smooth:.3f} {spent:.0f} s", flush=True)
    print(f"{name} validation {validate(network, validation, locating):.4f}", flush=True)
    torch.save(network.state_dict(), work / f"{name}.pt")


def validate(network: Any, data: dict[str, Any], locating: bool) -> float:
    """Share of validation scenes that are right, in one view: centre within 6 pixels, or the digit read from the
    true crop.
    """
    network.eval()
    right = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for first in range(0, len(data["digit"]), 250):
            part = slice(first, first + 250)
            if locating:
                center = network(torch.from_numpy(data["scene"][part]))[0].float().numpy()
                right.append(np.hypot(*(center - data["center"][part]).T) <= 6.0)
            else:
                crop = torch.from_numpy(scenes.crop_at(data["scene"][part], data["center"][part]))
                right.append(network.logits(crop).argmax(1).numpy() == data["digit"][part])
    return float(np.concatenate(right).mean())


def export(name: str, work: Path, models: Path) -> None:
    """Write ``models/<name>.onnx`` (batch axis ``N``, batch norms folded) and print how far ONNX Runtime is from
    PyTorch.
    """
    import onnxruntime

    network = build(name)
    network.load_state_dict(torch.load(work / f"{name}.pt"))
    network.eval()
    locating = name in networks.LOCATE
    inside, outside = (["scene"], ["center", "crop"]) if locating else (["crop"], ["scores", "digit"])
    made = scenes.make_scenes("validation", 16, 1)
    fed = made.scene if locating else scenes.crop_at(made.scene, made.center)
    path = models / f"{name}.onnx"
    axes = {each: {0: "N"} for each in inside + outside}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated; it folds batch norms, notes no paths
        torch.onnx.export(
            network, (torch.from_numpy(fed[:2]),), str(path), dynamo=False, opset_version=OPSET,
            input_names=inside, output_names=outside, dynamic_axes=axes,
        )  # fmt: skip
    got = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {inside[0]: fed})
    with torch.no_grad():
        wanted = [tensor.numpy() for tensor in network(torch.from_numpy(fed))]
    gaps = {each: float(np.abs(a - b).max()) for each, a, b in zip(outside, got, wanted, strict=True)}
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB, opset {OPSET}, largest difference to PyTorch {gaps}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the digits example's models and export them to ONNX.")
    parser.add_argument("--only", choices=list(RECIPES), nargs="+", default=list(RECIPES))
    parser.add_argument("--export", action="store_true", help="only export, from the checkpoints that there are")
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--work", type=Path, default=Path("out/digits"))
    parser.add_argument("--models", type=Path, default=HERE / "models")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    if not arguments.export:
        data = load_scenes("train", TRAIN_SCENES, arguments.seed, arguments.work)
        validation = load_scenes("validation", VALIDATION_SCENES, arguments.seed, arguments.work)
        for name in arguments.only:
            if not (arguments.work / f"{name}.pt").exists():
                train(name, data, validation, arguments.work, arguments.seed)
    for name in arguments.only:
        if (arguments.work / f"{name}.pt").exists():
            export(name, arguments.work, arguments.models)


if __name__ == "__main__":
    main()
