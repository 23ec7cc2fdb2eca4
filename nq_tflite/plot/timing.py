"""Figures of measurements: a model over time, and compared with others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nq_tflite.plot.style import (
    COLOURS,
    INK,
    MARKERS,
    QUIET,
    WIDTH,
    level_look,
    new_figure,
    only_across,
    short_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nq_tflite.measure.benchmark import BenchmarkReport
    from nq_tflite.measure.memory import Footprint
    from nq_tflite.measure.timeline import Timeline

#: Times the median: a latency beyond is no property of the model.
_BEYOND = 2.5


def timeline_figure(timeline: Timeline, stock: Timeline | None = None, *, width: float = WIDTH) -> Figure:
    """Latency of every invocation and resident memory, over time, while the precision changes.

    Args:
        timeline: of `nq_tflite.measure.timeline.measure_timeline`.
        stock: the same of a stock model, whose medians are drawn as lines.
        width: inches.
    """
    longest = timeline.moments[-1].seconds
    unit, scale = ("s", 1.0) if longest > 2 else ("ms", 1e3)
    with new_figure(width, 0.4 * width + 1.9) as figure:
        latency, memory = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.15))
        limit = _BEYOND * max(map(timeline.median_latency, timeline.precisions))
        if stock is not None:
            limit = max(limit, 1.15 * stock.median_latency(None))
        _plot_latency(latency, timeline, scale, limit)
        _plot_memory(memory, timeline, scale)
        if stock is not None:
            look: dict[str, Any] = {"color": INK, "linestyle": (0, (1, 1.5)), "linewidth": 1.2}
            latency.axhline(1e3 * stock.median_latency(None), label="stock", **look)
            memory.axhline(stock.median_held(None) / 1e6, **look)
        memory.set_ylim(0, 1.1 * memory.get_ylim()[1])
        _mark_switches([latency, memory], timeline, scale)
        latency.set_title("latency of an invocation, ms")
        memory.set_title("memory held, MB; filled: the nested weights")
        memory.set_xlabel(f"{unit} since the start")
        for axes in (latency, memory):
            only_across(axes, "y")
            axes.set_xlim(0, scale * longest)
        figure.legend(loc="outside lower left", ncols=len(timeline.precisions) + 1, handletextpad=0.4)
        return figure


def _plot_latency(axes: Axes, timeline: Timeline, scale: float, limit: float) -> None:
    """Invocations that took several times as long, for the machine did something else, are marks at the edge."""
    precisions = timeline.precisions
    for level, bits in reversed(list(enumerate(precisions))):
        look = {"color": level_look(level, len(precisions))["color"], "linestyle": "", "markersize": 2.8}
        own = [each for each in timeline.moments if each.bits == bits]
        near = [each for each in own if each.latency <= limit]
        beyond = [scale * each.seconds for each in own if each.latency > limit]
        times, values = [scale * each.seconds for each in near], [1e3 * each.latency for each in near]
        axes.plot(times, values, label=f"{bits} bits", marker=MARKERS[level], **look)
        axes.plot(beyond, [1e3 * limit] * len(beyond), marker="^", **look)
    axes.set_ylim(0, 1.04e3 * limit)


def _plot_memory(axes: Axes, timeline: Timeline, scale: float) -> None:
    precisions = timeline.precisions
    times = [scale * each.seconds for each in timeline.moments]
    for level, bits in enumerate(precisions):
        there = [each.bits == bits for each in timeline.moments]
        reaches = [now or before for now, before in zip(there, [False, *there], strict=False)]
        weights = [(each.weights or 0) / 1e6 for each in timeline.moments]
        colour = level_look(level, len(precisions))["color"]
        axes.fill_between(times, weights, where=reaches, step="post", color=colour, alpha=0.3, linewidth=0)
    axes.step(times, [each.held / 1e6 for each in timeline.moments], where="post", color=INK, linewidth=1.2)


def _mark_switches(panels: Sequence[Axes], timeline: Timeline, scale: float) -> None:
    for axes in panels:
        for each in timeline.switches:
            axes.axvline(scale * each.seconds, color=QUIET, linewidth=0.6, alpha=0.6)


def benchmark_figure(report: BenchmarkReport, *, width: float = WIDTH) -> Figure:
    """Latency of each model over the baseline's (median, least and greatest of the paired runs), and memory held.

    Lines that leave the axes lead to runs in which the machine did other work.

    Args:
        report: of `nq_tflite.measure.benchmark.benchmark`.
        width: inches.
    """
    rows = [_row_name(each.path, each.bits, each.peer) for each in report.settings[0].latencies]
    with new_figure(width, 0.34 * len(rows) + 0.22 * len(report.settings) + 1.3) as figure:
        latency, memory = figure.subplots(1, 2, sharey=True, width_ratios=(1.4, 1))
        _plot_ratios(latency, report)
        _plot_held(memory, report, rows)
        latency.set_yticks(range(len(rows)), rows)
        latency.set_ylim(len(rows) - 0.5, -0.5)
        latency.set_title("latency, ratio")
        latency.set_xlabel(f"to {short_label(Path(report.baseline).name, 28)}")
        memory.set_title("held, MB")
        memory.set_xlim(left=0)
        for axes in (latency, memory):
            only_across(axes, "x")
        figure.legend(loc="outside lower left", ncols=2 if width >= WIDTH else 1)
        return figure


def _row_name(path: str, bits: int | None, peer: str | None) -> str:
    return short_label(Path(path).name, 28) + (f", {peer}" if peer else "" if bits is None else f", {bits} bits")


def _plot_ratios(axes: Axes, report: BenchmarkReport) -> None:
    axes.axvline(1, color=QUIET, linewidth=0.8)
    for index, setting in enumerate(report.settings):
        offset = 0.5 * (index - (len(report.settings) - 1) / 2) / len(report.settings)
        places = [offset + row for row in range(len(setting.latencies))]
        middles = [each.ratio for each in setting.latencies]
        lower = [each.ratio - each.ratio_min for each in setting.latencies]
        upper = [each.ratio_max - each.ratio for each in setting.latencies]
        label = f"{setting.runtime}, {setting.num_threads} thread{'s' if setting.num_threads > 1 else ''}"
        look: dict[str, Any] = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
        axes.errorbar(middles, places, xerr=(lower, upper), linestyle="", elinewidth=1.0, label=label, **look)
    axes.set_xlim(0, 1.5 * max(1.0, *(each.ratio for setting in report.settings for each in setting.latencies)))


def _plot_held(axes: Axes, report: BenchmarkReport, rows: Sequence[str]) -> None:
    """Of the first runtime, in the states that have a row."""
    runtime = report.footprints[0].runtime
    held: dict[str, float] = {}
    for each in report.footprints:
        if each.runtime == runtime:
            held |= _held_megabytes(each)
    shown = [(place, held[name]) for place, name in enumerate(rows) if name in held]
    for place, value in shown:
        axes.barh(place, value, 0.5, color=COLOURS[0], alpha=0.85)
        axes.annotate(f"{value:.1f}", (value, place), xytext=(4, 0), textcoords="offset points", va="center")
    axes.margins(x=0.2)


def _held_megabytes(footprint: Footprint) -> dict[str, float]:
    return {_row_name(footprint.path, each.bits, footprint.peer): each.added.held / 1e6 for each in footprint.states}
