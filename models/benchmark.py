"""`python -m nq_tflite_models.benchmark`: several models beside their stock files, in one table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
from nq_tflite_models.measure.comparison import (
    ACTIVATIONS,
    MEMORY_DEFINITION,
    ROUNDING,
    Activations,
    ComparedModel,
    Comparison,
    compare_models,
)
from nq_tflite_models.measure.litert_quantizer import QUANTIZED_KINDS, QuantizedKind
from nq_tflite_models.measure.options import models_option
from nq_tflite_models.nets.zoo import MODELS, SETS
from nq_tflite_models.weights.archives import cache_dir

from nq_tflite.cli.console import (
    NqCommand,
    fine_milliseconds,
    json_option,
    megabytes,
    milliseconds,
    print_json,
    print_lines,
    print_table,
    progress_bar,
    threads_option,
)
from nq_tflite.cli.parameters import FOLDER, NESTING, OneOf, WholeNumber, runtime_option
from nq_tflite.cli.storage_command import print_storage
from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.measure.peers import PEERS, PeerKind
from nq_tflite.measure.storage import StorageRow, measure_storage
from nq_tflite.progress import Progress
from nq_tflite.units import counted, kernels_text

_EPILOG = """\b
Examples:
  python -m nq_tflite_models.benchmark
  python -m nq_tflite_models.benchmark --models paper --storage
  python -m nq_tflite_models.benchmark --models resnet50,ds_cnn_l --threads 1,2 --runtime ai-edge-litert
  python -m nq_tflite_models.benchmark --models mobilenet_v2 --isa avx2 --json
  python -m nq_tflite_models.benchmark --models mobilenet_v2,resnet50 --activations float

Exit codes: 0 success, 1 failure, 2 bad usage, 130 interrupted."""


@click.command(cls=NqCommand, epilog=_EPILOG)
@models_option(MODELS, SETS)
@click.option("--nesting", type=NESTING, default="8|4", show_default=True, help="Bit-widths of every model.")
@click.option(
    "--activations",
    type=OneOf(ACTIVATIONS),
    default="int8",
    show_default=True,
    help="Activations to run with. int8: beside stock full-int8; float: at dynamic range, beside tensorflow's own.",
)
@runtime_option
@threads_option
@click.option("--runs", type=WholeNumber(), default=30, show_default=True, help="Invocations of each to time.")
@click.option(
    "--isa", metavar="ISA", help="Instruction set of the nested files' kernels, such as avx2; the best if not given."
)
@click.option(
    "--storage",
    "with_storage",
    is_flag=True,
    help="Print what a switch costs, and what separate files of each bit-width would take, as well.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=OneOf(("none", *PEERS)),
    default=PEERS,
    show_default=True,
    help="Further ways of running the stock file, as nq-tflite benchmark has them. May be repeated.",
)
@click.option(
    "--litert-quantizer",
    "quantized",
    multiple=True,
    type=OneOf(QUANTIZED_KINDS),
    help="A file of the same weights by LiteRT Quantizer to measure too: weights in four bits, one scale a channel or "
    "one for every 32 of a dense layer. May be repeated.",
)
@click.option(
    "--cache",
    type=FOLDER,
    help="Folder that keeps the converted files; nets/ in the cache of nq_tflite_models if not given.",
)
@json_option
def benchmark(
    names: tuple[str, ...],
    nesting: str,
    activations: Activations,
    runtime: RuntimeName | None,
    threads: tuple[int, ...],
    runs: int,
    isa: str | None,
    with_storage: bool,
    peers: tuple[PeerKind, ...],
    quantized: tuple[QuantizedKind, ...],
    cache: Path | None,
    as_json: bool,
) -> None:
    """Time models of the zoo, nested, beside their stock files, and measure the memory that both add."""
    folder = cache or cache_dir() / "nets"
    with progress_bar() as progress:
        comparison = compare_models(
            names,
            folder,
            nesting=nesting,
            activations=activations,
            runtime=runtime,
            threads=threads,
            runs=runs,
            isa=isa,
            peers=() if "none" in peers else peers,
            quantized=quantized,
            progress=progress,
        )
        storage = _storage(comparison, progress) if with_storage else []
    if as_json:
        print_json(comparison.as_dict() | ({"storage": [row.as_dict() for row in storage]} if with_storage else {}))
        return
    _print_comparison(comparison)
    if with_storage:
        _print_switching(comparison)
        print_storage(storage, as_json=False)
        print_lines("Rounded to nearest, so that files lack the level biases of other methods, about 1 % of a file.")


def _storage(comparison: Comparison, progress: Progress) -> list[StorageRow]:
    if comparison.activations != "int8":
        raise click.UsageError("--storage needs --activations int8.")
    return [
        replace(row, name=model.files.name)
        for model in comparison.models
        for row in measure_storage([model.files.stock], [comparison.nesting], rounding=ROUNDING, progress=progress)
    ]


def _print_switching(comparison: Comparison) -> None:
    rows = []
    for model in comparison.models:
        nested, stock = (
            next(each for each in model.report.footprints if each.path == path)
            for path in (model.files.nested, model.files.stock)
        )
        if nested.switch is not None:
            seconds = (
                *(nested.switch.upgrade_seconds, nested.switch.upgrade_and_run_seconds),
                *(nested.switch.downgrade_seconds, nested.switch.downgrade_and_run_seconds),
                *(stock.reload.load_seconds, stock.reload.load_and_run_seconds),
            )
            rows.append([model.files.name, megabytes(nested.switch.bytes_in), *map(milliseconds, seconds)])
    kinds = [f"{what}{run}" for what in ("to full-bit", "to part-bit", "stock loaded") for run in ("", " and run")]
    print_table("switching, beside loading the stock file anew", ("model", "moved", *kinds), rows)


def _print_comparison(comparison: Comparison) -> None:
    stock = "stock INT8" if comparison.activations == "int8" else "stock dynamic range"
    title = (
        f"nq_tflite {comparison.version} ({kernels_text(comparison.kernels)}), nested {comparison.nesting}, "
        f"beside {stock} under {comparison.runtime} on {comparison.cpu}"
    )
    times = ("stock time", "cached time", "full time", "part time")
    memory = ("stock memory", "cached memory", "full memory", "part memory", "full, part to cached")
    columns = ("model", "MMACs", "threads", *times, *memory)
    rows = [row for model in comparison.models for row in _rows(model)]
    print_table(title, columns, rows)
    _print_quantized(comparison)
    print_lines(
        *_missing_lines(comparison),
        f"Times are medians of {comparison.runs} interleaved runs; full-bit and part-bit are medians of the ratios to "
        "the stock file's time in the same round.",
        f"{MEMORY_DEFINITION} {counted(comparison.memory_threads, 'thread')}, one process a file.",
        f"The files are in {Path(comparison.models[0].files.stock).parent}.",
    )


def _rows(model: ComparedModel) -> list[list[str]]:
    """A row for each thread count; what does not depend on it stands in the first."""
    stock = model.stock_memory
    name, macs = model.files.name, f"{model.files.multiply_accumulates / 1e6:.0f}"
    full, part, cached = model.full_memory, model.part_memory, model.cached_memory
    to_cached = "-" if cached is None else f"{full / cached:.2f} x, {part / cached:.2f} x"
    memory = [megabytes(stock), _times(cached, stock), _times(full, stock), _times(part, stock), to_cached]
    return [
        [
            name if index == 0 else "",
            macs if index == 0 else "",
            str(row.num_threads),
            fine_milliseconds(row.stock.median_seconds),
            "-" if row.cached is None else f"{row.cached.ratio:.2f} x",
            f"{row.full.ratio:.2f} x",
            f"{row.part.ratio:.2f} x",
            *(memory if index == 0 else [""] * len(memory)),
        ]
        for index, row in enumerate(model.latencies)
    ]


def _times(count: int | None, stock: int) -> str:
    return "-" if count is None else f"{count / stock:.2f} x"


def _print_quantized(comparison: Comparison) -> None:
    rows = [
        [
            model.files.name,
            kind,
            megabytes(size),
            str(row.num_threads),
            f"{row.quantized[kind].ratio:.2f} x",
            _times(model.quantized_memory[kind], model.stock_memory),
        ]
        for model in comparison.models
        for kind, size in model.quantized.bytes.items()
        for row in model.latencies
    ]
    if rows:
        columns = ("model", "weights", "file", "threads", "time", "memory")
        print_table("LiteRT Quantizer's files, beside the stock file", columns, rows, left=2)


def _missing_lines(comparison: Comparison) -> list[str]:
    """What could not be measured, and why: once for all models."""
    reasons = [
        f"{kind}: {reason}"
        for model in comparison.models
        for kind, reason in {**model.report.missing_peers, **model.quantized.missing}.items()
    ]
    return list(dict.fromkeys(reasons))


if __name__ == "__main__":
    benchmark(prog_name="python -m nq_tflite_models.benchmark")
