"""Make cluttered scenes that hold exactly one whole handwritten digit: the data of the example pipeline.

The digits are real: the 1,797 images of 8 by 8 pixels that scikit-learn carries (``load_digits``). The originals
are divided *once*, stratified by class, into train, validation and test; a scene of a split is made from originals
of that split alone, its clutter too. So no stroke of a test scene was ever seen in training.

A scene is 96 by 96 pixels of grey. The digit is enlarged, turned, sheared, given a random contrast (lighter or
darker than its ground) and set among strokes, blobs and *pieces* of other digits, then blurred and made noisy.
Scene ``i`` of ``(split, seed)`` depends on nothing else, so a longer set begins with the shorter one.

Pure functions of their arguments; the only I/O is the command line's::

    python examples/digits/scenes.py --split test --count 600 --seed 7 -o test.npz

writes the arrays ``scene`` uint8 [N, 1, 96, 96], ``digit`` int64 [N], ``center`` float32 [N, 2] (x, y in pixels),
``size`` float32 [N] (side of the digit's box in pixels) and ``original`` int64 [N] (which of the 1,797 images it
shows).
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Split = Literal["train", "validation", "test"]
Floats = npt.NDArray[np.float32]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SCENE = 96  # side of a scene, pixels
CROP = 48  # side of a crop, pixels
SPLIT_SEED = 1998  # fixes which original belongs to which split, whatever the seed of the scenes
SHARES = (0.70, 0.10, 0.20)  # of each class's originals that go to train, validation, test


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How hard a scene is. Pairs are the ends of uniform draws; levels are in units of the full grey range."""

    size: tuple[float, float] = (18.0, 34.0)  # side of the digit's box, pixels
    turn_deg: float = 35.0  # rotation either way
    shear: float = 0.3
    stretch: float = 0.25  # relative change of aspect ratio
    contrast: tuple[float, float] = (0.2, 0.6)  # of the digit against its ground, lighter or darker
    pieces: tuple[int, int] = (6, 11)  # fragments of other digits
    piece_share: float = 0.5  # at most this share of a digit's ink is in a piece
    strokes: tuple[int, int] = (3, 7)
    blobs: tuple[int, int] = (1, 4)
    over: tuple[int, int] = (0, 2)  # thin strokes that cross in front of everything
    shelter: float = 0.86  # how much the clutter behind the digit is faded
    blur: tuple[float, float] = (0.3, 1.0)  # standard deviation, pixels
    noise: tuple[float, float] = (0.02, 0.09)  # standard deviation of the grey level


@dataclass(frozen=True, slots=True)
class Originals:
    """The original digit images of one split: ``ink`` [K, 32, 32] in [0, 1] (enlarged), ``digit`` [K], ``index``
    into the 1,797.
    """

    ink: Floats
    digit: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scenes:
    """N labelled scenes; shapes and units as in the module's first lines."""

    scene: npt.NDArray[np.uint8]
    digit: npt.NDArray[np.int64]
    center: Floats
    size: Floats
    original: npt.NDArray[np.int64]


@cache
def split_indices() -> dict[Split, npt.NDArray[np.int64]]:
    """Which of the 1,797 originals belong to each split: disjoint, complete, stratified by class, the same on every
    machine.
    """
    labels = _load_digits()[1]
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    parts: dict[Split, list[npt.NDArray[np.int64]]] = {split: [] for split in SPLITS}
    for digit in range(10):
        members = order[labels[order] == digit]
        ends = np.rint(np.cumsum(SHARES) * len(members)).astype(int)
        for split, part in zip(SPLITS, np.split(members, ends[:2]), strict=True):
            parts[split].append(part)
    return {split: np.sort(np.concatenate(found)).astype(np.int64) for split, found in parts.items()}


@cache
def originals(split: Split) -> Originals:
    """The split's original images, enlarged four times by cubic interpolation."""
    images, labels = _load_digits()
    index = split_indices()[split]
    enlarge = _cubic(8, 32)
    ink = np.clip(enlarge @ (images[index] / 16.0).astype(np.float32) @ enlarge.T, 0.0, 1.0)
    return Originals(np.pad(ink, ((0, 0), (1, 1), (1, 1))), labels[index].astype(np.int64), index)


def make_scenes(split: Split, count: int, seed: int, difficulty: Difficulty | None = None, first: int = 0) -> Scenes:
    """Scenes ``first`` to ``first + count - 1`` of the endless series that ``split`` and ``seed`` name.

    Raises ``ValueError`` when ``split`` is unknown or ``count`` is below 1.
    """
    if split not in SPLITS:
        raise ValueError(f"split: got {split!r}, wanted one of {', '.join(SPLITS)}")
    if count < 1:
        raise ValueError(f"count: got {count}, wanted at least 1")
    source, hard = originals(split), difficulty or Difficulty()
    made = [
        _make_scene(source, hard, np.random.default_rng([seed, SPLITS.index(split), i]))
        for i in range(first, first + count)
    ]
    scene, which, center, size = (np.stack(column) for column in zip(*made, strict=True))
    return Scenes(scene[:, None], source.digit[which], center, size, source.index[which])


def crop_at(scene: npt.NDArray[np.uint8], center: npt.ArrayLike) -> Floats:
    """The crop that ``locate`` hands on, cut in NumPy: float32 [N, 1, 48, 48] in [0, 1] around ``center`` [N, 2]
    rounded to a pixel; beyond the scene its edge is repeated.
    """
    half = CROP // 2
    padded = np.pad(scene, ((0, 0), (0, 0), (half, half), (half, half)), mode="edge")
    corner = np.clip(np.rint(np.asarray(center)), 0, SCENE - 1).astype(int)
    crops = [image[:, y : y + CROP, x : x + CROP] for image, (x, y) in zip(padded, corner, strict=True)]
    return np.stack(crops).astype(np.float32) / np.float32(255)


def _make_scene(source: Originals, hard: Difficulty, rng: np.random.Generator) -> tuple[Any, ...]:
    """One scene [96, 96], the place of its digit in ``source``, centre and size."""
    which = int(rng.integers(len(source.index)))
    size = rng.uniform(*hard.size)
    center = rng.uniform(size / 2 + 4, SCENE - 5 - size / 2, size=2)
    digit = np.zeros((SCENE, SCENE), np.float32)
    _stamp(digit, source.ink[which], center, _affine(size, hard, rng, hard.turn_deg))

    coarse = rng.normal(0, 0.07, (6, 6)).astype(np.float32)
    canvas: Floats = (rng.uniform(0.25, 0.75) + _cubic(6, SCENE) @ coarse @ _cubic(6, SCENE).T).astype(np.float32)
    ground = float(canvas[round(center[1]), round(center[0])])

    clutter = canvas.copy()
    for _ in range(rng.integers(*hard.blobs, endpoint=True)):
        _blend(clutter, _blob(rng), ground + _signed(rng, 0.05, 0.3))
    for _ in range(rng.integers(*hard.strokes, endpoint=True)):
        _blend(clutter, _stroke(rng, rng.uniform(0.8, 2.2), rng.uniform(8, 40)), ground + _signed(rng, *hard.contrast))
    for _ in range(rng.integers(*hard.pieces, endpoint=True)):
        mask = np.zeros((SCENE, SCENE), np.float32)
        ink = _piece(source.ink[int(rng.integers(len(source.ink)))], hard.piece_share, rng)
        _stamp(mask, ink, rng.uniform(0, SCENE, size=2), _affine(rng.uniform(*hard.size), hard, rng, 180.0))
        _blend(clutter, mask, ground + _signed(rng, *hard.contrast))

    soft = _gauss(size / 6)
    shade = soft @ digit @ soft.T
    canvas += (clutter - canvas) * (1 - hard.shelter * np.minimum(1, 3 * shade))
    _blend(canvas, digit, ground + _signed(rng, *hard.contrast))
    for _ in range(rng.integers(*hard.over, endpoint=True)):
        stroke = _stroke(rng, rng.uniform(0.4, 1.0), rng.uniform(20, 90))
        _blend(canvas, stroke * rng.uniform(0.3, 0.9), ground + _signed(rng, *hard.contrast))

    blur = _gauss(rng.uniform(*hard.blur))
    blurred = blur @ canvas @ blur.T
    noise = rng.standard_normal(blurred.shape, np.float32) * np.float32(rng.uniform(*hard.noise))
    grey = np.rint(np.clip(blurred + noise, 0, 1) * 255).astype(np.uint8)
    return grey, which, center.astype(np.float32), np.float32(size)


def _signed(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high) * rng.choice((-1.0, 1.0)))


def _affine(size: float, hard: Difficulty, rng: np.random.Generator, turn_deg: float) -> npt.NDArray[np.float64]:
    """The 2 by 2 matrix from an offset in the scene (pixels) to one in the enlarged original (its pixels)."""
    turn = math.radians(rng.uniform(-turn_deg, turn_deg))
    rotate = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    aspect = 1 + rng.uniform(-hard.stretch, hard.stretch)
    shape = np.array([[1 / math.sqrt(aspect), rng.uniform(-hard.shear, hard.shear)], [0, math.sqrt(aspect)]])
    affine: npt.NDArray[np.float64] = shape @ rotate * (32 / size)
    return affine


def _stamp(mask: Floats, ink: Floats, center: npt.NDArray[np.float64], affine: npt.NDArray[np.float64]) -> None:
    """Draw ``ink`` [34, 34] (with a border of zeros) around ``center`` into ``mask``, by bilinear interpolation."""
    reach = math.ceil(24 / math.sqrt(abs(np.linalg.det(affine))) * 1.25)
    x0, x1 = max(0, round(center[0]) - reach), min(SCENE, round(center[0]) + reach + 1)
    y0, y1 = max(0, round(center[1]) - reach), min(SCENE, round(center[1]) + reach + 1)
    if x0 >= x1 or y0 >= y1:
        return
    dx = np.arange(x0, x1, dtype=np.float32) - np.float32(center[0])
    dy = (np.arange(y0, y1, dtype=np.float32) - np.float32(center[1]))[:, None]
    a = affine.astype(np.float32)
    u = np.clip(a[0, 0] * dx + a[0, 1] * dy + 16.5, 0, 32.999)
    v = np.clip(a[1, 0] * dx + a[1, 1] * dy + 16.5, 0, 32.999)
    left, top = u.astype(np.int32), v.astype(np.int32)
    u, v = u - left, v - top
    flat, at = ink.ravel(), top * 34 + left
    upper = flat[at] * (1 - u) + flat[at + 1] * u
    lower = flat[at + 34] * (1 - u) + flat[at + 35] * u
    mask[y0:y1, x0:x1] = upper * (1 - v) + lower * v


def _piece(ink: Floats, share: float, rng: np.random.Generator) -> Floats:
    """The side of a random line through a digit that keeps between half of ``share`` and ``share`` of its ink."""
    turn = rng.uniform(0, 2 * math.pi)
    grid = np.arange(34, dtype=np.float32) - 16.5
    along = (math.cos(turn) * grid + math.sin(turn) * grid[:, None]).ravel()
    order = np.argsort(along)
    mass = np.cumsum(ink.ravel()[order])
    cut = along[order[int(np.searchsorted(mass, mass[-1] * share * rng.uniform(0.5, 1.0)))]]
    edge: Floats = np.clip(cut - along, 0, 1).reshape(34, 34).astype(np.float32)
    return ink * edge


def _stroke(rng: np.random.Generator, width: float, length: float) -> Floats:
    """A curved pen stroke as a mask: dots along a parabola, softened by ``width`` (standard deviation, pixels)."""
    turn = rng.uniform(0, 2 * math.pi)
    t = np.linspace(-0.5, 0.5, math.ceil(length * 1.5), dtype=np.float32)
    bend = rng.uniform(-0.8, 0.8) * length
    along, across = t * length, bend * (t * t - 1 / 12)
    x = rng.uniform(0, SCENE) + math.cos(turn) * along - math.sin(turn) * across
    y = rng.uniform(0, SCENE) + math.sin(turn) * along + math.cos(turn) * across
    grid = np.arange(SCENE, dtype=np.float32)[:, None]
    gx = np.exp(-((grid - x.astype(np.float32)) ** 2) / np.float32(2 * width * width))
    gy = np.exp(-((grid - y.astype(np.float32)) ** 2) / np.float32(2 * width * width))
    drawn = gy @ gx.T
    mask: Floats = np.minimum(1, drawn * np.float32(1.2 / max(1.0, 2.5 * width * 1.5)))
    return mask


def _blob(rng: np.random.Generator) -> Floats:
    """A soft round stain as a mask."""
    radius = rng.uniform(3, 9)
    grid = np.arange(SCENE, dtype=np.float32)
    gx, gy = (np.exp(-((grid - np.float32(rng.uniform(0, SCENE))) ** 2) / np.float32(2 * radius**2)) for _ in range(2))
    mask: Floats = np.minimum(1, np.float32(1.5) * gy[:, None] * gx)
    return mask


def _blend(canvas: Floats, mask: Floats, level: float) -> None:
    canvas += mask * (np.float32(level) - canvas)


@cache
def _distances() -> Floats:
    grid = np.arange(SCENE, dtype=np.float32)
    distance: Floats = (grid[:, None] - grid) ** 2
    return distance


def _gauss(sigma: float) -> Floats:
    """The matrix [96, 96] that blurs one axis by a Gaussian of ``sigma`` pixels; its rows sum to one."""
    weights: Floats = np.exp(-_distances() / np.float32(2 * sigma * sigma))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


@cache
def _cubic(small: int, large: int) -> Floats:
    """The matrix [large, small] that enlarges one axis by cubic convolution (Keys 1981, a = -0.5), edges repeated."""
    at = (np.arange(large) + 0.5) * small / large - 0.5
    matrix = np.zeros((large, small), np.float32)
    for row, x in enumerate(at):
        for column in range(math.floor(x) - 1, math.floor(x) + 3):
            d = abs(x - column)
            weight = 1.5 * d**3 - 2.5 * d**2 + 1 if d <= 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
            matrix[row, min(max(column, 0), small - 1)] += weight
    return matrix


@cache
def _load_digits() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as missing:
        raise SystemExit("the digits come with scikit-learn: pip install 'trimtab[examples]'") from missing
    data = load_digits()
    return data.images, data.target


def main() -> None:
    parser = argparse.ArgumentParser(description="Make labelled scenes and write them as .npz.")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.count < 1:
        parser.error(f"--count: got {arguments.count}, wanted at least 1")
    made = make_scenes(arguments.split, arguments.count, arguments.seed)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        arguments.output, scene=made.scene, digit=made.digit, center=made.center, size=made.size, original=made.original
    )
    print(f"{arguments.output}: {arguments.count} scenes of the {arguments.split} split, seed {arguments.seed}")


if __name__ == "__main__":
    main()
