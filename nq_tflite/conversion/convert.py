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
        path: the file to write; it appears whole or not at all.
        nesting: bit-widths, full-bit first: "8|5", or with levels between: "8|6|4". Or "auto": INT8 nesting as few
            bits as `min_agreement` and `budget` allow, found by trying; the report's `search` has the curve.
        representative_data: typical inputs: an array [samples, ...], an iterable of samples, or tf.lite's function
            that returns one. A Keras source becomes a full-int8 graph with it, and keeps float32 activations without;
            a .tflite source stays what it is. Rounding looks at the first 128 samples. Without any it looks at
            procedural images or noise in the range that the model's batch norms tell. An iterable or a function is
            read as a stream; beyond 512 MB, samples and what the net makes of them are in a temporary file in TMPDIR.
        rounding: "descent" (weights chosen by the error of the layer's outputs), "squant" (adaptive rounding, NestQuant
            section 3.2) or "nearest".
        exact: keep an INT8 source's codes bit for bit, or those of rounding to nearest: full-bit is then the source,
            and part-bit what its upper bits and a corrected bias give. `rounding` does not count then. The default does
            so to INT8 files that do not say that they were rounded after training.
        input_type, output_type: "float32", "int8" or "uint8" inputs and outputs of a full-int8 graph.
        activation_ranges: of a full-int8 graph's activations, from the representative data: "minmax", all values seen;
            "percentile", all but a ten-thousandth at each end; "mse", the least squared error; or "auto", the one of
            these whose outputs are nearest to the float model's, which takes some seconds more.
        equalize: whether the channels of a Keras model's linear chains (tensors with no nonlinearity between the layers
            around them, or with a ReLU before depthwise layers) are scaled and moved, so that they fill the INT8 ranges
            of their tensors. The float model computes the same on the representative data. It is done where it does not
            lose on samples held out, and the report's `equalization` says how far. A .tflite source and
            `rounding="nearest"` are left as they are.
        layer_bits: "own": each layer has part-bits of its own, more for those that the outputs depend on more, and all
            together take no more bytes than the nesting's part-bits for all layers would; which they are, is measured
            on a few inputs. "same": the nesting's for all layers. If None, "own" for the nesting "auto", and "same" for
            others.
        group_size: 32, 64 or 128: that many inputs of a channel share a scale, which takes 16 / group_size bits a
            weight more and lets language models live with four bits. None: one scale a channel, which is enough for
            convolutional networks. For float weights of dense layers and embedding tables; any other weight must be
            excluded. "descent" then chooses each scale too, and other methods round to nearest; rows that are looked
            up are always rounded to nearest.
        min_agreement: of "auto": part-bit's greatest output shall be the source's on so many inputs, as a fraction of
            those where full-bit's is. 0.95 if neither this nor `budget` is given. It is measured on a quarter of the
            representative data, which rounding does not see meanwhile, or on procedural inputs. Where no nesting has
            it, the nearest is taken, and the report says so. Where the output is no row of scores, a signal-to-noise
            ratio of 16 dB, or 1 dB below full-bit's, stands for it.
        budget: of "auto": part-bit bytes in the file are at most this fraction of full-bit's. Layers may then have
            part-bits of their own, more for those that the outputs depend on more. Without `min_agreement` it is the
            best nesting that the budget allows; with it an error where they cannot be had together.
        min_bits: of "auto": part-bits that no layer has fewer of; 2 if not given.
        include, exclude: patterns of weights' names, such as "block_1/*": weights to nest even where that saves
            nothing, and weights to leave as they are, unless they are included. "*" excludes all others.
        custom_objects: classes and functions that a .keras or .h5 file needs to load, by name, as Keras takes them;
            those registered with `keras.saving.register_keras_serializable` need not be given.
        progress: called as the work goes on; True for a bar in a terminal or notebook, None for silence.

    Returns:
        What was nested, what was not and why, sizes and errors.

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
