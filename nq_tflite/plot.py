"""Figures, in one style: colours that colour-blind readers tell apart, lines that print in grey. The only room that
imports matplotlib."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nq_tflite.errors import MissingPackageError, ModelSourceError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nq_tflite.simulate import Run
    from nq_tflite.traces import Trace

#: Okabe and Ito's, the ones that stay apart in grey first.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
DASHES = ("-", "--", "-.", ":")
_STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.4,
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 150,
    "svg.hashsalt": "nq_tflite",
}


def plot_runs(runs: Sequence[Run], trace: Trace, path: str | os.PathLike[str], memory_bytes: int | None = None) -> None:
    """Writes the trace, and each strategy's precision, memory and accuracy-weighted service, over the same time.

    Args:
        runs: the governed one first.
        trace: what they ran on.
        path: .png, .svg or .pdf.
        memory_bytes: of the device, where the trace has room.

    Raises:
        MissingPackageError: matplotlib is not installed.
        ModelSourceError: the file cannot be written.
    """
    with _new_figure(4, 7.6, height_ratios=(1.2, 1, 1.2, 1.2)) as (figure, axes):
        unit, seconds = ("hours", 3600) if trace.seconds[-1] > 7200 else ("minutes", 60)
        times = trace.seconds / seconds
        _plot_trace(axes[0], times, trace)
        _plot_strategies(axes[1:], times, runs, trace, memory_bytes)
        axes[-1].set_xlabel(unit)
        figure.legend(*axes[1].get_legend_handles_labels(), loc="outside upper center", ncols=2)
        save(figure, path)


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure, whole or not at all.

    Raises:
        ModelSourceError: the file cannot be written, or its name ends in no format of figures.
    """
    target = Path(path)
    partial = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        figure.savefig(partial)
        partial.replace(target)
    except (OSError, ValueError) as error:
        partial.unlink(missing_ok=True)
        raise ModelSourceError(
            f"figure {target}", expected="a .png, .svg or .pdf file to write", got=str(error)
        ) from error


def _plot_trace(axes: Axes, times: Any, trace: Trace) -> None:
    signals = dict(trace.signals) | ({"room for the model, % of memory": trace.room} if trace.room is not None else {})
    for index, (name, values) in enumerate(signals.items()):
        axes.plot(times, values, color="#444444", linestyle=DASHES[index % len(DASHES)], label=name.replace("_", " "))
    axes.set_title(f"{trace.name}: {', '.join(name.replace('_', ' ') for name in signals)}")
    if len(signals) > 1:
        axes.legend()


def _plot_strategies(
    axes: Sequence[Axes], times: Any, runs: Sequence[Run], trace: Trace, memory_bytes: int | None
) -> None:
    for index, run in enumerate(runs):
        look: dict[str, Any] = {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)]}
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
        axes[1].plot(times, trace.room / 100 * memory_bytes / 1e6, color="#999999", linewidth=0.8)
        axes[1].set_ylim(0, 1.3 * top)
        axes[1].set_title("memory held, MB (grey: room for the model)")
    axes[2].set_title("accuracy-weighted service, mean since the start")


@contextmanager
def _new_figure(rows: int, height: float, **options: Any) -> Iterator[tuple[Figure, Any]]:
    """A figure in the house style with a column of axes; without pyplot, whose state is the program's own."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "figures", expected="the package matplotlib", got="none installed", fix="pip install 'nq-tflite[plot]'."
        ) from error
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, height))
        yield figure, figure.subplots(rows, 1, sharex=True, **options)
