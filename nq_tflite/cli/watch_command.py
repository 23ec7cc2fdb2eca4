"""`nq-tflite watch`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from nq_tflite.cli.console import NqCommand, finite, megabytes, milliseconds, precision_name, print_lines
from nq_tflite.cli.parameters import BYTES, FILE, Number, WholeNumber, policy_option, runtime_option
from nq_tflite.device.runtimes import RuntimeName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nq_tflite.govern import GovernedSwitch
    from nq_tflite.govern.watch import WatchState

_EPILOG = """\b
Examples:
  nq-tflite watch model.tflite
  nq-tflite watch detector.tflite tagger.tflite --policy memory+thermal \\
      --budget 3000000
  nq-tflite watch model.tflite --policy camera.toml --seconds 600 \\
      --json > day.jsonl

\b
A policy file is TOML:
  preset = "memory+thermal"      # optional: presets to start from
  dwell_seconds = 10             # without interruption, before an upgrade
  interval_seconds = 1           # between two readings
  budget_bytes = 3_000_000       # of all models' nested weights
  [[rules]]                      # as many as you like
  signal = "battery"
  below = 30                     # or above; sets the cap
  until = 40                     # lifts it again
  precision = "part"             # or a number of bits"""

#: Switches that the table shows.
_LAST = 5


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=FILE)
@policy_option
@click.option("--budget", type=BYTES, help="Largest size of the nested weights of all models together, such as 3MB.")
@click.option("--seconds", type=Number("SECONDS"), help="Number of seconds to run. Default: until Ctrl-C.")
@runtime_option
@click.option("--threads", type=WholeNumber(), default=1, show_default=True, help="Number of threads of each model.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print a line of JSON for every reading and every switch on stdout."
)
def watch(
    models: tuple[Path, ...],
    policy: str,
    budget: int | None,
    seconds: float | None,
    runtime: RuntimeName | None,
    threads: int,
    as_json: bool,
) -> None:
    """Run models under a governor, and show every change.

    MODEL... are nested .tflite files in order of importance: the last one gives its bits back first. They run on
    zeros. The command shows readings, precisions and resident bytes.
    """
    from nq_tflite.govern.watch import watch as watch_models

    states = watch_models(models, policy, budget_bytes=budget, seconds=seconds, runtime=runtime, num_threads=threads)
    if as_json:
        _print_json_lines(states)
    elif sys.stdout.isatty():
        _show_live(states)
    else:
        _print_changes(states)


def _print_json_lines(states: Iterator[WatchState]) -> None:
    for state in states:
        for made in state.switches:
            click.echo(json.dumps(finite({"event": "switch", **asdict(made)}), allow_nan=False))
        data = state.as_dict()
        del data["switches"]
        click.echo(json.dumps(finite({"event": "state", **data}), allow_nan=False))


def _print_changes(states: Iterator[WatchState]) -> None:
    """Where no terminal is: every switch, and the state after the first look."""
    for index, state in enumerate(states):
        print_lines(*map(_switch_line, state.switches))
        if index == 0:
            print_lines(*(_model_line(state, position) for position in range(len(state.models))))


def _show_live(states: Iterator[WatchState]) -> None:
    switches: list[str] = []
    with Live(console=Console(markup=False, highlight=False), auto_refresh=False) as live:
        for state in states:
            switches = [*switches, *map(_switch_line, state.switches)][-_LAST:]
            live.update(Group(_table(state), *switches), refresh=True)


def _table(state: WatchState) -> Table:
    readings = ", ".join(f"{name} {value:.3g}" for name, value in sorted(state.readings.items()))
    table = Table(title=f"{state.seconds:.0f} s: {readings}", title_justify="left")
    for column in ("model", "precision", "resident weights", "last run", "why"):
        table.add_column(column)
    for model in state.models:
        bits, resident = precision_name(model.bits, model.levels), megabytes(model.resident_bytes)
        table.add_row(model.name, bits, resident, milliseconds(model.seconds), model.reason)
    return table


def _model_line(state: WatchState, index: int) -> str:
    model = state.models[index]
    bits, resident = precision_name(model.bits, model.levels), megabytes(model.resident_bytes)
    return f"{model.name}: {bits}, {resident} resident, {model.reason}"


def _switch_line(made: GovernedSwitch) -> str:
    if made.error:
        return f"{made.model}: stays at {made.from_bits} bits: {made.error}"
    moved, time = megabytes(made.bytes_moved), milliseconds(made.seconds)
    return f"{made.model}: {made.from_bits} -> {made.to_bits} bits, {moved} in {time}: {made.reason}"
