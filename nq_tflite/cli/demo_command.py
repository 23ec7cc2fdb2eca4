"""`nq-tflite demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nq_tflite.cli.console import (
    NqCommand,
    json_option,
    megabytes,
    milliseconds,
    print_json,
    print_lines,
    print_table,
    progress_bar,
)
from nq_tflite.cli.parameters import FOLDER, runtime_option
from nq_tflite.device.runtimes import RuntimeName

if TYPE_CHECKING:
    from nq_tflite.measure.demo import DemoReport, FileSizes, PhotoLabels

_EPILOG = """\b
Examples:
  nq-tflite demo
  nq-tflite demo --workdir /tmp/demo --json"""


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.option(
    "--workdir",
    type=FOLDER,
    default=Path("nq-tflite-demo"),
    show_default=True,
    help="Folder to keep the models and photos in.",
)
@runtime_option
@json_option
def demo(workdir: Path, runtime: RuntimeName | None, as_json: bool) -> None:
    """Nest a real MobileNetV2, classify photos, switch, and compare.

    Downloads the model and the photos (about 5 minutes), and prints one table.
    """
    from nq_tflite.measure.demo import run_demo

    with progress_bar() as progress:
        report = run_demo(workdir, runtime=runtime, progress=progress)
    if as_json:
        print_json(report.as_dict())
    else:
        _print_report(report)


def _print_report(report: DemoReport) -> None:
    rows = [_size_row(report.sizes), *(_photo_row(photo) for photo in report.photos), *_switch_rows(report)]
    columns = ("MobileNetV2", "float32", "stock INT8", "two models, 8 + 5 bits", "nested, full-bit", "nested, part-bit")
    print_table(f"nq-tflite demo: {report.nested.runtime}, 1 thread", columns, rows)
    again = "identical to" if report.switched_back_identical else "DIFFERENT FROM"
    print_lines(
        "photos: top-1 label; * = not one of the photo's accepted classes",
        f"two models: the stock INT8 file ({report.sizes.int8} bytes) + the 5-bit weights alone, packed "
        f"({report.sizes.part_weights} bytes: level 0 of the nested file), so a lower bound",
        f"after part-bit and back, one live interpreter's full-bit outputs are {again} those before",
        f"times are medians of {report.switch.count} switches and {report.stock.reload.count} reloads "
        "on this machine, one process each",
        f"models and photos are in {report.workdir}; try:",
        *_next_commands(report.workdir),
        f"took {report.seconds:.0f} s",
    )


def _size_row(sizes: FileSizes) -> list[str]:
    counts = (sizes.float32, sizes.int8, sizes.separate, sizes.nested)
    return ["file size", *map(megabytes, counts), "the same file"]


def _photo_row(photo: PhotoLabels) -> list[str]:
    def label(prediction: tuple[int, str]) -> str:
        index, name = prediction
        return name if index in photo.accepted else f"{name} *"

    return [f"photo: {photo.name}", label(photo.float32), "", "", label(photo.full), label(photo.part)]


def _switch_rows(report: DemoReport) -> list[list[str]]:
    full, part, again = report.nested.states
    switch, reload = report.switch, report.stock.reload
    load, first = milliseconds(reload.load_seconds), milliseconds(reload.load_and_run_seconds)
    up, down = milliseconds(switch.upgrade_seconds), milliseconds(switch.downgrade_seconds)
    other = f"{megabytes(report.sizes.int8)} or {megabytes(report.sizes.part_weights)}"
    up_and_run = milliseconds(switch.upgrade_and_run_seconds)
    down_and_run = milliseconds(switch.downgrade_and_run_seconds)
    return [
        ["nested weights resident", "", "", "", megabytes(full.weights), megabytes(part.weights)],
        ["... after switching back", "", "", "", megabytes(again.weights), ""],
        ["bytes that a change moves", "", "", other, megabytes(switch.bytes_in), megabytes(switch.bytes_out)],
        ["switch to it, or load it", "", f"load {load}", "", f"switch {up}", f"switch {down}"],
        ["... and its first result", "", first, "", up_and_run, down_and_run],
    ]


def _next_commands(workdir: str) -> list[str]:
    from nq_tflite.measure.demo import FLOAT_FILE, INT8_FILE, NESTED_FILE, PHOTOS_FOLDER

    folder = Path(workdir)
    nested = folder / NESTED_FILE
    return [
        f"  nq-tflite inspect {nested}",
        f"  nq-tflite benchmark {nested} --against {folder / INT8_FILE}",
        f"  nq-tflite evaluate {nested} --photos {folder / PHOTOS_FOLDER} --preprocess mobilenet_v2 "
        f"--reference {folder / FLOAT_FILE}",
    ]
