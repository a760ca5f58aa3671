"""Export the networks of IPA's `video` pipeline as ONNX files into `models/`: YOLOv5 and ResNet with published weights.

    pip install torch torchvision onnx pandas requests pillow tqdm seaborn opencv-python ultralytics
    python examples/ipa/export_video.py              # all ten; or name some: yolov5n resnet18

It needs a network: torch.hub fetches YOLOv5's code and weights, and **runs both**, as weights of that form hold code.
YOLOv5 is under AGPL-3.0, and what you serve with it may be bound by that; the ResNets are torchvision's, of ImageNet.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DETECTORS = ("yolov5n", "yolov5s", "yolov5m", "yolov5l", "yolov5x")
CLASSIFIERS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
SIDE = 640
"""Pixels of the side of the detector's square."""
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue; the classifiers take pixels less the one, over the other."""


def detector(name: str) -> tuple[Any, Any]:
    """A YOLOv5 network that gives nothing but its boxes, and an input to trace it with."""
    import torch

    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # YOLOv5's weights are a pickled network, its classes and all
    network = torch.hub.load("ultralytics/yolov5", name, autoshape=False, device="cpu")
    for module in network.modules():
        if type(module).__name__ == "Detect":
            module.export = True  # decoded boxes alone, without what training needs

    class Boxes(torch.nn.Module):  # type: ignore[misc,unused-ignore]  # torch has types only where it is installed
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: Any) -> Any:
            given = self.network(image)
            return given[0] if isinstance(given, list | tuple) else given

    return Boxes().eval(), torch.zeros(1, 3, SIDE, SIDE)


def classifier(name: str) -> tuple[Any, Any]:
    """A ResNet from pixels to the most likely class and its probability, and an input to trace it with."""
    import torch
    import torchvision  # type: ignore[import-not-found,unused-ignore]  # not a dependency

    network = torchvision.models.get_model(name, weights="IMAGENET1K_V1")  # IPA's accuracies are those of these
    return labelled(network), torch.zeros(1, 224, 224, 3, dtype=torch.uint8)


def labelled(network: Any) -> Any:
    """A network of class scores, taking pixels [rows, 224, 224, RGB] and giving `label` and `score` of the best."""
    import torch

    class Labelled(torch.nn.Module):  # type: ignore[misc,unused-ignore]  # as above
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
            self.register_buffer("spread", torch.tensor(SPREAD).view(1, 3, 1, 1))

        def forward(self, image: Any) -> Any:
            pixels = image.permute(0, 3, 1, 2).to(torch.float32) / 255
            score, label = self.network((pixels - self.mean) / self.spread).softmax(1).max(1)
            return label, score

    return Labelled().eval()


def export(network: Any, example: Any, entry: str, outputs: list[str], file: Path) -> None:
    """Write an ONNX file whose first axes are the rows, as many as one likes."""
    import torch

    file.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        network, (example,), file, input_names=[entry], output_names=outputs, opset_version=17, dynamo=False,
        dynamic_axes={name: {0: "rows"} for name in (entry, *outputs)},
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Export the networks of IPA's video pipeline as ONNX files.")
    parser.add_argument("names", nargs="*", help="of networks; by default all")
    arguments = parser.parse_args()
    for name in arguments.names or (*DETECTORS, *CLASSIFIERS):
        if name not in (*DETECTORS, *CLASSIFIERS):
            parser.error(f"there is no network {name}: choose of {', '.join((*DETECTORS, *CLASSIFIERS))}")
        file = HERE / "models" / f"{name}.onnx"
        print(file, file=sys.stderr)
        if name in DETECTORS:
            export(*detector(name), "image", ["boxes"], file)
        else:
            export(*classifier(name), "crop", ["label", "score"], file)


if __name__ == "__main__":
    main()
