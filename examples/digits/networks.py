"""The two families of small convolutional networks, as PyTorch modules: what the committed ONNX files were exported
from.

A family is one design that grows. *Locate* grows in width and in residual blocks; *read* in width, in residual
blocks, and in the number of *views*: slightly turned and scaled copies of the crop whose scores are averaged
(multi-crop evaluation: Krizhevsky, Sutskever & Hinton 2012, §4.1). Everything happens inside the graph, from the
raw bytes of a scene to the crop, and from the crop to the digit, so that a client needs no preprocessing and all
variants of a task are interchangeable.

Needs PyTorch; imported by ``train.py`` only. Serving needs ONNX Runtime and the files in ``models/`` alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SCENE, CROP, HEAT = 96, 48, 24  # sides of a scene, of a crop and of the map of where the digit is
VIEWS = (  # (turn in degrees, magnification) of a reader's views, in order
    (0.0, 1.0),
    (10.0, 1.0),
    (-10.0, 1.0),
    (0.0, 1.18),
    (0.0, 0.86),
    (5.0, 1.1),
    (-5.0, 1.1),
    (0.0, 1.06),
)


@dataclass(frozen=True, slots=True)
class LocateShape:
    """A locator's size: channels and residual blocks at 48 and 24 pixels."""

    widths: tuple[int, int]
    blocks: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ReadShape:
    """A reader's size: channels and residual blocks at 48, 24 and 12 pixels, and views."""

    widths: tuple[int, int, int]
    blocks: tuple[int, int, int]
    views: int


LOCATE = {
    "locate-s": LocateShape((24, 40), (1, 2)),
    "locate-m": LocateShape((32, 40), (2, 2)),
    "locate-l": LocateShape((32, 40), (10, 3)),
}
READ = {
    "read-xs": ReadShape((72, 72, 48), (0, 0, 0), 3),
    "read-s": ReadShape((32, 48, 64), (1, 1, 0), 3),
    "read-m": ReadShape((40, 64, 64), (1, 2, 1), 3),
    "read-l": ReadShape((40, 64, 64), (1, 3, 1), 5),
    "read-xl": ReadShape((40, 64, 64), (2, 4, 1), 8),
}


class Residual(nn.Module):  # type: ignore[misc]  # PyTorch is installed only where models are trained
    """Two 3 by 3 convolutions beside a shortcut. It starts as the identity, so a deeper network can be grown from a
    trained shallower one without losing what that has learned (Chen, Goodfellow & Shlens 2016, Net2Net, §2.3).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = _convolution(width, width)
        nn.init.zeros_(self.second[1].weight)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(functional.relu(self.first(x))))


class Locator(nn.Module):  # type: ignore[misc]  # PyTorch is installed only where models are trained
    """A scene to a map of where the digit's centre is; ``forward`` decodes the map and cuts the crop.

    In: uint8 [N, 1, 96, 96]. Out: ``center`` float32 [N, 2] (x, y in pixels), ``crop`` float32 [N, 1, 48, 48] in
    [0, 1], the pixels around the centre rounded to a pixel, the scene's edge repeated beyond it.
    """

    def __init__(self, shape: LocateShape) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        before = 1
        for width, blocks in zip(shape.widths, shape.blocks, strict=True):
            grown = (Residual(width) for _ in range(blocks))
            stages.append(nn.Sequential(_convolution(before, width, stride=2), nn.ReLU(), *grown))
            before = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Conv2d(before, 1, 1)

    def heat(self, scene: Tensor) -> Tensor:
        """Logits [N, 24 * 24] of the centre's cell (4 by 4 pixels)."""
        return self.head(self.stages(standardise(scene.float()))).flatten(1)

    def forward(self, scene: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.heat(scene)
        peak = logits.argmax(1, keepdim=True)
        cell = torch.arange(HEAT * HEAT)
        x, y = (cell % HEAT).float(), (cell // HEAT).float()
        peak_x, peak_y = (peak % HEAT).float(), (peak // HEAT).float()
        near = ((x - peak_x) ** 2 + (y - peak_y) ** 2 <= 6.0).float()  # the highest peak alone, not the mean of all
        weight = torch.softmax(logits, 1) * near
        weight = weight / weight.sum(1, keepdim=True)
        center = (SCENE // HEAT) * torch.stack([(weight * x).sum(1), (weight * y).sum(1)], 1)

        offset = torch.arange(CROP) - CROP // 2
        corner = center.round().clamp(0, SCENE - 1).long()
        column = (corner[:, :1] + offset).clamp(0, SCENE - 1)
        row = (corner[:, 1:] + offset).clamp(0, SCENE - 1)
        pixel = (row.unsqueeze(2) * SCENE + column.unsqueeze(1)).flatten(1)
        crop = torch.gather(scene.float().flatten(1), 1, pixel) / 255
        return center, crop.reshape(-1, 1, CROP, CROP)


class Reader(nn.Module):  # type: ignore[misc]  # PyTorch is installed only where models are trained
    """A crop to the digit in it.

    In: float32 [N, 1, 48, 48] in [0, 1]. Out: ``scores`` float32 [N, 10] (probabilities), ``digit`` int64 [N].
    """

    def __init__(self, shape: ReadShape) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        before = 1
        for width, blocks in zip(shape.widths, shape.blocks, strict=True):
            grown = (Residual(width) for _ in range(blocks))
            stages.append(nn.Sequential(_convolution(before, width), nn.ReLU(), *grown, nn.MaxPool2d(2)))
            before = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(before * 9, 10)
        grids = [view_grid(*view) for view in VIEWS[1 : shape.views]]
        self.register_buffer("grids", torch.cat(grids or [torch.empty(0)]), persistent=False)

    def logits(self, crop: Tensor) -> Tensor:
        """Class logits [N, 10] of one view."""
        features = functional.avg_pool2d(self.stages(standardise(crop)), 2)
        return self.head(functional.dropout(features.flatten(1), 0.2, self.training))

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        grids = (grid.expand(crop.shape[0], -1, -1, -1) for grid in self.grids)
        views = [crop, *(sample(crop, grid) for grid in grids)]
        each = torch.log_softmax(self.logits(torch.cat(views)), 1).reshape(len(views), -1, 10)
        scores = torch.softmax(each.mean(0), 1)
        return scores, scores.argmax(1)


def standardise(image: Tensor) -> Tensor:
    """Zero mean and unit variance for each image: the scene's own light does not matter."""
    centred = image - image.mean((2, 3), keepdim=True)
    return centred / ((centred * centred).mean((2, 3), keepdim=True) + 1e-6).sqrt()


def sample(crop: Tensor, grid: Tensor) -> Tensor:
    """Crops [N, 1, 48, 48] seen through sampling grids [N, 48, 48, 2], their edges repeated."""
    return functional.grid_sample(crop, grid, padding_mode="border", align_corners=False)


def view_grid(turn_deg: float | Tensor, magnify: float | Tensor) -> Tensor:
    """Sampling grid [K, 48, 48, 2] that turns and magnifies a crop about its centre."""
    turn = torch.deg2rad(torch.as_tensor(turn_deg, dtype=torch.float32)).reshape(-1)
    scale = 1 / torch.as_tensor(magnify, dtype=torch.float32).reshape(-1)
    zero = torch.zeros_like(turn)
    rows = [torch.stack([turn.cos(), -turn.sin(), zero], 1), torch.stack([turn.sin(), turn.cos(), zero], 1)]
    theta = torch.stack(rows, 1) * scale.reshape(-1, 1, 1)
    return functional.affine_grid(theta, [len(turn), 1, CROP, CROP], align_corners=False)


def grow(small: nn.Module, large: nn.Module) -> None:
    """Copy a trained network into a deeper one of the same widths; the added blocks stay the identity they start as."""
    wanted = large.state_dict()
    known = {name: tensor for name, tensor in small.state_dict().items() if name in wanted}
    large.load_state_dict(wanted | known)


def _convolution(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
    nn.init.normal_(layer.weight, 0, math.sqrt(2 / (9 * inside)))
    return nn.Sequential(layer, nn.BatchNorm2d(outside))
