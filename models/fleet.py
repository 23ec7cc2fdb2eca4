"""`python -m nq_tflite_models.fleet`: what the zoo takes nested, and as separate models of several bit-widths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
from nq_tflite_models.measure.comparison import stock_file
from nq_tflite_models.measure.options import models_option
from nq_tflite_models.nets.zoo import MODELS, SETS
from nq_tflite_models.weights.archives import cache_dir

from nq_tflite.cli.console import NqCommand, json_option, progress_bar
from nq_tflite.cli.parameters import FOLDER
from nq_tflite.cli.storage_command import nesting_option, print_storage
from nq_tflite.measure.storage import measure_storage

_EPILOG = """\b
Examples:
  python -m nq_tflite_models.fleet
  python -m nq_tflite_models.fleet --models mobilenet_v2,resnet50 --nesting '8|5' --nesting '8|6|4' --json

Exit codes: 0 success, 1 failure, 2 bad usage, 130 interrupted."""


@click.command(cls=NqCommand, epilog=_EPILOG)
@models_option(MODELS, SETS)
@nesting_option
@click.option(
    "--cache",
    type=FOLDER,
    help="Folder that keeps the stock files; nets/ in the cache of nq_tflite_models if not given.",
)
@json_option
def fleet(names: tuple[str, ...], nestings: tuple[str, ...], cache: Path | None, as_json: bool) -> None:
    """Compare what the zoo's models take nested with separate models of the same bit-widths: storage, bytes to send,
    bytes that a switch moves."""
    folder = cache or cache_dir() / "nets"
    rows = []
    with progress_bar() as progress:
        for name in names:
            stock = stock_file(name, folder)
            found = measure_storage([stock], nestings, progress=progress)
            rows += [replace(row, name=name) for row in found]
    print_storage(rows, as_json)


if __name__ == "__main__":
    fleet(prog_name="python -m nq_tflite_models.fleet")
