"""`python -m nq_tflite_models.delivery`: time to the first inference, nested beside stock, at several bandwidths."""

from __future__ import annotations

from pathlib import Path

import click
from nq_tflite_models.measure.comparison import model_files
from nq_tflite_models.measure.first_inference import FirstInferences, first_inferences
from nq_tflite_models.nets.zoo import MODELS
from nq_tflite_models.weights.archives import cache_dir

from nq_tflite.cli.console import NqCommand, json_option, megabytes, print_json, print_lines, print_table, progress_bar
from nq_tflite.cli.parameters import FOLDER, NESTING, OneOf, WholeNumber, runtime_option
from nq_tflite.device.runtimes import RuntimeName

_EPILOG = """\b
Examples:
  python -m nq_tflite_models.delivery
  python -m nq_tflite_models.delivery --model resnet50 --nesting '8|5' --megabits 10,50 --runs 3 --json

Exit codes: 0 success, 1 failure, 2 bad usage, 130 interrupted."""


def _bandwidths(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        found = tuple(float(word) for word in value.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < each < float("inf") for each in found):
        raise click.BadParameter("expected megabits a second separated by commas, such as 1,8,64.")
    return found


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.option("--model", type=OneOf(tuple(MODELS)), default="mobilenet_v2", show_default=True, help="Model of the zoo.")
@click.option("--nesting", type=NESTING, default="8|4", show_default=True, help="Bit-widths of that model.")
@click.option(
    "--megabits",
    metavar="N[,N...]",
    default="1,4,16,64",
    show_default=True,
    callback=_bandwidths,
    help="Bandwidths of the server, in megabits a second.",
)
@click.option("--runs", type=WholeNumber(), default=1, show_default=True, help="Runs of each; medians are printed.")
@runtime_option
@click.option(
    "--cache",
    type=FOLDER,
    help="Folder that keeps the converted files; nets/ in the cache of nq_tflite_models if not given.",
)
@json_option
def delivery(
    model: str,
    nesting: str,
    megabits: tuple[float, ...],
    runs: int,
    runtime: RuntimeName | None,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Time a client from its request to its first output: the stock INT8 file, downloaded whole, and the nested one,
    received level by level, both from a throttled server on this machine."""
    with progress_bar() as progress:
        files = model_files(model, cache or cache_dir() / "nets", nesting, progress=progress)
        found = first_inferences(files.stock, files.nested, megabits, runs=runs, runtime=runtime, progress=progress)
    if as_json:
        print_json({"model": model, "nesting": nesting} | found.as_dict())
        return
    _print_times(model, nesting, found)


def _print_times(model: str, nesting: str, found: FirstInferences) -> None:
    rows = [
        [
            f"{row.megabits:g} Mbit/s",
            f"{row.stock_seconds:.2f} s",
            f"{row.part_seconds:.2f} s",
            f"{row.full_seconds:.2f} s",
            f"{row.part_seconds / row.stock_seconds:.2f}",
            f"{row.full_seconds / row.stock_seconds:.2f}",
        ]
        for row in found.rows
    ]
    title = f"{model}, nested {nesting}: seconds from the request to the first output under {found.runtime}"
    print_table(title, ("bandwidth", "stock INT8", "part-bit", "full-bit", "part / stock", "full / stock"), rows)
    print_lines(
        f"stock file {megabytes(found.stock_bytes)}; nested file {megabytes(found.nested_bytes)}, of which "
        f"{megabytes(found.base_bytes)} run part-bit. Medians of {found.runs} run(s).",
    )


if __name__ == "__main__":
    delivery(prog_name="python -m nq_tflite_models.delivery")
