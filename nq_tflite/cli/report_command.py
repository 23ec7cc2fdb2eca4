"""`nq-tflite report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nq_tflite.cli.console import NqCommand, json_option, print_json, print_lines, progress_bar, warn
from nq_tflite.cli.parameters import (
    FILE,
    FOLDER,
    WholeNumber,
    crop_option,
    labels_option,
    plot_option,
    preprocess_option,
    reference_option,
    refuse_without,
    runtime_option,
)
from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.errors import NqError
from nq_tflite.units import bytes_text

if TYPE_CHECKING:
    from nq_tflite.measure.preprocessing import PixelRange

_EPILOG = """\b
Examples:
  nq-tflite report model.tflite
  nq-tflite report model.tflite -o report.html --photos photos/ \\
      --reference float.tflite --against int8.tflite
  nq-tflite convert model.keras model.tflite --json > conversion.json
  nq-tflite report model.tflite --conversion conversion.json

The page needs no other file and no network. Latency and memory are measured on this machine. Accuracy is told of
photos, as nq-tflite evaluate does (--labels, --reference, --preprocess, --crop), or as the conversion estimated it, or
not at all. --plot writes the page's figure of latency and memory."""


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("model", type=FILE)
@click.option("--output", "-o", type=FILE, help="Page to write. Default: MODEL with the suffix .html.")
@click.option("--photos", type=FOLDER, help="Folder of photos.")
@labels_option
@reference_option
@preprocess_option
@crop_option
@click.option("--against", type=FILE, help="Stock .tflite to time in turn.")
@click.option("--conversion", type=FILE, help="File with the output of nq-tflite convert --json for MODEL.")
@click.option(
    "--layer",
    "layers",
    metavar="NAME",
    multiple=True,
    help="Layer whose weights are drawn. Default: those with the largest errors. May be repeated.",
)
@runtime_option
@click.option("--threads", type=WholeNumber(), default=1, show_default=True, help="Number of threads.")
@plot_option
@json_option
@click.pass_context
def report(
    ctx: click.Context,
    model: Path,
    output: Path | None,
    photos: Path | None,
    labels: Path | None,
    reference: Path | None,
    preprocess: PixelRange | None,
    crop: float | None,
    against: Path | None,
    conversion: Path | None,
    layers: tuple[str, ...],
    runtime: RuntimeName | None,
    threads: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Write one HTML page about a nested model.

    MODEL is a nested .tflite file. The page tells sizes, accuracy, latency and memory, layers, weights, and what to
    try.
    """
    from nq_tflite.plot.page.write import write_report

    refuse_without(ctx, ("labels", "reference", "preprocess", "crop"), photos is not None, "--photos FOLDER")
    page = output or model.with_suffix(".html")
    with progress_bar() as progress:
        findings = write_report(
            model,
            page,
            photos,
            labels,
            reference=reference,
            preprocess=preprocess,
            crop_fraction=crop,
            against=against,
            conversion=conversion,
            layers=layers,
            runtime=runtime,
            num_threads=threads,
            progress=progress,
            command_line=True,
        )
    if plot is not None:
        from nq_tflite.plot import save_figure, timeline_figure

        if findings.timeline is None:
            raise NqError(f"figure {plot}", expected="a model that runs here", got=findings.not_run or "")
        save_figure(timeline_figure(findings.timeline, findings.against), plot)
    if findings.evaluation is not None and findings.evaluation.doubt:
        warn(findings.evaluation.doubt)
    if as_json:
        print_json({"page": str(page)} | findings.as_dict())
        return
    print_lines(f"{page}: {bytes_text(page.stat().st_size)}, all in one file", page.resolve().as_uri())
    if findings.not_run:
        print_lines(f"without latency and memory: {findings.not_run}")
    if findings.evaluation is not None:
        print_lines(f"photos: {findings.evaluation.preprocessing}")
    else:
        estimated = findings.conversion is not None and findings.conversion.estimate is not None
        print_lines(
            f"accuracy {'as the conversion estimated it' if estimated else 'is not told'}: --photos measures it"
        )
