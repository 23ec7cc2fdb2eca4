"""`python -m nq_tflite_models.rounding_time`: how long a conversion takes and how much memory, by net and method."""

from __future__ import annotations

import click
from nq_tflite_models.measure.options import models_option, names_in
from nq_tflite_models.measure.rounding_times import NETS, SOURCES, RoundingTime, SourceKind, rounding_times

from nq_tflite.cli.console import NqCommand, json_option, print_json, print_lines, print_table, progress_bar
from nq_tflite.cli.parameters import NESTING
from nq_tflite.conversion.rounding import METHODS
from nq_tflite.units import bytes_text

_EPILOG = """\b
Examples:
  python -m nq_tflite_models.rounding_time --models mobilenet_v2
  python -m nq_tflite_models.rounding_time --models resnet18 --samples 0,128 --methods nearest,squant,descent
  python -m nq_tflite_models.rounding_time --models resnet50 --sources int8 --samples 0 --json

\b
Weights and inputs are seeded. Each conversion is in a process of its own, and takes minutes for the larger nets.

Exit codes: 0 measured, 1 error, 2 bad usage, 130 interrupted."""
_COLUMNS = (
    *("net", "source", "samples", "method", "nesting"),
    *("seconds", "of them tensorflow", "CPU seconds", "peak memory", "rounded by"),
)


def _counts(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    words = [word.strip() for word in value.split(",")]
    if not all(word.isdecimal() and int(word) <= 160 for word in words):
        raise click.BadParameter(f"{value!r}; expected numbers from 0 to 160, with commas.")
    return tuple(map(int, words))


@click.command(cls=NqCommand, epilog=_EPILOG)
@models_option(NETS)
@click.option(
    "--methods",
    default="descent",
    show_default=True,
    metavar="NAME[,NAME...]",
    callback=lambda ctx, parameter, value: names_in(value, METHODS),
    help=f"Rounding methods: {', '.join(METHODS)}.",
)
@click.option(
    "--sources",
    default="keras",
    show_default=True,
    metavar="KIND[,KIND...]",
    callback=lambda ctx, parameter, value: names_in(value, SOURCES),
    help="What is converted: keras, or a float or int8 .tflite.",
)
@click.option(
    "--samples",
    default="128",
    show_default=True,
    metavar="N[,N...]",
    callback=_counts,
    help="Samples of representative data; 0 for none.",
)
@click.option("--nesting", default="8|4", show_default=True, type=NESTING, help="Bit-widths.")
@json_option
def rounding_time(
    names: tuple[str, ...],
    methods: tuple[str, ...],
    sources: tuple[SourceKind, ...],
    samples: tuple[int, ...],
    nesting: str,
    as_json: bool,
) -> None:
    """Convert seeded nets and print seconds, tensorflow's share of them, CPU seconds and the peak of memory."""
    with progress_bar() as progress:
        rows = rounding_times(names, methods, sources, samples, str(nesting), progress=progress)
    if as_json:
        print_json({"rows": [row.as_dict() for row in rows]})
        return
    print_table("conversions", _COLUMNS, [_cells(row) for row in rows], left=4)
    print_lines(f"BLAS kernels: {rows[0].blas}")


def _cells(row: RoundingTime) -> list[str]:
    rounded = ", ".join(f"{name} {count}" for name, count in row.rounded.items())
    return [
        *(row.net, row.source, str(row.samples or "none"), row.method, row.nesting),
        *(f"{each:.1f}" for each in (row.seconds, row.tensorflow_seconds, row.cpu_seconds)),
        *(bytes_text(row.peak_bytes), rounded),
    ]


if __name__ == "__main__":
    rounding_time(prog_name="python -m nq_tflite_models.rounding_time")
