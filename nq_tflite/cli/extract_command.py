"""`nq-tflite extract`."""

from __future__ import annotations

from pathlib import Path

import click

from nq_tflite.cli.console import json_option, megabytes, print_json, print_lines

_EPILOG = """\b
Examples:
  nq-tflite extract model.tflite full.tflite
  nq-tflite extract model.tflite small.tflite --precision part
  nq-tflite extract model.tflite six.tflite --precision 6"""


@click.command(epilog=_EPILOG)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--precision", default="full", show_default=True, help="full, part, or a number of bits of the model.")
@json_option
def extract(model: Path, output: Path, precision: str, as_json: bool) -> None:
    """Write one precision of the nested MODEL to OUTPUT as a stock .tflite, for any runtime or accelerator."""
    from nq_tflite.extraction import extract as extract_file

    size = extract_file(model, output, precision)
    if as_json:
        print_json({"path": str(output), "precision": precision, "file_bytes": size})
    else:
        print_lines(f"{output}: {megabytes(size)} ({size} bytes), a stock model at precision {precision}")
