"""`python -m nq_tflite_models.load_time`: what loading costs per operator, nested and stock, as graphs grow."""

from __future__ import annotations

import click
from nq_tflite_models.measure.loading import load_times
from nq_tflite_models.measure.options import names_in

from nq_tflite.cli.console import NqCommand, json_option, print_json, print_table, progress_bar
from nq_tflite.device.runtimes import RUNTIMES

_EPILOG = """\b
Examples:
  python -m nq_tflite_models.load_time
  python -m nq_tflite_models.load_time --nodes 100,1000 --runs 9 --json

Exit codes: 0 measured, 1 error, 2 bad usage, 130 interrupted."""


def _counts(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    words = value.split(",")
    if not all(word.strip().isdecimal() and 4 <= int(word) <= 100_000 for word in words):
        raise click.BadParameter(f"{value!r}; expected numbers from 4 to 100000, with commas.")
    return tuple(map(int, words))


def _runtimes(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return names_in(value, RUNTIMES)


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.option("--nodes", default="100,1000,10000", show_default=True, callback=_counts, help="Operators of each graph.")
@click.option(
    "--runs", default=5, show_default=True, type=click.IntRange(1, 1000), help="Of each kind; the median counts."
)
@click.option(
    "--runtimes",
    default="ai-edge-litert,tflite-runtime",
    show_default=True,
    callback=_runtimes,
    metavar="NAME[,NAME...]",
    help="Stock runtimes to load under.",
)
@json_option
def load_time(nodes: tuple[int, ...], runs: int, runtimes: tuple[str, ...], as_json: bool) -> None:
    """Build graphs of several sizes and time how long an interpreter takes from construction to allocated tensors.

    The stock file, the nested one fused and the nested one unpacked take turns in one process.
    """
    with progress_bar() as progress:
        rows = load_times(nodes, runtimes, runs=runs, progress=progress)
    if as_json:
        print_json({"rows": [row.as_dict() for row in rows]})
        return
    table = [
        [row.runtime, str(row.nodes), f"{row.stock:.1f}", f"{row.fused:.1f}", f"{row.unpacked:.1f}"] for row in rows
    ]
    print_table("load time, microseconds per operator", ("runtime", "operators", "stock", "fused", "unpacked"), table)


if __name__ == "__main__":
    load_time(prog_name="python -m nq_tflite_models.load_time")
