"""Figures in one style, each from Python and from a command's `--plot`: functions that return a matplotlib `Figure`.

>>> import nq_tflite as nq
>>> from nq_tflite.plot import layers_figure, save_figure
>>> save_figure(layers_figure(nq.inspect_file("model.tflite").weights), "layers.svg")  # doctest: +SKIP
"""

from __future__ import annotations

from nq_tflite.conversion.advice import worst_weights
from nq_tflite.plot.accuracy import accuracy_figure, comparison_figure
from nq_tflite.plot.nesting import bits_figure, cells_figure, residuals_figure
from nq_tflite.plot.photos import answers_figure
from nq_tflite.plot.runs import runs_figure
from nq_tflite.plot.served import served_figure
from nq_tflite.plot.style import save_figure
from nq_tflite.plot.timing import benchmark_figure, timeline_figure
from nq_tflite.plot.weights import histogram_figure, layers_figure, sizes_figure

__all__ = [
    "accuracy_figure",
    "answers_figure",
    "benchmark_figure",
    "bits_figure",
    "cells_figure",
    "comparison_figure",
    "histogram_figure",
    "layers_figure",
    "residuals_figure",
    "runs_figure",
    "save_figure",
    "served_figure",
    "sizes_figure",
    "timeline_figure",
    "worst_weights",
]
