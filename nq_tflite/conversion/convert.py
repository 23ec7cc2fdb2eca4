"""`nq.convert`: a Keras model or a stock .tflite becomes one nested file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nq_tflite.conversion.equalize import equalize as equalize_chains
from nq_tflite.conversion.group_scales import checked_group_size
from nq_tflite.conversion.layer_bits import own_nestings
from nq_tflite.conversion.nested_writer import write_nested
from nq_tflite.conversion.report import ConversionReport, Estimate, conversion_report
from nq_tflite.conversion.rounding import DEFAULT, EXACT, Rounding, rounding_method
from nq_tflite.conversion.search import AUTO, MIN_AGREEMENT, Wish, search_nesting
from nq_tflite.conversion.sensitivity import PROBE
from nq_tflite.conversion.sources.calibration import RepresentativeData
from nq_tflite.conversion.sources.export_options import ActivationRanges, ExportOptions, IoType
from nq_tflite.conversion.sources.sample_store import SampleStore
from nq_tflite.conversion.sources.source import ENOUGH, Samples, load_source
from nq_tflite.conversion.trial import one_blas_thread, try_nesting
from nq_tflite.errors import NestingError
from nq_tflite.files import check_output
from nq_tflite.format.nesting import LAYER_BITS, MIN_PART_BITS, LayerBits, Nesting
from nq_tflite.graph.selection import Selection
from nq_tflite.graph.shape_arithmetic import fold_shapes
from nq_tflite.progress import ShowProgress, shown

#: Part-bits that are worth a warning.
POOR_BITS = 3


def convert(
    source: Any,
    path: str | os.PathLike[str],
    nesting: str | Nesting | Iterable[int] = "8|5",
    representative_data: RepresentativeData | None = None,
    *,
    rounding: Rounding = DEFAULT,
    exact: bool = False,
    input_type: IoType = "float32",
    output_type: IoType = "float32",
    activation_ranges: ActivationRanges = "minmax",
    equalize: bool = True,
    layer_bits: LayerBits | None = None,
    group_size: int | None = None,
    min_agreement: float | None = None,
    budget: float | None = None,
    min_bits: int | None = None,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    custom_objects: Mapping[str, Any] | None = None,
    progress: ShowProgress = True,
) -> ConversionReport:
    """Converts a model into one nested .tflite file.

    Args:
        source: a Keras model, a .keras or .h5 file, a SavedModel folder, a .tflite file (full-int8, uint8, float,
            float16 or dynamic-range, of which the last two nest as float models) or its bytes.
        path: the file to write; it appears complete or not at all.
        nesting: bit-widths, full-bit first: "8|5", or with levels between: "8|6|4". Or "auto": the search tries
            nestings and takes the fewest part-bits that `min_agreement` and `budget` allow; the report's `search`
            has the curve.
        representative_data: typical inputs: an array [samples, ...], an iterable of samples, or a function that
            returns one, as tf.lite takes it. With it, a Keras source becomes a full-int8 graph; without it, its
            activations stay float32. The activations of a .tflite source stay as they are. Rounding uses the first
            128 samples. Without samples it uses synthetic images or noise in the range that the model's batch norms
            imply. An iterable or a function is read as a stream. Beyond 512 MB, samples and activations go to a
            temporary file in TMPDIR.
        rounding: "descent" (minimizes the error of each layer's outputs), "squant" (adaptive rounding, NestQuant
            section 3.2) or "nearest".
        exact: keep an INT8 source's codes bit for bit, or round a float source to nearest. Full-bit then equals the
            source, part-bit is its upper bits with a corrected bias, and `rounding` is ignored. By default, this is
            done for INT8 files that do not say that they were rounded after training.
        input_type, output_type: "float32", "int8" or "uint8" inputs and outputs of a full-int8 graph.
        activation_ranges: how the ranges of a full-int8 graph's activations follow from the representative data:
            "minmax", all values seen; "percentile", all but a ten-thousandth at each end; "mse", the least squared
            error; or "auto", the one of these whose outputs are closest to the float model's. "auto" takes some
            seconds longer.
        equalize: whether to scale and shift the channels of a Keras model's linear chains, so that they fill the INT8
            ranges of their tensors. A linear chain is a tensor with no nonlinearity between the layers around it, or
            with a ReLU before depthwise layers. The float model computes the same on the representative data. A chain
            is changed only if that does not reduce accuracy on held-out samples; the report's `equalization` says how
            much it helps. A .tflite source and `rounding="nearest"` are never equalized.
        layer_bits: "own": each layer has its own part-bits. Layers that the outputs depend on more, as measured on a
            few inputs, get more. All together they take no more bytes than the nesting's part-bits for all layers.
            "same": all layers have the nesting's part-bits. None: "own" for the nesting "auto", "same" for others.
        group_size: 32, 64 or 128: this number of inputs of a channel share a scale. It costs 16 / group_size more bits
            per weight, and language models need it at four bits. None: one scale per channel, which is enough for
            convolutional networks. Only float weights of dense layers and embedding tables can have groups; exclude
            all other weights. "descent" then chooses each scale too; other methods round to nearest. Rows that are
            looked up are always rounded to nearest.
        min_agreement: for "auto": the minimum top-1 agreement of part-bit with the source, as a fraction of
            full-bit's. The default is 0.95 if `budget` is not given either. It is measured on a quarter of the
            representative data, which is held out of rounding meanwhile, or on synthetic inputs. If no nesting reaches
            it, the closest one is taken, and the report says so. If the output is not a row of scores, the criterion
            is a signal-to-noise ratio of 16 dB, or of 1 dB below full-bit's.
        budget: for "auto": the part-bit bytes in the file are at most this fraction of the full-bit bytes. Layers may
            then have different part-bits, more where the outputs depend on them more. Without `min_agreement`, the
            best nesting within the budget is taken; with it, an error is raised if no nesting satisfies both.
        min_bits: for "auto": the fewest part-bits that a layer may have; 2 if not given.
        include, exclude: patterns of weight names, such as ``"block_1/*"``. Included weights nest even if that saves
            nothing. Excluded weights stay as they are, unless they are also included. ``exclude="*"`` excludes all
            weights that are not included.
        custom_objects: classes and functions that a .keras or .h5 file needs to load, by name, as in Keras. Those
            registered with `keras.saving.register_keras_serializable` need not be given.
        progress: called during the work; True shows a bar in a terminal or notebook, None shows nothing.

    Returns:
        A report: which weights were nested, which were not and why, sizes and errors.

    Raises:
        OutputError: the file or the temporary file cannot be written, or the file is the source.
        NestingError, SelectionError, RepresentativeDataError, UnsupportedModelError, WeightsError, FormatError,
        MissingPackageError

    Example:
        >>> report = nq.convert(model, "model.tflite", nesting="8|5", representative_data=photos)  # doctest: +SKIP
    """
    check_output(path, source)
    checked_group_size(group_size)
    method = EXACT if exact else rounding_method(rounding)
    wanted = _wanted(nesting, min_agreement, budget, min_bits, _checked(layer_bits))
    look = method.needs_means or isinstance(wanted, Wish) or layer_bits == "own"
    options: ExportOptions = {
        "input_type": input_type,
        "output_type": output_type,
        "activation_ranges": activation_ranges,
    }
    with shown(progress) as notify, one_blas_thread(), SampleStore() as store:
        loaded = load_source(
            source,
            representative_data,
            look=look,
            notify=notify,
            custom_objects=custom_objects,
            equalize=equalize,
            store=store,
            **options,
        )
        judged_by = PROBE if isinstance(wanted, Wish) else wanted
        loaded, equalization = equalize_chains(loaded, judged_by, method, notify=notify)
        fold_shapes(loaded.model)
        chosen = Selection(_patterns(include), _patterns(exclude))
        loaded = replace(loaded, selection=chosen, group_size=group_size)
        if isinstance(wanted, Wish):
            trial, search = search_nesting(loaded, method, wanted, notify=notify)
        else:
            own = own_nestings(loaded, wanted, notify=notify) if layer_bits == "own" else {}
            trial, search = try_nesting(loaded, wanted, method, own=own, notify=notify), None
        notify("writing", 0, 0)
        size = write_nested(loaded.model, trial.plan, trial.nesting, path, loaded.widened, loaded.files)
    warnings = (_few_bits(trial.nesting, trial.estimate), *(() if search is None else search.warnings()))
    kept = _KEPT if trial.road.method is not method else None
    notes = [
        note for note in (*loaded.notes, trial.stopped, *warnings, kept, _doubt(trial.estimate, loaded.samples)) if note
    ]
    return conversion_report(
        path=Path(path),
        size=size,
        nesting=trial.nesting,
        rounding=trial.road.method.name,
        plan=trial.plan,
        estimate=trial.estimate,
        notes=notes,
        search=search,
        equalization=equalization,
    )


_KEPT = (
    "the INT8 codes stay as they are, since the file does not say that they were rounded after training: moving "
    "trained codes may cost full-bit decibels; rounding='squant' moves them for part-bit's sake"
)


def _patterns(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _wanted(
    nesting: str | Nesting | Iterable[int],
    min_agreement: float | None,
    budget: float | None,
    min_bits: int | None,
    layer_bits: LayerBits | None,
) -> Nesting | Wish:
    if isinstance(nesting, str) and nesting == AUTO:
        least = MIN_PART_BITS if min_bits is None else min_bits
        agreement = MIN_AGREEMENT if min_agreement is None and budget is None else min_agreement
        return Wish(agreement, budget, least, layer_bits or "own")
    if min_agreement is not None or budget is not None or min_bits is not None:
        raise NestingError(
            "min_agreement, budget and min_bits",
            expected=f"nesting {AUTO!r}, which searches for bit-widths",
            got=f"nesting {str(nesting)!r}",
            fix="Leave them out, or choose the nesting 'auto'.",
        )
    return Nesting.parse(nesting)


def _checked(layer_bits: LayerBits | None) -> LayerBits | None:
    if layer_bits is not None and layer_bits not in LAYER_BITS:
        raise NestingError("layer_bits", expected=f"one of {', '.join(LAYER_BITS)}", got=repr(layer_bits))
    return layer_bits


def _doubt(estimate: Estimate | None, samples: Samples | None) -> str | None:
    """Why an estimate may be far from what a user will see."""
    if estimate is None or samples is None:
        return None
    if samples.guessed:
        return (
            f"the estimate is of made-up inputs in a range that is a guess ({', '.join(samples.guessed)}): real ones "
            "may be far from it; give representative data, or evaluate the file on some"
        )
    if not estimate.held_out:
        return (
            f"the estimate is of {estimate.num_inputs} samples that rounding has seen, and may be far too good: from "
            f"{ENOUGH} samples on some are held out; or evaluate the file on others"
        )
    return None


def _few_bits(nesting: Nesting, estimate: Estimate | None) -> str | None:
    """A warning, unless inputs that rounding has not seen have shown that the model keeps its answers."""
    if nesting.part_bits > POOR_BITS:
        return None
    if estimate is not None and estimate.held_out and estimate.agreement is not None:
        part, full = estimate.agreement[0], estimate.agreement[-1]
        if part >= MIN_AGREEMENT * full:
            return (
                f"part-bit of {nesting} has only {nesting.part_bits} bits, and yet agrees with the source on "
                f"{100 * part:.1f} % of {estimate.num_inputs} inputs: evaluate it on your own data before you ship"
            )
    return (
        f"part-bit of {nesting} has {nesting.part_bits} bits: accuracy is poor at {POOR_BITS} and below, whatever the "
        "rounding, and the levels above pay for it; evaluate before you ship"
    )
