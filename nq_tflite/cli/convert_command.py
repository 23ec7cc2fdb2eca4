"""`nq-tflite convert`."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from nq_tflite.cli.console import (
    FEW_LAYERS,
    NqCommand,
    decibels,
    json_option,
    kilobytes,
    layer_labels,
    layers_option,
    layers_title,
    percent,
    precision_name,
    print_json,
    print_layers,
    print_lines,
    print_table,
    print_unnested,
    progress_bar,
    shape_text,
    warn,
    without_native_chatter,
)
from nq_tflite.cli.parameters import (
    FILE,
    FRACTION,
    NESTING_OR_AUTO,
    PATH,
    OneOf,
    WholeNumber,
    crop_option,
    preprocess_option,
    refuse_without,
)
from nq_tflite.conversion.rounding import DEFAULT, METHODS, Rounding
from nq_tflite.conversion.sources.export_options import ACTIVATION_RANGES, IO_TYPES, ActivationRanges, IoType
from nq_tflite.errors import RepresentativeDataError, reason_of
from nq_tflite.files import check_output
from nq_tflite.format.constants import GROUP_SIZES
from nq_tflite.format.nesting import LAYER_BITS, LayerBits, Nesting

if TYPE_CHECKING:
    from nq_tflite.conversion.report import ConversionReport, Search
    from nq_tflite.conversion.sources.calibration import RepresentativeData
    from nq_tflite.measure.photo_samples import PhotoSamples
    from nq_tflite.measure.preprocessing import PixelRange
    from nq_tflite.progress import Progress

_IO_TYPE = OneOf(IO_TYPES)
_EPILOG = """\b
Examples:
  nq-tflite convert model.keras model.tflite --nesting '8|5' \\
      --representative samples.npy
  nq-tflite convert saved_model/ model.tflite --representative photos/ \\
      --preprocess imagenet
  nq-tflite convert int8.tflite nested.tflite --nesting '8|6|4' --json
  nq-tflite convert model.keras model.tflite --nesting auto --budget 0.5 \\
      --representative photos/ --preprocess keras_mobilenet_v2
  nq-tflite convert float.tflite nested.tflite --exclude '*head*' \\
      --include 'model/embedding/*'

A .npy file holds samples [samples, ...]; a .npz file holds one such array for each input, under the input's name."""


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("source", type=PATH)
@click.argument("output", type=FILE)
@click.option(
    "--nesting",
    type=NESTING_OR_AUTO,
    default="8|5",
    show_default=True,
    help="Bit-widths, full-bit first, such as '8|5' or '8|6|4'. 'auto' searches for them.",
)
@click.option(
    "--min-agreement",
    type=FRACTION,
    help="Fraction of full-bit's agreement that part-bit must keep, with --nesting auto. Default: 0.95.",
)
@click.option(
    "--budget", type=FRACTION, help="Largest part-bit size with --nesting auto, as a fraction of full-bit's bytes."
)
@click.option(
    "--min-bits", type=WholeNumber(least=2), help="Smallest number of part-bits of any layer, with --nesting auto."
)
@click.option(
    "--representative",
    type=PATH,
    help="Typical inputs: a .npy or .npz file, or a folder of photos. They make a Keras SOURCE full-int8, and rounding "
    "uses the first 128.",
)
@preprocess_option
@crop_option
@click.option("--size", type=WholeNumber(), help="Height and width of photos, for a model that accepts any size.")
@click.option(
    "--rounding",
    type=OneOf(list(METHODS)),
    default=DEFAULT,
    show_default=True,
    help="Rounding method. " + "; ".join(f"{each.name}: {each.description}" for each in METHODS.values()) + ".",
)
@click.option(
    "--exact", is_flag=True, help="Keep the codes of an INT8 SOURCE bit for bit; --rounding then has no effect."
)
@click.option(
    "--input-type", type=_IO_TYPE, default="float32", show_default=True, help="Type of an INT8 graph's inputs."
)
@click.option(
    "--output-type", type=_IO_TYPE, default="float32", show_default=True, help="Type of an INT8 graph's outputs."
)
@click.option(
    "--activation-ranges",
    type=OneOf(ACTIVATION_RANGES),
    default="minmax",
    show_default=True,
    help="How the ranges of int8 activations are chosen. auto tries all of them.",
)
@click.option(
    "--equalize/--no-equalize",
    default=True,
    show_default=True,
    help="Rescale channels so that they fill their int8 ranges, where this does not lose accuracy.",
)
@click.option(
    "--layer-bits",
    type=OneOf(LAYER_BITS),
    help="Number of part-bits of each layer: its own (in no more bytes), or the same for all. Default: own for auto.",
)
@click.option(
    "--group-size",
    type=OneOf(list(map(str, GROUP_SIZES))),
    help="Inputs of a channel that share a scale; all of them if not given. For dense layers and embedding tables.",
)
@click.option(
    "--include",
    multiple=True,
    metavar="PATTERN",
    help="Names of weights to nest even if it saves nothing. May be repeated.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Names of weights to leave as they are, unless included. May be repeated.",
)
@layers_option
@json_option
@click.pass_context
def convert(
    ctx: click.Context,
    source: Path,
    output: Path,
    nesting: str,
    min_agreement: float | None,
    budget: float | None,
    min_bits: int | None,
    representative: Path | None,
    preprocess: PixelRange | None,
    crop: float | None,
    size: int | None,
    rounding: Rounding,
    exact: bool,
    input_type: IoType,
    output_type: IoType,
    activation_ranges: ActivationRanges,
    equalize: bool,
    layer_bits: LayerBits | None,
    group_size: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    layers: bool,
    as_json: bool,
) -> None:
    """Convert a model into one nested .tflite file.

    SOURCE is a .keras or .h5 file, a SavedModel folder, or a .tflite file that is not nested. OUTPUT is the file to
    write. An existing file is replaced, but never SOURCE itself.
    """
    _refuse_strangers(ctx)
    from nq_tflite.conversion.advice import advice
    from nq_tflite.conversion.convert import convert as convert_model
    from nq_tflite.conversion.report import LEAST_AGREEMENT

    check_output(output, source)  # before photos are read
    opened: Any = str(source)
    data: RepresentativeData | None = None
    photos: PhotoSamples | None = None
    with without_native_chatter(), progress_bar() as progress:
        if representative is not None and representative.is_dir():
            opened, photos = _photos(source, representative, preprocess, crop, size, progress)
        elif representative is not None:
            data = _representative(representative)
        report = convert_model(
            opened,
            output,
            nesting,
            photos or data,
            rounding=rounding,
            exact=exact,
            input_type=input_type,
            output_type=output_type,
            activation_ranges=activation_ranges,
            equalize=equalize,
            layer_bits=layer_bits,
            group_size=None if group_size is None else int(group_size),
            min_agreement=min_agreement,
            budget=budget,
            min_bits=min_bits,
            include=include,
            exclude=exclude,
            progress=progress,
        )
    suggestions = advice(report, command_line=True)
    if as_json:
        preprocessing = {} if photos is None else {"preprocessing": photos.pixels.as_dict() | {"doubt": photos.doubt}}
        print_json(report.as_dict() | {"advice": suggestions} | preprocessing)
    else:
        if report.search is not None:
            _print_search(report.search)
        print_lines(*report.lines())
        if photos is not None:
            print_lines(f"photos: {photos.pixels}")
        _print_estimate(report)
        _print_weights(report, layers=layers)
        print_lines(*(f"to try: {each}" for each in suggestions))
    if photos is not None and photos.doubt:
        warn(photos.doubt)
    if report.search is not None and not report.search.met:
        warn(report.search.reason)
    if report.doubtful:
        warn(
            f"a precision agrees with the source on less than {percent(LEAST_AGREEMENT)} of the inputs: evaluate it "
            "before you ship it, choose more bits for it, or convert with --representative"
        )


def _refuse_strangers(ctx: click.Context) -> None:
    """Options that would do nothing are a mistake, not to be passed over."""
    photos, auto = ctx.params["representative"], ctx.params["nesting"] == "auto"
    refuse_without(ctx, ("min_agreement", "budget", "min_bits"), auto, "--nesting auto")
    folder = photos is not None and photos.is_dir()
    refuse_without(ctx, ("preprocess", "crop", "size"), folder, "--representative FOLDER")


def _photos(
    source: Path,
    folder: Path,
    preprocess: PixelRange | None,
    crop: float | None,
    size: int | None,
    progress: Progress,
) -> tuple[Any, PhotoSamples]:
    """The source, opened if it is a Keras model, and photos as it takes them."""
    from nq_tflite.conversion.sources.keras_export import is_keras_source, open_source
    from nq_tflite.conversion.sources.source_input import may_tell_values
    from nq_tflite.measure.photo_folder import photo_paths
    from nq_tflite.measure.photo_samples import photo_samples
    from nq_tflite.measure.preprocessing import untold_range

    photo_paths(folder)  # before tensorflow is loaded, like what follows
    if preprocess is None and is_keras_source(source) and not may_tell_values(source):
        raise untold_range()
    progress("loading tensorflow" if is_keras_source(source) else "reading the model", 0, 0)
    opened = open_source(source) if is_keras_source(source) else str(source)
    return opened, photo_samples(opened, folder, preprocess, crop, size)


def _representative(path: Path) -> RepresentativeData:
    """An array, or samples by input name."""
    arrays = _read_arrays(path)
    return arrays[""] if list(arrays) == [""] else _named_samples(path, arrays)


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays by input name; "" for the one of a .npy file, which stays on the disk until its samples are looked at."""
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
        if all(isinstance(array, np.ndarray) for array in arrays.values()):
            return arrays
        got = "an archive whose entries are not arrays"
    except OSError as error:
        got = reason_of(error)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        got = "an array of Python objects, not of numbers" if "object" in str(error).lower() else "another kind of file"
    expected = "a .npy or .npz file, or a folder of photos"
    raise RepresentativeDataError(f"representative data {path}", expected=expected, got=got)


def _named_samples(path: Path, arrays: dict[str, NDArray[Any]]) -> list[dict[str, NDArray[Any]]]:
    lengths = {array.shape[0] if array.ndim else None for array in arrays.values()}
    if len(lengths) != 1 or None in lengths:
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        raise RepresentativeDataError(
            f"representative data {path}", expected="arrays [samples, ...] with equally many samples", got=str(shapes)
        )
    count = len(next(iter(arrays.values())))
    return [{name: array[index : index + 1] for name, array in arrays.items()} for index in range(count)]


def _print_search(search: Search) -> None:
    rows = [
        [
            each.nesting + (" (layers their own)" if each.mixed else ""),
            str(each.part_bytes),
            percent(each.fraction),
            percent(each.agreement),
            decibels(each.snr_db),
            percent(each.full_agreement),
            decibels(each.full_snr_db),
            "chosen" if index == search.chosen else "",
        ]
        for index, each in enumerate(search.candidates)
    ]
    part = ("part-bit bytes", "of full-bit's", "expected agreement", "SNR, dB")
    full = ("full-bit's expected agreement", "full-bit's SNR, dB")
    seen = "" if search.held_out else ", which rounding has seen: too good"
    print_table(f"search, on {search.num_inputs} inputs{seen}", ("nesting", *part, *full, ""), rows)
    print_lines(f"chosen: {search.candidates[search.chosen].nesting}, {search.reason}")


def _print_weights(report: ConversionReport, *, layers: bool) -> None:
    """The layers that part-bit costs most, or all of them."""
    from nq_tflite.conversion.advice import worst_first

    precisions = Nesting.parse(report.nesting).precisions
    shown = worst_first(report.weights)[: None if layers else FEW_LAYERS]
    rows = [
        [
            label,
            weight.operator,
            shape_text(weight.shape),
            weight.nesting,
            kilobytes(weight.level_bytes),
            *(decibels(snr) for snr in weight.snr_db),
        ]
        for label, weight in zip(layer_labels([each.name for each in shown]), shown, strict=True)
    ]
    errors = tuple(f"dB, {bits} bits" for bits in precisions)
    columns = ("weight", "operator", "shape", "bits", "kB by level", *errors)
    title = f"{layers_title('nested weights', len(shown), len(report.weights))}, by SNR"
    print_layers(title, columns, rows, left=4, spare=("shape", "operator"))
    if layers:
        print_unnested(report.unnested)


def _print_estimate(report: ConversionReport) -> None:
    """What the precisions' outputs are like, or why that is not known."""
    estimate = report.estimate
    if estimate is not None:
        agreements = estimate.agreement or [None] * len(estimate.precisions)
        rows = [
            [precision_name(bits, estimate.precisions), percent(agreement), decibels(snr)]
            for bits, agreement, snr in zip(estimate.precisions, agreements, estimate.snr_db, strict=True)
        ]
        print_table(f"estimated on {estimate}", ("precision", "agreement with the source", "output SNR, dB"), rows)
    print_lines(*(f"note: {note}" for note in report.notes))
