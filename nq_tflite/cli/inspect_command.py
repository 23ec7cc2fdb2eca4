"""`nq-tflite inspect`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nq_tflite.cli.console import (
    FEW_LAYERS,
    NqCommand,
    decibels,
    json_option,
    kilobytes,
    layer_labels,
    layers_option,
    layers_title,
    print_json,
    print_layers,
    print_lines,
    print_table,
    print_unnested,
    shape_text,
    short_name,
)
from nq_tflite.cli.parameters import FILE, OneOf, WholeNumber, plot_option, refuse_without
from nq_tflite.device.runtimes import installed_runtimes
from nq_tflite.errors import NqError, how_to_install

if TYPE_CHECKING:
    from nq_tflite.device.delegation import Delegation
    from nq_tflite.graph.inspection import InspectReport
    from nq_tflite.graph.nested import NestedWeight

_EPILOG = """\b
Examples:
  nq-tflite inspect model.tflite
  nq-tflite inspect model.tflite --layers
  nq-tflite inspect model.tflite --json
  nq-tflite inspect model.tflite --weight block_1_project --bits --count 8
  nq-tflite inspect model.tflite --plot layers.png
  nq-tflite inspect model.tflite --plot weights.svg --figure weights

--figure layers shows error and bytes of the worst layers (with --layers: of all), sizes shows the bytes that each
precision needs, weights shows the distribution of the codes of the worst layers (with --weight: of that one)."""

_FIGURES = ("layers", "sizes", "weights")


@dataclass(frozen=True)
class _Runs:
    """What runs where under this machine's first runtime, or why that is not known."""

    runtime: str | None = None
    delegation: Delegation | None = None
    unknown: str | None = None

    def place(self, weight: str) -> str:
        return self.of_weight(weight)["place"] or "-"

    def of_weight(self, weight: str) -> dict[str, str | None]:
        reader = None if self.delegation is None else self.delegation.reader_of(weight)
        return {"place": None, "reason": None} if reader is None else {"place": reader.place, "reason": reader.reason}

    def lines(self) -> tuple[str, ...]:
        if self.delegation is None:
            return (f"fused or unpacked: not known here: {self.unknown}",)
        first, *reasons = self.delegation.lines()
        return (f"{first}, with {self.runtime} on this machine", *(f"  {reason}" for reason in reasons))

    def as_dict(self) -> dict[str, Any]:
        known = None if self.delegation is None else {"runtime": self.runtime} | self.delegation.as_dict()
        return {"delegation": known, "delegation_unknown": self.unknown}


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("model", type=FILE)
@click.option("--weight", "name", metavar="NAME", help="Show only this weight: its name, or a unique part of its name.")
@click.option(
    "--bits", "show_bits", is_flag=True, help="Show the bits of the first weights of its first filter, with --weight."
)
@click.option(
    "--count", type=WholeNumber(), default=16, show_default=True, help="Number of weights to show with --bits."
)
@layers_option
@plot_option
@click.option(
    "--figure",
    type=OneOf(_FIGURES),
    help="Subject of --plot. Default: layers, or the weights of --weight.",
)
@json_option
@click.pass_context
def inspect(
    ctx: click.Context,
    model: Path,
    name: str | None,
    show_bits: bool,
    count: int,
    layers: bool,
    plot: Path | None,
    figure: str | None,
    as_json: bool,
) -> None:
    """Show the contents of a nested model, and how it runs here.

    MODEL is a nested .tflite file. The command shows its levels and bytes, the layers with the largest errors, the
    bytes that a switch moves, and which weights are fused (computed on while packed) or unpacked for the runtime's
    kernels. With --layers it also shows why other weights are not nested.
    """
    from nq_tflite.graph.inspection import inspect_file

    refuse_without(ctx, ("show_bits",), name is not None, "--weight NAME")
    refuse_without(ctx, ("count",), show_bits, "--bits")
    refuse_without(ctx, ("figure",), plot is not None, "--plot FILE")
    if name is not None and figure not in (None, "weights"):
        raise click.UsageError(f"--figure {figure} cannot be combined with --weight.")
    report = inspect_file(model)
    if plot is not None:
        _draw(model, report, figure or ("layers" if name is None else "weights"), name, layers, plot)
    if name is not None:
        _inspect_weight(model, name, report, count if show_bits else 0, as_json)
        return
    runs = _find_runs(model)
    if as_json:
        print_json(report.as_dict() | runs.as_dict())
    else:
        print_lines(*report.lines(), *runs.lines())
        _print_weights(report, runs, None if layers else FEW_LAYERS)
        if layers:
            print_unnested(report.unnested)


def _draw(model: Path, report: InspectReport, figure: str, name: str | None, layers: bool, path: Path) -> None:
    from nq_tflite.graph.inspection import find_weight
    from nq_tflite.graph.nested import read_nested
    from nq_tflite.plot import histogram_figure, layers_figure, save_figure, sizes_figure, worst_weights

    if figure == "sizes":
        save_figure(sizes_figure(report), path)
    elif figure == "layers":
        save_figure(layers_figure(report.weights, most=len(report.weights) if layers else 20), path)
    else:
        nested = read_nested(model)
        weights = worst_weights(nested, report.weights) if name is None else [find_weight(nested, name)]
        save_figure(histogram_figure(weights), path)


def _find_runs(model: Path) -> _Runs:
    """Loads the model in a process of its own: what read the file here may clash with the runtime."""
    from nq_tflite.measure.benchmark import delegation_in_child

    if not installed_runtimes():
        return _Runs(unknown=f"no TFLite runtime is installed: {how_to_install('litert')}")
    try:
        return _Runs(*delegation_in_child(model))
    except NqError as error:
        return _Runs(unknown=" ".join(str(error).split()))


def _print_weights(report: InspectReport, runs: _Runs, most: int | None = None) -> None:
    from nq_tflite.conversion.advice import worst_first

    shown = worst_first(report.weights)[:most]
    partial = report.precisions[:-1]
    rows = [
        [
            label,
            weight.operator,
            shape_text(weight.shape),
            weight.output_type,
            runs.place(weight.name),
            weight.nesting,
            kilobytes(weight.level_bytes),
            str(sum(weight.bias_bytes)),
            *(decibels(snr) for snr in weight.snr_db[: len(partial)]),
        ]
        for label, weight in zip(layer_labels([each.name for each in shown]), shown, strict=True)
    ]
    columns = ("weight", "operator", "shape", "type", "runs", "bits", "kB by level", "bias bytes")
    errors = tuple(f"dB, {bits} bits" for bits in partial)
    title = layers_title("nested weights", len(shown), len(report.weights))
    spare = ("shape", "operator", "bias bytes")
    print_layers(f"{title}, by SNR against full-bit", (*columns, *errors), rows, left=6, spare=spare)


def _inspect_weight(model: Path, name: str, report: InspectReport, count: int, as_json: bool) -> None:
    from nq_tflite.graph.inspection import find_weight
    from nq_tflite.graph.nested import read_nested

    weight = find_weight(read_nested(model), name)
    rows = tuple(row for row in report.weights if row.name == weight.name)
    first_filter, runs = _first_filter(weight, count), _find_runs(model)
    if as_json:
        print_json(asdict(rows[0]) | runs.of_weight(weight.name) | ({"first_filter": first_filter} if count else {}))
        return
    _print_weights(replace(report, weights=rows), runs)
    if count:
        columns = ("index", "bits", *(f"code at {bits} bits" for bits in weight.nesting.precisions))
        table = [[str(index), each["bits"], *map(str, each["codes"])] for index, each in enumerate(first_filter)]
        title = f"first filter of {short_name(weight.name)}, scale {float(weight.scales.flat[0]):.6g}"
        print_table(title, columns, table, left=2)


def _first_filter(weight: NestedWeight, count: int) -> list[dict[str, Any]]:
    """For each of the first weights: its bits, levels set apart, and its code at every precision."""
    from nq_tflite.format.bitview import filter_bits
    from nq_tflite.format.levels import value_at

    codes = weight.codes()[:1]
    levels = range(len(weight.nesting.precisions))
    values = [value_at(codes, weight.nesting, level)[0, :count].tolist() for level in levels]
    bits = filter_bits(codes[:, :count], weight.nesting)
    return [{"bits": text, "codes": list(each)} for text, each in zip(bits, zip(*values, strict=True), strict=True)]
