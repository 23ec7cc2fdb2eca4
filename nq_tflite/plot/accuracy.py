"""Figures of the accuracy of precisions and rounding methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nq_tflite.plot.style import COLOURS, DASHES, MARKERS, QUIET, WIDTH, new_figure, only_across

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nq_tflite.measure.compare import ComparedMethod, MethodComparison
    from nq_tflite.measure.evaluate import Evaluation, Score

#: Of `contenders.CONTENDERS`: methods that no nested file can hold stand back.
_BASELINES = ("minmax", "nestquant-code", "squant-nesting")
_BASELINE_MARKERS = ("x", "+", "1")


def accuracy_figure(evaluation: Evaluation, *, width: float = WIDTH) -> Figure:
    """Accuracy of each precision: top-1 and agreement with their standard errors, and the outputs' SNR.

    Args:
        evaluation: of `nq_tflite.measure.evaluate.evaluate`.
        width: inches.
    """
    scores = evaluation.scores[::-1]  # part-bit first
    names = ["stock" if each.bits is None else f"{each.bits} bits" for each in scores]
    with new_figure(width, 0.36 * width + 0.9) as figure:
        rates, decibels = figure.subplots(1, 2, width_ratios=(1.6, 1))
        _plot_rates(rates, scores, evaluation.k)
        _plot_decibels(decibels, scores)
        for axes in (rates, decibels):
            axes.set_xticks(range(len(names)), names)
            axes.set_xlim(-0.5, len(names) - 0.5)
            only_across(axes, "y")
        figure.legend(loc="outside lower left", ncols=3 if width >= WIDTH else 2)
        return figure


def _plot_rates(axes: Axes, scores: Sequence[Score], k: int) -> None:
    series: list[tuple[str, list[float | None], list[float | None]]] = [
        ("top-1", [each.top1 for each in scores], [each.top1_standard_error for each in scores]),
        (f"top-{k}", [each.top_k for each in scores], [None for _ in scores]),
        (
            "agreement with the reference",
            [each.agreement for each in scores],
            [each.agreement_standard_error for each in scores],
        ),
    ]
    shown = [each for each in series if each[1][0] is not None]
    for index, (name, values, errors) in enumerate(shown):
        offset = 0.1 * (index - (len(shown) - 1) / 2)  # so that equal rates are seen side by side
        at, heights = np.arange(len(scores)) + offset, [100 * (value or 0.0) for value in values]
        bars = None if errors[0] is None else [100 * (error or 0.0) for error in errors]
        look: dict[str, Any] = {"color": COLOURS[index], "marker": MARKERS[index], "capsize": 3.0, "elinewidth": 1.0}
        axes.errorbar(at, heights, bars, label=name, linestyle=DASHES[index], **look)
    lowest = min(
        100 * ((value or 0.0) - (error or 0.0))
        for _, values, errors in shown
        for value, error in zip(values, errors, strict=True)
    )
    bottom = max(0.0, min(90.0, lowest - 5))
    axes.set_ylim(bottom, 100 + 0.05 * (100 - bottom))
    axes.set_title("of the photos, %")


def _plot_decibels(axes: Axes, scores: Sequence[Score]) -> None:
    """Infinite where a precision is its own reference: there is no bar then."""
    values = [each.logit_snr_db if np.isfinite(each.logit_snr_db) else 0.0 for each in scores]
    axes.bar(range(len(values)), values, 0.5, color=COLOURS[0])
    for index, (each, value) in enumerate(zip(scores, values, strict=True)):
        text = f"{value:.1f}" if np.isfinite(each.logit_snr_db) else "exact"
        at = (index, max(value, 0.0))
        axes.annotate(text, at, xytext=(0, 3), textcoords="offset points", ha="center", color=QUIET)
    axes.margins(y=0.12)
    axes.set_title("outputs' SNR, dB")


def comparison_figure(comparison: MethodComparison, *, width: float = WIDTH) -> Figure:
    """Accuracy against bits: that of each rounding method at every level, for one nesting or several.

    A mark is a level of one nesting; a method's line goes through the means of its marks with equal bits.

    Args:
        comparison: of `nq_tflite.measure.compare.compare`, or `nq-tflite evaluate --compare`.
        width: inches.
    """
    methods = list(dict.fromkeys(row.method for row in comparison.rows))
    nested = [name for name in methods if name not in _BASELINES]
    with new_figure(width, 0.5 * width + 0.2 * len(methods)) as figure:
        agreement, decibels = figure.subplots(1, 2)
        for name in methods:
            rows = [row for row in comparison.rows if row.method == name]
            place = nested.index(name) if name in nested else _BASELINES.index(name)
            look: dict[str, Any] = {
                "color": COLOURS[place % len(COLOURS)] if name in nested else QUIET,
                "linestyle": "-" if name in nested else DASHES[1 + place],
                "marker": MARKERS[place % len(MARKERS)] if name in nested else _BASELINE_MARKERS[place],
            }
            _plot_method(agreement, rows, lambda score: 100 * score.agreement, look, rows[0].title)
            _plot_method(decibels, rows, lambda score: score.logit_snr_db, look, "")
        agreement.set_title("agreement with float, %" if width >= WIDTH else "agreement, %")
        agreement.set_ylim(top=101)
        decibels.set_title("outputs' SNR, dB")
        for axes in (agreement, decibels):
            axes.set_xticks(sorted({score.bits for row in comparison.rows for score in row.scores if score.bits}))
            axes.set_xlabel("bits in use")
            only_across(axes, "y")
        figure.legend(loc="outside lower left", ncols=2 if width < WIDTH else 3)
        return figure


def _plot_method(
    axes: Axes, rows: Sequence[ComparedMethod], value: Callable[[Score], float], look: dict[str, Any], label: str
) -> None:
    marks = sorted((score.bits, value(score)) for row in rows for score in row.scores if score.bits is not None)
    bits = sorted({each for each, _ in marks})
    means = [np.mean([height for own, height in marks if own == each]) for each in bits]
    axes.plot(bits, means, label=label or None, **look)
    axes.plot(*zip(*marks, strict=True), **(look | {"linestyle": "", "markersize": 3.0, "alpha": 0.6}))
