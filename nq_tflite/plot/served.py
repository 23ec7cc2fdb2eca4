"""A day of a model under a governor: the device's readings, the model's memory and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.plot.style import COLOURS, INK, QUIET, WIDTH, level_look, new_figure, only_across
from nq_tflite.units import precision_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nq_tflite.govern import Policy
    from nq_tflite.govern.traces import Trace

#: Answers that a point of the lowest panel is a mean of.
_WINDOW = 60


def served_figure(
    trace: Trace,
    bits: Sequence[int],
    weights: Sequence[int],
    same: Sequence[bool],
    *,
    policy: Policy | None = None,
    width: float = WIDTH,
) -> Figure:
    """A trace, the memory and the precision of one model that ran through it, and how many answers were full-bit's.

    Args:
        trace: the readings that the governor got.
        bits, weights: precision and resident bytes of the nested weights at each step.
        same: whether the step's answer was full-bit's.
        policy: whose bounds to draw.
        width: inches.
    """
    unit, seconds = ("hours", 3600) if trace.seconds[-1] > 7200 else ("minutes", 60)
    times = trace.seconds / seconds
    with new_figure(width, 5.0) as figure:
        signal, memory, answers = figure.subplots(3, 1, sharex=True, height_ratios=(1.1, 1.1, 0.8))
        _plot_signals(signal, times, trace, policy)
        _plot_weights(memory, times, np.asarray(bits), np.asarray(weights) / 1e6)
        means = np.convolve(np.asarray(same, float), np.ones(_WINDOW), "valid") / _WINDOW
        answers.plot(times[_WINDOW - 1 :], 100 * means, color=INK, linewidth=1.0)
        answers.set_ylim(top=101)
        answers.set_title(f"answers that are full-bit's, % of the last {_WINDOW}")
        answers.set_xlabel(unit)
        answers.set_xlim(times[0], times[-1])
        for axes in (signal, memory, answers):
            only_across(axes, "y")
        figure.legend(loc="outside lower left", ncols=4, handlelength=1.0)
        return figure


def _plot_signals(axes: Axes, times: NDArray[Any], trace: Trace, policy: Policy | None) -> None:
    for name, values in trace.signals.items():
        axes.plot(times, values, color=QUIET)
        for rule in [each for each in (policy.rules if policy else ()) if each.signal == name]:
            named = {str(rule): rule.below if rule.above is None else rule.above, f"until {rule.until:g}": rule.until}
            heights = {text: float(height) for text, height in named.items() if height is not None}
            for text, height in heights.items():
                above = height == max(heights.values())
                axes.axhline(height, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
                look: dict[str, Any] = {"va": "bottom" if above else "top", "ha": "left", "fontsize": 8}
                offset = (2, 2 if above else -2)
                axes.annotate(text, (0, height), offset, ("axes fraction", "data"), "offset points", **look)
    axes.set_title(", ".join(name.replace("_", " ") for name in trace.signals))


def _plot_weights(axes: Axes, times: NDArray[Any], bits: NDArray[Any], megabytes: NDArray[Any]) -> None:
    precisions = tuple(sorted({int(each) for each in bits}))
    for level, own in reversed(list(enumerate(precisions))):
        colour = level_look(level, len(precisions))["color"] if len(precisions) > 1 else COLOURS[0]
        shown = np.where(bits == own, megabytes, 0.0)
        axes.fill_between(
            times, shown, step="post", color=colour, alpha=0.55, linewidth=0, label=precision_name(own, precisions)
        )
    axes.step(times, megabytes, where="post", color=INK, linewidth=0.9)
    axes.set_ylim(bottom=0)
    axes.set_title("nested weights in memory, MB")
