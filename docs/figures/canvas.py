"""Two drawings of a figure, for light and for dark pages, in the style of `nq_tflite.plot`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from nq_tflite.plot.style import COLOURS, INK, PAPER, QUIET, STYLE

WIDTH = 6.4


@dataclass(frozen=True)
class Palette:
    """Colours of one drawing: text and lines, what stands back, what is behind it all, and those that mean something.

    As in `nq_tflite.plot`, part-bit and level 0 have one colour in every figure, full-bit and what it adds another.
    """

    ink: str
    faint: str
    ground: str
    part: str
    full: str
    third: str


BLUE, VERMILION, GREEN, _, _, SKY = COLOURS
#: By the end of the file's name. The light one is opaque, for pages that know of no dark one.
PALETTES = {
    "": Palette(INK, QUIET, PAPER, VERMILION, BLUE, GREEN),
    "-dark": Palette("#d7dde3", "#8b949e", "none", "#ff8a4c", SKY, "#2fc39a"),
}


def draw(name: str, paint: Callable[[Figure, Palette], None], size: tuple[float, float], folder: Path) -> None:
    """Writes `name.svg` and `name-dark.svg`, `size` inches wide and high; text stays text, and can be searched."""
    for ending, palette in PALETTES.items():
        style: dict[Any, Any] = STYLE | {
            "font.family": "sans-serif",
            "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
            "text.color": palette.ink,
            "axes.titlecolor": palette.ink,
            "axes.labelcolor": palette.ink,
            "axes.edgecolor": palette.faint,
            "axes.facecolor": "none",
            "axes.grid": False,
            "xtick.color": palette.ink,
            "ytick.color": palette.ink,
            "grid.color": palette.faint,
            "grid.alpha": 0.25,
            "savefig.facecolor": palette.ground,
        }
        with matplotlib.rc_context(style):
            figure = Figure(figsize=size)
            paint(figure, palette)
            figure.savefig(folder / f"{name}{ending}.svg", metadata={"Date": None})


def plain_axes(figure: Figure, width: float, height: float) -> Axes:
    """Axes without ticks or frame, in units of the drawing's own, y upwards."""
    axes = figure.subplots()
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.axis("off")
    return axes


def box(axes: Axes, x: float, y: float, width: float, height: float, text: str, **look: Any) -> None:
    """A rounded box with its lower left corner at x, y and text in its middle."""
    colour, fill = look.get("colour"), look.get("fill", 0.16)
    shape = "round,pad=0,rounding_size=0.08" if look.get("rounded", True) else "square,pad=0"
    edge = {"linewidth": look.get("line", 1.2), "linestyle": look.get("dashes", "-"), "edgecolor": colour}
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, facecolor="none", **edge))
    if fill:
        axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, facecolor=colour, alpha=fill, linewidth=0))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=look.get("size", 8.5))


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, **look: Any) -> None:
    """A thin arrow."""
    patch = FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=9, color=colour, linewidth=1.1, shrinkA=0, shrinkB=0, **look
    )
    axes.add_patch(patch)
