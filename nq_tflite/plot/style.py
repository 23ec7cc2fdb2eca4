"""The house style: colours that colour-blind readers tell apart, lines and marks that print in grey."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nq_tflite.errors import ModelSourceError, needing_extra, reason_of
from nq_tflite.files import check_output, replacing
from nq_tflite.units import layer_labels as layer_labels
from nq_tflite.units import short_label as short_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's, the ones that stay apart in grey first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
#: Text, quieter text and lines, rules; what stands between marks that touch.
INK, QUIET, RULE, PAPER = "#1F2933", "#5B6770", "#D9DEE3", "#FFFFFF"
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "D", "^", "v", "P")
#: Inches: of a figure on a page, and of one that stands beside another, or on a phone.
WIDTH, NARROW = 7.2, 4.4
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": QUIET,
    "axes.grid": True,
    "axes.labelcolor": QUIET,
    "axes.labelsize": 9.0,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.titlesize": 9.5,
    "font.size": 9.0,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "lines.linewidth": 1.5,
    "lines.markersize": 5.0,
    "savefig.dpi": 160,
    "svg.fonttype": "none",
    "svg.hashsalt": "nq_tflite",
    "text.color": INK,
    "text.parse_math": False,  # a layer's name may hold dollar signs
    "xtick.color": QUIET,
    "xtick.major.size": 0.0,
    "ytick.color": QUIET,
    "ytick.major.size": 0.0,
}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings in the house style, for a while.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    with needing_extra("plot", "figures"):
        import matplotlib
    with matplotlib.rc_context(STYLE):
        yield


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches in the house style; without pyplot, whose state is the program's own.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    with style():
        from matplotlib.figure import Figure

        yield Figure(figsize=(width, height))


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure; the file appears complete or not at all.

    Args:
        figure: any of this package's.
        path: .png, .svg or .pdf.

    Raises:
        ModelSourceError: the file cannot be written, or its name does not end in a format of figures.
    """
    target = Path(path)
    check_output(target, error_type=ModelSourceError)
    try:
        with style(), replacing(target) as file:
            figure.savefig(file, format=target.suffix.removeprefix("."))
    except (OSError, ValueError) as error:
        raise ModelSourceError(
            f"figure {target}", expected="a .png, .svg or .pdf file to write", got=reason_of(error)
        ) from error


def line_look(index: int) -> dict[str, Any]:
    """Colour and dashes of a line among several."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)]}


def level_look(level: int, num_levels: int) -> dict[str, Any]:
    """Colour and dashes of a level, the same in every figure: full-bit is always the first of `COLOURS`."""
    return line_look(num_levels - 1 - level)


def only_across(axes: Axes, axis: str) -> None:
    """Rules of one axis alone ("x" or "y"), and no line where the bars or rows start."""
    axes.grid(visible=False, axis="y" if axis == "x" else "x")
    axes.spines["left" if axis == "x" else "bottom"].set_visible(axis == "y")
    if axis == "y":
        axes.spines["left"].set_visible(False)
