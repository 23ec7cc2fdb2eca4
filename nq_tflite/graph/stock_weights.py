"""Nested float weights as stock runtimes use them: INT8 with a scale per channel, or INT4 with one per group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import NestingError, UnsupportedModelError, did_you_mean
from nq_tflite.format.constants import OutputType
from nq_tflite.format.groups import spread
from nq_tflite.format.levels import value_at
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT
from nq_tflite.graph.nested import NestedWeight

#: "nested": the type and the values that the nested file's readers see; "int8" and "int4": of dense layers of floats.
StockWeights = Literal["nested", "int8", "int4"]
STOCK_WEIGHTS: tuple[StockWeights, ...] = ("nested", "int8", "int4")
#: The least version of FULLY_CONNECTED that multiplies floats by such weights.
_VERSION = 12
_LARGEST_INT4, _INT4_STEP = 7, 16

#: Gives a weight's tensor the type of its constant, whose bytes it returns.
WriteWeight = Callable[[ModelT, NestedWeight, int], bytes]


def weight_writer(weights: StockWeights) -> WriteWeight:
    """The function that writes the weights of a level.

    Raises:
        NestingError: no such kind.
    """
    writers: dict[str, WriteWeight] = {"nested": _write_nested, "int8": _write_int8, "int4": _write_int4}
    if weights not in writers:
        raise NestingError(
            "weights",
            expected=f"one of {', '.join(STOCK_WEIGHTS)}",
            got=repr(weights),
            fix=did_you_mean(weights, STOCK_WEIGHTS),
        )
    return writers[weights]


def _write_nested(model: ModelT, weight: NestedWeight, level: int) -> bytes:
    return bytes(weight.values(level).tobytes())


def _write_int8(model: ModelT, weight: NestedWeight, level: int) -> bytes:
    if not _multiplies_floats(model, weight):
        return _write_nested(model, weight, level)
    values = weight.values(level).astype(np.float64)
    scales = (np.abs(values).max(axis=1) / 127).astype(np.float32)
    scales = np.where(scales > 0, scales, np.float32(1))
    tensor = model.subgraphs[weight.subgraph].tensors[weight.tensor]
    tensor.type, tensor.quantization = schema.TensorType.INT8, fb.new_quantization(scales)
    _quantize_inputs(model, weight)
    codes: NDArray[np.int8] = np.rint(values / scales[:, None]).clip(-127, 127).astype(np.int8)
    return codes.tobytes()


def _write_int4(model: ModelT, weight: NestedWeight, level: int) -> bytes:
    if not _multiplies_floats(model, weight):
        return _write_nested(model, weight, level)
    size = weight.block.group_size
    if not size:
        raise UnsupportedModelError(
            f"INT4 of {weight.name!r}",
            expected="a scale for every group of inputs",
            got="one for each channel",
            fix="Convert with group_size, or extract weights='int8'.",
        )
    codes, scales = _int4_codes(weight, level)
    subgraph = model.subgraphs[weight.subgraph]
    buffer = fb.add_buffer(model, scales)
    name = f"{weight.name}/block_scale"
    of_blocks = fb.add_tensor(subgraph, name, scales.shape, schema.TensorType.FLOAT16, buffer)
    details = schema.BlockwiseQuantizationT(scales=of_blocks, zeroPoints=-1, blockSize=size)
    tensor = subgraph.tensors[weight.tensor]
    tensor.type = schema.TensorType.INT4
    tensor.quantization = schema.QuantizationParametersT(
        details=details, detailsType=schema.QuantizationDetails.BlockwiseQuantization
    )
    _quantize_inputs(model, weight)
    fields = (codes.reshape(-1, 2) & 15).astype(np.uint8)
    packed: NDArray[np.uint8] = fields[:, 0] | fields[:, 1] << np.uint8(4)
    return packed.tobytes()


def _int4_codes(weight: NestedWeight, level: int) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Codes [channels, depth] and scales [channels, groups]: the weight's own, or those nearest to its values."""
    size, depth = weight.block.group_size, weight.block.depth
    own = weight.scales.astype(np.float64) * _INT4_STEP
    codes = value_at(weight.codes(), weight.nesting, level)
    if not (codes & (_INT4_STEP - 1)).any() and np.array_equal(own.astype(np.float16), own):
        return codes >> 4, own.astype(np.float16)
    values = codes * spread(weight.scales.astype(np.float64), depth)
    largest = np.abs(values).reshape(len(values), -1, size).max(axis=2)
    scales = np.maximum((largest / _LARGEST_INT4).astype(np.float16), np.finfo(np.float16).smallest_normal)
    real = spread(scales.astype(np.float64), depth)
    return np.rint(values / real).clip(-_LARGEST_INT4 - 1, _LARGEST_INT4).astype(np.int8), scales


def _readers(model: ModelT, weight: NestedWeight) -> list[Any]:
    subgraph = model.subgraphs[weight.subgraph]
    return [subgraph.operators[use.position] for use in fb.readers(subgraph).get(weight.tensor, [])]


def _multiplies_floats(model: ModelT, weight: NestedWeight) -> bool:
    """Whether dense layers of floats, and they alone, read a weight."""
    dense = schema.BuiltinOperator.FULLY_CONNECTED
    return weight.block.output_type is OutputType.FLOAT32 and all(
        fb.builtin_code(model, operator) == dense for operator in _readers(model, weight)
    )


def _quantize_inputs(model: ModelT, weight: NestedWeight) -> None:
    """Makes the readers quantize their inputs as they come."""
    for operator in _readers(model, weight):
        operator.builtinOptions.asymmetricQuantizeInputs = True
        version = max(_VERSION, model.operatorCodes[operator.opcodeIndex].version)
        operator.opcodeIndex = fb.builtin_opcode(model, schema.BuiltinOperator.FULLY_CONNECTED, version)
