"""`nq-tflite evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nq_tflite.cli.comparison_table import print_comparison
from nq_tflite.cli.console import (
    NqCommand,
    decibels,
    json_option,
    layers_option,
    percent,
    precision_name,
    print_json,
    print_lines,
    print_table,
    progress_bar,
    warn,
    without_native_chatter,
)
from nq_tflite.cli.noise_table import print_activation_noise
from nq_tflite.cli.parameters import (
    FILE,
    FOLDER,
    METHOD,
    NESTING,
    OneOf,
    WholeNumber,
    crop_option,
    labels_option,
    plot_option,
    preprocess_option,
    reference_option,
    refuse_without,
    runtime_option,
    workers_options,
)
from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.measure.workers import open_client

if TYPE_CHECKING:
    from nq_tflite.measure.contenders import ContenderName
    from nq_tflite.measure.evaluate import Evaluation
    from nq_tflite.measure.preprocessing import PixelRange
    from nq_tflite.measure.tasks import Activations

_ONLY_TO_COMPARE = ("nestings", "methods", "calibration", "activations")
_NOT_TO_COMPARE = ("reference", "runtime", "samples")
#: Options of other evaluations, which the table of activations has no use for.
_NOT_FOR_SENSITIVITY = ("compare", "labels", "reference", "runtime", "plot", *_ONLY_TO_COMPARE)

_EPILOG = """\b
Examples:
  nq-tflite evaluate model.tflite --photos photos/ \\
      --preprocess keras_mobilenet_v2
  nq-tflite evaluate model.tflite --samples x.npy --labels y.npy \\
      --reference model.keras
  nq-tflite evaluate int8.tflite --photos photos/ --labels labels.csv \\
      --reference float.tflite
  nq-tflite evaluate model.tflite --photos photos/ --preprocess -1..1 \\
      --threads 2 --json
  nq-tflite evaluate model.keras --compare --photos photos/ \\
      --nesting '8|6' --nesting '8|4'
  nq-tflite evaluate model.keras --compare --photos photos/ \\
      --calibration others/ \\
      --activations int8 --plot bits.png
  nq-tflite evaluate model.keras --compare --photos photos/ \\
      --preprocess -1..1 --workers 4
  nq-tflite evaluate int8.tflite --sensitivity --samples x.npy

labels.csv has the columns `file` (relative to its own folder) and `label` (the index of the right class; separate
several with blanks if any of them is right). Without --labels, the folder's own labels.csv is used if there is one. For
--samples, the labels are a .npy file of class indices.

--sensitivity takes a full-int8 MODEL, or a Keras model, which it converts with the inputs as representative data. It
rounds one activation after the other to its int8 codes, in a net that otherwise computes in floats, and prints the
noise that each adds to the outputs. At most 32 of the inputs are used.

--compare takes a float MODEL. It rounds it by every method, and by three that no nested file can hold: min-max with a
file for each bit-width, and NestQuant as in its authors' code, on asymmetric and on symmetric weights, with n + 1 bits
per weight. It prints the accuracy of every level: with float activations of the weights only, with int8 of whole
files."""


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("model", type=FILE)
@click.option("--photos", type=FOLDER, help="Folder of photos.")
@click.option("--samples", type=FILE, help="A .npy file of inputs [samples, ...], used as they are, instead of photos.")
@labels_option
@reference_option
@preprocess_option
@crop_option
@runtime_option
@click.option("--threads", type=WholeNumber(), help="Number of threads. Default: the runtime's.")
@click.option("--top", type=WholeNumber(), default=5, show_default=True, help="The k of top-k accuracy.")
@click.option("--sensitivity", is_flag=True, help="Measure how much noise each int8 activation adds.")
@layers_option
@click.option("--compare", is_flag=True, help="Compare rounding methods on a float MODEL.")
@click.option(
    "--nesting",
    "nestings",
    multiple=True,
    type=NESTING,
    help="Bit-widths for --compare. Default: 8|5. May be repeated.",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=METHOD,
    help="Rounding method for --compare. Default: all of them. May be repeated.",
)
@click.option("--calibration", type=FOLDER, help="Folder of other photos to calibrate with, for --compare.")
@click.option(
    "--activations",
    type=OneOf(("float", "int8")),
    help="Type of the activations for --compare. Default: float.",
)
@workers_options
@plot_option
@json_option
@click.pass_context
def evaluate(
    ctx: click.Context,
    model: Path,
    photos: Path | None,
    samples: Path | None,
    labels: Path | None,
    reference: Path | None,
    preprocess: PixelRange | None,
    crop: float | None,
    runtime: RuntimeName | None,
    threads: int | None,
    top: int,
    sensitivity: bool,
    layers: bool,
    compare: bool,
    nestings: tuple[str, ...],
    methods: tuple[ContenderName, ...],
    calibration: Path | None,
    activations: Activations | None,
    workers: int | None,
    scheduler: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure the accuracy of each precision, on photos or samples.

    MODEL is a .tflite file. With --compare or --sensitivity it may also be a .keras file or a SavedModel folder. The
    command measures top-1, top-k, agreement with a reference, and the signal-to-noise ratio of the logits.
    """
    _refuse_strangers(ctx, compare, sensitivity)
    if (photos is None) == (samples is None):
        raise click.UsageError("Give either --photos FOLDER or --samples FILE.")
    refuse_without(ctx, ("preprocess", "crop"), photos is not None, "--photos FOLDER")
    if sensitivity:
        from nq_tflite.measure.activation_noise import activation_noise

        with without_native_chatter(), progress_bar() as progress:
            noise = activation_noise(
                model,
                photos,
                samples=samples,
                preprocess=preprocess,
                crop_fraction=crop,
                num_threads=threads,
                progress=progress,
            )
        print_json(noise.as_dict()) if as_json else print_activation_noise(noise, every=layers)
        return
    if compare and photos is not None:
        _compare(
            model,
            photos,
            labels,
            nestings=nestings or ("8|5",),
            methods=methods,
            calibration=calibration,
            activations=activations or "float",
            preprocess=preprocess,
            crop_fraction=crop,
            num_threads=threads,
            k=top,
            cluster=(scheduler, workers),
            plot=plot,
            as_json=as_json,
        )
        return
    from nq_tflite.measure.evaluate import evaluate as evaluate_model

    with without_native_chatter(), open_client(scheduler, workers) as client, progress_bar() as progress:
        result = evaluate_model(
            model,
            photos,
            labels,
            samples=samples,
            reference=reference,
            preprocess=preprocess,
            crop_fraction=crop,
            runtime=runtime,
            num_threads=threads,
            k=top,
            client=client,
            progress=progress,
        )
    if plot is not None:
        from nq_tflite.plot import accuracy_figure, save_figure

        save_figure(accuracy_figure(result), plot)
    if as_json:
        print_json(result.as_dict())
    else:
        _print_evaluation(result)
    if result.doubt:
        warn(result.doubt)


def _refuse_strangers(ctx: click.Context, compare: bool, sensitivity: bool) -> None:
    """Options of another kind of evaluation are a mistake, not to be passed over."""
    options = {parameter.name: parameter.opts[0] for parameter in ctx.command.params}
    strangers: tuple[str, ...]
    if sensitivity:
        strangers, what = _NOT_FOR_SENSITIVITY, "cannot be combined with --sensitivity"
    elif compare:
        strangers, what = _NOT_TO_COMPARE, "cannot be combined with --compare"
    else:
        strangers, what = _ONLY_TO_COMPARE, "needs --compare"
    given = [name for name in strangers if ctx.params[name]]
    if given:
        raise click.UsageError(f"{options[given[0]]} {what}.")
    refuse_without(ctx, ("layers",), sensitivity, "--sensitivity")


def _compare(
    model: Path,
    photos: Path,
    labels: Path | None,
    *,
    cluster: tuple[str | None, int | None],
    plot: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    from nq_tflite.measure.compare import compare as compare_methods

    with without_native_chatter(), open_client(*cluster) as client, progress_bar() as progress:
        result = compare_methods(str(model), photos, labels, client=client, progress=progress, **options)
    if plot is not None:
        from nq_tflite.plot import comparison_figure, save_figure

        save_figure(comparison_figure(result), plot)
    if as_json:
        print_json(result.as_dict())
    else:
        print_comparison(result)


def _print_evaluation(result: Evaluation) -> None:
    levels = [score.bits for score in result.scores if score.bits is not None]
    rows = [
        [
            precision_name(score.bits, levels),
            percent(score.top1, score.top1_standard_error),
            percent(score.top_k),
            percent(score.agreement, score.agreement_standard_error),
            decibels(score.logit_snr_db),
        ]
        for score in result.scores
    ]
    columns = ("precision", "top-1", f"top-{result.k}", "agreement", "logit SNR, dB")
    print_table(f"{result.path}, {result.num_photos} {result.inputs}, {result.runtime}", columns, rows)
    own = "" if result.reference_top1 is None else f", whose own top-1 is {percent(result.reference_top1)}"
    print_lines(
        f"{result.inputs}: {result.preprocessing}",
        f"agreement and SNR are with {result.reference}{own}",
        f"± is one standard error of {result.num_photos} independent {result.inputs}",
    )
