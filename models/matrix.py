"""`python -m nq_tflite_models.matrix`: what works: model x input format x activations x runtime x precision."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import click
from nq_tflite_models.measure.compatibility import Cell, try_models
from nq_tflite_models.measure.options import names_in
from nq_tflite_models.measure.rows import ALL_ROWS, FORMATS, ROWS, THIRD_PARTY_ROWS

from nq_tflite.cli.console import NqCommand, json_option, print_json, print_lines, print_table, progress_bar
from nq_tflite.cli.parameters import FOLDER, NESTING, OneOf
from nq_tflite.conversion.rounding import METHODS
from nq_tflite.device.runtimes import RUNTIMES

_EPILOG = """\b
Examples:
  python -m nq_tflite_models.matrix
  python -m nq_tflite_models.matrix --models vit,swin --formats memory,keras --runtimes ai-edge-litert
  python -m nq_tflite_models.matrix --models resnet --rounding descent --json
  python -m nq_tflite_models.matrix --third-party
  python -m nq_tflite_models.matrix --formats all

Exit codes: 0 no cell fails, 1 a cell fails or error, 2 bad usage, 130 interrupted."""


def _words(known: Sequence[str]) -> Callable[[click.Context, click.Parameter, str], tuple[str, ...]]:
    """Reads a list with commas, or "all"."""

    def read(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
        if value is None or value == "all":
            return tuple(known) if value else ()
        return names_in(value, known)

    return read


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.option(
    "--models",
    "names",
    show_default=", ".join(ROWS),
    callback=_words(list(ALL_ROWS)),
    metavar="NAME[,NAME...]",
    help="Models, in order; any model of keras.applications, such as ResNet152V2, at its real size too.",
)
@click.option(
    "--third-party",
    is_flag=True,
    help="Files that others made, fetched once (92 MB in packages); alone, or behind --models.",
)
@click.option(
    "--formats",
    default="memory",
    show_default=True,
    callback=_words(list(FORMATS)),
    metavar="FORMAT[,FORMAT...]",
    help=f"Formats to convert Keras models from: {', '.join(FORMATS)}; or all, which takes five times as long.",
)
@click.option(
    "--runtimes",
    default=",".join(RUNTIMES),
    metavar="NAME[,NAME...]",
    show_default=True,
    callback=_words(RUNTIMES),
    help="Stock runtimes to run under.",
)
@click.option("--nesting", type=NESTING, default="8|4", show_default=True, help="Bit-widths of every model.")
@click.option("--rounding", type=OneOf(list(METHODS)), default="nearest", show_default=True, help="Method of rounding.")
@click.option("--keep", type=FOLDER, help="Folder that keeps the files; a temporary one if not given.")
@json_option
@click.pass_context
def matrix(
    ctx: click.Context,
    names: tuple[str, ...],
    third_party: bool,
    formats: tuple[str, ...],
    runtimes: tuple[str, ...],
    nesting: str,
    rounding: str,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Convert each model from each format, run it under each runtime at full-bit and part-bit, and print what works.

    A cell passes if the outputs are those of the stock file of the same precision, full-bit is the source, and
    switching there and back changes nothing.
    """
    if third_party:
        names += tuple(name for name in THIRD_PARTY_ROWS if name not in names)
    with tempfile.TemporaryDirectory() as temporary, progress_bar() as progress:
        folder = keep or Path(temporary)
        options = {"formats": formats, "runtimes": runtimes, "nesting": nesting, "rounding": rounding}
        cells = list(try_models(names or tuple(ROWS), folder, progress=progress, **options))
    if as_json:
        print_json({"cells": [asdict(cell) for cell in cells]})
    else:
        _print_summary(cells, runtimes)
        _print_reasons(cells)
    if any(cell.outcome == "fails" for cell in cells):
        ctx.exit(1)


def _print_summary(cells: Sequence[Cell], runtimes: Sequence[str]) -> None:
    sources = list(dict.fromkeys((cell.format, cell.activations) for cell in cells))
    by_model: dict[str, dict[tuple[str, str], list[Cell]]] = {}
    for cell in cells:
        by_model.setdefault(cell.model, {}).setdefault((cell.format, cell.activations), []).append(cell)
    rows = [[model, *(_word(found.get(source, [])) for source in sources)] for model, found in by_model.items()]
    columns = ("model", *(f"{name} {activations}" for name, activations in sources))
    print_table(f"full-bit and part-bit under {', '.join(runtimes)}", columns, rows)
    counts = Counter(cell.outcome for cell in cells)
    print_lines(
        f"{len(cells)} cells: " + ", ".join(f"{counts[each]} {each}" for each in ("pass", "fails", "unsupported"))
    )


def _word(cells: Sequence[Cell]) -> str:
    """ "pass" if all do, else how many; "" where there is no such source."""
    counts = Counter(cell.outcome for cell in cells)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{number} {outcome}" for outcome, number in counts.items())


def _print_reasons(cells: Sequence[Cell]) -> None:
    """Each reason once for a model, with the cells that it holds for."""
    grouped: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        if cell.outcome != "pass":
            grouped.setdefault((cell.model, cell.outcome, cell.reason), []).append(cell)
    rows = [
        [
            model,
            outcome,
            ", ".join(dict.fromkeys(f"{cell.format} {cell.activations}" for cell in found)),
            ", ".join(dict.fromkeys(f"{cell.runtime} {cell.precision}" for cell in found)),
            reason,
        ]
        for (model, outcome, reason), found in grouped.items()
    ]
    if rows:
        print_table("what does not pass, and why", ("model", "outcome", "from", "under", "reason"), rows, left=5)


if __name__ == "__main__":
    matrix(prog_name="python -m nq_tflite_models.matrix")
