"""`python -m nq_tflite_models.labelled`: a classifier on labelled inputs, by every method, beside stock INT8."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from nq_tflite_models.measure.critical import GRID, Kept, critical_nestings
from nq_tflite_models.measure.options import grid_option, methods_option, nestings_option, print_critical

from nq_tflite.cli.console import (
    NqCommand,
    decibels,
    json_option,
    percent,
    print_json,
    print_lines,
    print_table,
    progress_bar,
    without_native_chatter,
)
from nq_tflite.cli.parameters import (
    FILE,
    OneOf,
    PathTo,
    WholeNumber,
    crop_option,
    labels_option,
    preprocess_option,
    workers_options,
)
from nq_tflite.errors import UnsupportedModelError, needing_extra
from nq_tflite.format.nesting import LAYER_BITS, LayerBits
from nq_tflite.measure.workers import open_client
from nq_tflite.units import kernels_text

if TYPE_CHECKING:
    from nq_tflite_models.measure.labelled import LabelledComparison, LabelledRow
    from nq_tflite_models.measure.labelled_case import LabelledData
    from nq_tflite_models.measure.paired import PairedDifference

    from nq_tflite.measure.preprocessing import PixelRange


class _Pixels(NamedTuple):
    """What a net takes of a picture."""

    name: PixelRange | None = None
    crop_fraction: float | None = None


_OF_CIFAR = _Pixels("imagenet", 1.0)
#: Nets by name, with the pixels that they take. Weights of the first two are fetched; the others' are a file of the
#: user's.
FETCHED = {"mobilenet_v2": _Pixels("mobilenet_v2"), "efficientnet_lite0": _Pixels("efficientnet_lite0")}
GIVEN = {
    "cifar_resnet20": _OF_CIFAR,
    "cifar_resnet32": _OF_CIFAR,
    "cifar_resnet44": _OF_CIFAR,
    "cifar_resnet56": _OF_CIFAR,
    "mlperf_resnet8": _Pixels("0..255"),
    "mlperf_vww": _Pixels("0..1"),
    "mlperf_kws": _Pixels(),
}
_KERAS = (".keras", ".h5")
#: Of the cell that says why there is no file.
_WHY_WIDTH = 18

_EPILOG = """\b
Examples:
  python -m nq_tflite_models.labelled photos.zip --model mobilenet_v2 \\
    --num-calibration 200
  python -m nq_tflite_models.labelled cifar.zip --model cifar_resnet20 \\
    --weights resnet20.th --calibration cifar.zip/calibration --nesting '8|3'
  python -m nq_tflite_models.labelled kws_inputs.zip --labels kws_labels.csv \\
    --model mlperf_kws --weights kws_ref_model_float32.tflite \\
    --quantized-by kws_ref_model.tflite --json

\b
INPUTS is a folder, a zip file, or a folder in a zip file (images.zip/eval).
Its labels.csv, or --labels, has the columns file and class (or label). Files
are pictures; .bin, the bytes of int8 or float32 values; or .npy.

\b
Differences of top-1 are paired: an interval of 95 % by a bootstrap of the
inputs, and * where McNemar's exact test gives p < 0.05.

Exit codes: 0 success, 1 failure, 2 bad usage, 130 interrupted."""


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("inputs", type=PathTo("inputs"))
@click.option(
    "--model",
    "name",
    required=True,
    metavar="NAME|FILE",
    help=f"Net, one of {', '.join((*FETCHED, *GIVEN))}; or a .keras or .h5 file.",
)
@click.option("--weights", type=FILE, help="Trained weights of a net whose weights are not fetched.")
@labels_option
@click.option("--calibration", type=PathTo("inputs"), help="Other inputs to calibrate with, which need no labels.")
@click.option(
    "--num-calibration",
    type=WholeNumber(),
    default=160,
    show_default=True,
    help="Inputs to calibrate with, at most; without --calibration that many of INPUTS, which are not evaluated then.",
)
@click.option("--seed", type=WholeNumber(least=0), default=0, show_default=True, help="Of the draw of those inputs.")
@nestings_option(show_default="8|4")
@grid_option
@methods_option
@click.option(
    "--equalize/--no-equalize",
    default=True,
    show_default=True,
    help="Equalize linear chains for the calibrated methods, as convert does.",
)
@click.option(
    "--layer-bits",
    type=OneOf(LAYER_BITS),
    default="same",
    show_default=True,
    help="Part-bits of each layer's own for the calibrated methods, in no more bytes than the same for all.",
)
@preprocess_option
@crop_option
@click.option("--quantized-by", type=FILE, help="INT8 .tflite file that takes the int8 inputs as they are.")
@click.option("--threads", type=WholeNumber(), default=1, show_default=True, help="Threads of the runtime.")
@workers_options
@json_option
def labelled(
    inputs: Path,
    name: str,
    weights: Path | None,
    labels: Path | None,
    calibration: Path | None,
    num_calibration: int,
    seed: int,
    nestings: tuple[str, ...],
    grid: bool,
    methods: tuple[Any, ...],
    equalize: bool,
    layer_bits: LayerBits,
    preprocess: PixelRange | None,
    crop: float | None,
    quantized_by: Path | None,
    threads: int,
    workers: int | None,
    scheduler: str | None,
    as_json: bool,
) -> None:
    """Compare a classifier's files on labelled inputs: float, stock INT8, LiteRT Quantizer's, nested by every method.

    Activations are int8 in all of them. Calibration and evaluation never share an input.
    """
    _check_model(name, weights)
    if grid and nestings:
        raise click.UsageError("--grid cannot be combined with --nesting.")
    with needing_extra("demo", "labelled measurement"):
        from nq_tflite_models.measure.labelled import compare_labelled
        from nq_tflite_models.measure.labelled_case import LabelledData
        from nq_tflite_models.measure.labelled_inputs import drawn_calibration, given_calibration, read_labelled
    table = read_labelled(inputs, labels)
    if calibration is None:
        chosen, evaluated = drawn_calibration(table, num_calibration, seed)
    else:
        chosen, evaluated = given_calibration(calibration, table, num_calibration, seed), table
    pixels = (FETCHED | GIVEN).get(name, _Pixels())
    data = LabelledData(
        evaluated=evaluated,
        calibration=chosen,
        pixels=preprocess or pixels.name,
        crop_fraction=pixels.crop_fraction if crop is None else crop,
        quantization=None if quantized_by is None else _input_quantization(quantized_by),
    )
    with without_native_chatter(), open_client(scheduler, workers) as client, progress_bar() as notify:
        notify(f"building {name}", 0, 0)
        net = _build(name, weights)
        found = compare_labelled(
            net,
            name,
            data,
            nestings=GRID if grid else nestings or ("8|4",),
            methods=methods,
            equalize=equalize,
            layer_bits=layer_bits,
            num_threads=threads,
            client=client,
            notify=notify,
        )
    said = {"inputs": str(inputs), "calibration": str(calibration or inputs), "seed": seed}
    if as_json:
        critical = [asdict(each) for each in critical_nestings(_kept(found))] if grid else []
        print_json(said | found.as_dict() | {"critical": critical})
    else:
        _print(found, said, data)
        if grid:
            print_critical(critical_nestings(_kept(found)), "top-1")


def _kept(found: LabelledComparison) -> Iterator[Kept]:
    rates = {(row.method, row.nesting, row.bits): row.score.top1 for row in found.rows if row.score and row.nesting}
    for method, nesting in dict.fromkeys((method, nesting) for method, nesting, _ in rates):
        full, part = map(int, nesting.split("|"))
        yield Kept(found.model, method, full, part, rates[method, nesting, full], rates[method, nesting, part])


def _check_model(name: str, weights: Path | None) -> None:
    if name in GIVEN and weights is None:
        raise click.UsageError(f"{name} needs --weights; models/README.md says which file.")
    if name not in GIVEN and weights is not None:
        raise click.UsageError(f"--weights needs --model with one of {', '.join(GIVEN)}.")
    if name not in FETCHED and name not in GIVEN and Path(name).suffix not in _KERAS:
        expected = f"one of {', '.join((*FETCHED, *GIVEN))}, or a {' or '.join(_KERAS)} file"
        raise click.UsageError(f"--model: expected {expected}, got {name!r}.")


def _build(name: str, weights: Path | None) -> Any:
    with needing_extra("demo", "labelled measurement"):
        from nq_tflite_models.nets.efficientnet_lite0 import efficientnet_lite0
        from nq_tflite_models.nets.mobilenet_v2 import mobilenet_v2
        from nq_tflite_models.nets.zoo import build_model
    fetch: dict[str, Callable[[], Any]] = {"mobilenet_v2": mobilenet_v2, "efficientnet_lite0": efficientnet_lite0}
    if name in fetch:
        return fetch[name]()
    return build_model(name, weights=weights) if name in GIVEN else Path(name)


def _input_quantization(path: Path) -> tuple[float, int]:
    """Scale and zero point of a model's only input."""
    from nq_tflite.graph import flatbuffer as fb

    graph = fb.read_model(path).model.subgraphs[0]
    tensors = [graph.tensors[index] for index in fb.indices(graph.inputs)]
    scales = [list(tensor.quantization.scale or ()) if tensor.quantization else [] for tensor in tensors]
    if len(tensors) != 1 or fb.type_name(tensors[0].type) != "INT8" or len(scales[0]) != 1:
        got = ", ".join(fb.type_name(tensor.type) for tensor in tensors)
        raise UnsupportedModelError(f"model {path}", expected="one int8 input with a scale", got=got)
    return float(scales[0][0]), int(tensors[0].quantization.zeroPoint[0])


def _print(found: LabelledComparison, said: dict[str, Any], data: LabelledData) -> None:
    count, used = found.num_evaluated, found.num_calibration
    print_lines(
        f"{found.model} on {Path(said['inputs']).name}, n = {count:,}",
        f"calibrated with {used} inputs of {Path(said['calibration']).name} that are not among them "
        f"({percent(used / (used + count))} of all, seed {said['seed']})",
        f"{found.runtime}, {kernels_text(found.kernels)}",
        *([f"pictures: {found.preprocessing}"] if data.has_pictures else []),
    )
    print_table(
        "files with int8 activations, beside the float model",
        ("file", "bits", "top-1", "top-5", "agreement", "SNR dB", "took"),
        [_scores(row) for row in found.rows],
        left=2,
        spare=("took",),
    )
    print_table(
        "top-1 less that of others, points [95 %, paired]; *: McNemar's p < 0.05",
        ("file", "bits", "less float", "less stock INT8"),
        [
            [row.method, _bits(row), _difference(row.against_float), _difference(row.against_stock)]
            for row in found.rows
            if row.against_float or row.against_stock
        ],
        left=2,
    )
    print_lines(*sorted({f"{row.method}: {row.note}" for row in found.rows if row.note and row.score}))


def _scores(row: LabelledRow) -> list[str]:
    took = "" if row.seconds is None else f"{row.seconds:.0f} s"
    if row.score is None:
        why = textwrap.fill(f"{row.method}: {row.note}", _WHY_WIDTH, break_on_hyphens=False)
        return [why, _bits(row), "-", "-", "-", "-", took]
    return [
        row.method,
        _bits(row),
        percent(row.score.top1),
        percent(row.score.top_k),
        percent(row.score.agreement),
        decibels(row.score.logit_snr_db),
        took,
    ]


def _bits(row: LabelledRow) -> str:
    """4 of 8|4."""
    if row.bits is None:
        return ""
    return str(row.bits) if row.nesting is None else f"{row.bits} of {row.nesting}"


def _difference(found: PairedDifference | None) -> str:
    """-0.8 [-1.2,-0.4]*, in points."""
    if found is None:
        return ""
    value, low, high = (f"{100 * each:+.1f}" for each in (found.difference, found.low, found.high))
    return f"{value} [{low},{high}]{'*' if found.p_value < 0.05 else ''}"


if __name__ == "__main__":
    labelled(prog_name="python -m nq_tflite_models.labelled")
