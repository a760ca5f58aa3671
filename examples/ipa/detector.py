"""The detector of the `video` pipeline: YOLOv5 as an ONNX file, and what lies between it and the classifier.

An image is fitted into the network's square, its boxes are decoded and thinned out (non-maximum suppression), and the
best of them are cut out, each as the 224 × 224 pixels that the classifier takes. Every image gives the same number of
crops, because the shapes of tensors are fixed: where fewer objects are found, the rest are the whole image, with the
score 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

CROP = 224
"""Pixels of a crop's side."""
LEAST_SCORE = 0.25
MOST_OVERLAP = 0.45
"""Two boxes of one class that share more than this of their union show the same object."""
CANDIDATES = 300
"""No more boxes than this, the best, are compared with one another."""
GREY = 114
"""What fills the square beside an image; as in training."""


class Detector:
    """One YOLOv5 network.

    Args:
        model: The ONNX file, beside this one: input float32 [rows, 3, side, side] from 0 to 1, output float32
            [rows, boxes, 5 + classes] with centre, width and height in pixels, the box's own score, and each class's.
        crops: Crops that each image gives.
        threads: Threads of one call; the worker says.
    """

    def __init__(self, model: str, crops: int = 1, threads: int = 1) -> None:
        file = Path(__file__).parent / model
        if not file.is_file():
            raise FileNotFoundError(f"there is no {file}: make it with examples/ipa/export_video.py")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
        (entry,) = self._session.get_inputs()
        self._entry, self._side = entry.name, int(entry.shape[-1])
        self._crops = crops
        self.parallel = threads == 1  # such a session has no pool of threads, so that several calls can share it
        self.inputs = [("image", "UINT8", [-1, -1, -1, 3])]
        self.outputs = [
            ("crop", "UINT8", [-1, crops, CROP, CROP, 3]),
            ("box", "FP32", [-1, crops, 4]),
            ("score", "FP32", [-1, crops]),
        ]

    def predict(self, image: Bytes) -> Mapping[str, npt.NDArray[np.generic]]:
        """Crops of images [rows, height, width, RGB], best first; their boxes, as two corners (x, y); their scores."""
        fitted, scale, corner = fit(image, self._side)
        (given,) = self._session.run(None, {self._entry: fitted})
        height, width = image.shape[1:3]
        whole = np.array([0, 0, width, height], np.float32)
        boxes = np.tile(whole, (len(image), self._crops, 1))
        scores = np.zeros((len(image), self._crops), np.float32)
        for row, raw in enumerate(given):
            found, certain = decode(raw)
            found, certain = found[: self._crops], certain[: self._crops]
            boxes[row, : len(found)] = np.clip((found - np.tile(corner, 2)) / scale, 0, np.tile(whole[2:], 2))
            scores[row, : len(found)] = certain
        crops = [[cut(picture, box) for box in of_one] for picture, of_one in zip(image, boxes, strict=True)]
        return {"crop": np.array(crops, np.uint8), "box": boxes, "score": scores}

    def example(self, rows: int) -> Mapping[str, Bytes]:
        """A grey picture of the network's own size."""
        return {"image": np.full((rows, self._side, self._side, 3), GREY, np.uint8)}


def fit(image: Bytes, side: int) -> tuple[Floats, float, Floats]:
    """Images [rows, height, width, 3] in the middle of a square as the network takes them [rows, 3, side, side], from
    0 to 1; by how much they were scaled, and where their corner (x, y) lies.
    """
    height, width = image.shape[1:3]
    scale = side / max(height, width)
    high, wide = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (side - high) // 2, (side - wide) // 2
    square = np.full((len(image), side, side, 3), GREY, np.float32)
    for row, picture in enumerate(image):
        square[row, top : top + high, left : left + wide] = resize(picture, high, wide)
    return square.transpose(0, 3, 1, 2) / np.float32(255), scale, np.array([left, top], np.float32)


def decode(raw: Floats) -> tuple[Floats, Floats]:
    """One image's boxes [n, 4] as corners in the network's pixels, and their scores [n], best first.

    `raw` [boxes, 5 + classes] is what the network gives for the image.
    """
    every = raw[:, 5:] * raw[:, 4:5]
    kinds, scores = every.argmax(axis=1), every.max(axis=1)
    best = np.argsort(-scores, kind="stable")[:CANDIDATES]
    best = best[scores[best] >= LEAST_SCORE]
    middle, half = raw[best, :2], raw[best, 2:4] / 2
    boxes = np.concatenate([middle - half, middle + half], axis=1)
    kept = distinct(boxes, kinds[best])
    return boxes[kept], scores[best][kept]


def distinct(boxes: Floats, kinds: npt.NDArray[np.int64]) -> list[int]:
    """Places of the boxes [n, 4], given best first, that show no object of a better one of the same kind."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept: list[int] = []
    for place in range(len(boxes)):
        others = [other for other in kept if kinds[other] == kinds[place]]
        low = np.maximum(boxes[others, :2], boxes[place, :2])
        high = np.minimum(boxes[others, 2:], boxes[place, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        if (shared <= MOST_OVERLAP * (areas[others] + areas[place] - shared)).all():
            kept.append(place)
    return kept


def cut(image: Bytes, box: Floats) -> Bytes:
    """The part of an image [height, width, 3] in a box, at least one pixel of it, as CROP × CROP pixels."""
    height, width = image.shape[:2]
    left, top = min(int(box[0]), width - 1), min(int(box[1]), height - 1)
    right, bottom = max(left + 1, int(np.ceil(box[2]))), max(top + 1, int(np.ceil(box[3])))
    return np.rint(resize(image[top:bottom, left:right], CROP, CROP)).astype(np.uint8)


def resize(image: Bytes, height: int, width: int) -> Floats:
    """An image [h, w, 3] at another size, each pixel blended of the four nearest."""
    rows, row_share = _between(image.shape[0], height)
    columns, column_share = _between(image.shape[1], width)
    share = row_share[:, None, None]
    tall = image[rows[0]] * (1 - share) + image[rows[1]] * share
    share = column_share[None, :, None]
    resized: Floats = tall[:, columns[0]] * (1 - share) + tall[:, columns[1]] * share
    return resized


def _between(have: int, want: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """For each of `want` places along `have` pixels: the pixels before and after it, and the share of the one after."""
    at = np.clip((np.arange(want) + 0.5) * have / want - 0.5, 0, have - 1)
    before = at.astype(np.int64)
    return np.stack([before, np.minimum(before + 1, have - 1)]), (at - before).astype(np.float32)
