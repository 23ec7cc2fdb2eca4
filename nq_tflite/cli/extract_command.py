"""`nq-tflite extract`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nq_tflite.cli.console import NqCommand, json_option, megabytes, print_json, print_lines
from nq_tflite.cli.parameters import FILE, PRECISION, OneOf

if TYPE_CHECKING:
    from nq_tflite.graph.stock_weights import StockWeights

_EPILOG = """\b
Examples:
  nq-tflite extract model.tflite full.tflite
  nq-tflite extract model.tflite small.tflite --precision part
  nq-tflite extract model.tflite six.tflite --precision 6
  nq-tflite extract chat.tflite int4.tflite --precision 4 --weights int4"""


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("model", type=FILE)
@click.argument("output", type=FILE)
@click.option(
    "--precision",
    type=PRECISION,
    default="full",
    show_default=True,
    help="Precision to write: full, part, or a number of bits.",
)
@click.option(
    "--weights",
    type=OneOf(["nested", "int8", "int4"]),
    default="nested",
    show_default=True,
    help="Type of float dense layers' weights: as nested, or for a runtime's own dynamic-range kernels.",
)
@json_option
def extract(model: Path, output: Path, precision: str, weights: StockWeights, as_json: bool) -> None:
    """Write one precision of a nested model as a stock .tflite.

    MODEL is a nested .tflite file. OUTPUT is the file to write, for any runtime or accelerator. An
    existing file is replaced, but never MODEL itself.
    """
    from nq_tflite.format.nesting import precision_to_level
    from nq_tflite.graph.extraction import extract as extract_file
    from nq_tflite.graph.nested import read_nested

    size = extract_file(model, output, precision, weights=weights)
    precisions = read_nested(model).precisions
    bits = precisions[precision_to_level(precision, precisions)]
    if as_json:
        print_json({"path": str(output), "precision": precision, "bits": bits, "file_bytes": size})
        return
    print_lines(f"{output}: {megabytes(size)} ({size} bytes), a stock model at {bits} bits")
    if bits < max(precisions) and weights == "nested":
        print_lines(f"TFLite has no type of {bits} bits that all kernels take: weights are stored as at full-bit")
