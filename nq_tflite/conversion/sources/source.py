"""What a conversion starts from: the graph to nest, the same net before any rounding, and inputs to run both on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nq_tflite.conversion.sources.calibration import ModelInput, RepresentativeData, Sample, fitted, sample_source
from nq_tflite.conversion.sources.equalization import Equalizable
from nq_tflite.conversion.sources.export_options import ExportOptions, check_options
from nq_tflite.conversion.sources.keras_export import (
    calibrate,
    export,
    folded_norms,
    is_keras_source,
    open_source,
    quantize,
)
from nq_tflite.conversion.sources.keras_models import KerasModel, named_samples
from nq_tflite.conversion.sources.moments import FoldedNorm, Moments, tensor_moments
from nq_tflite.conversion.sources.pairing import layer_weights, pair_weights
from nq_tflite.conversion.sources.procedural_inputs import procedural_inputs
from nq_tflite.conversion.sources.sample_store import Kept, SampleStore
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.external_weights import bring_in_external
from nq_tflite.graph.flatbuffer import Array
from nq_tflite.graph.legacy_uint8 import to_int8
from nq_tflite.graph.linear_chains import find_chains
from nq_tflite.graph.model import ModelT, TensorPlace, TensorT
from nq_tflite.graph.narrow_codes import to_int8_codes
from nq_tflite.graph.packed_files import PackedFile, packed_files
from nq_tflite.graph.selection import Selection
from nq_tflite.graph.sites import refuse_nested
from nq_tflite.graph.widening import Widened, widen
from nq_tflite.progress import Progress

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Samples that statistics are taken of, and those that only the estimate of the result is taken of.
MOST_SAMPLES, MOST_HELD_OUT = 128, 32
#: One sample in so many is held out, where there are samples enough to spare some.
_HELD_OUT_STEP, ENOUGH = 5, 40
_PROCEDURAL, _PROCEDURAL_HELD_OUT = 96, 32
#: Types of inputs whose values mean themselves; those of others may be quantized.
_TYPES_OF_VALUES = {fb.schema.TensorType.FLOAT32: np.float32, fb.schema.TensorType.INT32: np.int32}


@dataclass(frozen=True)
class Samples:
    """Inputs for the graph.

    Attributes:
        arrays: for each sample an array for each input of the main subgraph, in `store`.
        held_out: how many of them, the last ones, serve the estimate alone.
        description: what they are.
        noise: whether some of them are noise.
        guessed: names of inputs that were made up in a range that is a guess.
        store: what keeps the samples, and whatever the net makes of them.
    """

    arrays: Sequence[Sequence[Kept]]
    held_out: int
    description: str
    noise: bool = False
    guessed: tuple[str, ...] = ()
    store: SampleStore = field(default_factory=SampleStore)

    def hold_out(self, numbers: range) -> Samples:
        """The same with the samples of these numbers last, for the estimate alone."""
        fitted = [each for number, each in enumerate(self.arrays) if number not in numbers]
        return replace(self, arrays=[*fitted, *(self.arrays[number] for number in numbers)], held_out=len(numbers))


@dataclass(frozen=True)
class Reference:
    """The net before any rounding.

    Attributes:
        model: the one to be rounded itself, where there is no other.
        weights: places of the rounded model's weights -> their places in `model`.
        moments: of the main subgraph's tensors, by index, where batch norms tell them.
    """

    model: ModelT
    weights: Mapping[TensorPlace, TensorPlace]
    moments: Mapping[int, Moments]

    def sources(self, rounded: ModelT) -> dict[TensorPlace, Array]:
        """The float weights that a model's INT8 weights were rounded from, by their places in that model."""
        if self.model is rounded:
            return {}
        found = {}
        for place, original in self.weights.items():
            values = fb.constant(self.model, fb.tensor_at(self.model, original))
            if values is not None:
                found[place] = values
        return found


@dataclass(frozen=True)
class Source:
    """What a conversion starts from.

    Attributes:
        model: the one to nest, full-int8 or float.
        reference: the net before any rounding.
        samples: None if there are none.
        without: why there are none, where somebody would have looked at some.
        selection: the user's word on single weights.
        group_size: weights of a channel that shall share a scale; None if all of them do.
        widened: the model's weights that the file has in another type.
        files: those that the file has packed behind the model.
        equalizable: the linear chains of a calibrated model; None if there are none, or nobody asked for them.
        notes: what had to be done to the file's weights before they can nest.
    """

    model: ModelT
    reference: Reference
    samples: Samples | None
    without: str | None = None
    selection: Selection = field(default_factory=Selection)
    group_size: int | None = None
    widened: Widened = field(default_factory=Widened)
    files: Sequence[PackedFile] = ()
    equalizable: Equalizable | None = None
    notes: tuple[str, ...] = ()

    def equalized(self, exponents: Sequence[float], *, final: bool) -> Source:
        """The same with the channels of its linear chains scaled.

        Args:
            exponents: for each chain, as `sources.equalization` has it.
            final: whether activations get the ranges that the user asked for, or those that calibration saw.
        """
        if self.equalizable is None:
            return self
        original, moments = self.equalizable.equalized(exponents)
        model = fb.read_model(self.equalizable.quantize(fb.pack_model(original), final)).model
        return replace(self, model=model, reference=Reference(original, pair_weights(original, model), moments))


def load_source(
    source: Any,
    data: RepresentativeData | None,
    *,
    look: bool,
    notify: Progress,
    custom_objects: Mapping[str, Any] | None = None,
    store: SampleStore | None = None,
    equalize: bool = False,
    **options: Unpack[ExportOptions],
) -> Source:
    """Loads a model.

    Args:
        source, data, custom_objects: as `conversion.convert`.
        look: whether anybody will look at samples.
        store: what keeps the samples; a new one if None.
        equalize: whether to look for linear chains in a model that is to become full-int8. Where there are some,
            `Source.equalized` gives the model to nest.
        options: those of `keras_export.export`.

    Raises:
        UnsupportedModelError, RepresentativeDataError, FormatError, MissingPackageError
    """
    store = store or SampleStore()
    samples = None if data is None else sample_source(data, store)
    files: Sequence[PackedFile] = ()
    if is_keras_source(source):
        notify("converting with tensorflow" if "tensorflow" in sys.modules else "loading tensorflow", 0, 0)
        opened = open_source(source, custom_objects)
        notify("converting with tensorflow", 0, 0)
        nets = _from_keras(opened, samples, look=look, equalize=equalize, **options)
    elif isinstance(source, str | os.PathLike | bytes):
        nets, files = _from_file(source, samples), packed_files(source)
    else:
        raise UnsupportedModelError(
            "source",
            expected="a Keras model, or the path of a .keras, .h5 or .tflite file or SavedModel folder",
            got=type(source).__name__,
        )
    moments = tensor_moments(nets.original, nets.folded)
    loaded = Source(
        nets.model,
        Reference(nets.original, _pairs(nets.original, nets.model), moments),
        None,
        widened=nets.widened,
        files=files,
        equalizable=None if nets.chains is None else nets.chains(moments),
        notes=nets.notes,
    )
    if not look:
        return loaded
    if nets.samples is not None:
        return replace(loaded, samples=given_samples(nets.model, nets.samples, store))
    notify("making inputs", 0, 0)
    try:
        return replace(loaded, samples=_made_samples(nets.model, nets.folded, store))
    except UnsupportedModelError as error:
        return replace(loaded, without=str(error))


@dataclass(frozen=True)
class _Nets:
    """What a source gives: the model to nest, the same net before any rounding, and the batch norms folded into it."""

    model: ModelT
    original: ModelT
    samples: Callable[[], Iterator[Sample]] | None
    folded: Sequence[FoldedNorm] = ()
    widened: Widened = field(default_factory=Widened)
    chains: Callable[[Mapping[int, Moments]], Equalizable] | None = None
    notes: tuple[str, ...] = ()


def _from_keras(
    source: KerasModel | Path,
    samples: Callable[[], Iterator[Sample]] | None,
    *,
    look: bool,
    equalize: bool,
    **options: Unpack[ExportOptions],
) -> _Nets:
    """Of an opened Keras model or SavedModel: full-int8 with samples, float without."""
    named = None if samples is None else named_samples(source, samples)
    folded = folded_norms(source) if look else ()
    if named is None:
        model = fb.read_model(export(source, None, **options)).model
        return _Nets(model, model, None, folded)
    check_options(**options)
    calibrated = calibrate(source, named)
    if not look:
        model = fb.read_model(quantize(calibrated, **options)).model
        return _Nets(model, model, named, folded)
    original = fb.read_model(calibrated.content).model
    chains = find_chains(original) if equalize else ()
    if not chains:
        return _Nets(fb.read_model(quantize(calibrated, **options)).model, original, named, folded)

    def quantized(content: bytes, final: bool) -> bytes:
        return quantize(replace(calibrated, content=content), **(options if final else {}))

    return _Nets(
        fb.read_model(quantized(calibrated.content, False)).model,
        original,
        named,
        folded,
        chains=lambda moments: Equalizable(original, chains, calibrated.channels, moments, quantized),
    )


def _from_file(source: str | os.PathLike[str] | bytes, samples: Callable[[], Iterator[Sample]] | None) -> _Nets:
    """Of a stock .tflite file, whose weights that float layers read become float32, and whose uint8 ones INT8."""
    model = fb.read_model(source).model
    refuse_nested(model)
    bring_in_external(model, source)
    reexpressed, narrow, widened = to_int8(model), to_int8_codes(model), widen(model)
    notes = (*(() if reexpressed is None else (str(reexpressed),)), *narrow, *widened.notes())
    return _Nets(model, model, samples, widened=widened, notes=notes)


def _made_samples(model: ModelT, folded: Sequence[FoldedNorm], store: SampleStore) -> Samples:
    """Procedural inputs.

    Raises:
        UnsupportedModelError: none can be made up for the model.
    """
    made = procedural_inputs(model, folded, _PROCEDURAL + _PROCEDURAL_HELD_OUT, store=store)
    return Samples(made.samples, _PROCEDURAL_HELD_OUT, made.description, made.noise, made.guessed, store)


def _pairs(original: ModelT, model: ModelT) -> dict[TensorPlace, TensorPlace]:
    if original is model:
        return {weight.place: weight.place for weight in layer_weights(model)}
    return pair_weights(original, model)


def given_samples(model: ModelT, source: Callable[[], Iterator[Sample]], store: SampleStore | None = None) -> Samples:
    """The first of the user's samples, each input with a batch of 1; in a new store if None is given.

    Raises:
        RepresentativeDataError: they do not fit the model's inputs.
    """
    store = store or SampleStore()
    inputs, most, count = _inputs(model), MOST_SAMPLES + MOST_HELD_OUT, 0
    arrays: list[list[Kept]] = []
    for number, sample in enumerate(islice(source(), most)):
        values = fitted(sample, inputs, number)
        rows = range(min(len(values[0]), most - len(arrays)))
        arrays += [[store.keep(value[k : k + 1]) for value in values] for k in rows]
        count += len(values[0])
    given = Samples(arrays, 0, f"{count} samples of the representative data", store=store)
    return given if count < ENOUGH else given.hold_out(range(0, len(arrays), _HELD_OUT_STEP))


def _inputs(model: ModelT) -> list[ModelInput]:
    """The main subgraph's inputs, with the names that a signature gives them if there is one."""
    graph = model.subgraphs[0]
    names = {index: fb.text(graph.tensors[index].name) for index in fb.indices(graph.inputs)}
    for signature in model.signatureDefs or []:
        if signature.subgraphIndex == 0:
            names.update({entry.tensorIndex: fb.text(entry.name) for entry in signature.inputs or []})
    return [_input(names[index], graph.tensors[index]) for index in fb.indices(graph.inputs)]


def _input(name: str, tensor: TensorT) -> ModelInput:
    dtype = _TYPES_OF_VALUES.get(tensor.type)
    shape = fb.indices(tensor.shapeSignature) or fb.indices(tensor.shape)
    return ModelInput(name, None if dtype is None else np.dtype(dtype), tuple(None if n < 0 else n for n in shape))
