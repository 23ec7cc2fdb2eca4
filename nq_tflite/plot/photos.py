"""Photos with a model's answers at each precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.plot.style import COLOURS, INK, QUIET, WIDTH, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Photos beside each other.
_COLUMNS = 5


def answers_figure(
    photos: Sequence[Any],
    answers: Sequence[Sequence[str]],
    precisions: Sequence[str],
    *,
    notes: Sequence[Sequence[str]] = (),
    width: float = WIDTH,
) -> Figure:
    """Photos with an answer for each precision below; those that differ from the first one stand out.

    Args:
        photos: Pillow images, or arrays [height, width, 3] of bytes.
        answers: of each photo, one a precision.
        precisions: their names, the one to compare with first.
        notes: of each photo, a word for each answer, such as how sure the model is.
        width: inches.
    """
    rows = -(-len(photos) // _COLUMNS)
    side = width / _COLUMNS
    with new_figure(width, rows * (0.88 * side + 0.12 + 0.15 * len(precisions))) as figure:
        panels = figure.subplots(rows, _COLUMNS, squeeze=False).reshape(-1)
        for index, (axes, photo, said) in enumerate(zip(panels, photos, answers, strict=False)):
            axes.imshow(_middle(np.asarray(photo)), interpolation="antialiased")
            _write_answers(axes, said, precisions, notes[index] if notes else [""] * len(said))
        for axes in panels:
            axes.set_axis_off()
        return figure


def _middle(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The greatest square in the middle."""
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def _write_answers(axes: Axes, said: Sequence[str], precisions: Sequence[str], notes: Sequence[str]) -> None:
    for line, (name, answer, note) in enumerate(zip(precisions, said, notes, strict=True)):
        other = answer != said[0]
        axes.annotate(
            f"{name}: {answer} {note}".rstrip(),
            (0, 0),
            xycoords="axes fraction",
            xytext=(0, -11 - 10.5 * line),
            textcoords="offset points",
            fontsize=7.5,
            fontweight="bold" if other else "normal",
            color=COLOURS[1] if other else (INK if line == 0 else QUIET),
            annotation_clip=False,
        )
