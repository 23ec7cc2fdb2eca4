"""Inputs for a model without representative data: procedural images in the range that the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.sources.moments import FoldedNorm, Moments
from nq_tflite.conversion.sources.pairing import LayerWeight, layer_weights, real_bias, real_constant
from nq_tflite.conversion.sources.procedural import procedural_images
from nq_tflite.conversion.sources.sample_store import Kept, KeptArrays, SampleStore
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT, TensorT
from nq_tflite.graph.quantization import covered_input, covered_values, stored_values

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_Builtin, _Type = schema.BuiltinOperator, schema.TensorType
_ID_TYPES = {_Type.INT32, _Type.INT64}
_MOST_CHANNELS, _SMALLEST_IMAGE = 4, 8
_PATCHES = 8192
_DEVIATIONS = 3.0  # of noise, from the middle of a quantization range to its ends


@dataclass(frozen=True)
class ProceduralInputs:
    """Stand-ins for a model's inputs.

    Attributes:
        samples: for each of them an array for each input of the main subgraph, in order: [1, ...] in its own type.
        description: what was assumed of each, for people to judge.
        noise: whether some are noise, or of one channel, which may be no picture but a spectrogram.
        guessed: names of those in a range that is a guess.
    """

    samples: Sequence[Sequence[Kept]]
    description: str
    noise: bool
    guessed: tuple[str, ...]


@dataclass(frozen=True)
class _Affine:
    """gain * x + offset for each channel, and where it comes from."""

    gain: Float64
    offset: Float64
    reason: str


def procedural_inputs(
    model: ModelT, folded: Sequence[FoldedNorm], count: int, seed: int = 0, store: SampleStore | None = None
) -> ProceduralInputs:
    """Makes inputs for the main subgraph without any data; the same arguments give the same inputs.

    An input of images [batch, height, width, 1 to 4 channels] gets procedural images. They are brought into the range
    in which the first convolution gives what its batch norm saw in training; where that is not known, over the input's
    quantization range; else into [-1, 1]. Any other float input gets normal noise.

    Args:
        model: float or full-int8.
        folded: the batch norms of the model that it was converted from, if known.
        count: how many inputs.
        seed: of everything random.
        store: what keeps them; a new one if None.

    Raises:
        UnsupportedModelError: an input of integers (token ids, say), or of no fixed size.
    """
    store = store or SampleStore()
    columns: list[list[Kept]] = []
    notes, guessed, noisy = [], [], False
    subgraph = model.subgraphs[0]
    for number, index in enumerate(fb.indices(subgraph.inputs)):
        tensor = subgraph.tensors[index]
        sizes = _sizes(tensor)
        limits = covered_input(model, index)
        if len(sizes) == 3 and sizes[2] <= _MOST_CHANNELS and min(sizes[:2]) >= _SMALLEST_IMAGE:
            images = [store.keep(each) for each in procedural_images(count, *sizes, seed=seed + number)]
            fitted = _fitted(model, index, KeptArrays(images), folded)
            affine = fitted or _over_range(sizes[2], limits)
            is_known = fitted is not None or limits is not None
            noisy |= sizes[2] == 1
            columns.append([])
            while images:
                values = images.pop(0).load()[None] * affine.gain + affine.offset
                columns[-1].append(store.keep(stored_values(tensor, np.asarray(values, np.float32))))
            notes.append(f"{fb.text(tensor.name)}: procedural images {affine.reason}")
        else:
            rng = np.random.default_rng([seed, number])
            low, high = limits or (-_DEVIATIONS, _DEVIATIONS)
            noisy, is_known = True, limits is not None
            columns.append([])
            for _ in range(count):
                noise = rng.standard_normal((1, *sizes), np.float32)
                values = np.float32((high + low) / 2) + np.float32((high - low) / (2 * _DEVIATIONS)) * noise
                columns[-1].append(store.keep(stored_values(tensor, values)))
            notes.append(f"{fb.text(tensor.name)}: normal noise, three deviations of it within [{low:.3g}, {high:.3g}]")
        if not is_known:
            guessed.append(fb.text(tensor.name))
    samples = [list(each) for each in zip(*columns, strict=True)]
    return ProceduralInputs(samples, "; ".join(notes), noisy, tuple(guessed))


def _sizes(tensor: TensorT) -> tuple[int, ...]:
    """An input's shape without its batch."""
    name = f"input {fb.text(tensor.name)!r}"
    signature = fb.indices(tensor.shapeSignature) or fb.indices(tensor.shape)
    if tensor.type != _Type.FLOAT32 and covered_values(tensor) is None:
        raise UnsupportedModelError(
            name,
            expected="real numbers, which can be generated",
            got=f"{fb.type_name(tensor.type)}" + (" (token ids?)" if tensor.type in _ID_TYPES else " without a scale"),
            fix="Give representative data.",
        )
    if any(size < 1 for size in signature[1:]):
        raise UnsupportedModelError(
            name, expected="fixed sizes", got=str(signature), fix="Give representative data, or fix the model's shape."
        )
    return tuple(signature[1:])


def _over_range(channels: int, limits: tuple[float, float] | None) -> _Affine:
    low, high = limits or (-1.0, 1.0)
    source = "its quantization range" if limits else "an assumption: neither a batch norm nor a range says better"
    reason = f"over [{low:.3g}, {high:.3g}], {source}"
    return _Affine(np.full(channels, high - low), np.full(channels, low), reason)


# ---- the range that the first convolution was trained on -----------------------------------------------------------


def _fitted(model: ModelT, index: int, images: Sequence[Float32], folded: Sequence[FoldedNorm]) -> _Affine | None:
    """The range in which the first convolution's outputs have the moments of its batch norm, by least squares.

    Means of the outputs are linear in the means of the input's channels, which gives those; deviations are in
    proportion to the contrast, which gives that, one for all channels.
    """
    channels = images[0].shape[-1]
    gain, offset = np.ones(channels), np.zeros(channels)
    first = _first_convolution(model, index, gain, offset)
    norms = [] if first is None else [n.moments for n in folded if first.is_of(n.kernel)]
    if first is None or not norms:
        return None
    patches = _patches(model, first, images)
    if patches is None:
        return None
    means, contrast = _fit(model, first, norms[0], patches * np.tile(gain, patches.shape[1] // len(gain)))
    if means is None or contrast <= 0:
        return None
    # What the convolution should see is contrast * (gain * image) around `means`; undo the steps before it.
    wanted = (means - offset) / gain - contrast * _means(images)
    return _Affine(np.full(len(gain), contrast), wanted, "in the range that the first batch norm tells")


def _means(images: Sequence[Float32]) -> Float64:
    """[channels], summed pixel by pixel, as NumPy sums several channels of one array."""
    sums: Float64 = np.zeros(images[0].shape[-1])
    pixels = 0
    for image in images:
        rows = image.reshape(-1, len(sums)).astype(np.float64)
        rows[0] += sums
        sums, pixels = rows.sum(axis=0), pixels + len(rows)
    return sums / pixels


def _fit(model: ModelT, first: LayerWeight, norm: Moments, patches: Float64) -> tuple[Float64 | None, float]:
    """Means of the convolution's input channels [channels], and the contrast of its patches [patches, depth]."""
    kernel = first.matrix.astype(np.float64)
    channels = fb.shape(model.subgraphs[0].tensors[first.tensor])[-1]
    subgraph = model.subgraphs[0]
    bias = real_bias(model, subgraph, subgraph.operators[first.operator])
    responses = kernel.reshape(len(kernel), -1, channels).sum(axis=1)
    means, _, rank, _ = np.linalg.lstsq(responses, norm.mean - (0 if bias is None else bias), rcond=1e-3)
    deviations, wanted = (patches @ kernel.T).std(axis=0), np.sqrt(norm.variance)
    if rank < channels or not deviations.any():
        return None, 0.0
    return means, float(deviations @ wanted / (deviations @ deviations))


def _first_convolution(model: ModelT, index: int, gain: Float64, offset: Float64) -> LayerWeight | None:
    """The CONV_2D that an input reaches through arithmetic by channel, which is gathered in gain and offset."""
    subgraph = model.subgraphs[0]
    readers = fb.readers(subgraph)
    weights = {weight.operator: weight for weight in layer_weights(model) if weight.subgraph == 0}
    while len(readers.get(index, [])) == 1:
        [(position, slot)] = readers[index]
        operator = subgraph.operators[position]
        code, inputs = fb.builtin_code(model, operator), fb.indices(operator.inputs)
        if code == _Builtin.CONV_2D:
            return weights.get(position)
        if code in (_Builtin.ADD, _Builtin.SUB, _Builtin.MUL, _Builtin.DIV) and slot == 0:
            constant = real_constant(model, subgraph.tensors[inputs[1]])
            if constant is None or constant.size not in (1, len(gain)):
                return None
            _gather(code, constant.astype(np.float64).ravel(), gain, offset)
        elif code not in (_Builtin.PAD, _Builtin.PADV2, _Builtin.QUANTIZE, _Builtin.DEQUANTIZE):
            return None
        index = fb.indices(operator.outputs)[0]
    return None


def _gather(code: int, constant: Float64, gain: Float64, offset: Float64) -> None:
    """Updates gain and offset in place by one step of arithmetic."""
    if code in (_Builtin.ADD, _Builtin.SUB):
        offset += constant if code == _Builtin.ADD else -constant
        return
    factor = constant if code == _Builtin.MUL else 1 / constant
    gain *= factor
    offset *= factor


def _patches(model: ModelT, first: LayerWeight, images: Sequence[Float32]) -> Float64 | None:
    """What the convolution's kernel sees at random places within the images: [patches, depth]."""
    options = model.subgraphs[0].operators[first.operator].builtinOptions
    _, high, wide, channels = fb.shape(model.subgraphs[0].tensors[first.tensor])
    count, (height, width, own) = len(images), images[0].shape
    rows, columns = np.arange(high) * options.dilationHFactor, np.arange(wide) * options.dilationWFactor
    if own != channels or rows[-1] >= height or columns[-1] >= width:
        return None
    rng = np.random.default_rng(0)
    image, top, left = (rng.integers(0, n, _PATCHES) for n in (count, height - rows[-1], width - columns[-1]))
    at = top[:, None, None] + rows[:, None], left[:, None, None] + columns
    patches = np.empty((_PATCHES, high, wide, channels), np.float32)
    for number in range(count):
        here = image == number
        patches[here] = images[number][at[0][here], at[1][here]]
    return np.asarray(patches.reshape(_PATCHES, -1), np.float64)
