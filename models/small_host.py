"""`python -m nq_tflite_models.small_host`: the smallest memory that a process needs to load and run a model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from nq_tflite_models.measure.comparison import model_files
from nq_tflite_models.measure.memory_limits import (
    PATIENCE_SECONDS,
    MemoryLimit,
    find_memory_limit,
    forget_cached_pages,
    smallest_limit,
)
from nq_tflite_models.nets.zoo import MODELS
from nq_tflite_models.weights.archives import cache_dir

from nq_tflite.cli.console import NqCommand, json_option, print_json, print_lines, print_table, progress_bar
from nq_tflite.cli.parameters import FILE, NESTING, OneOf, WholeNumber
from nq_tflite.device.runtimes import RUNTIMES, installed_runtimes

KIBIBYTE, MEBIBYTE = 1 << 10, 1 << 20
_EPILOG = """\b
Examples:
  python -m nq_tflite_models.small_host
  python -m nq_tflite_models.small_host --model resnet50 --runtime ai-edge-litert --json
  python -m nq_tflite_models.small_host --nested mine_8_4.tflite --stock mine_int8.tflite"""


@dataclass(frozen=True)
class Need:
    """What one process needs.

    Attributes:
        runtime: name of the stock runtime.
        what: "no model", "stock", "full-bit" or "part-bit".
        bytes: the smallest limit; above_floor: how much of it the model adds to a process without one.
    """

    runtime: str
    what: str
    bytes: int
    above_floor: int


def measure_needs(
    stock: str | Path, nested: str | Path, runtime: str, limit: MemoryLimit, resolution: int, patience: int
) -> list[Need]:
    """The needs of a process without a model, with the stock one, and with the nested one at both precisions."""
    runs = {
        "no model": (),
        "stock": (str(stock), "stock"),
        "full-bit": (str(nested), "full"),
        "part-bit": (str(nested), "part"),
    }
    found = {what: _need(runtime, arguments, limit, resolution, patience) for what, arguments in runs.items()}
    return [Need(runtime, what, need, need - found["no model"]) for what, need in found.items()]


def _need(runtime: str, arguments: Sequence[str], limit: MemoryLimit, resolution: int, patience: int) -> int:
    command = [sys.executable, "-m", "nq_tflite_models.run_once", runtime, *arguments]

    def allows(bytes_allowed: int) -> bool:
        for path in arguments[:1]:
            forget_cached_pages(path)
        return limit.allows(command, bytes_allowed, patience)

    return smallest_limit(allows, resolution)


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.option("--model", type=OneOf(list(MODELS)), default="mobilenet_v2", show_default=True, help="Model of the zoo.")
@click.option("--nesting", type=NESTING, default="8|4", show_default=True, help="Bit-widths of that model.")
@click.option("--nested", type=FILE, help="Nested file to try instead; needs --stock too.")
@click.option("--stock", type=FILE, help="Stock file to try beside it.")
@click.option(
    "--runtime",
    multiple=True,
    type=OneOf(RUNTIMES),
    help="Stock runtime to run under; all but tensorflow if not given. May be repeated.",
)
@click.option(
    "--resolution",
    type=WholeNumber("KIB", least=4),
    default=256,
    show_default=True,
    help="KiB to tell limits apart by.",
)
@click.option(
    "--patience",
    type=WholeNumber("SECONDS"),
    default=PATIENCE_SECONDS,
    show_default=True,
    help="CPU seconds that one try may take.",
)
@json_option
def small_host(
    model: str,
    nesting: str,
    nested: Path | None,
    stock: Path | None,
    runtime: tuple[str, ...],
    resolution: int,
    patience: int,
    as_json: bool,
) -> None:
    """Find the smallest memory limit in which a model loads and runs twice, stock and nested, by bisection.

    Each try is a process of its own with NumPy, a runtime and one thread.
    """
    if (nested is None) != (stock is None):
        raise click.UsageError("Give --nested and --stock together.")
    runtimes = runtime or tuple(each for each in installed_runtimes() if each != "tensorflow")
    limit, needs = find_memory_limit(), []
    with progress_bar() as progress:
        if nested is None or stock is None:
            files = model_files(model, cache_dir() / "nets", nesting)
            nested, stock = Path(files.nested), Path(files.stock)
        for step, each in enumerate(runtimes):
            progress(each, step, len(runtimes))
            needs += measure_needs(stock, nested, each, limit, resolution * KIBIBYTE, patience)
    if as_json:
        print_json({"limit": limit.description, "resolution": resolution * KIBIBYTE, "needs": [vars(n) for n in needs]})
        return
    rows = [[n.runtime, n.what, f"{n.bytes / MEBIBYTE:.2f}", f"{n.above_floor / MEBIBYTE:.2f}"] for n in needs]
    columns = ("runtime", "model", "smallest limit, MiB", "above no model, MiB")
    print_table(f"smallest memory to load and run {nested.name}, and beside it {stock.name}", columns, rows, left=2)
    print_lines(
        f"Limited by {limit.description}. Steps of {resolution} KiB; each held three times in a row, "
        f"in {patience} seconds of CPU time."
    )


if __name__ == "__main__":
    small_host(prog_name="python -m nq_tflite_models.small_host")
