"""`nq-tflite benchmark`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from nq_tflite.cli.console import (
    NqCommand,
    fine_milliseconds,
    json_option,
    megabytes,
    milliseconds,
    precision_name,
    print_json,
    print_layers,
    print_lines,
    print_table,
    progress_bar,
    threads_option,
)
from nq_tflite.cli.parameters import FILE, PRECISION, OneOf, WholeNumber, plot_option
from nq_tflite.device.runtimes import RUNTIMES, RuntimeName
from nq_tflite.measure.rounds import ROUND
from nq_tflite.units import counted, kernels_text

if TYPE_CHECKING:
    from nq_tflite.measure.benchmark import BenchmarkReport, Setting
    from nq_tflite.measure.memory import Footprint, MedianSwitch
    from nq_tflite.measure.peers import PeerKind

_EPILOG = """\b
Examples:
  nq-tflite benchmark model.tflite
  nq-tflite benchmark model.tflite --against int8.tflite \\
      --against float.tflite --threads 1,2
  nq-tflite benchmark model.tflite --against int8.tflite \\
      --runtime ai-edge-litert --runtime tflite-runtime --json"""

_MEMORY_NOTE = (
    "Bytes added to a process that had imported the runtime, after two runs. Private dirty: pages of its own, which "
    "the system cannot take back. Model file, cache file: clean pages of their mappings, which it can, and which "
    "processes share. PSS: of the sum, this process's share. Peak: the most while loading and running, code pages of "
    "the runtime included. Weights: resident bytes of the nested weights, a part of the model file's."
)
_PEER_NOTE = (
    "CompiledModel with a weight cache: XNNPACK maps its packed weights from a file of its own beside the model."
)
#: How tables call a peer.
_PEER_NAMES: dict[PeerKind, str] = {"weight-cache": "weight cache", "ynnpack": "YNNPACK"}


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("model", type=FILE)
@click.option(
    "--against",
    multiple=True,
    type=FILE,
    help="Another .tflite to run in turn. Ratios refer to the first one. May be repeated.",
)
@click.option(
    "--precision",
    multiple=True,
    type=PRECISION,
    default=("full", "part"),
    show_default=True,
    help="Precision to time: full, part, or a number of bits. May be repeated.",
)
@click.option(
    "--runtime",
    multiple=True,
    type=OneOf(RUNTIMES),
    help="Stock runtime to run under. Default: the first one that is installed. May be repeated.",
)
@threads_option
@click.option("--runs", type=WholeNumber(), default=50, show_default=True, help="Number of timed invocations of each.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=OneOf(("none", "weight-cache", "ynnpack")),
    default=("weight-cache", "ynnpack"),
    show_default=True,
    help="Stronger ways to run the first stock file of --against: LiteRT's CompiledModel with XNNPACK's weight "
    "cache, or with YNNPACK. May be repeated.",
)
@click.option("--switches", type=WholeNumber(), default=100, show_default=True, help="Number of timed switches.")
@click.option("--reloads", type=WholeNumber(), default=10, show_default=True, help="Number of timed reloads.")
@plot_option
@json_option
def benchmark(
    model: Path,
    against: tuple[Path, ...],
    precision: tuple[str, ...],
    runtime: tuple[RuntimeName, ...],
    threads: tuple[int, ...],
    runs: int,
    peers: tuple[str, ...],
    switches: int,
    reloads: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Time the precisions of a model, and other models in turn.

    MODEL is a nested or stock .tflite file. Memory, switches and reloads are measured too.
    """
    from nq_tflite.measure.benchmark import benchmark as benchmark_model

    with progress_bar() as progress:
        report = benchmark_model(
            model,
            against,
            precisions=precision,
            runtimes=runtime or (None,),
            threads=threads,
            runs=runs,
            switches=switches,
            reloads=reloads,
            peers=cast("tuple[PeerKind, ...]", () if "none" in peers or not against else peers),
            progress=progress,
        )
    if plot is not None:
        from nq_tflite.plot import benchmark_figure, save_figure

        save_figure(benchmark_figure(report), plot)
    if as_json:
        print_json(report.as_dict())
    else:
        _print_report(report)


def _print_report(report: BenchmarkReport) -> None:
    from nq_tflite.measure.benchmark import SLOWER, slower_than_stock

    print_lines(
        f"{report.cpu}, Python {report.python}, nq_tflite {report.version} with {kernels_text(report.kernels)}",
        report.note,
    )
    for setting in report.settings:
        _print_latencies(setting, report)
        nested = [each.ratio for each in setting.latencies if each.bits is not None]
        if nested and min(nested) > SLOWER:
            print_lines(f"to know: {slower_than_stock(Path(report.baseline).name, min(nested))}")
    _print_delegations(report.footprints)
    for runtime in dict.fromkeys(each.runtime for each in report.footprints):
        _print_memory([each for each in report.footprints if each.runtime == runtime], report.baseline)
    print_lines(_MEMORY_NOTE)
    if any(each.cache_bytes is not None for each in report.footprints):
        print_lines(_PEER_NOTE)
    print_lines(*(f"no {_PEER_NAMES[kind]}: {reason}" for kind, reason in report.missing_peers.items()))
    _print_switching(report.footprints)


def _print_latencies(setting: Setting, report: BenchmarkReport) -> None:
    rows = [
        [
            Path(each.path).name,
            _PEER_NAMES[each.peer] if each.peer else precision_name(each.bits),
            fine_milliseconds(each.median_seconds),
            f"{each.ratio:.2f}",
            f"{each.ratio_min:.2f} - {each.ratio_max:.2f}",
        ]
        for each in setting.latencies
    ]
    title = f"latency, {setting.runtime}, {counted(setting.num_threads, 'thread')}, {report.runs} interleaved runs"
    baseline = Path(report.baseline).name
    print_table(title, ("model", "precision", "median", f"ratio to {baseline}", "min - max"), rows, left=2)
    most = max(each.invocations for each in setting.latencies)
    if most > 1:
        least = f"{1e3 * ROUND:.0f} milliseconds"
        print_lines(f"A timed run is up to {most} invocations, so that it takes {least}; times are of one.")


def _print_delegations(footprints: Sequence[Footprint]) -> None:
    print_lines(
        *(
            f"{Path(each.path).name}, {each.runtime}: {each.delegation.summary()}"
            for each in footprints
            if each.delegation is not None
        )
    )


def _print_memory(footprints: Sequence[Footprint], baseline: str) -> None:
    base = next(each.states[0].added.held for each in footprints if each.path == baseline and each.peer is None)
    cached = any(each.cache_bytes is not None for each in footprints)
    rows = [
        [
            Path(each.path).name,
            _state_name(each, index),
            megabytes(state.added.private_dirty),
            megabytes(state.added.model_file),
            *([megabytes(state.added.cache_file)] if cached else []),
            megabytes(state.added.held),
            megabytes(state.added.pss),
            f"{state.added.held / base:.2f}",
            megabytes(each.peak) if index == 0 else "",
            megabytes(state.weights),
        ]
        for each in footprints
        for index, state in enumerate(each.states)
    ]
    columns = (
        *("model", "state", "private dirty", "model file"),
        *(["cache file"] if cached else []),
        *("sum", "PSS", f"ratio to {Path(baseline).name}", "peak", "weights"),
    )
    threads = counted(footprints[0].num_threads, "thread")
    title = f"resident memory that a model adds, {footprints[0].runtime}, {threads}, one process each"
    print_table(title, columns, rows, left=2)


def _state_name(footprint: Footprint, index: int) -> str:
    if footprint.peer is not None:
        return f"loaded, {_PEER_NAMES[footprint.peer]}"
    return f"{'loaded' if index == 0 else 'switched'}, {precision_name(footprint.states[index].bits)}"


def _print_switching(footprints: Sequence[Footprint]) -> None:
    rows = []
    for each in footprints:
        name, switch, reload = Path(each.path).name, each.switch, each.reload
        if switch is not None:
            rows += [[name, each.runtime, *cells] for cells in _switch_cells(switch)]
        if each.first_start_seconds is not None:
            start = milliseconds(each.first_start_seconds)
            moved = "-" if each.cache_bytes is None else f"{megabytes(each.cache_bytes)} written"
            what = "first start (1)" if each.peer is None else f"first start, {_PEER_NAMES[each.peer]} (1)"
            rows.append([name, each.runtime, what, "-", start, moved])
        load, ran = milliseconds(reload.load_seconds), milliseconds(reload.load_and_run_seconds)
        again = "reload" if each.peer is None else f"reload, {_PEER_NAMES[each.peer]}"
        rows.append([name, each.runtime, f"{again} ({reload.count})", load, ran, "-"])
    columns = ("model", "runtime", "change (times measured)", "median", "with the first run", "moved")
    print_layers("switching beside reloading", columns, rows, left=3)


def _switch_cells(switch: MedianSwitch) -> list[list[str]]:
    """What (how often), seconds of the call, seconds with the first run, bytes moved."""
    first, up, down = switch.first_upgrade_seconds, switch.upgrade_seconds, switch.downgrade_seconds
    kinds = (
        ("first switch to full-bit", switch.first_count, first, switch.first_upgrade_and_run_seconds, switch.bytes_in),
        ("switch to full-bit", switch.count, up, switch.upgrade_and_run_seconds, switch.bytes_in),
        ("switch to part-bit", switch.count, down, switch.downgrade_and_run_seconds, switch.bytes_out),
    )
    return [
        [f"{what} ({times})", milliseconds(call), milliseconds(ran), megabytes(moved)]
        for what, times, call, ran, moved in kinds
    ]
