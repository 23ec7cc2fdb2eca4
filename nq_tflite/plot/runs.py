"""A governor's day: strategies on a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nq_tflite.plot.style import DASHES, QUIET, WIDTH, line_look, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nq_tflite.govern.simulate import Run
    from nq_tflite.govern.traces import Trace


def runs_figure(runs: Sequence[Run], trace: Trace, memory_bytes: int | None = None, *, width: float = WIDTH) -> Figure:
    """The trace, and each strategy's precision, memory and accuracy-weighted service, over the same time.

    Args:
        runs: of `nq_tflite.govern.simulate.simulate`, the governed one first.
        trace: what they ran on.
        memory_bytes: of the device, where the trace has room.
        width: inches.
    """
    with new_figure(width, 7.6) as figure:
        axes = figure.subplots(4, 1, sharex=True, height_ratios=(1.2, 1, 1.2, 1.2))
        unit, seconds = ("hours", 3600) if trace.seconds[-1] > 7200 else ("minutes", 60)
        times = trace.seconds / seconds
        _plot_trace(axes[0], times, trace)
        _plot_strategies(axes[1:], times, runs, trace, memory_bytes)
        axes[-1].set_xlim(times[0], times[-1])
        axes[-1].set_xlabel(unit)
        figure.legend(*axes[1].get_legend_handles_labels(), loc="outside upper left", ncols=2)
        return figure


def _plot_trace(axes: Axes, times: Any, trace: Trace) -> None:
    signals = dict(trace.signals) | ({"room for the model, % of memory": trace.room} if trace.room is not None else {})
    for index, (name, values) in enumerate(signals.items()):
        axes.plot(times, values, color=QUIET, linestyle=DASHES[index % len(DASHES)], label=name.replace("_", " "))
    axes.set_title(f"{trace.name}: {', '.join(name.replace('_', ' ') for name in signals)}")
    if len(signals) > 1:
        axes.legend()


def _plot_strategies(
    axes: Sequence[Axes], times: Any, runs: Sequence[Run], trace: Trace, memory_bytes: int | None
) -> None:
    for index, run in enumerate(runs):
        look = line_look(index)
        offset = 0.06 * (index - (len(runs) - 1) / 2)  # so that equal lines are seen side by side
        axes[0].step(times, run.level + offset, where="post", label=run.name, **look)
        axes[1].step(times, run.held_bytes / 1e6, where="post", **look)
        axes[2].plot(times, np.cumsum(trace.durations * run.service) / np.cumsum(trace.durations), **look)
    full = max(1, *(int(run.level.max()) for run in runs))
    axes[0].set_yticks([-1, 0, full], ["not running", "part-bit", "full-bit"])
    axes[0].set_ylim(-1.2, full + 0.2)
    axes[0].set_title("precision")
    axes[1].set_title("memory held, MB")
    axes[1].set_ylim(bottom=0)
    if trace.room is not None and memory_bytes:
        top = axes[1].get_ylim()[1]
        axes[1].plot(times, trace.room / 100 * memory_bytes / 1e6, color=QUIET, linewidth=0.7, alpha=0.7)
        axes[1].set_ylim(0, 1.3 * top)
        axes[1].set_title("memory held, MB (grey: room for the model)")
    axes[2].set_title("accuracy-weighted service, mean since the start")
