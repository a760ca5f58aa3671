"""Small pictures in one style: axes without clutter, labels at the lines, nothing global touched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID = "#24292F", "#6E7781", "#E4E7EB"
COLOURS = ("#0067A5", "#C8553D", "#2E8B57", "#B8860B", "#7B5EA7", "#6B705C", "#B0306A", "#4A6FA5")
PUBLISHED = "#9AA0A6"
"""Published curves."""


def figure(width: float, height: float) -> Figure:
    """An empty figure, inches.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure as Made
    except ImportError:
        raise MissingExtraError("matplotlib", "report", "pictures") from None
    return Made(figsize=(width, height), dpi=120, layout="constrained", facecolor="white")


def panel(axes: Axes, title: str, x: str = "", y: str = "") -> Axes:
    """Title to the left, light grid, no box."""
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    axes.set_xlabel(x, fontsize=8, color=FAINT, loc="left")
    axes.set_ylabel(y, fontsize=8, color=FAINT)
    axes.tick_params(labelsize=8, colors=FAINT, length=2)
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)
    return axes


def legend(axes: Axes, columns: int = 1) -> None:
    """A small legend without a frame."""
    axes.legend(fontsize=7, frameon=False, ncols=columns, labelcolor=INK)


def save(made: Figure, path: Path) -> Path:
    """Write a picture; nothing in it depends on when."""
    made.savefig(path, metadata={"Software": None})
    return path


def colour(names: Sequence[str], name: str) -> str:
    """The colour of a name among its like."""
    return COLOURS[list(names).index(name) % len(COLOURS)]
