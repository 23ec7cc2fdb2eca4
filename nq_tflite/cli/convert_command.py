"""`nq-tflite convert`."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from nq_tflite.cli.console import (
    decibels,
    json_option,
    megabytes,
    percent,
    precision_name,
    print_json,
    print_lines,
    print_table,
    print_unnested,
    progress_bar,
    shape_text,
    short_name,
    warn,
)
from nq_tflite.errors import RepresentativeDataError
from nq_tflite.rounding import DEFAULT, METHODS
from nq_tflite.spec import Nesting

if TYPE_CHECKING:
    from nq_tflite.calibration import RepresentativeData
    from nq_tflite.report import ConversionReport, Search

_IO_TYPES = click.Choice(["float32", "int8", "uint8"])
_EPILOG = """\b
Examples:
  nq-tflite convert model.keras model.tflite --nesting '8|5' --representative samples.npy
  nq-tflite convert saved_model/ model.tflite --representative photos/ --preprocess imagenet --size 224
  nq-tflite convert int8.tflite nested.tflite --nesting '8|6|4' --json
  nq-tflite convert model.keras model.tflite --nesting auto --budget 0.5 --representative photos/
  nq-tflite convert float.tflite nested.tflite --exclude '*head*' --include 'model/embedding/*'

A .npy file holds samples [samples, ...]; a .npz file holds one such array for each input, under the input's name."""


@click.command(epilog=_EPILOG)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--nesting", default="8|5", show_default=True, help="Bit-widths, full-bit first: '8|5' or '8|6|4'; or 'auto'."
)
@click.option("--min-agreement", type=float, help="With auto: part-bit keeps this much of full-bit's agreement; 0.95.")
@click.option("--budget", type=float, help="With auto: part-bit bytes are at most this fraction of full-bit's.")
@click.option(
    "--representative",
    type=click.Path(path_type=Path),
    help="Typical inputs: .npy, .npz, photos. A Keras SOURCE becomes INT8 with them; rounding looks at the first 128.",
)
@click.option("--preprocess", default="imagenet", show_default=True, help="Pixel range of photos, as in evaluate.")
@click.option("--size", type=click.IntRange(1), default=224, show_default=True, help="Side of the photos' input.")
@click.option(
    "--rounding",
    type=click.Choice(list(METHODS)),
    default=DEFAULT,
    show_default=True,
    help="; ".join(f"{each.name}: {each.description}" for each in METHODS.values()) + ".",
)
@click.option("--exact", is_flag=True, help="Keep an INT8 SOURCE's codes bit for bit, whatever --rounding says.")
@click.option("--input-type", type=_IO_TYPES, default="float32", show_default=True, help="Of an INT8 graph.")
@click.option("--output-type", type=_IO_TYPES, default="float32", show_default=True, help="Of an INT8 graph.")
@click.option(
    "--activation-ranges",
    type=click.Choice(["minmax", "percentile", "mse", "auto"]),
    default="minmax",
    show_default=True,
    help="Of an INT8 graph; auto tries the others.",
)
@click.option("--include", multiple=True, metavar="PATTERN", help="Nest weights of these names, gain or not.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave these as they are, but for included ones.")
@json_option
def convert(
    source: Path,
    output: Path,
    nesting: str,
    min_agreement: float | None,
    budget: float | None,
    representative: Path | None,
    preprocess: str,
    size: int,
    rounding: str,
    exact: bool,
    input_type: str,
    output_type: str,
    activation_ranges: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    as_json: bool,
) -> None:
    """Convert SOURCE (.keras, .h5, SavedModel folder or .tflite) into one nested OUTPUT.tflite."""
    from nq_tflite.conversion import convert as convert_model
    from nq_tflite.report import LEAST_AGREEMENT

    data = None if representative is None else _representative(representative, preprocess, size)
    # Keras and the converter print; stdout is for the report alone.
    with progress_bar() as progress:
        report = convert_model(
            str(source),
            output,
            nesting,
            data,
            rounding=rounding,
            exact=exact,
            input_type=input_type,
            output_type=output_type,
            activation_ranges=activation_ranges,
            min_agreement=min_agreement,
            budget=budget,
            include=include,
            exclude=exclude,
            progress=progress,
        )
    if as_json:
        print_json(report.as_dict())
    else:
        if report.search is not None:
            _print_search(report.search)
        _print_weights(report)
        _print_estimate(report)
        _print_totals(report)
    if report.search is not None and not report.search.met:
        warn(report.search.reason)
    if report.doubtful:
        warn(
            f"a precision agrees with the source on less than {percent(LEAST_AGREEMENT)} of the inputs: evaluate it "
            "before you ship it, choose more bits for it, or convert with --representative"
        )


def _representative(path: Path, preprocess: str, size: int) -> RepresentativeData:
    """An array, samples by input name, or a function that reads photos anew each time."""
    if not path.is_dir():
        arrays = _read_arrays(path)
        return arrays[""] if list(arrays) == [""] else _named_samples(path, arrays)
    from nq_tflite.photo_folder import read_photo_folder
    from nq_tflite.preprocessing import pixel_preprocessing

    pixels, photos = pixel_preprocessing(preprocess, size, size), read_photo_folder(path).photos

    def samples() -> Iterator[NDArray[np.float32]]:
        for photo in photos:
            yield pixels.apply(photo.path)[None]

    return samples


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays by input name; "" for the one of a .npy file."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RepresentativeDataError(
            f"representative data {path}", expected="a .npy or .npz file, or a folder of photos", got=str(error)
        ) from error


def _named_samples(path: Path, arrays: dict[str, NDArray[Any]]) -> list[dict[str, NDArray[Any]]]:
    lengths = {array.shape[0] if array.ndim else None for array in arrays.values()}
    if len(lengths) != 1 or None in lengths:
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        raise RepresentativeDataError(
            f"representative data {path}", expected="arrays [samples, ...] of one length", got=str(shapes)
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
    part, full = ("part-bit bytes", "of full-bit's", "agreement", "SNR, dB"), ("full-bit agreement", "SNR, dB")
    seen = "" if search.held_out else ", which rounding has seen: too good"
    print_table(f"search, on {search.num_inputs} inputs{seen}", ("nesting", *part, *full, ""), rows)
    print_lines(f"chosen: {search.candidates[search.chosen].nesting}, {search.reason}")


def _print_weights(report: ConversionReport) -> None:
    precisions = Nesting.parse(report.nesting).precisions
    rows = [
        [
            short_name(weight.name),
            weight.operator,
            shape_text(weight.shape),
            weight.nesting,
            " + ".join(map(str, weight.level_bytes)),
            *(decibels(snr) for snr in weight.snr_db),
        ]
        for weight in report.weights
    ]
    columns = (
        "weight",
        "operator",
        "shape",
        "nesting",
        "level bytes",
        *(f"SNR {bits} bits, dB" for bits in precisions),
    )
    print_table("nested", columns, rows, left=4)
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


def _print_totals(report: ConversionReport) -> None:
    level_bytes = sum(sum(weight.level_bytes) for weight in report.weights)
    print_lines(
        f"{report.num_weights} weights in {len(report.weights)} nested tensors ({megabytes(level_bytes)}, "
        f"{report.nesting}, {report.rounding}), {len(report.unnested)} left as they are",
        f"{report.bits_a_weight}",
        f"{report.path}: {megabytes(report.file_bytes)} ({report.file_bytes} bytes)",
    )
