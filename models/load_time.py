"""`python -m nq_tflite_models.load_time`: what loading costs per operator, nested and stock, as graphs grow, and how
long models of the zoo take from their import to their first result.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from nq_tflite_models.measure.loading import load_times
from nq_tflite_models.measure.options import names_in
from nq_tflite_models.measure.start_child import PHASES
from nq_tflite_models.measure.start_up import StartUp, start_ups
from nq_tflite_models.nets.zoo import MODELS
from nq_tflite_models.weights.archives import cache_dir

from nq_tflite.cli.console import NqCommand, json_option, print_json, print_table, progress_bar
from nq_tflite.cli.parameters import FOLDER
from nq_tflite.device.runtimes import RUNTIMES

_EPILOG = """\b
Examples:
  python -m nq_tflite_models.load_time
  python -m nq_tflite_models.load_time --nodes 100,1000 --runs 9 --json
  python -m nq_tflite_models.load_time --start mobilenet_v2,resnet50

Exit codes: 0 measured, 1 error, 2 bad usage, 130 interrupted."""


def _counts(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    words = value.split(",")
    if not all(word.strip().isdecimal() and 4 <= int(word) <= 100_000 for word in words):
        raise click.BadParameter(f"{value!r}; expected numbers from 4 to 100000, with commas.")
    return tuple(map(int, words))


def _runtimes(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return names_in(value, RUNTIMES)


def _models(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return names_in(value, MODELS) if value else ()


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
@click.option(
    "--start",
    "models",
    callback=_models,
    metavar="NAME[,NAME...]",
    help="Time the starts of these models of the zoo instead, each in a process of its own, under ai-edge-litert.",
)
@click.option(
    "--cache",
    type=FOLDER,
    help="Folder that keeps the models' files; nets/ in the cache of nq_tflite_models if not given.",
)
@json_option
def load_time(
    nodes: tuple[int, ...],
    runs: int,
    runtimes: tuple[str, ...],
    models: tuple[str, ...],
    cache: Path | None,
    as_json: bool,
) -> None:
    """Build graphs of several sizes and time how long an interpreter takes from construction to allocated tensors.

    The stock file, the nested one fused and the nested one unpacked take turns in one process.
    """
    if models:
        with progress_bar() as progress:
            starts = start_ups(models, cache or cache_dir() / "nets", runs=runs, progress=progress)
        _print_starts(starts, as_json)
        return
    with progress_bar() as progress:
        rows = load_times(nodes, runtimes, runs=runs, progress=progress)
    if as_json:
        print_json({"rows": [row.as_dict() for row in rows]})
        return
    table = [
        [row.runtime, str(row.nodes), f"{row.stock:.1f}", f"{row.fused:.1f}", f"{row.unpacked:.1f}"] for row in rows
    ]
    columns = ("runtime", "operators", "stock", "fused", "unpacked")
    print_table("load time, microseconds per operator", columns, table)
    table = [
        [row.runtime, str(row.nodes), *(f"{row.inference[kind]:.0f}" for kind in ("stock", "fused", "unpacked"))]
        for row in rows
    ]
    print_table("inference of the smallest layers, nanoseconds per operator", columns, table)


def _print_starts(starts: Sequence[StartUp], as_json: bool) -> None:
    if as_json:
        print_json({"starts": [row.as_dict() for row in starts]})
        return
    table = []
    for row in starts:
        milliseconds = [1e3 * each for each in (*map(row.seconds.__getitem__, PHASES), row.to_first)]
        table.append([row.model, row.way, *(f"{each:.1f}" for each in milliseconds), f"{row.ratio:.2f} x"])
    columns = ("model", "way", *PHASES, "load to first", "to stock's")
    print_table("start-up under ai-edge-litert, 1 thread, milliseconds", columns, table, left=2)


if __name__ == "__main__":
    load_time(prog_name="python -m nq_tflite_models.load_time")
