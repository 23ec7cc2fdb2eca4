"""Figures of how a nesting works: the bits of a filter, the cells of part-bit, and residuals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.format.levels import value_at
from nq_tflite.format.nesting import Nesting
from nq_tflite.plot.style import COLOURS, INK, PAPER, QUIET, RULE, WIDTH, level_look, new_figure, only_across

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Rows of a figure of bits that stay readable.
_MOST_WEIGHTS = 16


def bits_figure(codes: NDArray[np.int8], nesting: Nesting, *, width: float = WIDTH) -> Figure:
    """The bits of one filter's codes, coloured by level, and what each level makes of them.

    Args:
        codes: int8 [depth], left-aligned, as `NestedWeight.codes` has them; the first 16 are drawn.
        nesting: of the weight.
        width: inches.
    """
    shown = codes[:_MOST_WEIGHTS]
    with new_figure(width, 0.23 * len(shown) + 0.9) as figure:
        squares, values = figure.subplots(1, 2, sharey=True, width_ratios=(2.4, 1))
        _draw_bits(squares, shown, nesting)
        _draw_values(values, codes, len(shown), nesting)
        squares.set_title("bits of each weight, top first")
        squares.set_ylabel("weight")
        squares.set_yticks(range(len(shown)))
        squares.set_ylim(len(shown) - 0.4, -0.6)
        values.set_title("read as")
        return figure


def _draw_bits(axes: Axes, codes: NDArray[np.int8], nesting: Nesting) -> None:
    """A square a bit: filled for 1, pale for 0; a gap between levels."""
    levels = len(nesting.precisions)
    starts = (0, *nesting.precisions)
    for level in range(levels):
        colour = level_look(level, levels)["color"]
        for bit in range(starts[level], starts[level + 1]):
            ones = codes.view(np.uint8) >> np.uint8(7 - bit) & 1
            left = bit + 0.35 * level
            for row, one in enumerate(ones.tolist()):
                axes.barh(row, 0.9, 0.82, left, color=colour, alpha=1.0 if one else 0.14, linewidth=0)
                ink = PAPER if one else QUIET
                axes.text(left + 0.45, row, str(one), color=ink, ha="center", va="center", fontsize=8)
    middles = [(starts[level] + starts[level + 1]) / 2 + 0.35 * level for level in range(levels)]
    names = [f"{bits} bits" if level == 0 else f"+ {bits}" for level, bits in enumerate(nesting.level_bits)]
    axes.set_xticks(middles, names)
    _no_frame(axes)


def _draw_values(axes: Axes, codes: NDArray[np.int8], rows: int, nesting: Nesting) -> None:
    """A column a level, full-bit first."""
    levels = len(nesting.precisions)
    for column, level in enumerate(reversed(range(levels))):
        values = value_at(codes[None], nesting, level)[0, :rows].astype(int) >> (8 - nesting.full_bits)
        colour = level_look(level, levels)["color"]
        for row, value in enumerate(values.tolist()):
            axes.text(column + 0.2, row, f"{value:+d}", color=colour, ha="right", va="center", family="monospace")
    axes.set_xlim(-0.5, levels - 0.3)
    axes.set_xticks(range(levels), [f"{bits} bits" for bits in nesting.precisions[::-1]])
    axes.tick_params(labelleft=False)
    _no_frame(axes)


def _no_frame(axes: Axes) -> None:
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def cells_figure(
    codes: NDArray[np.int8],
    nesting: Nesting,
    rounded: NDArray[np.int8] | None = None,
    *,
    start: int = -32,
    stop: int = 32,
    width: float = WIDTH,
) -> Figure:
    """The cells of part-bit on the number line: each full-bit code of a filter and the value that stands for it.

    Args:
        codes: int8 [depth], left-aligned.
        nesting: of the weight; its lowest level is drawn.
        rounded: int8 [depth], the values that another way of nesting reads, for a second line below; without it there
            is one line.
        start, stop: the part of the number line to draw, in n-bit codes.
        width: inches.
    """
    shift = 8 - nesting.full_bits
    full = codes.astype(int) >> shift
    part = value_at(codes[None], nesting, 0)[0].astype(int) >> shift
    step = 1 << (nesting.full_bits - nesting.part_bits)
    lines = [("cells: codes that share their upper bits; read as the middle", part)]
    if rounded is not None:
        lines.append(("multiples: rounded up or down; the residual needs a sign", rounded.astype(int) >> shift))
    with new_figure(width, 1.6 * len(lines) + 0.3) as figure:
        panels = figure.subplots(len(lines), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (title, values) in zip(panels, lines, strict=True):
            _draw_moves(axes, full, values, start, stop)
            axes.set_title(title)
        _draw_cells(panels[0], nesting, start, stop, step)
        if rounded is not None:
            panels[1].vlines(range(start, stop + 1, step), 0, 0.3, color=QUIET, linewidth=1.0)
        panels[-1].set_xticks(range(start, stop + 1, step))
        panels[-1].set_xlabel(f"{nesting.full_bits}-bit code")
        panels[-1].set_xlim(start - step / 2, stop + step / 2 - 1)
        return figure


def _draw_moves(axes: Axes, full: NDArray[np.int_], values: NDArray[np.int_], start: int, stop: int) -> None:
    """From each code, above, to the value that stands for it, below."""
    inside = np.flatnonzero((full >= start) & (full < stop))
    for index in inside.tolist():
        axes.plot((full[index], values[index]), (0.95, 0.33), color=QUIET, linewidth=0.7, alpha=0.7)
    for odd, marker in enumerate("os"):
        own = inside[inside % 2 == odd]
        look: dict[str, Any] = {"marker": marker, "linestyle": "", "markersize": 4.5, "zorder": 3}
        axes.plot(full[own], np.full(own.size, 0.95), color=COLOURS[0], **look)
        axes.plot(values[own], np.full(own.size, 0.33), color=COLOURS[1], **look)
    axes.set_ylim(0, 1.1)
    axes.set_yticks([0.33, 0.95], ["part-bit", "full-bit"])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)


def _draw_cells(axes: Axes, nesting: Nesting, start: int, stop: int, step: int) -> None:
    for place, low in enumerate(range(start, stop, step)):
        if place % 2 == 0:
            axes.axvspan(low - 0.5, low + step - 0.5, color=RULE, alpha=0.55, linewidth=0)
        bits = format(low // step & ((1 << nesting.part_bits) - 1), f"0{nesting.part_bits}b")
        axes.text(low + (step - 1) / 2, 0.03, bits, ha="center", fontsize=7.5, family="monospace", color=INK)


def residuals_figure(residuals: Mapping[str, NDArray[Any]], *, width: float = WIDTH) -> Figure:
    """How often each residual occurs, and how many bits hold them all.

    Args:
        residuals: integers of any shape, by what they are residuals of.
        width: inches.
    """
    low = min(int(each.min()) for each in residuals.values())
    high = max(int(each.max()) for each in residuals.values())
    with new_figure(width, 1.35 * len(residuals) + 0.4) as figure:
        panels = figure.subplots(len(residuals), 1, sharex=True, squeeze=False)[:, 0]
        for place, (axes, (name, values)) in enumerate(zip(panels, residuals.items(), strict=True)):
            found, counts = np.unique(values, return_counts=True)
            axes.bar(found, 100 * counts / values.size, 0.85, color=COLOURS[place % len(COLOURS)])
            axes.plot(found, np.zeros(len(found)), color=INK, marker=".", linestyle="", clip_on=False, zorder=3)
            span = int(found[-1] - found[0]) + 1
            bits = (span - 1).bit_length()
            axes.set_title(f"{name}: {found[0]} to {found[-1]}, {span} values, {bits} bits")
            only_across(axes, "y")
        panels[-1].set_xticks(range(low, high + 1))
        panels[-1].set_xlabel("residual (bars: % of the weights; dots: it occurs)")
        return figure
