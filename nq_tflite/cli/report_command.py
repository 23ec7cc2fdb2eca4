"""`nq-tflite report`."""

from __future__ import annotations

from pathlib import Path

import click

from nq_tflite.cli.console import json_option, plot_option, print_json, print_lines, progress_bar
from nq_tflite.errors import NqError
from nq_tflite.runtimes import RUNTIMES

_EPILOG = """\b
Examples:
  nq-tflite report model.tflite
  nq-tflite report model.tflite -o report.html --photos photos/ --reference float.tflite --against int8.tflite
  nq-tflite convert model.keras model.tflite --json > conversion.json
  nq-tflite report model.tflite --conversion conversion.json

\b
The page needs no other file and no network. Latency and memory are measured on this machine. Accuracy is told of
photos, as nq-tflite evaluate does (--labels, --reference, --preprocess, --crop), or as the conversion estimated it, or
not at all. --plot writes the page's figure of latency and memory."""


@click.command(epilog=_EPILOG)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Page to write; MODEL with .html if not given.")
@click.option("--photos", type=click.Path(path_type=Path), help="Folder of photos, to measure accuracy on.")
@click.option("--labels", type=click.Path(path_type=Path), help="csv with the classes that count as right.")
@click.option("--reference", type=click.Path(path_type=Path), help="Model to agree with, usually the float .tflite.")
@click.option("--preprocess", default="imagenet", show_default=True, help="Pixel range that the model expects.")
@click.option("--crop", type=float, default=0.875, show_default=True, help="Middle part of the photo that is used.")
@click.option("--against", type=click.Path(path_type=Path), help="A stock .tflite to time beside it.")
@click.option("--conversion", type=click.Path(path_type=Path), help="What nq-tflite convert --json printed of MODEL.")
@click.option("--layer", "layers", multiple=True, help="Layer whose weights to draw; may be repeated; or the worst.")
@click.option("--runtime", type=click.Choice(RUNTIMES), help="Stock runtime; the first installed one if not given.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads.")
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
    preprocess: str,
    crop: float,
    against: Path | None,
    conversion: Path | None,
    layers: tuple[str, ...],
    runtime: str | None,
    threads: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Write one HTML page about the nested MODEL: sizes, accuracy, latency and memory, layers, weights, what to try."""
    from nq_tflite.page import write_report

    for name in ("labels", "reference"):
        if ctx.params[name] is not None and photos is None:
            raise click.UsageError(f"--{name} needs --photos.")
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
        )
    if plot is not None:
        from nq_tflite.plot import save_figure, timeline_figure

        if findings.timeline is None:
            raise NqError(f"figure {plot}", expected="a model that runs here", got=findings.not_run)
        save_figure(timeline_figure(findings.timeline, findings.against), plot)
    if as_json:
        print_json({"page": str(page)} | findings.as_dict())
        return
    print_lines(f"{page}: {page.stat().st_size} bytes, all in one file")
    if findings.not_run:
        print_lines(f"without latency and memory: {findings.not_run}")
    if findings.evaluation is None:
        estimated = findings.conversion is not None and findings.conversion.estimate is not None
        print_lines(
            f"accuracy {'as the conversion estimated it' if estimated else 'is not told'}: --photos measures it"
        )
