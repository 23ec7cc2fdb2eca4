"""`python -m nq_tflite_models.threads`: one model on 1, 2 and more threads than there are processors, and two models at
once, beside stock.
"""

from __future__ import annotations

import os
from pathlib import Path

import click
from nq_tflite_models.measure.options import models_option
from nq_tflite_models.measure.thread_rates import thread_rates
from nq_tflite_models.nets.zoo import MODELS
from nq_tflite_models.weights.archives import cache_dir

from nq_tflite.cli.console import NqCommand, fine_milliseconds, json_option, print_json, print_table, progress_bar
from nq_tflite.cli.parameters import FOLDER, WholeNumber
from nq_tflite.measure.benchmark import cpu_name

_EPILOG = """\b
Examples:
  python -m nq_tflite_models.threads --models mobilenet_v2
  python -m nq_tflite_models.threads --models mobilenet_v2,ds_cnn_s --rounds 15 --json

Exit codes: 0 measured, 1 error, 2 bad usage, 130 interrupted."""


@click.command(cls=NqCommand, epilog=_EPILOG)
@models_option(MODELS)
@click.option("--rounds", type=WholeNumber(), default=7, show_default=True, help="Of each; medians count.")
@click.option(
    "--cache",
    type=FOLDER,
    help="Folder that keeps the converted files; nets/ in the cache of nq_tflite_models if not given.",
)
@json_option
def threads(names: tuple[str, ...], rounds: int, cache: Path | None, as_json: bool) -> None:
    """Run nested and stock models in turns: with 1, 2, 4 and 8 threads, and two at once with 1 and 2 threads each."""
    with progress_bar() as progress:
        rows = thread_rates(names, cache or cache_dir() / "nets", rounds=rounds, progress=progress)
    if as_json:
        print_json({"rows": [row.as_dict() for row in rows]})
        return
    table = []
    for row in rows:
        times = map(fine_milliseconds, (row.stock_seconds, row.nested_seconds))
        ratios = (f"{row.ratio:.2f} x", f"{row.ratio_min:.2f} - {row.ratio_max:.2f}")
        table.append([row.model, str(row.num_models), str(row.num_threads), *times, *ratios])
    columns = ("model", "at once", "threads each", "stock", "nested", "ratio", "min - max")
    print_table(f"time of an inference, {cpu_name()} ({os.cpu_count()} CPUs)", columns, table)


if __name__ == "__main__":
    threads(prog_name="python -m nq_tflite_models.threads")
