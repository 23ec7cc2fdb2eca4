"""`nq-tflite profile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nq_tflite.cli.console import NqCommand, fine_milliseconds, json_option, print_json, print_lines, print_table
from nq_tflite.cli.parameters import FILE, PRECISION, WholeNumber, runtime_option
from nq_tflite.device.profile import COLUMNS
from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.units import counted, kernels_text

if TYPE_CHECKING:
    from nq_tflite.measure.layer_times import TimedLayers

_EPILOG = """\b
Examples:
  nq-tflite profile model.tflite
  nq-tflite profile model.tflite --precision part --slowest 10
  nq-tflite profile model.tflite --threads 2 --json"""

_NOTE = (
    "least, mean: time of an invocation of the layer. Share, GMAC/s and GB/s are by the least, which other programs "
    "disturb least. GMAC/s: multiplications with additions. GB/s: the tensors that the layer reads and writes and its "
    "packed weight, each counted once; they may come from a cache."
)


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("model", type=FILE)
@click.option(
    "--precision",
    multiple=True,
    type=PRECISION,
    default=("full",),
    show_default=True,
    help="Precision to time: full, part, or a number of bits. May be repeated.",
)
@runtime_option
@click.option("--threads", type=WholeNumber(), default=1, show_default=True, help="Number of threads.")
@click.option("--runs", type=WholeNumber(), default=50, show_default=True, help="Number of timed invocations of each.")
@click.option("--slowest", type=WholeNumber(), help="Print only so many layers, the slowest first.")
@json_option
def profile(
    model: Path,
    precision: tuple[str, ...],
    runtime: RuntimeName | None,
    threads: int,
    runs: int,
    slowest: int | None,
    as_json: bool,
) -> None:
    """Time each layer of a nested model.

    MODEL is a nested .tflite file. The table lists every layer that nq_tflite computes, in the order they run.
    Operators that are computed as one are one layer.
    """
    from nq_tflite.measure.layer_times import time_layers

    report = time_layers(model, precisions=precision, runtime=runtime, num_threads=threads, runs=runs)
    if as_json:
        print_json(report.as_dict())
        return
    print_lines(f"{report.cpu}, {report.runtime}, {counted(threads, 'thread')}, {kernels_text(report.kernels)}")
    for timed in report.precisions:
        _print_layers(timed, runs, slowest)
    print_lines(_NOTE)


def _print_layers(timed: TimedLayers, runs: int, slowest: int | None) -> None:
    layers, rows = timed.profile.layers, timed.profile.rows()
    title = f"{timed.profile.bits} bits, {counted(runs, 'invocation')}"
    if slowest is not None and slowest < len(rows):
        order = sorted(range(len(rows)), key=lambda index: -layers[index].least_seconds)
        rows = [rows[index] for index in order[:slowest]]
        title += f": the slowest {slowest} of {len(layers)} layers"
    print_table(title, COLUMNS, rows, left=3, spare=("GB/s", "mean", "output"))
    print_lines(
        f"all layers: {fine_milliseconds(timed.profile.least_seconds)} at least, "
        f"{fine_milliseconds(timed.profile.seconds)} in the mean. An invocation: {fine_milliseconds(timed.seconds)} in "
        f"the mean, of which the runtime's operators, its calls and the clocks take "
        f"{fine_milliseconds(timed.other_seconds)}."
    )
