"""Figures of a nested file: bytes of its levels, each layer's error, and the codes of single weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nq_tflite.conversion.advice import worst_first
from nq_tflite.plot.style import (
    MARKERS,
    PAPER,
    QUIET,
    WIDTH,
    layer_labels,
    level_look,
    new_figure,
    only_across,
)
from nq_tflite.units import precision_name

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nq_tflite.graph.inspection import InspectReport, WeightRow
    from nq_tflite.graph.nested import NestedWeight


def sizes_figure(report: InspectReport, *, width: float = WIDTH) -> Figure:
    """Bytes of the file that each precision needs, by level, and those of a separate packed file for each precision.

    Args:
        report: of `nq.inspect_file`.
        width: inches.
    """
    graph = report.file_bytes - sum(report.section_bytes)
    precisions, sections = report.precisions, report.section_bytes
    levels = len(sections)
    colours = [str(level_look(level, levels)["color"]) for level in range(levels)]
    with new_figure(width, 0.34 * (levels + 1) + 1.15) as figure:
        axes = figure.subplots()
        for level in range(levels):
            bars = _stack(axes, level, [graph, *sections[: level + 1]], [QUIET, *colours[: level + 1]])
        separate = [size for level in range(levels) for size in (graph, sum(sections[: level + 1]))]
        _stack(axes, levels, separate, [each for colour in colours for each in (QUIET, colour)], faint=True)
        names = [precision_name(bits, precisions) for bits in precisions]
        axes.set_yticks(range(levels + 1), [*names, "separate files"])
        axes.set_ylim(levels + 0.5, -0.5)
        axes.set_xlim(right=1.14 * sum(separate) / 1e6)
        axes.set_title("bytes that a precision needs, MB")
        only_across(axes, "x")
        names = ["graph", f"{precisions[0]} bits", *(f"+ {bits} bits" for bits in np.diff(precisions))]
        figure.legend(bars, names, loc="outside lower left", ncols=len(names), handlelength=1.0)
        return figure


def _stack(axes: Axes, place: int, sizes: Sequence[int], colours: Sequence[str], faint: bool = False) -> list[Artist]:
    """Bars end to end, with their sum behind them."""
    start, bars = 0.0, list[Any]()
    for size, colour in zip(sizes, colours, strict=True):
        look: dict[str, Any] = {"color": colour, "edgecolor": PAPER, "linewidth": 1.0, "alpha": 0.45 if faint else 1.0}
        bars += axes.barh(place, size / 1e6, 0.62, start, **look)
        start += size / 1e6
    axes.annotate(f"{start:.2f}", (start, place), xytext=(4, 0), textcoords="offset points", va="center", color=QUIET)
    return bars


def layers_figure(weights: Sequence[WeightRow], *, most: int = 20, width: float = WIDTH) -> Figure:
    """Error of each nested weight at each level, the worst at part-bit on top, and its bytes.

    Args:
        weights: of a report of `nq.inspect_file`, whose errors are against full-bit, or of `nq.convert`, against the
            source.
        most: how many to show.
        width: inches.
    """
    shown = worst_first(weights)[:most]
    levels = len(shown[0].snr_db)
    with new_figure(width, 0.19 * len(shown) + 1.3) as figure:
        errors, sizes = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
        for level in range(levels):
            values = np.array([row.snr_db[level] for row in shown])
            if not np.isfinite(values).any():
                continue  # full-bit beside itself
            colour = level_look(level, levels)["color"]
            middle = float(np.median([row.snr_db[level] for row in weights]))
            if np.isfinite(middle):
                errors.axvline(middle, color=colour, linewidth=0.8, alpha=0.5)
            errors.plot(values, range(len(shown)), color=colour, marker=MARKERS[level], linestyle="")
        for level in range(levels):
            starts = [sum(row.level_bytes[:level]) / 1e3 for row in shown]
            colour = level_look(level, levels)["color"]
            label = _bits_text(shown, level)
            extents = [row.level_bytes[level] / 1e3 for row in shown]
            sizes.barh(range(len(shown)), extents, 0.6, starts, color=colour, label=label)
        errors.set_yticks(range(len(shown)), layer_labels([row.name for row in shown], 34 if width >= WIDTH else 20))
        errors.set_ylim(len(shown) - 0.4, -0.6)
        errors.set_title("SNR of the weights, dB")
        sizes.set_title("kB")
        for axes in (errors, sizes):
            only_across(axes, "x")
        figure.legend(loc="outside lower right", ncols=levels, handlelength=1.0)
        return figure


def _bits_text(rows: Sequence[WeightRow], level: int) -> str:
    """What a level brings a weight to; layers may have bit-widths of their own."""
    found = {row.nesting.split("|")[::-1][level] for row in rows}
    return f"{'to ' if level else ''}{'-'.join(sorted(found))} bits"


def histogram_figure(weights: Sequence[NestedWeight], *, columns: int = 2, width: float = WIDTH) -> Figure:
    """How each weight's codes are spread at full-bit (filled), and how coarsely each lower level sees them (lines).

    Args:
        weights: of `nq_tflite.graph.nested.read_nested(path).weights`.
        columns: of panels.
        width: inches.
    """
    rows = -(-len(weights) // columns)
    with new_figure(width, 1.55 * rows + 0.6) as figure:
        panels = figure.subplots(rows, min(columns, len(weights)), squeeze=False).reshape(-1)
        labels = layer_labels([weight.name for weight in weights], round(9 * width / columns))
        for axes, weight, label in zip(panels, weights, labels, strict=False):
            _plot_codes(axes, weight)
            axes.set_title(label)
        for axes in panels[len(weights) :]:
            axes.remove()
        figure.supylabel("% of the weights that have a code", fontsize=9, color=QUIET)
        handles = dict(zip(*panels[0].get_legend_handles_labels()[::-1], strict=True))
        figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=len(handles))
        return figure


def _plot_codes(axes: Axes, weight: NestedWeight) -> None:
    nesting = weight.nesting
    full = nesting.full_bits
    codes = weight.codes().reshape(-1) >> (8 - full)
    levels = len(nesting.precisions)
    for level, bits in reversed(list(enumerate(nesting.precisions))):
        step = 1 << (full - bits)  # codes that a level does not tell apart
        edges = np.arange(-(1 << (full - 1)), (1 << (full - 1)) + 1, step)
        percent = 100 * np.histogram(codes, edges)[0] / codes.size / step
        look = level_look(level, levels)
        if level == levels - 1:
            axes.stairs(percent, edges, fill=True, color=look["color"], alpha=0.35, label=f"{bits} bits")
        else:
            axes.stairs(percent, edges, color=look["color"], linewidth=1.3, label=f"{bits} bits")
    axes.set_xlim(-(1 << (full - 1)), 1 << (full - 1))
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="y", nbins=3)
    axes.set_xticks([-(1 << (full - 1)), 0, 1 << (full - 1)])
    only_across(axes, "y")
    axes.margins(y=0.1)
