"""`nq-tflite simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nq_tflite.cli.console import (
    NqCommand,
    json_option,
    megabytes,
    percent,
    print_json,
    print_lines,
    print_table,
    progress_bar,
)
from nq_tflite.cli.parameters import BYTES, FILE, WholeNumber, plot_option, policy_option, runtime_option
from nq_tflite.device.runtimes import RuntimeName

if TYPE_CHECKING:
    from nq_tflite.govern.simulate import Outcome

_EPILOG = """\b
Examples:
  nq-tflite simulate model.tflite --trace memory-storm --policy memory \\
      --accuracy 0.93,0.99
  nq-tflite simulate model.tflite --trace battery-day --policy battery \\
      --plot day.png
  nq-tflite watch model.tflite --seconds 3600 --json > hour.jsonl
  nq-tflite simulate model.tflite --trace hour.jsonl

A trace is battery-day, memory-storm, heat-soak, a .csv file, or the output of nq-tflite watch --json. The columns of a
.csv file are seconds, readings by name, and optionally room: the percentage of memory that is left for the model.

Memory, start and switches are measured on this machine first; only the trace is made up. A model that holds more
memory than the trace leaves room for is killed, and started again when it fits."""


def _accuracies(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[float, float]:
    try:
        part, full = (float(word) for word in value.split(","))
    except ValueError:
        part = full = float("nan")
    if not (0 <= part <= 1 and 0 <= full <= 1):
        raise click.BadParameter(f"expected two fractions, part-bit first, such as 0.93,0.99, got {value!r}.")
    return part, full


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("model", type=FILE)
@click.option(
    "--trace",
    "source",
    metavar="TRACE",
    default="memory-storm",
    show_default=True,
    help="Trace of the device's readings.",
)
@policy_option
@click.option(
    "--accuracy",
    metavar="PART,FULL",
    default="1,1",
    show_default=True,
    callback=_accuracies,
    help="Accuracy of part-bit and full-bit, as fractions, from nq-tflite evaluate.",
)
@click.option("--memory", type=BYTES, help="Memory of the device, such as 512MB. Default: 16 times the full-bit model.")
@click.option("--seed", type=WholeNumber(least=0), default=0, show_default=True, help="Seed of a made-up trace.")
@runtime_option
@plot_option
@json_option
def simulate(
    model: Path,
    source: str,
    policy: str,
    accuracy: tuple[float, float],
    memory: int | None,
    seed: int,
    runtime: RuntimeName | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Simulate a governor on a trace, and compare it with alternatives.

    MODEL is a nested .tflite file. The alternatives are one model that never changes, and two models of which
    one is loaded.
    """
    from nq_tflite.govern import Policy
    from nq_tflite.govern.simulate import outcome
    from nq_tflite.govern.simulate import simulate as run_strategy
    from nq_tflite.govern.traces import read_trace
    from nq_tflite.measure.strategies import measure_strategies

    trace, chosen = read_trace(source, seed), Policy.of(policy)
    with progress_bar() as progress:
        strategies = measure_strategies(model, runtime=runtime, progress=progress)
    memory_bytes = memory or 16 * strategies[0].costs.held_bytes[-1]
    runs = [run_strategy(each, trace, chosen, accuracy, memory_bytes) for each in strategies]
    if plot is not None:
        from nq_tflite.plot import runs_figure, save_figure

        save_figure(runs_figure(runs, trace, memory_bytes), plot)
    outcomes = [outcome(run, trace, len(accuracy) - 1) for run in runs]
    if as_json:
        settings = {"trace": trace.name, "policy": chosen.name, "accuracy": accuracy, "memory_bytes": memory_bytes}
        print_json(settings | {"outcomes": [each.as_dict() for each in outcomes]})
    else:
        title = f"{trace.name}, policy {chosen.name}, {megabytes(memory_bytes)} of memory"
        _print_outcomes(title, outcomes, weighted=accuracy != (1, 1))
        print_lines(*([] if plot is None else [f"figure: {plot}"]))


def _print_outcomes(title: str, outcomes: list[Outcome], *, weighted: bool) -> None:
    """A row a strategy; `weighted` by what a result is worth, where that differs between precisions."""
    rows = [
        [
            each.name,
            percent(each.served),
            *([percent(each.service)] if weighted else []),
            percent(each.full_time),
            megabytes(round(each.mean_bytes)),
            megabytes(each.peak_bytes),
            str(each.switches),
            megabytes(each.bytes_moved),
            str(each.starts),
        ]
        for each in outcomes
    ]
    columns = (
        "strategy",
        "served",
        *(["served x accuracy"] if weighted else []),
        "at full-bit",
        "mean memory",
        "peak",
        "switches",
        "moved",
        "restarts",
    )
    print_table(title, columns, rows)
